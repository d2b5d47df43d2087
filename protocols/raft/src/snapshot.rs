//! Compaction and the transfer of images (Raft §7).
//!
//! An image lies in the journal like any other record. Once it is durable, with the vote written again after it, nothing
//! before it is needed but the entries it does not cover, and the journal may let go of the rest.

use bytes::Bytes;
use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Commit, Effects, Event, Index, NodeId, Snapshot, mutant};

use crate::Raft;
use crate::log::Log;
use crate::message::{Message, Place};
use crate::record::Record;

impl Raft {
    /// The state machine's image as of `index` has been made.
    pub(crate) fn on_captured(&mut self, index: Index, image: Bytes, effects: &mut Effects<Self>) {
        let is_news = self.images.captured(index);
        let Some(term) = self.log.term_at(index).filter(|_| is_news) else { return };
        self.keep(Snapshot { index, term, image }, false, effects);
        self.log.compact(index, self.config.retained_log_bytes);
        effects.event(Event::Compacted(index));
    }

    pub(crate) fn on_install(&mut self, from: NodeId, chunk: &Chunk, effects: &mut Effects<Self>) {
        if chunk.index <= self.commit {
            // What is committed here is the same at the leader.
            self.owe_matched(from, chunk.index);
            return;
        }
        let Some(snapshot) = self.images.receive(chunk) else {
            let have_bytes = self.images.have_bytes(chunk);
            // Early: it only paces the sender; the image counts once it is whole and durable.
            effects
                .send_early(from, Message::InstallReply { term: self.term, index: chunk.index, have_bytes });
            return;
        };
        let index = snapshot.index;
        let place = Place { index, term: snapshot.term };
        let replaces_log = !self.log.holds(place);
        mutant!("raft: every image replaces the log", replaces_log = true);
        mutant!("raft: no image replaces the log", replaces_log = false);
        if replaces_log {
            self.log = Log::after(place);
        } else {
            self.log.forget_up_to(place);
        }
        (self.commit, self.applied) = (index, index);
        effects.commit(Commit::Restore { index, image: snapshot.image.clone() });
        self.keep(snapshot, replaces_log, effects);
        self.owe_matched(from, index);
        effects.event(Event::Installed(index));
    }

    /// Lets the journal drop what a restart will not need.
    pub(crate) fn release_journal(&mut self, effects: &mut Effects<Self>) {
        if let Some(needed_from) = self.images.release(self.durable) {
            effects.release_below(needed_from);
        }
    }

    fn keep(&mut self, snapshot: Snapshot, replaces_log: bool, effects: &mut Effects<Self>) {
        let first = effects.last().next();
        // As of now: an entry that replaces one of these later may not be durable when these go.
        let needed_from = self.log.lsn_after(snapshot.index).map_or(first, |lsn| lsn.min(first));
        mutant!("raft: entries behind an image are let go", needed_from = first);
        for chunk in snapshot.chunks() {
            effects.persist(Record::Snapshot { chunk, replaces_log });
        }
        // Again, so that the record before the image is not what keeps all others.
        let again = Record::Vote { term: self.term, voted_for: self.voted_for };
        let last =
            mutant!(effects.persist(again), "raft: the vote before an image is let go", effects.last());
        self.vote_lsn = last;
        self.images.keep(snapshot, needed_from, last);
    }
}
