//! Where writes wait until they are packed into an entry: bounded, in order of arrival.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};

use crate::limits::BATCH_BYTES_MAX;
use crate::{Batch, Effects, Protocol, Refusal, Ticket};

/// Writes that came and are not in the log yet.
#[derive(Debug, Default)]
pub struct Intake {
    waiting: VecDeque<(Ticket, Batch)>,
    bytes: usize,
    /// Where entries are packed: many in one block, so that an entry costs less than one allocation.
    block: BytesMut,
}

/// Bytes of a block. It lives as long as any entry in it.
const BLOCK_BYTES: usize = 1 << 20;

impl Intake {
    /// Adds a request at the end.
    pub fn push(&mut self, ticket: Ticket, batch: Batch) {
        self.bytes += batch.len();
        self.waiting.push_back((ticket, batch));
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next entry: as many requests as fit into `bytes_max`, at least one; a single one is shared, not copied.
    ///
    /// `None` if nothing waits.
    pub fn pack(&mut self, bytes_max: usize) -> Option<Batch> {
        let bytes_max = bytes_max.min(BATCH_BYTES_MAX);
        let (mut count, mut bytes) = (0, 0);
        for (_, batch) in &self.waiting {
            if count > 0 && bytes + batch.len() > bytes_max {
                break;
            }
            count += 1;
            bytes += batch.len();
        }
        self.bytes -= bytes;
        if count <= 1 {
            return self.waiting.pop_front().map(|(_, batch)| batch);
        }
        if self.block.capacity() < bytes {
            self.block = BytesMut::with_capacity(BLOCK_BYTES.max(bytes));
        }
        for (_, batch) in self.waiting.drain(..count) {
            self.block.put_slice(batch.bytes());
        }
        Some(Batch::trusted(self.block.split().freeze()))
    }

    /// Hands everything back to whoever asked.
    pub fn refuse_all<P: Protocol>(&mut self, refusal: Refusal, effects: &mut Effects<P>) {
        self.bytes = 0;
        for (ticket, batch) in self.waiting.drain(..) {
            effects.refuse(ticket, batch, refusal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Sequence, SessionId};

    fn request(session: u64, bytes: usize) -> Batch {
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(session), Sequence(1), Sequence(1));
        builder.push_bytes(&vec![0; bytes]);
        builder.finish()
    }

    #[test]
    fn packs_in_order_up_to_the_limit_and_at_least_one() {
        let mut intake = Intake::default();
        for session in 1..=4 {
            intake.push(Ticket(session), request(session, 100));
        }
        let sessions = |batch: Batch| batch.bursts().map(|burst| burst.session.0).collect::<Vec<_>>();
        assert_eq!(intake.pack(300).map(sessions), Some(vec![1, 2]));
        assert_eq!(intake.pack(1).map(sessions), Some(vec![3]));
        assert_eq!(intake.pack(300).map(sessions), Some(vec![4]));
        assert_eq!((intake.bytes(), intake.pack(300)), (0, None));
    }

    #[test]
    fn a_single_request_is_shared() {
        let mut intake = Intake::default();
        let batch = request(1, 100);
        intake.push(Ticket(1), batch.clone());
        assert_eq!(intake.pack(1000).map(|b| b.bytes().as_ptr()), Some(batch.bytes().as_ptr()));
    }
}
