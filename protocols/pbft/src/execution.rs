//! Executing what is committed, in order, once.

use qlab_kernel::{Commit, Effects, Index, Intake, Ticket, Time};

use crate::Pbft;
use crate::request::Requests;

impl Pbft {
    /// Hands everything committed to the state machine, as far as there is no gap and the requests are here.
    pub(crate) fn execute(&mut self, now: Time, effects: &mut Effects<Self>) {
        while let Some(requests) = self.next_to_execute() {
            let seq = self.executed.next();
            self.executed = seq;
            self.perform(seq, &requests, effects);
            requests.iter().for_each(|request| self.backlog.finish(now, request.digest()));
            // Progress: this view works, and the next one need not wait for longer.
            self.impatience.calm();
            if self.checkpoints.is_due(requests.bytes(), &self.config) {
                effects.commit(Commit::Capture);
            }
        }
    }

    fn next_to_execute(&self) -> Option<Requests> {
        let slot = self.slots.get(self.executed.next())?;
        slot.body(&slot.committed?).cloned()
    }

    /// All writes as one batch, then each read from the state after them. Everybody who is connected to a client answers it.
    fn perform(&mut self, index: Index, requests: &Requests, effects: &mut Effects<Self>) {
        for request in requests.iter().filter(|request| !request.is_read()) {
            self.packer.push(Ticket::ZERO, request.batch().clone());
        }
        let batch = pack_all(&mut self.packer);
        effects.commit(Commit::Apply { index, batch });
        for request in requests.iter().filter(|request| request.is_read()) {
            // Nobody's ticket: most replicas were not asked, and answers go by session.
            effects.commit(Commit::Query { ticket: Ticket::ZERO, batch: request.batch().clone() });
        }
    }
}

/// Everything that waits, as one batch: an entry's requests fit one.
fn pack_all(packer: &mut Intake) -> qlab_kernel::Batch {
    let batch = packer.pack(usize::MAX).unwrap_or_default();
    assert!(packer.is_empty(), "an entry's writes are larger than a batch");
    batch
}
