//! Learning what is chosen and was missed, by slots or by image (Paxos for System Builders §3.3, reconciliation).
//!
//! Whoever is behind asks; nobody who answers keeps count of it. A slot that was accepted in an older ballot may hold something
//! else than what was chosen in the end, so that even an acceptor with all slots filled may have to ask.

use std::collections::BTreeMap;
use std::time::Duration;

use qlab_kernel::limits::SNAPSHOT_CHUNK_BYTES;
use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Batch, Effects, Index, NodeId, Snapshot, Time};

use super::MultiPaxos;
use super::message::Message;
use crate::Ballot;

/// Pieces of an image in one answer.
const IMAGE_CHUNKS: usize = 8;

/// What is known to be missing, and who has it.
#[derive(Debug, Default)]
pub(crate) struct Learning {
    /// Who knows more, and up to where at least.
    source: Option<(NodeId, Index)>,
    /// The image that is coming in, by its last slot, and how many bytes of it are here.
    incoming: (Index, u64),
    /// When it was last asked, and what was known then.
    asked_at: Time,
    asked_with: (Index, u64),
    /// What was known when that was last looked at, and when it was something else or all there was to know.
    known: (Index, u64),
    known_since: Time,
    /// Images on their way to others. They are sent to the end even if newer ones are made meanwhile: where images are made
    /// faster than they travel, none would ever arrive.
    lent: BTreeMap<NodeId, Snapshot>,
}

impl Learning {
    /// The image that was coming in is here, or no longer wanted.
    pub(super) fn forget_incoming(&mut self) {
        self.incoming = (Index::ZERO, 0);
    }
}

impl MultiPaxos {
    /// `source` knows all slots up to `until` to be chosen.
    pub(super) fn note_behind(&mut self, now: Time, source: NodeId, until: Index) {
        if self.learning.source.is_none() {
            self.learning.known_since = now;
        }
        self.learning.source = (until > self.chosen).then_some((source, until));
    }

    /// Asks, if nothing was learned for a while: what is missing may be on its way.
    pub(super) fn learn_patiently(&mut self, now: Time, effects: &mut Effects<Self>) {
        let patience: Duration = self.config.heartbeat_interval * 2;
        let learning = &mut self.learning;
        let known = (self.chosen, learning.incoming.1);
        if known != std::mem::replace(&mut learning.known, known) {
            learning.known_since = now;
        }
        if now >= learning.asked_at.max(learning.known_since) + patience {
            self.learn_now(now, effects);
        }
    }

    /// Asks whoever knows more for what is missing.
    pub(super) fn learn_now(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Some((source, until)) = self.learning.source else { return };
        if until <= self.chosen {
            self.learning.source = None;
            return;
        }
        let (image, have_bytes) = self.learning.incoming;
        self.learning.asked_at = now;
        self.learning.asked_with = (self.chosen, have_bytes);
        // Early: a question promises nothing.
        effects.send_early(source, Message::Learn { first: self.chosen.next(), image, have_bytes });
    }

    /// Somebody lacks what is chosen from `first` on.
    pub(super) fn on_learn(
        &mut self,
        from: NodeId,
        first: Index,
        image: Index,
        have_bytes: u64,
        effects: &mut Effects<Self>,
    ) {
        if first > self.slots.base() {
            self.learning.lent.remove(&from);
            self.tell_slots(from, first, effects);
        } else {
            self.tell_image(from, image, have_bytes, effects);
        }
    }

    fn tell_slots(&self, to: NodeId, first: Index, effects: &mut Effects<Self>) {
        let (mut index, mut bytes) = (first, 0);
        for told in 1..=self.config.window_entries {
            if index > self.chosen {
                return;
            }
            let batch = self.slots.batch(index);
            bytes += batch.len();
            let last = told == self.config.window_entries
                || index == self.chosen
                || bytes >= self.config.window_bytes;
            // Early: what is chosen is durable on a quorum, whatever becomes of this replica.
            effects.send_early(to, Message::Chosen { index, batch, last });
            if last {
                return;
            }
            index = index.next();
        }
    }

    fn tell_image(&mut self, to: NodeId, image: Index, have_bytes: u64, effects: &mut Effects<Self>) {
        let newest = self.images.newest().expect("slots are forgotten behind an image");
        let lent = self.learning.lent.entry(to).or_insert_with(|| newest.clone());
        let mut offset = 0;
        if lent.index == image {
            offset = usize::try_from(have_bytes).unwrap_or(usize::MAX);
        } else {
            *lent = newest.clone();
        }
        let total_bytes = lent.image.len();
        for told in 1..=IMAGE_CHUNKS {
            if offset > 0 && offset >= total_bytes {
                return;
            }
            let chunk = lent.chunk(offset);
            offset += SNAPSHOT_CHUNK_BYTES;
            let last = told == IMAGE_CHUNKS || offset >= total_bytes;
            // Early: what it holds is chosen.
            effects.send_early(to, Message::Image { chunk, last });
            if last {
                return;
            }
        }
    }

    pub(super) fn on_chosen(
        &mut self,
        now: Time,
        index: Index,
        batch: Batch,
        last: bool,
        effects: &mut Effects<Self>,
    ) {
        // A leader believes nobody but its own count: what it says of its followers' slots must be about its own ballot.
        if self.is_leader() {
            return;
        }
        if index > self.chosen && self.slots.ballot(index) != Ballot::CHOSEN {
            self.slots.learn(index, batch);
        }
        self.advance_chosen();
        self.learned(now, last, effects);
    }

    pub(super) fn on_image(&mut self, now: Time, chunk: &Chunk, last: bool, effects: &mut Effects<Self>) {
        if self.is_leader() {
            return;
        }
        if chunk.index > self.chosen {
            match self.images.receive(chunk) {
                Some(image) => self.install(image, effects),
                None => self.learning.incoming = (chunk.index, self.images.have_bytes(chunk)),
            }
        } else {
            self.learning.forget_incoming();
        }
        self.learned(now, last, effects);
    }

    /// Something came; asks for more if that was all for now. It is progress, too, if this replica is a candidate.
    fn learned(&mut self, now: Time, last: bool, effects: &mut Effects<Self>) {
        if matches!(self.role, super::Role::Preparing(_)) {
            self.draw_election_deadline(now);
        }
        // An answer that comes twice brings nothing new, and must not make two questions out of one.
        if last && self.learning.asked_with != (self.chosen, self.learning.incoming.1) {
            self.learn_now(now, effects);
        }
    }
}
