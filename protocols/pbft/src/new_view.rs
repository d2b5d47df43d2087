//! Entering a view: what its primary must propose, and when a backup believes it (OSDI '99 §4.4).

use std::sync::Arc;

use qlab_kernel::{Effects, Event, Index, NodeId, Term, Time, mutant};

use crate::Pbft;
use crate::keys::{Claim, Digest, SIGNATURE_BYTES, Signature};
use crate::message::{
    Message, NewView, PrePrepare, Prepared, Proposal, StableCheckpoint, ViewChange, pre_prepare_statement,
};
use crate::quorum::Quorum;
use crate::record::Record;
use crate::request::Requests;
use crate::slots::Accepted;

/// What a view begins with: the same function of the votes for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The latest stable checkpoint that any vote proves: the paper's *min-s*.
    pub stable: StableCheckpoint,
    /// What is proposed for each sequence number from there to the last one that any vote calls prepared.
    pub proposals: Vec<(Index, Digest)>,
}

/// By which rule a new-view message is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NewViewFault {
    /// The view has begun here, or is over.
    #[error("it is not about a view to come")]
    NotToCome,
    /// Only a view's primary begins it.
    #[error("its signature is not that of the view's primary")]
    NotFromPrimary,
    /// Somebody votes who is no member, or twice.
    #[error("its voters are not distinct members")]
    Voters,
    /// Too few want the view.
    #[error("there are fewer than 2f + 1 votes")]
    TooFewVotes,
    /// A vote is for another view, or of somebody else.
    #[error("a vote is not what it is named")]
    WrongVote,
    /// It proposes something else than the votes demand.
    #[error("what it proposes is not what its votes demand")]
    Proposals,
    /// It proposes in nobody's name.
    #[error("a proposal is not signed by the view's primary")]
    UnsignedProposal,
}

/// The paper's *O*: for each sequence number what was prepared in the highest view, and null requests in the gaps.
#[must_use]
pub fn plan<'a>(votes: impl Iterator<Item = &'a ViewChange> + Clone) -> Plan {
    let stable = votes.clone().map(|vote| &vote.stable).max_by_key(|stable| stable.seq).cloned();
    let stable = stable.unwrap_or_default();
    let prepared = || votes.clone().flat_map(|vote| &vote.prepared);
    let last = prepared().map(|prepared| prepared.seq).max().unwrap_or_default();
    let null = *Requests::null().digest();
    let mut chosen: Vec<Option<&Prepared>> = vec![None; last.0.saturating_sub(stable.seq.0) as usize];
    for prepared in prepared().filter(|prepared| prepared.seq > stable.seq) {
        let place = &mut chosen[(prepared.seq.0 - stable.seq.0 - 1) as usize];
        if place.is_none_or(|before| before.view < prepared.view) {
            *place = Some(prepared);
        }
    }
    let numbered = chosen.into_iter().zip(stable.seq.0 + 1..);
    mutant!("pbft: gaps are skipped instead of filled with null requests", {
        let prepared = numbered.filter_map(|(chosen, seq)| Some((Index(seq), chosen?.digest)));
        let proposals = prepared.collect();
        return Plan { stable, proposals };
    });
    let proposals =
        numbered.map(|(chosen, seq)| (Index(seq), chosen.map_or(null, |prepared| prepared.digest))).collect();
    Plan { stable, proposals }
}

/// What a new-view message whose votes are all here says, if no rule rejects it. Each vote by itself was found valid before.
pub(crate) fn judge(
    new_view: &NewView,
    votes: &[Arc<ViewChange>],
    quorum: Quorum,
    mut are_true: impl FnMut(&[Claim]) -> bool,
) -> Result<Plan, NewViewFault> {
    let fits = |(vote, (voter, digest)): (&Arc<ViewChange>, &(NodeId, Digest))| {
        vote.view == new_view.view && vote.voter == *voter && vote.digest() == *digest
    };
    if votes.len() != new_view.votes.len() || !votes.iter().zip(&new_view.votes).all(fits) {
        return Err(NewViewFault::WrongVote);
    }
    let plan = plan(votes.iter().map(|vote| &**vote));
    let proposed: Vec<_> =
        new_view.proposals.iter().map(|proposal| (proposal.seq, proposal.digest)).collect();
    mutant!("pbft: what a new view proposes is not recomputed", {
        return Ok(Plan { proposals: proposed, ..plan });
    });
    if proposed != plan.proposals {
        return Err(NewViewFault::Proposals);
    }
    let primary = quorum.primary(new_view.view);
    let claim = |proposal: &Proposal| {
        let statement = pre_prepare_statement(new_view.view, proposal.seq, &proposal.digest);
        crate::message::claim((primary, proposal.signature), statement)
    };
    let claims: Vec<Claim> = new_view.proposals.iter().map(claim).collect();
    if are_true(&claims) { Ok(plan) } else { Err(NewViewFault::UnsignedProposal) }
}

