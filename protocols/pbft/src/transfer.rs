//! Helping those who are behind: with what was said, with how a view began, with requests, with images (OSDI '99 §4.3, §5.3).
//!
//! Nobody keeps count of what others have. Each replica says from time to time how far it is, and whoever is further helps; a
//! replica that is only slow is not helped, as it has moved on when it says so again.

use std::collections::BTreeMap;
use std::sync::Arc;

use qlab_kernel::limits::SNAPSHOT_CHUNK_BYTES;
use qlab_kernel::snapshot::{Assembly, Chunk};
use qlab_kernel::{Commit, Effects, Event, Index, NodeId, Snapshot, Term, Time};

use crate::Pbft;
use crate::keys::Digest;
use crate::message::Message;
use crate::record::Record;
use crate::request::Requests;
use crate::slots::Phase;

/// Entries about which a replica that stands still is told again.
const RETOLD_ENTRIES: usize = 64;
/// Bytes of requests that it is sent again.
const RETOLD_BYTES: usize = 4 << 20;
/// Requests that a primary is reminded of at a time.
const REMINDED_REQUESTS: usize = 4;
/// Pieces of an image in one answer.
const STATE_CHUNKS: usize = 8;

/// What is missing here, and who is helped.
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    /// Where each peer stood when it last said so.
    heard: BTreeMap<NodeId, Index>,
    /// The last entry executed when this replica last asked.
    executed: Index,
    /// Whose turn it is to be asked.
    turn: usize,
    incoming: Assembly,
    /// Images on their way to others. They are sent to the end even if newer ones are stable meanwhile: where checkpoints are
    /// made faster than images travel, none would ever arrive.
    lent: BTreeMap<NodeId, Snapshot>,
}

impl Pbft {
    /// Whether others are known to have executed what this replica cannot.
    pub(crate) fn is_behind(&self) -> bool {
        self.checkpoints.wanted.as_ref().is_some_and(|wanted| wanted.seq > self.executed)
    }

    pub(crate) fn tell_status(&self, effects: &mut Effects<Self>) {
        for peer in self.seat.peers().iter() {
            let (view, active, stable, executed) = (self.view, self.active, self.stable.seq, self.executed);
            // Early: who believes it sends something that is known here already, at worst.
            effects.send_early(peer, Message::Status { view, active, stable, executed });
        }
    }

    /// Asks once more for what is missing, if nothing has moved since the last time.
    pub(crate) fn ask_again(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.send_vote(effects);
        self.send_checkpoints(effects);
        self.remind_primary(now, effects);
        let stands_still = std::mem::replace(&mut self.transfer.executed, self.executed) == self.executed;
        if !stands_still {
            return;
        }
        self.transfer.turn += 1;
        let lacking = self.slots.after(self.executed).filter_map(|(seq, slot)| Some((seq, slot.lacks()?)));
        for (seq, digest) in lacking.take(self.config.window_entries).collect::<Vec<_>>() {
            self.fetch_body(seq, digest, effects);
        }
        self.fetch_state(effects);
    }

    pub(crate) fn on_status(
        &mut self,
        from: NodeId,
        view: Term,
        active: bool,
        stable: Index,
        executed: Index,
        effects: &mut Effects<Self>,
    ) {
        if stable < self.stable.seq && executed < self.stable.seq {
            // Early: it is proved by others' signatures.
            effects.send_early(from, Message::Stable(self.stable.clone()));
        }
        let stands_still = self.transfer.heard.insert(from, executed) == Some(executed);
        if stands_still {
            self.tell_executed(from, executed, effects);
        }
        if self.active && (view < self.view || view == self.view && !active) {
            self.tell_beginning(from, effects);
            return;
        }
        if self.active && active && view == self.view && stands_still {
            self.tell_again(from, executed, effects);
        }
    }

    /// How this view began. After a restart, others must say so.
    fn tell_beginning(&self, to: NodeId, effects: &mut Effects<Self>) {
        if let Some((new_view, _)) = &self.views.begun {
            // Gated, as when it was first sent by whoever began it.
            effects.send(to, Message::NewView(Arc::clone(new_view)));
        }
    }

