//! Checkpoints: images that a quorum agrees on take the place of the log (OSDI '99 §4.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use qlab_kernel::{Effects, Event, Index, Lsn, NodeId, Snapshot, Term, mutant};

use crate::Pbft;
use crate::config::Config;
use crate::keys::{Digest, Signature};
use crate::message::{Message, Signed, StableCheckpoint, checkpoint_statement};
use crate::record::Record;

/// Images made or taken over, and what others say about theirs.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// Executed since the last checkpoint: counted alike everywhere.
    entries: usize,
    bytes: usize,
    /// Images here from the stable one on.
    pub(crate) images: BTreeMap<Index, Image>,
    votes: BTreeMap<Index, BTreeMap<NodeId, (Digest, Signature)>>,
    /// The newest proof of a stable checkpoint whose image is not here, or is still being made.
    pub(crate) wanted: Option<StableCheckpoint>,
    /// A stable checkpoint on its way to the disk.
    stabilizing: Option<Stabilizing>,
}

/// An image, and its first record.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) snapshot: Snapshot,
    pub(crate) digest: Digest,
    pub(crate) first_lsn: Lsn,
}

#[derive(Debug)]
struct Stabilizing {
    stable: StableCheckpoint,
    /// Once this record is durable, the checkpoint counts …
    last: Lsn,
    /// … and none before this one is needed.
    needed_from: Lsn,
}

impl Checkpoints {
    /// As found in the journal.
    pub(crate) fn recovered(images: BTreeMap<Index, Image>) -> Self {
        Self { images, ..Self::default() }
    }

    /// Counts an executed entry; whether a checkpoint is due after it.
    pub(crate) fn is_due(&mut self, bytes: usize, config: &Config) -> bool {
        self.entries += 1;
        self.bytes += bytes;
        let due = self.entries >= config.checkpoint_entries || self.bytes >= config.checkpoint_bytes;
        if due {
            self.begin_anew();
        }
        due
    }

    /// A checkpoint is made, or taken over.
    pub(crate) fn begin_anew(&mut self) {
        (self.entries, self.bytes) = (0, 0);
    }
}

impl Pbft {
    /// The state machine's image as of `seq` has been made.
    pub(crate) fn on_captured(&mut self, seq: Index, bytes: Bytes, effects: &mut Effects<Self>) {
        if seq <= self.stable.seq || self.checkpoints.images.contains_key(&seq) {
            return;
        }
        let digest = self.keep_image(Snapshot { index: seq, term: Term::ZERO, image: bytes }, effects);
        self.vote_for_image(seq, digest);
        self.send_checkpoint(seq, effects);
        self.count_checkpoints(seq, &digest, effects);
        if let Some(wanted) = self.checkpoints.wanted.clone() {
            self.learn_stable(wanted, effects);
        }
    }

    pub(crate) fn keep_image(&mut self, snapshot: Snapshot, effects: &mut Effects<Self>) -> Digest {
        let digest = Digest(blake3::hash(&snapshot.image).into());
        let first_lsn = effects.last().next();
        for chunk in snapshot.chunks() {
            effects.persist(Record::Image { chunk });
        }
        self.checkpoints.images.insert(snapshot.index, Image { snapshot, digest, first_lsn });
        digest
    }

    pub(crate) fn vote_for_image(&mut self, seq: Index, digest: Digest) {
        let signature = self.sign(&checkpoint_statement(seq, &digest));
        self.checkpoints.votes.entry(seq).or_default().insert(self.seat.me, (digest, signature));
    }

    /// Says once more which images are here that are not known to be stable: what was lost might keep all from being so.
    pub(crate) fn send_checkpoints(&self, effects: &mut Effects<Self>) {
        self.checkpoints.votes.keys().for_each(|seq| self.send_checkpoint(*seq, effects));
    }

    fn send_checkpoint(&self, seq: Index, effects: &mut Effects<Self>) {
        let Some((digest, signature)) =
            self.checkpoints.votes.get(&seq).and_then(|votes| votes.get(&self.seat.me))
        else {
            return;
        };
        for peer in self.seat.peers().iter() {
            // Gated: it says that the image is durable.
            effects.send(peer, Message::Checkpoint { seq, digest: *digest, signature: *signature });
        }
    }