impl Pbft {
    /// Begins the view if it is this replica's to begin; 2f + 1 vote for it.
    pub(crate) fn begin_view(&mut self, now: Time, effects: &mut Effects<Self>) {
        let view = self.view;
        if self.quorum.primary(view) != self.seat.me || self.active {
            return;
        }
        let needed = self.quorum.certificate();
        let votes = self.views.votes.values().filter(|vote| vote.view == view);
        let votes: Vec<Arc<ViewChange>> = votes.take(needed).cloned().collect();
        let plan = plan(votes.iter().map(|vote| &**vote));
        let propose = |(seq, digest): &(Index, Digest)| {
            let signature = self.sign(&pre_prepare_statement(view, *seq, digest));
            Proposal { seq: *seq, digest: *digest, signature }
        };
        let proposals = plan.proposals.iter().map(propose).collect();
        let named = votes.iter().map(|vote| (vote.voter, vote.digest())).collect();
        let signature = Signature([0; SIGNATURE_BYTES]);
        let mut new_view = NewView { view, votes: named, proposals, signature };
        new_view.signature = self.sign(&new_view.statement());
        let new_view = Arc::new(new_view);
        self.enter(now, &new_view, votes, &plan, effects);
        for peer in self.seat.peers().iter() {
            // Gated: once it is out, this primary must know that it begins this view no second time.
            effects.send(peer, Message::NewView(Arc::clone(&new_view)));
        }
        effects.event(Event::Elected(view));
    }

    pub(crate) fn on_new_view(
        &mut self,
        now: Time,
        from: NodeId,
        new_view: Arc<NewView>,
        effects: &mut Effects<Self>,
    ) {
        match self.is_acceptable(&new_view) {
            // Everybody who helps sends it again.
            Err(NewViewFault::NotToCome) => {}
            Err(_) => effects.event(Event::Misbehaved(from)),
            Ok(()) => {
                self.views.pending = Some((from, new_view));
                self.views.named.clear();
                self.retry_new_view(now, effects);
                if let Some((_, new_view)) = &self.views.pending {
                    // Early: a question promises nothing.
                    effects.send_early(from, Message::FetchVotes { view: new_view.view });
                }
            }
        }
    }

    /// Everything that can be said about it without its votes.
    pub(crate) fn is_acceptable(&self, new_view: &NewView) -> Result<(), NewViewFault> {
        let view = new_view.view;
        if view < self.view || view == self.view && self.active {
            return Err(NewViewFault::NotToCome);
        }
        if !self.quorum.are_distinct(new_view.votes.iter().map(|(voter, _)| *voter)) {
            return Err(NewViewFault::Voters);
        }
        if new_view.votes.len() < self.quorum.certificate() {
            return Err(NewViewFault::TooFewVotes);
        }
        let signed = (self.quorum.primary(view), new_view.signature);
        let claim = crate::message::claim(signed, new_view.statement());
        if self.are_true(&[claim]) { Ok(()) } else { Err(NewViewFault::NotFromPrimary) }
    }

    /// Enters the view whose beginning came, once all its votes are here.
    pub(crate) fn retry_new_view(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Some((from, new_view)) = self.views.pending.clone() else { return };
        let held = |(voter, digest): &(NodeId, Digest)| self.views.find(*voter, digest);
        let Some(votes) = new_view.votes.iter().map(held).collect::<Option<Vec<_>>>() else { return };
        self.views.pending = None;
        match judge(&new_view, &votes, self.quorum, |claims| self.are_true(claims)) {
            Ok(plan) => self.enter(now, &new_view, votes, &plan, effects),
            Err(_) => effects.event(Event::Misbehaved(from)),
        }
    }