    pub(crate) fn on_fetch_votes(&self, from: NodeId, view: Term, effects: &mut Effects<Self>) {
        let Some((_, votes)) = self.views.begun.as_ref().filter(|(new_view, _)| new_view.view == view) else {
            return;
        };
        for vote in votes {
            // Gated: this replica's own may be among them.
            effects.send(from, Message::ViewChange(Arc::clone(vote)));
        }
    }

    /// What was executed after `executed`, as far as it is not in an image. A replica that gave up a view in which the others go
    /// on hears nothing of them but this; and in its own view it may lack the word of some who must keep silent.
    fn tell_executed(&self, to: NodeId, executed: Index, effects: &mut Effects<Self>) {
        let entries = self.slots.after(executed).take_while(|(seq, _)| *seq <= self.executed);
        for (seq, digest) in
            entries.filter_map(|(seq, slot)| Some((seq, slot.committed?))).take(RETOLD_ENTRIES)
        {
            // Early: what is committed stays so.
            effects.send_early(to, Message::Executed { seq, digest });
        }
    }

    /// Of f + 1 that say so one is correct.
    pub(crate) fn on_executed(&mut self, from: NodeId, seq: Index, digest: Digest) {
        if !self.is_in_window(seq) {
            return;
        }
        let weak = self.quorum.weak();
        let slot = self.slots.at(seq);
        if slot.hear_committed(from, digest) >= weak {
            slot.committed.get_or_insert(digest);
        }
    }

    /// Says once more what waits for long: the primary may not have heard of it, or may have forgotten it as executed.
    fn remind_primary(&self, now: Time, effects: &mut Effects<Self>) {
        if !self.active || self.is_primary() || self.is_behind() {
            return;
        }
        let primary = self.quorum.primary(self.view);
        let waits = self.config.status_interval;
        for request in self.backlog.waiting_since(now, waits).take(REMINDED_REQUESTS) {
            // Early: it is the client's word, not this replica's.
            effects.send_early(primary, Message::Relay(request.clone()));
        }
    }

    /// Says once more what this replica has said in this view about the entries after `executed`.
    fn tell_again(&mut self, to: NodeId, executed: Index, effects: &mut Effects<Self>) {
        let seqs: Vec<Index> = self.slots.after(executed).map(|(seq, _)| seq).take(RETOLD_ENTRIES).collect();
        let mut bytes = 0;
        for seq in seqs {
            if self.is_primary()
                && self.may_speak_of(seq)
                && bytes < RETOLD_BYTES
                && let Some(pre_prepare) = self.pre_prepare_of(seq)
            {
                bytes += pre_prepare.requests.bytes();
                self.say(to, Message::PrePrepare(pre_prepare), effects);
            }
            self.tell_votes_again(to, seq, effects);
        }
    }

    fn tell_votes_again(&mut self, to: NodeId, seq: Index, effects: &mut Effects<Self>) {
        let (view, me) = (self.view, self.seat.me);
        let Some(slot) = self.slots.get(seq) else { return };
        let prepare = slot.votes(Phase::Prepare).get(&me).copied();
        let certified = slot.prepared.as_ref().filter(|(prepared, _)| prepared.view == view);
        let certified = certified.map(|(prepared, _)| prepared.digest);
        if let Some((digest, Some(signature))) = prepare.map(|vote| (vote.digest, vote.signature)) {
            self.say(to, Message::Prepare { view, seq, digest, signature }, effects);
        }
        if let Some(digest) = certified {
            let commit = self.commit_message(seq, digest);
            // Gated, as the first time.
            effects.send(to, commit);
        }
    }

    pub(crate) fn fetch_body(&self, seq: Index, digest: Digest, effects: &mut Effects<Self>) {
        // Early: a question promises nothing.
        effects.send_early(self.whom_to_ask(), Message::FetchBody { seq, digest });
    }

    /// One after the other: some may be down, and some may be liars.
    fn whom_to_ask(&self) -> NodeId {
        let peers = self.seat.peers();
        let place = (self.transfer.turn + usize::from(self.seat.me.0)) % peers.len();
        peers.iter().nth(place).expect("a remainder is below the number of peers")
    }

