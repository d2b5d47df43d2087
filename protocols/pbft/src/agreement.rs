//! The three phases: pre-prepare, prepare, commit (OSDI '99 §4.2).

use std::collections::BTreeSet;

use qlab_kernel::{Effects, Event, Index, NodeId, Term, Time, mutant};

use crate::Pbft;
use crate::keys::{Authentication, Claim, Digest, Signature, Signer};
use crate::message::{
    Message, PrePrepare, Prepared, commit_statement, pre_prepare_statement, prepare_statement,
};
use crate::record::Record;
use crate::request::Requests;
use crate::slots::{Accepted, Phase, Vote};

/// What this burst brought.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    /// Pre-prepares whose signatures are to be verified together.
    pre_prepares: Vec<PrePrepare>,
    /// Entries about which something was said.
    pub(crate) touched: BTreeSet<Index>,
}

/// A vote's signature that is to be verified.
struct Doubtful {
    seq: Index,
    phase: Phase,
    node: NodeId,
}

impl Pbft {
    /// Whether a sequence number lies between the watermarks (OSDI '99 §4.2).
    pub(crate) fn is_in_window(&self, seq: Index) -> bool {
        seq > self.slots.base() && seq.0 <= self.stable.seq.0 + self.config.log_window as u64
    }

    /// Proposes what clients want, as far as the windows allow.
    pub(crate) fn propose(&mut self, now: Time, effects: &mut Effects<Self>) {
        let bytes_max = if self.config.batching { self.config.entry_bytes } else { 1 };
        while self.is_primary()
            && self.may_speak_of(self.next)
            && self.has_window()
            && !self.backlog.is_idle()
        {
            let requests = Requests::new(self.backlog.take(bytes_max));
            let (view, seq) = (self.view, self.next);
            let signature = self.sign(&pre_prepare_statement(view, seq, requests.digest()));
            let pre_prepare = PrePrepare { view, seq, requests, signature };
            self.next = seq.next();
            self.accept(now, pre_prepare.clone(), effects);
            self.cast(Message::PrePrepare(pre_prepare), effects);
        }
    }

    fn has_window(&self) -> bool {
        self.is_in_window(self.next) && self.next.0 <= self.executed.0 + self.config.window_entries as u64
    }

    pub(crate) fn on_pre_prepare(
        &mut self,
        from: NodeId,
        pre_prepare: PrePrepare,
        effects: &mut Effects<Self>,
    ) {
        let PrePrepare { view, seq, ref requests, .. } = pre_prepare;
        let is_active = mutant!(self.active, "pbft: a pre-prepare is accepted while the view changes", true);
        if view != self.view || !is_active || !self.is_in_window(seq) {
            return;
        }
        let held = self.slots.get(seq).and_then(|slot| slot.accepted);
        let contradicts = held.is_some_and(|held| held.digest != *requests.digest());
        if from != self.quorum.primary(view) || contradicts {
            effects.event(Event::Misbehaved(from));
        } else if held.is_none() && self.burst.pre_prepares.len() < self.config.log_window {
            self.burst.pre_prepares.push(pre_prepare);
        }
    }

    /// Looks at the pre-prepares of this burst: their signatures together, then what they propose.
    pub(crate) fn admit(&mut self, now: Time, effects: &mut Effects<Self>) {
        let pre_prepares = std::mem::take(&mut self.burst.pre_prepares);
        let claim = |pre_prepare: &PrePrepare| {
            let PrePrepare { view, seq, ref requests, signature } = *pre_prepare;
            let signer = Signer::Replica(self.quorum.primary(view));
            Claim { signer, statement: pre_prepare_statement(view, seq, requests.digest()), signature }
        };
        let claims: Vec<Claim> = pre_prepares.iter().map(claim).collect();
        let verdicts = self.verify_all(&claims);
        for (pre_prepare, good) in pre_prepares.into_iter().zip(verdicts) {
            let primary = self.quorum.primary(pre_prepare.view);
            // Another one for the same entry may have come in this burst.
            let held = self.slots.get(pre_prepare.seq).and_then(|slot| slot.accepted);
            let contradicts = held.is_some_and(|held| held.digest != *pre_prepare.requests.digest());
            if !good || contradicts {
                effects.event(Event::Misbehaved(primary));
            } else if held.is_none() && pre_prepare.view == self.view && self.is_in_window(pre_prepare.seq) {
                self.admit_one(now, pre_prepare, effects);
            }
        }
    }

    /// Accepts what is proved to be asked by clients; the rest waits for others to vouch for it.
    fn admit_one(&mut self, now: Time, pre_prepare: PrePrepare, effects: &mut Effects<Self>) {
        let doubts = self.doubts(&pre_prepare.requests);
        if doubts.is_empty() {
            self.accept(now, pre_prepare, effects);
            return;
        }
        let primary = self.quorum.primary(pre_prepare.view);
        for request in doubts {
            // Early: an opinion, and no word about this entry.
            effects.send_early(primary, Message::Doubt { request });
        }
        self.burst.touched.insert(pre_prepare.seq);
        let slot = self.slots.at(pre_prepare.seq);
        slot.doubted = Some(pre_prepare);
    }

