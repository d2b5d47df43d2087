//! What is given out, packed as replicas pack it: neighbours of one session and entry are one answer.

use bytes::Bytes;

use crate::client::AnswerBuilder;
use crate::limits::FRAME_BYTES_MAX;
use crate::{Index, Outcome, Refusal, Sequence, SessionId};

/// Bytes of an answer before its items: more than any item without a value.
const HEADER_BYTES: usize = 33;
/// Bytes of an item without its value.
const ITEM_BYTES_MAX: usize = 9;

/// The frames packed so far, and the one that is open.
#[derive(Debug, Default)]
pub(super) struct Frames {
    full: Vec<Bytes>,
    builder: AnswerBuilder,
    run: Option<Run>,
}

/// The answer that is open, and the command it can go on with.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    session: SessionId,
    next: Sequence,
    index: Index,
    is_written: bool,
}

impl Frames {
    pub(super) fn push_outcome(
        &mut self,
        session: SessionId,
        number: Sequence,
        index: Index,
        outcome: Outcome,
    ) {
        self.make_room(0);
        if !self.goes_on(Run { session, next: number, index, is_written: true }) {
            self.builder.begin_written(session, number, index);
        }
        self.builder.push_outcome(outcome);
    }

    pub(super) fn push_value(
        &mut self,
        session: SessionId,
        number: Sequence,
        index: Index,
        status: u8,
        value: &[u8],
    ) {
        self.make_room(value.len());
        if !self.goes_on(Run { session, next: number, index, is_written: false }) {
            self.builder.begin_values(session, number, index);
        }
        self.builder.push_value(status, value);
    }

    /// Of `count` commands; of none if the session's opening is meant.
    pub(super) fn push_busy(&mut self, session: SessionId, first: Sequence, count: u32) {
        self.make_room(0);
        self.run = None;
        self.builder.refuse_numbers(session, first, count, Refusal::Busy);
    }

    /// Appends everything packed to `frames`.
    pub(super) fn take(&mut self, frames: &mut Vec<Bytes>) {
        self.close();
        frames.append(&mut self.full);
    }

    fn make_room(&mut self, value_bytes: usize) {
        if self.builder.len() + HEADER_BYTES + ITEM_BYTES_MAX + value_bytes > FRAME_BYTES_MAX {
            self.close();
        }
    }

    fn close(&mut self) {
        self.run = None;
        if !self.builder.is_empty() {
            self.full.push(self.builder.finish());
        }
    }

    /// Whether an item belongs to the answer that is open; it is the last one of it either way.
    fn goes_on(&mut self, run: Run) -> bool {
        let goes_on = self.run.as_ref() == Some(&run);
        self.run = Some(Run { next: run.next.next(), ..run });
        goes_on
    }
}