    pub(crate) fn on_checkpoint(
        &mut self,
        from: NodeId,
        seq: Index,
        digest: Digest,
        signature: Signature,
        effects: &mut Effects<Self>,
    ) {
        let is_known = |votes: &BTreeMap<NodeId, _>| votes.contains_key(&from);
        if !self.is_in_window(seq) || self.checkpoints.votes.get(&seq).is_some_and(is_known) {
            return;
        }
        let claim = crate::message::claim((from, signature), checkpoint_statement(seq, &digest));
        if !self.are_true(&[claim]) {
            effects.event(Event::Misbehaved(from));
            return;
        }
        self.checkpoints.votes.entry(seq).or_default().insert(from, (digest, signature));
        self.count_checkpoints(seq, &digest, effects);
    }

    fn count_checkpoints(&mut self, seq: Index, digest: &Digest, effects: &mut Effects<Self>) {
        let needed = self.quorum.certificate();
        mutant!("pbft: f + 1 make a checkpoint stable", needed = self.quorum.weak());
        let Some(votes) = self.checkpoints.votes.get(&seq) else { return };
        let same = votes.iter().filter(|(_, (said, _))| said == digest);
        let signatures: Vec<Signed> =
            same.map(|(node, (_, signature))| (*node, *signature)).take(needed).collect();
        if signatures.len() == needed {
            self.learn_stable(StableCheckpoint { seq, digest: *digest, signatures }, effects);
        }
    }

    pub(crate) fn on_stable(&mut self, from: NodeId, stable: StableCheckpoint, effects: &mut Effects<Self>) {
        if stable.seq <= self.newest_stable() {
            return;
        }
        let mut claims = Vec::new();
        stable.claims(&mut claims);
        if stable.is_formed(self.quorum) && self.are_true(&claims) {
            self.learn_stable(stable, effects);
        } else {
            effects.event(Event::Misbehaved(from));
        }
    }

    /// The newest one that is stable here, or wanted, or on its way to the disk.
    fn newest_stable(&self) -> Index {
        let stabilizing = self.checkpoints.stabilizing.as_ref().map(|stabilizing| stabilizing.stable.seq);
        let wanted = self.checkpoints.wanted.as_ref().map(|wanted| wanted.seq);
        self.stable.seq.max(stabilizing.unwrap_or_default()).max(wanted.unwrap_or_default())
    }

    /// A checkpoint is proved to be stable. With its image here, it takes the place of what came before; without, it is asked for.
    pub(crate) fn learn_stable(&mut self, stable: StableCheckpoint, effects: &mut Effects<Self>) {
        let stabilizing = self.checkpoints.stabilizing.as_ref().map(|stabilizing| stabilizing.stable.seq);
        if stable.seq <= self.stable.seq.max(stabilizing.unwrap_or_default()) {
            return;
        }
        let image = self.checkpoints.images.get(&stable.seq);
        let Some(image) = image.filter(|image| image.digest == stable.digest) else {
            if self.checkpoints.wanted.as_ref().is_none_or(|wanted| wanted.seq < stable.seq) {
                self.checkpoints.wanted = Some(stable);
            }
            return;
        };
        // As of now: what is written later about entries after it comes later.
        let needed_from =
            self.slots.first_record_after(stable.seq).map_or(image.first_lsn, |lsn| lsn.min(image.first_lsn));
        if self.checkpoints.wanted.as_ref().is_some_and(|wanted| wanted.seq <= stable.seq) {
            self.checkpoints.wanted = None;
        }
        effects.persist(Record::Stable(stable.clone()));
        // Again, so that the record of the view is not what keeps all others.
        let last = effects.persist(self.view_record());
        self.checkpoints.stabilizing = Some(Stabilizing { stable, last, needed_from });
    }

    fn view_record(&self) -> Record {
        match self.views.votes.get(&self.seat.me) {
            Some(vote) if !self.active => Record::Voted(Arc::clone(vote)),
            _ => Record::Entered { view: self.view },
        }
    }

    /// A stable checkpoint counts once it is durable: what was said between the watermarks is known after any crash to lie there.
    pub(crate) fn stabilize(&mut self, effects: &mut Effects<Self>) {
        let durable = self.durable;
        let stabilizing = self.checkpoints.stabilizing.take_if(|stabilizing| stabilizing.last <= durable);
        let Some(Stabilizing { stable, needed_from, .. }) = stabilizing else { return };
        let seq = stable.seq;
        self.stable = stable;
        self.slots.forget_up_to(seq);
        self.checkpoints.images = self.checkpoints.images.split_off(&seq);
        self.checkpoints.votes = self.checkpoints.votes.split_off(&seq.next());
        self.next = self.next.max(seq.next());
        effects.release_below(needed_from.max(effects.needed_from()));
        effects.event(Event::Compacted(seq));
    }
}
