//! Leaving a view: votes for the next one (OSDI '99 §4.4, §4.5.2).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use qlab_kernel::{Effects, Event, NodeId, Term, Time, mutant};

use crate::Pbft;
use crate::keys::{Digest, SIGNATURE_BYTES, Signature};
use crate::message::{Message, NewView, ViewChange};
use crate::record::Record;

/// Messages of later views kept for each peer: those of a view begin to come before it has begun here.
const AHEAD_MAX: usize = 1024;

/// What is known about the views to come, and about how this one came.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// The newest valid vote of each replica.
    pub(crate) votes: BTreeMap<NodeId, Arc<ViewChange>>,
    /// How the current view began: the message, and the votes that it names.
    pub(crate) begun: Option<(Arc<NewView>, Vec<Arc<ViewChange>>)>,
    /// The beginning of a view whose votes are not all here yet, and who sent it.
    pub(crate) pending: Option<(NodeId, Arc<NewView>)>,
    /// Votes that the pending one names, where a replica voted differently to different others.
    pub(crate) named: BTreeMap<(NodeId, Digest), Arc<ViewChange>>,
    ahead: BTreeMap<NodeId, VecDeque<Message>>,
}

/// Why a vote does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VoteFault {
    /// It does not prove what it says.
    Content,
    /// Its voter did not sign it, or whoever sent it on spoilt that.
    Signature,
}

impl Views {
    /// A vote by its voter and hash.
    pub(crate) fn find(&self, voter: NodeId, digest: &Digest) -> Option<Arc<ViewChange>> {
        let newest = self.votes.get(&voter).filter(|vote| vote.digest() == *digest);
        newest.or_else(|| self.named.get(&(voter, *digest))).cloned()
    }

    /// Keeps a message of a view that has not begun here.
    pub(crate) fn keep_ahead(&mut self, from: NodeId, message: Message) {
        let ahead = self.ahead.entry(from).or_default();
        if ahead.len() == AHEAD_MAX {
            ahead.pop_front();
        }
        ahead.push_back(message);
    }

    /// What was kept.
    pub(crate) fn take_ahead(&mut self) -> impl Iterator<Item = (NodeId, Message)> + use<> {
        let ahead = std::mem::take(&mut self.ahead);
        ahead
            .into_iter()
            .flat_map(|(from, messages)| messages.into_iter().map(move |message| (from, message)))
    }

    /// What would begin a view that nobody waits for any more.
    fn forget_pending_below(&mut self, view: Term) {
        if self.pending.as_ref().is_some_and(|(_, new_view)| new_view.view < view) {
            self.pending = None;
            self.named.clear();
        }
    }

    /// Who votes for exactly this view.
    fn count(&self, view: Term) -> usize {
        self.votes.values().filter(|vote| vote.view == view).count()
    }
}

impl Pbft {
    /// Leaves the current view, for good, and votes for a later one.
    pub(crate) fn want_view(&mut self, now: Time, view: Term, effects: &mut Effects<Self>) {
        assert!(view > self.view || !self.active && view == self.view, "views only grow");
        if self.active && self.is_primary() {
            effects.event(Event::Deposed(self.view));
        }
        (self.view, self.active, self.resigns) = (view, false, false);
        self.impatience.leave();
        self.blame_clients();
        self.slots.leave_view();
        self.burst = Default::default();
        self.silent_until = qlab_kernel::Index::ZERO;
        self.views.forget_pending_below(view);
        let vote = Arc::new(self.vote_for(view));
        self.view_lsn = effects.persist(Record::Voted(Arc::clone(&vote)));
        self.views.votes.insert(self.seat.me, vote);
        effects.event(Event::Campaigned(view));
        self.send_vote(effects);
        self.consider_votes(now, effects);
    }

