//! Where a service's answers go, frame by frame.

use qlab_kernel::SessionId;
use qlab_kernel::client::AnswerBuilder;

/// Bytes of an answer before its items.
const HEADER_BYTES: usize = 33;
/// Bytes of an outcome in an answer.
const OUTCOME_BYTES: usize = 9;
/// Bytes of a value in an answer, before the value itself.
const VALUE_HEADER_BYTES: usize = 5;

/// The clients that this replica answers.
pub trait Answers {
    /// The frame for whoever asked as `session`, with room for `bytes` more within
    /// [`FRAME_BYTES_MAX`](qlab_kernel::limits::FRAME_BYTES_MAX): one that has less is to be taken and sent first. An
    /// answer begun in it may grow until this is called again.
    ///
    /// `None` if nobody who is connected here asked, or nobody who can take any more: what is executed is executed all
    /// the same, but not encoded.
    fn room(&mut self, session: SessionId, bytes: usize) -> Option<&mut AnswerBuilder>;
}

/// Nobody is connected: followers, replays and simulations that look at states only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unheard;

impl Answers for Unheard {
    fn room(&mut self, _: SessionId, _: usize) -> Option<&mut AnswerBuilder> {
        None
    }
}

/// Bytes of an answer with `count` outcomes.
#[must_use]
pub const fn outcomes_bytes(count: usize) -> usize {
    HEADER_BYTES + count * OUTCOME_BYTES
}

/// Bytes that a value of `len` bytes adds to an answer.
#[must_use]
pub const fn item_bytes(len: usize) -> usize {
    VALUE_HEADER_BYTES + len
}

/// Bytes of an answer with one value of `len` bytes.
#[must_use]
pub const fn value_bytes(len: usize) -> usize {
    HEADER_BYTES + item_bytes(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use qlab_kernel::{Index, Outcome, Sequence};

    #[test]
    fn the_sizes_are_those_that_the_kernel_packs() {
        let mut builder = AnswerBuilder::new();
        builder.begin_written(SessionId(1), Sequence(1), Index(1));
        builder.push_outcome(Outcome::of(0));
        builder.push_outcome(Outcome::of(0));
        assert_eq!(builder.finish().len(), outcomes_bytes(2));
        builder.begin_values(SessionId(1), Sequence(1), Index(1));
        builder.push_value(0, b"four");
        assert_eq!(builder.len(), value_bytes(4));
        builder.push_value(0, b"seventeen");
        assert_eq!(builder.finish().len(), value_bytes(4) + item_bytes(9));
    }
}