    /// Takes the primary's word for an entry, for good.
    pub(crate) fn accept(&mut self, now: Time, pre_prepare: PrePrepare, effects: &mut Effects<Self>) {
        let PrePrepare { seq, ref requests, signature, .. } = pre_prepare;
        let digest = *requests.digest();
        let lsn = effects.persist(Record::Accepted(pre_prepare.clone()));
        let slot = self.slots.at(seq);
        slot.doubted = None;
        slot.recorded(lsn);
        slot.keep_body(pre_prepare.requests);
        slot.accepted = Some(Accepted { digest, signature, at: now });
        self.prepare(seq, effects);
    }

    /// Says that the primary's word for an entry is taken, if its requests are here.
    pub(crate) fn prepare(&mut self, seq: Index, effects: &mut Effects<Self>) {
        let Some((digest, false)) = self.accepted(seq) else { return };
        self.burst.touched.insert(seq);
        if self.is_primary() || !self.may_speak_of(seq) {
            return;
        }
        let (view, me) = (self.view, self.seat.me);
        let signature = self.sign(&prepare_statement(view, seq, &digest));
        let own = Vote { digest, signature: Some(signature), verified: true };
        self.slots.at(seq).vote(Phase::Prepare, me, own);
        self.cast(Message::Prepare { view, seq, digest, signature }, effects);
    }

    /// What is accepted for an entry, and whether its requests are still missing.
    fn accepted(&self, seq: Index) -> Option<(Digest, bool)> {
        let slot = self.slots.get(seq)?;
        let digest = slot.accepted?.digest;
        Some((digest, slot.body(&digest).is_none()))
    }

    pub(crate) fn on_prepare(
        &mut self,
        from: NodeId,
        view: Term,
        seq: Index,
        digest: Digest,
        signature: Signature,
        effects: &mut Effects<Self>,
    ) {
        let verified = mutant!(false, "pbft: prepares are not verified", true);
        let vote = Vote { digest, signature: Some(signature), verified };
        if from == self.quorum.primary(view) {
            effects.event(Event::Misbehaved(from));
        } else {
            self.on_vote(Phase::Prepare, from, seq, vote, effects);
        }
    }

    pub(crate) fn on_commit(
        &mut self,
        from: NodeId,
        seq: Index,
        digest: Digest,
        signature: Option<Signature>,
        effects: &mut Effects<Self>,
    ) {
        let are_signed = self.config.authentication == Authentication::Signatures;
        if are_signed && signature.is_none() {
            effects.event(Event::Misbehaved(from));
        } else {
            let vote = Vote { digest, signature, verified: !are_signed };
            self.on_vote(Phase::Commit, from, seq, vote, effects);
        }
    }

    fn on_vote(&mut self, phase: Phase, from: NodeId, seq: Index, vote: Vote, effects: &mut Effects<Self>) {
        if !self.is_in_window(seq) {
            return;
        }
        if !self.slots.at(seq).vote(phase, from, vote) {
            effects.event(Event::Misbehaved(from));
        }
        self.burst.touched.insert(seq);
    }

    /// Draws the conclusions from what was said in this burst.
    pub(crate) fn conclude(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.verify_votes(effects);
        let touched = std::mem::take(&mut self.burst.touched);
        for seq in touched {
            if !self.is_in_window(seq) {
                continue;
            }
            self.believe_others(now, seq, effects);
            self.certify(seq, effects);
            self.count_commits(seq);
        }
        self.burst.touched.clear();
    }

    /// Verifies the signatures of prepares and commits that would decide something, all of them together.
    fn verify_votes(&mut self, effects: &mut Effects<Self>) {
        loop {
            let (doubtful, claims) = self.doubtful_votes();
            if claims.is_empty() {
                return;
            }
            // Each round settles at least one vote for good: this ends.
            for (vote, good) in doubtful.into_iter().zip(self.verify_all(&claims)) {
                let slot = self.slots.get_mut(vote.seq).expect("its votes were looked at");
                slot.judge(vote.phase, vote.node, good);
                if !good {
                    effects.event(Event::Misbehaved(vote.node));
                }
            }
        }
    }

    /// As many unverified votes as are needed for those entries where there are enough of them.
    fn doubtful_votes(&self) -> (Vec<Doubtful>, Vec<Claim>) {
        let (mut doubtful, mut claims) = (Vec::new(), Vec::new());
        for &seq in &self.burst.touched {
            let Some(slot) = self.slots.get(seq) else { continue };
            for (phase, digest, needed) in self.decisions(seq) {
                let verified = slot.verified(phase, &digest).count();
                if verified >= needed || slot.count(phase, &digest) < needed {
                    continue;
                }
                let is_open = |(_, vote): &(&NodeId, &Vote)| !vote.verified && vote.digest == digest;
                for (node, vote) in slot.votes(phase).iter().filter(is_open).take(needed - verified) {
                    let Some(signature) = vote.signature else { continue };
                    let statement = match phase {
                        Phase::Prepare => prepare_statement(self.view, seq, &digest),
                        Phase::Commit => commit_statement(self.view, seq, &digest),
                    };
                    doubtful.push(Doubtful { seq, phase, node: *node });
                    claims.push(Claim { signer: Signer::Replica(*node), statement, signature });
                }
            }
        }
        (doubtful, claims)
    }

