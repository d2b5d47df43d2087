//! Images in place of slots (Paxos Made Live §5.5).
//!
//! An image lies in the journal like any other record. Once it is durable, with the promise written again after it, nothing before
//! it is needed but what was accepted in slots it does not cover, and the journal may let go of the rest.

use bytes::Bytes;
use qlab_kernel::{Commit, Effects, Event, Index, Snapshot, Term, mutant};

use super::MultiPaxos;
use super::record::Record;

impl MultiPaxos {
    /// The state machine's image as of `index` has been made.
    pub(super) fn on_captured(&mut self, index: Index, image: Bytes, effects: &mut Effects<Self>) {
        if self.images.captured(index) {
            // An image of what is chosen is the same in every ballot.
            self.keep(Snapshot { index, term: Term::ZERO, image }, effects);
            self.slots.compact(index, self.config.retained_log_bytes);
            effects.event(Event::Compacted(index));
        }
    }

    /// Takes over a peer's image, which reaches further than what is known here.
    pub(super) fn install(&mut self, image: Snapshot, effects: &mut Effects<Self>) {
        let index = image.index;
        self.slots.forget_up_to(index);
        (self.chosen, self.applied) = (index, index);
        self.learning.forget_incoming();
        effects.commit(Commit::Restore { index, image: image.image.clone() });
        self.keep(image, effects);
        effects.event(Event::Installed(index));
        self.advance_chosen();
    }

    /// Lets the journal drop what a restart will not need.
    pub(super) fn release_journal(&mut self, effects: &mut Effects<Self>) {
        if let Some(needed_from) = self.images.release(self.durable) {
            effects.release_below(needed_from);
        }
    }

    fn keep(&mut self, image: Snapshot, effects: &mut Effects<Self>) {
        let first = effects.last().next();
        // As of now: what takes the place of an accept later may not be durable when these records go.
        let needed_from = self.slots.first_record_after(image.index).map_or(first, |lsn| lsn.min(first));
        mutant!("multi-paxos: accepts behind an image are let go", needed_from = first);
        for chunk in image.chunks() {
            effects.persist(Record::Image { chunk });
        }
        // Again, so that the record before the image is not what keeps all others.
        let again = Record::Promise { ballot: self.promised };
        let last = mutant!(
            effects.persist(again),
            "multi-paxos: the promise before an image is let go",
            effects.last()
        );
        self.promise_lsn = last;
        self.images.keep(image, needed_from, last);
    }
}