    fn vote_for(&self, view: Term) -> ViewChange {
        let stable = self.stable.clone();
        let prepared = self.slots.prepared_after(stable.seq);
        mutant!("pbft: a view-change omits what is prepared", prepared = Vec::new());
        let unsigned = Signature([0; SIGNATURE_BYTES]);
        let mut vote = ViewChange { view, voter: self.seat.me, stable, prepared, signature: unsigned };
        vote.signature = self.sign(&vote.digest());
        vote
    }

    /// Sends this replica's vote, first or again.
    pub(crate) fn send_vote(&self, effects: &mut Effects<Self>) {
        let Some(vote) = self.views.votes.get(&self.seat.me).filter(|_| !self.active) else { return };
        for peer in self.seat.peers().iter() {
            // Gated: nothing is said in earlier views any more, and what it calls prepared is durable.
            effects.send(peer, Message::ViewChange(Arc::clone(vote)));
        }
    }

    pub(crate) fn on_view_change(
        &mut self,
        now: Time,
        from: NodeId,
        vote: Arc<ViewChange>,
        effects: &mut Effects<Self>,
    ) {
        let is_news = self.views.votes.get(&vote.voter).is_none_or(|held| held.view < vote.view);
        let is_open = vote.view > self.view || vote.view == self.view && !self.active;
        let is_named = self.is_named(&vote);
        if !is_open || vote.voter == self.seat.me {
            return;
        }
        if !is_news && !is_named {
            // It may have come before this view began here, when it moved nobody.
            self.consider_votes(now, effects);
            return;
        }
        if let Err(fault) = self.examine(&vote) {
            effects.event(Event::Misbehaved(from));
            if is_named && fault == VoteFault::Content {
                self.reject_pending(effects);
            }
            return;
        }
        if is_named {
            self.views.named.insert((vote.voter, vote.digest()), Arc::clone(&vote));
        }
        if is_news {
            self.views.votes.insert(vote.voter, vote);
        }
        self.consider_votes(now, effects);
        self.retry_new_view(now, effects);
    }

    /// Whether a vote is valid.
    fn examine(&self, vote: &ViewChange) -> Result<(), VoteFault> {
        if !vote.is_formed(self.quorum, self.config.log_window) {
            return Err(VoteFault::Content);
        }
        let claims = vote.claims(self.quorum);
        match self.verify_all(&claims).iter().position(|good| !good) {
            None => Ok(()),
            Some(0) => Err(VoteFault::Signature),
            Some(_) => Err(VoteFault::Content),
        }
    }

    /// The beginning of a view that came rests on a vote that proves nothing: whoever named that vote is no correct primary.
    fn reject_pending(&mut self, effects: &mut Effects<Self>) {
        if let Some((_, new_view)) = self.views.pending.take() {
            effects.event(Event::Misbehaved(self.quorum.primary(new_view.view)));
        }
    }

    /// Whether the beginning of a view that came rests on this very vote.
    fn is_named(&self, vote: &ViewChange) -> bool {
        let Some((_, new_view)) = &self.views.pending else { return false };
        let name = (vote.voter, vote.digest());
        new_view.votes.contains(&name) && !self.views.named.contains_key(&name)
    }

    /// Joins those who want a later view; counts who wants this one.
    fn consider_votes(&mut self, now: Time, effects: &mut Effects<Self>) {
        let mut later: Vec<Term> =
            self.views.votes.values().map(|vote| vote.view).filter(|view| *view > self.view).collect();
        later.sort_unstable();
        if later.len() >= self.quorum.weak() {
            // One of them is correct and has reason to: the smallest is as far as anybody need go (§4.5.2).
            self.want_view(now, later[0], effects);
            return;
        }
        // Whoever went on to a later view does not come back for this one, but has left the same as the others: if all of them
        // wait for exactly this view, they wait for ever.
        let left = self.views.votes.values().filter(|vote| vote.view >= self.view).count();
        if !self.active && left >= self.quorum.certificate() {
            self.impatience.expect_view(now, self.config.view_timeout);
        }
        if !self.active && self.views.count(self.view) >= self.quorum.certificate() {
            self.begin_view(now, effects);
        }
    }
}