    pub(crate) fn on_fetch_body(
        &self,
        from: NodeId,
        seq: Index,
        digest: Digest,
        effects: &mut Effects<Self>,
    ) {
        if let Some(requests) = self.slots.get(seq).and_then(|slot| slot.body(&digest)) {
            // Early: it is proved by its hash.
            effects.send_early(from, Message::Body { seq, requests: requests.clone() });
        }
    }

    pub(crate) fn on_body(&mut self, seq: Index, requests: Requests, effects: &mut Effects<Self>) {
        let Some(slot) = self.slots.get_mut(seq) else { return };
        if slot.lacks() != Some(*requests.digest()) {
            return;
        }
        let lsn = effects.persist(Record::Body { seq, requests: requests.clone() });
        slot.recorded(lsn);
        slot.keep_body(requests);
        self.prepare(seq, effects);
    }

    /// Asks for the image of a stable checkpoint, if it is what is needed to go on.
    fn fetch_state(&self, effects: &mut Effects<Self>) {
        let Some(wanted) = self.checkpoints.wanted.as_ref() else { return };
        // One that was executed here, too, is about to have an image here; unless that came out wrong.
        let is_wrong = self.checkpoints.images.contains_key(&wanted.seq);
        if wanted.seq > self.executed || is_wrong {
            let have_bytes = self.transfer.incoming.have_bytes(wanted.seq, Term::ZERO);
            effects.send_early(self.whom_to_ask(), Message::FetchState { seq: wanted.seq, have_bytes });
        }
    }

    pub(crate) fn on_fetch_state(
        &mut self,
        from: NodeId,
        seq: Index,
        have_bytes: u64,
        effects: &mut Effects<Self>,
    ) {
        let own = self.checkpoints.images.get(&seq).filter(|_| seq == self.stable.seq);
        if let Some(image) = own {
            self.transfer.lent.insert(from, image.snapshot.clone());
        }
        let Some(lent) = self.transfer.lent.get(&from).filter(|lent| lent.index == seq) else {
            if seq < self.stable.seq {
                effects.send_early(from, Message::Stable(self.stable.clone()));
            }
            return;
        };
        let total_bytes = lent.image.len();
        let mut offset = usize::try_from(have_bytes).unwrap_or(usize::MAX);
        for told in 1..=STATE_CHUNKS {
            if offset > 0 && offset >= total_bytes {
                return;
            }
            let chunk = lent.chunk(offset);
            offset += SNAPSHOT_CHUNK_BYTES;
            let last = told == STATE_CHUNKS || offset >= total_bytes;
            // Early: it is proved by its hash.
            effects.send_early(from, Message::State { chunk, last });
        }
    }

    pub(crate) fn on_state(&mut self, from: NodeId, chunk: &Chunk, last: bool, effects: &mut Effects<Self>) {
        let wanted = self.checkpoints.wanted.as_ref().filter(|wanted| wanted.seq == chunk.index);
        let Some(wanted) = wanted.filter(|_| chunk.term == Term::ZERO).cloned() else { return };
        let before = self.transfer.incoming.have_bytes(chunk.index, chunk.term);
        if self.transfer.incoming.has(chunk) {
            return;
        }
        if let Some(snapshot) = self.transfer.incoming.add(chunk) {
            if Digest(blake3::hash(&snapshot.image).into()) == wanted.digest {
                self.install(snapshot, effects);
                self.learn_stable(wanted, effects);
            } else {
                // Whoever it came from last is not the only one to blame: the next is asked from the start.
                self.transfer.turn += 1;
                effects.event(Event::Misbehaved(from));
            }
        } else if last && self.transfer.incoming.have_bytes(chunk.index, chunk.term) > before {
            self.fetch_state(effects);
        }
    }

    /// Takes over an image that a quorum vouches for.
    fn install(&mut self, snapshot: Snapshot, effects: &mut Effects<Self>) {
        let index = snapshot.index;
        effects.commit(Commit::Restore { index, image: snapshot.image.clone() });
        self.keep_image(snapshot, effects);
        self.executed = index;
        self.checkpoints.begin_anew();
        self.backlog.forget_all();
        effects.event(Event::Installed(index));
    }
}