    fn enter(
        &mut self,
        now: Time,
        new_view: &Arc<NewView>,
        votes: Vec<Arc<ViewChange>>,
        plan: &Plan,
        effects: &mut Effects<Self>,
    ) {
        let view = new_view.view;
        (self.view, self.active, self.resigns) = (view, true, false);
        self.view_lsn = effects.persist(Record::Entered { view });
        self.silent_until = Index::ZERO;
        self.impatience.enter(now);
        self.slots.leave_view();
        self.views.begun = Some((Arc::clone(new_view), votes));
        self.views.votes.retain(|_, vote| vote.view > view);
        self.views.named.clear();
        self.learn_stable(plan.stable.clone(), effects);
        let last = plan.proposals.last().map_or(plan.stable.seq, |(seq, _)| *seq);
        self.next = last.next();
        for proposal in &new_view.proposals {
            self.accept_again(now, proposal, effects);
        }
        effects.event(Event::ViewEntered(view));
        self.hand_over_backlog(now, effects);
        self.replay_ahead(now, effects);
    }

    /// Takes the new primary's word for an entry, whose requests are here already, or on their way.
    fn accept_again(&mut self, now: Time, proposal: &Proposal, effects: &mut Effects<Self>) {
        let Proposal { seq, digest, signature } = *proposal;
        if !self.is_in_window(seq) {
            return;
        }
        let slot = self.slots.at(seq);
        slot.accepted = Some(Accepted { digest, signature, at: now });
        if digest == *Requests::null().digest() {
            slot.keep_body(Requests::null());
        }
        if slot.body(&digest).is_some() {
            self.prepare(seq, effects);
        } else {
            self.fetch_body(seq, digest, effects);
        }
    }

    /// What is said in a view, again or before it began here.
    fn replay_ahead(&mut self, now: Time, effects: &mut Effects<Self>) {
        for (from, message) in self.views.take_ahead() {
            self.on_message(now, from, message, effects);
        }
    }

    /// The proposal of an entry as a message, for those who missed it.
    pub(crate) fn pre_prepare_of(&self, seq: Index) -> Option<PrePrepare> {
        let slot = self.slots.get(seq)?;
        let accepted = slot.accepted?;
        let requests = slot.body(&accepted.digest)?.clone();
        Some(PrePrepare { view: self.view, seq, requests, signature: accepted.signature })
    }

    /// The view that a message is of, if it is of one that has not begun here.
    pub(crate) fn is_ahead(&self, view: Term) -> bool {
        view > self.view || view == self.view && !self.active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Signature = Signature([0; SIGNATURE_BYTES]);

    fn digest(name: u8) -> Digest {
        Digest([name; 32])
    }

    /// A vote that calls these prepared: sequence number, view, digest.
    fn vote(stable: u64, prepared: &[(u64, u64, u8)]) -> ViewChange {
        let stable = StableCheckpoint { seq: Index(stable), ..StableCheckpoint::default() };
        let certificate = |&(seq, view, name): &(u64, u64, u8)| Prepared {
            view: Term(view),
            seq: Index(seq),
            digest: digest(name),
            pre_prepare: NOTHING,
            prepares: Vec::new(),
        };
        let prepared = prepared.iter().map(certificate).collect();
        ViewChange { view: Term(9), voter: NodeId(0), stable, prepared, signature: NOTHING }
    }

    fn planned(votes: &[ViewChange]) -> (u64, Vec<(u64, Digest)>) {
        let plan = plan(votes.iter());
        (plan.stable.seq.0, plan.proposals.iter().map(|(seq, digest)| (seq.0, *digest)).collect())
    }

    #[test]
    fn nothing_prepared_means_nothing_proposed() {
        assert_eq!(planned(&[vote(0, &[]), vote(4, &[]), vote(2, &[])]), (4, vec![]));
    }

    #[test]
    fn the_digest_of_the_highest_view_wins_whoever_names_it() {
        let votes = [vote(0, &[(1, 0, 1)]), vote(0, &[(1, 3, 2)]), vote(0, &[(1, 2, 3)])];
        for turn in 0..3 {
            let mut votes = votes.to_vec();
            votes.rotate_left(turn);
            assert_eq!(planned(&votes), (0, vec![(1, digest(2))]));
        }
    }

    #[test]
    fn gaps_become_null_requests_and_what_is_stable_is_left_out() {
        let null = *Requests::null().digest();
        let votes = [vote(2, &[(4, 1, 4), (6, 1, 6)]), vote(0, &[(1, 5, 1), (2, 5, 2)]), vote(2, &[])];
        assert_eq!(planned(&votes), (2, vec![(3, null), (4, digest(4)), (5, null), (6, digest(6))]));
        let stable_beyond = [vote(8, &[]), vote(2, &[(4, 1, 4)]), vote(2, &[])];
        assert_eq!(planned(&stable_beyond), (8, vec![]));
    }
}