    /// What may be decided about an entry: by which votes, for what, by how many.
    fn decisions(&self, seq: Index) -> impl Iterator<Item = (Phase, Digest, usize)> {
        let slot = self.slots.get(seq);
        let accepted = slot.and_then(|slot| slot.accepted).map(|accepted| accepted.digest);
        let is_certified = slot.is_some_and(|slot| slot.is_prepared_in(self.view));
        let certify = accepted.filter(|_| !is_certified);
        let doubted = slot.and_then(|slot| slot.doubted.as_ref()).map(|doubted| *doubted.requests.digest());
        let commit = slot.filter(|slot| slot.committed.is_none()).and_then(|slot| {
            let digests = slot.votes(Phase::Commit).values().map(|vote| vote.digest);
            digests.max_by_key(|digest| slot.count(Phase::Commit, digest))
        });
        let certify = certify.map(|digest| (Phase::Prepare, digest, self.quorum.prepares()));
        let believe = doubted.map(|digest| (Phase::Prepare, digest, self.quorum.weak() - 1));
        let commit = commit.map(|digest| (Phase::Commit, digest, self.quorum.certificate()));
        [certify, believe, commit].into_iter().flatten()
    }

    /// Accepts a doubted proposal once f + 1 replicas stand for it, the primary among them: one of them is correct and was shown
    /// by the clients that they ask.
    fn believe_others(&mut self, now: Time, seq: Index, effects: &mut Effects<Self>) {
        let Some(slot) = self.slots.get_mut(seq) else { return };
        let Some(digest) = slot.doubted.as_ref().map(|doubted| *doubted.requests.digest()) else { return };
        if 1 + slot.verified(Phase::Prepare, &digest).count() >= self.quorum.weak()
            && let Some(doubted) = slot.doubted.take()
        {
            self.accept(now, doubted, effects);
        }
    }

    /// The paper's *prepared(m, v, n, i)*: the primary's word, 2f backups' that match it, and the requests.
    fn certify(&mut self, seq: Index, effects: &mut Effects<Self>) {
        let Some((digest, false)) = self.accepted(seq) else { return };
        let (view, needed) = (self.view, self.quorum.prepares());
        let slot = self.slots.at(seq);
        if slot.is_prepared_in(view) || slot.verified(Phase::Prepare, &digest).count() < needed {
            return;
        }
        let pre_prepare = slot.accepted.expect("it was just looked at").signature;
        let prepares = slot.signed_prepares(&digest, needed);
        let prepared = Prepared { view, seq, digest, pre_prepare, prepares };
        let lsn = effects.persist(Record::Prepared(prepared.clone()));
        slot.recorded(lsn);
        slot.prepared = Some((prepared, lsn));
        self.writing.push_back((lsn, seq));
        let commit = self.commit_message(seq, digest);
        mutant!("pbft: commit is sent before the certificate is durable", {
            self.seat.peers().iter().for_each(|peer| effects.send_early(peer, commit.clone()));
            return;
        });
        // Gated: it says that the certificate outlives a crash.
        self.seat.peers().iter().for_each(|peer| effects.send(peer, commit.clone()));
    }

    pub(crate) fn commit_message(&mut self, seq: Index, digest: Digest) -> Message {
        let view = self.view;
        let are_signed = self.config.authentication == Authentication::Signatures;
        let signature = are_signed.then(|| self.sign(&commit_statement(view, seq, &digest)));
        Message::Commit { view, seq, digest, signature }
    }

    /// A replica's own commits count like any others: once their certificates are durable.
    pub(crate) fn count_own_commits(&mut self) {
        while let Some((_, seq)) = self.writing.pop_front_if(|(lsn, _)| *lsn <= self.durable) {
            let (view, me) = (self.view, self.seat.me);
            let Some(slot) = self.slots.get_mut(seq) else { continue };
            let Some((prepared, lsn)) = &slot.prepared else { continue };
            if prepared.view == view && *lsn <= self.durable && self.active {
                let own = Vote { digest: prepared.digest, signature: None, verified: true };
                slot.vote(Phase::Commit, me, own);
                self.burst.touched.insert(seq);
            }
        }
    }

    /// The paper's *committed(m, v, n)*: of 2f + 1 replicas that hold a certificate, f + 1 are correct, and one of these is in
    /// every quorum that a later view can begin with.
    fn count_commits(&mut self, seq: Index) {
        let needed = self.quorum.certificate();
        mutant!("pbft: 2f commits suffice", needed = needed - 1);
        let Some(slot) = self.slots.get_mut(seq) else { return };
        if slot.committed.is_some() {
            return;
        }
        let votes = slot.votes(Phase::Commit).values();
        let enough = |digest: &Digest| slot.verified(Phase::Commit, digest).count() >= needed;
        let committed = votes.map(|vote| vote.digest).find(|digest| enough(digest));
        slot.committed = committed;
    }
}
