//! Where a service's answers go, frame by frame.

use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::limits::FRAME_BYTES_MAX;
use qlab_kernel::{Index, Reply, ReplyBody, SessionId};

/// Bytes of an answer before its items.
const HEADER_BYTES: usize = 33;
/// Bytes of an outcome in an answer.
const OUTCOME_BYTES: usize = 9;
/// Bytes of a value in an answer, before the value itself.
const VALUE_HEADER_BYTES: usize = 5;

/// The clients that this replica answers.
pub trait Answers {
    /// The frame for whoever asked as `session`, with room for `bytes` more within
    /// [`FRAME_BYTES_MAX`]: one that has less is to be taken and sent first. An
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

/// Packs the replies of a protocol that has no state machine behind it; neighbours of one session share a header.
pub fn pack(replies: impl Iterator<Item = Reply>, answers: &mut impl Answers) {
    let mut replies = replies.peekable();
    while let Some(first) = replies.next() {
        let Some(answer) = answers.room(first.session, HEADER_BYTES + body_bytes(&first.body)) else {
            continue;
        };
        match first.body {
            ReplyBody::Written(_) => answer.begin_written(first.session, first.sequence, Index::ZERO),
            ReplyBody::Found { .. } => answer.begin_values(first.session, first.sequence, Index::ZERO),
        }
        let mut last = first;
        push(answer, &last.body);
        while let Some(next) = replies
            .next_if(|next| follows(&last, next) && answer.len() + body_bytes(&next.body) <= FRAME_BYTES_MAX)
        {
            push(answer, &next.body);
            last = next;
        }
    }
}

fn follows(last: &Reply, next: &Reply) -> bool {
    let same_kind = std::mem::discriminant(&last.body) == std::mem::discriminant(&next.body);
    // The opening of a session stands alone: it is no command.
    same_kind && last.session == next.session && last.sequence.0 > 0 && last.sequence.next() == next.sequence
}

fn push(answer: &mut AnswerBuilder, body: &ReplyBody) {
    match body {
        ReplyBody::Written(outcome) => answer.push_outcome(*outcome),
        ReplyBody::Found { status, value } => answer.push_value(*status, value),
    }
}

fn body_bytes(body: &ReplyBody) -> usize {
    match body {
        ReplyBody::Written(_) => OUTCOME_BYTES,
        ReplyBody::Found { value, .. } => item_bytes(value.len()),
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
    use bytes::Bytes;
    use qlab_kernel::client::{AnswerBody, answers};
    use qlab_kernel::{Lsn, Outcome, Sequence};

    struct Everybody(AnswerBuilder);

    impl Answers for Everybody {
        fn room(&mut self, session: SessionId, _: usize) -> Option<&mut AnswerBuilder> {
            (session.0 < 10).then_some(&mut self.0)
        }
    }

    fn reply(session: u64, sequence: u64, body: ReplyBody) -> Reply {
        Reply { session: SessionId(session), sequence: Sequence(sequence), after: Lsn::ZERO, body }
    }

    #[test]
    fn replies_of_one_session_that_follow_each_other_share_a_header() {
        let written = |session, sequence| reply(session, sequence, ReplyBody::Written(Outcome::of(3)));
        let found = |sequence| {
            reply(1, sequence, ReplyBody::Found { status: 6, value: Bytes::from_static(b"value") })
        };
        let replies = [
            written(1, 0),
            written(1, 1),
            written(1, 2),
            written(11, 3),
            written(1, 4),
            written(2, 5),
            found(6),
            found(7),
        ];
        let mut everybody = Everybody(AnswerBuilder::new());
        pack(replies.into_iter(), &mut everybody);
        let frame = everybody.0.finish();
        let read: Vec<(u64, u64, u32, bool)> = answers(&frame)
            .map(|answer| answer.unwrap())
            .map(|a| (a.session.0, a.first.0, a.count, matches!(a.body, AnswerBody::Written(_))))
            .collect();
        let expected = [(1, 0, 1, true), (1, 1, 2, true), (1, 4, 1, true), (2, 5, 1, true), (1, 6, 2, false)];
        assert_eq!(read, expected);
    }

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
