//! What clients may ask: to put a value under a key, which adds it to the grow-only set of that name.
//!
//! Adding twice is adding once, so there are no sessions: whoever hears no answer asks again, here or elsewhere. An answer's number
//! is the version under which the write spreads.

use bytes::Bytes;
use qlab_kernel::command::{FULL, STORED, TOO_LARGE};
use qlab_kernel::{Batch, Command, Outcome, Sequence, SessionId};

use crate::{Gossip, Operation, WriteError};

/// Whose, which, and what became of it.
pub(crate) type Answer = (SessionId, Sequence, Outcome);

impl Gossip {
    pub(crate) fn take_writes(&mut self, batch: &Batch) {
        for burst in batch.bursts() {
            if burst.opens_session() {
                self.replies.push((burst.session, Sequence::ZERO, Outcome::of(Outcome::OPENED)));
                continue;
            }
            for (sequence, command) in burst.commands() {
                let outcome = self.take_write(command);
                self.replies.push((burst.session, sequence, outcome));
            }
        }
    }

    fn take_write(&mut self, command: &[u8]) -> Outcome {
        let Ok(Command::Put { key, value }) = Command::parse(command) else {
            return Outcome::of(Outcome::MALFORMED);
        };
        let (name, element) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        match self.node.operate(&name, Operation::Grow(element)) {
            Ok(()) => {
                let version = self.node.store().summary(self.node.actor()).version;
                Outcome { status: STORED, number: version }
            }
            Err(WriteError::TooLarge { .. }) => Outcome::of(TOO_LARGE),
            Err(WriteError::Full { .. }) => Outcome::of(FULL),
        }
    }
}
