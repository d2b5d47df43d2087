//! What clients and replicas say to each other.
//!
//! A client sends a frame per [`Request`]; a replica answers with frames of answers. Both are lists of bursts, so that one
//! header serves many commands.
//!
//! ```text
//! request frame := kind u8 (0 write, 1 read), batch, proof (what is left; empty where replicas believe each other)
//! answer frame  := answer*
//! answer        := kind u8, session u64, first u64, index u64, count u32, body_bytes u32, body
//!   written (0) := (status u8, number u64)                 count times
//!   values  (1) := (status u8, value_bytes u32, value)     count times
//!   refused (2) := reason u8 (0 not leader, 1 busy), leader u16 (65535 unknown)
//!   moved   (3) := the same; session, first, index and count are 0
//! ```
//!
//! `refused` names commands that were not taken: ask again, with the same numbers, there or later. `moved` says that this
//! replica stopped leading: whatever it has not answered should be asked again elsewhere.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{FRAME_BYTES_MAX, PROOF_BYTES_MAX};
use crate::wire::{Reader, Sink, Wire, WireError, le_u32, le_u64};
use crate::{Batch, Burst, Index, NodeId, Outcome, Refusal, Request, Sequence, SessionId};

const WRITTEN: u8 = 0;
const VALUES: u8 = 1;
const REFUSED: u8 = 2;
const MOVED: u8 = 3;
const HEADER_BYTES: usize = 33;
const OUTCOME_BYTES: usize = 9;
const NOBODY: u16 = u16::MAX;

impl Wire for Request {
    fn encode(&self, sink: &mut impl Sink) {
        let (kind, batch) = match self {
            Self::Write(batch) => (0_u8, batch),
            Self::Read(batch) => (1, batch),
        };
        kind.encode(sink);
        batch.encode(sink);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let kind = reader.u8()?;
        let batch = Batch::decode(reader)?;
        if batch.is_empty() {
            // It would occupy places that are bounded by bytes, and there would be nobody to answer.
            return Err(WireError::Invalid { what: "bytes of a request", value: 0 });
        }
        match kind {
            0 => Ok(Self::Write(batch)),
            1 => Ok(Self::Read(batch)),
            other => Err(WireError::Invalid { what: "request kind", value: other.into() }),
        }
    }
}

/// A request frame's two halves: the request, and what proves who asks it.
pub fn split_request(frame: Bytes) -> Result<(Request, Bytes), WireError> {
    let mut reader = Reader::new(frame);
    let request = Request::decode(&mut reader)?;
    let proof = reader.take_rest();
    if proof.len() > PROOF_BYTES_MAX {
        return Err(WireError::TooLong { what: "proof", bytes: proof.len(), limit_bytes: PROOF_BYTES_MAX });
    }
    Ok((request, proof))
}

/// One answer, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Whose commands are answered.
    pub session: SessionId,
    /// The number of the first command answered; the others follow without a gap.
    pub first: Sequence,
    /// How many commands.
    pub count: u32,
    /// The last entry applied when the answer was made; for writes, the entry they are in.
    pub index: Index,
    /// What the answer says.
    pub body: AnswerBody<'a>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerBody<'a> {
    /// The writes were executed, now or before.
    Written(Outcomes<'a>),
    /// The queries' results.
    Values(Values<'a>),
    /// The commands were not taken.
    Refused(Refusal),
    /// This replica stopped leading.
    Moved(Option<NodeId>),
}

/// The outcomes of a burst of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes<'a>(&'a [u8]);

impl<'a> Outcomes<'a> {
    /// One for each command, in order.
    pub fn iter(&self) -> impl Iterator<Item = Outcome> + use<'a> {
        self.0.chunks_exact(OUTCOME_BYTES).map(|bytes| Outcome { status: bytes[0], number: le_u64(bytes, 1) })
    }
}

/// The results of a burst of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    /// A status and a value for each query, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (status, value, after) = split_value(rest)?;
            rest = after;
            Some((status, value))
        })
    }
}

/// The answers of a frame, in order. Stops after the first malformed one.
pub fn answers(frame: &[u8]) -> impl Iterator<Item = Result<Answer<'_>, WireError>> {
    let mut rest = frame;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let answer = split_answer(rest);
        rest = answer.as_ref().map_or(&[], |(_, after)| after);
        Some(answer.map(|(answer, _)| answer))
    })
}

fn split_answer(bytes: &[u8]) -> Result<(Answer<'_>, &[u8]), WireError> {
    let left = bytes.len();
    if left < HEADER_BYTES {
        return Err(WireError::Short { wanted: HEADER_BYTES, left });
    }
    let count = le_u32(bytes, 25);
    let body_bytes = le_u32(bytes, 29) as usize;
    let Some(body) = bytes[HEADER_BYTES..].get(..body_bytes) else {
        return Err(WireError::Short { wanted: body_bytes, left: left - HEADER_BYTES });
    };
    let answer = Answer {
        session: SessionId(le_u64(bytes, 1)),
        first: Sequence(le_u64(bytes, 9)),
        count,
        index: Index(le_u64(bytes, 17)),
        body: answer_body(bytes[0], count as usize, body)?,
    };
    Ok((answer, &bytes[HEADER_BYTES + body_bytes..]))
}

fn answer_body(kind: u8, count: usize, body: &[u8]) -> Result<AnswerBody<'_>, WireError> {
    let malformed = WireError::Invalid { what: "length of an answer's body", value: body.len() as u64 };
    match kind {
        WRITTEN if count.checked_mul(OUTCOME_BYTES) == Some(body.len()) => {
            Ok(AnswerBody::Written(Outcomes(body)))
        }
        VALUES => {
            let mut rest = body;
            for _ in 0..count {
                rest = split_value(rest).ok_or_else(|| malformed.clone())?.2;
            }
            if rest.is_empty() { Ok(AnswerBody::Values(Values(body))) } else { Err(malformed) }
        }
        REFUSED | MOVED if body.len() == 3 => {
            let leader = u16::from_le_bytes([body[1], body[2]]);
            let leader = (leader != NOBODY).then_some(NodeId(leader));
            match (kind, body[0]) {
                (REFUSED, 0) => Ok(AnswerBody::Refused(Refusal::NotLeader(leader))),
                (REFUSED, 1) => Ok(AnswerBody::Refused(Refusal::Busy)),
                (MOVED, 0) => Ok(AnswerBody::Moved(leader)),
                (_, other) => Err(WireError::Invalid { what: "refusal", value: other.into() }),
            }
        }
        WRITTEN | REFUSED | MOVED => Err(malformed),
        other => Err(WireError::Invalid { what: "answer kind", value: other.into() }),
    }
}

fn split_value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    if bytes.len() < 5 {
        return None;
    }
    let len = le_u32(bytes, 1) as usize;
    let value = bytes[5..].get(..len)?;
    Some((bytes[0], value, &bytes[5 + len..]))
}

/// Packs the answers to one client into frames.
#[derive(Debug, Default)]
pub struct AnswerBuilder {
    bytes: BytesMut,
    answer_at: usize,
}

impl AnswerBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is packed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes packed so far. Take the frame before it outgrows [`FRAME_BYTES_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Begins the answer to writes numbered from `first` that are in entry `index`.
    pub fn begin_written(&mut self, session: SessionId, first: Sequence, index: Index) {
        self.begin(WRITTEN, session, first, index);
    }

    /// Adds the next write's outcome.
    pub fn push_outcome(&mut self, outcome: Outcome) {
        self.bytes.put_u8(outcome.status);
        self.bytes.put_u64_le(outcome.number);
        self.grow(1, OUTCOME_BYTES);
    }

    /// Begins the answer to queries numbered from `first`, from a state that includes entry `index`.
    pub fn begin_values(&mut self, session: SessionId, first: Sequence, index: Index) {
        self.begin(VALUES, session, first, index);
    }

    /// Adds the next query's result.
    pub fn push_value(&mut self, status: u8, value: &[u8]) {
        self.bytes.put_u8(status);
        self.bytes.put_u32_le(u32::try_from(value.len()).expect("values are far below 4 GiB"));
        self.bytes.put_slice(value);
        self.grow(1, 5 + value.len());
    }

    /// Hands back a whole burst.
    pub fn refuse(&mut self, burst: &Burst<'_>, refusal: Refusal) {
        self.refuse_numbers(burst.session, burst.first, burst.count, refusal);
    }

    /// Hands back `count` commands numbered from `first`.
    pub(crate) fn refuse_numbers(
        &mut self,
        session: SessionId,
        first: Sequence,
        count: u32,
        refusal: Refusal,
    ) {
        self.begin(REFUSED, session, first, Index::ZERO);
        let (reason, leader) = match refusal {
            Refusal::NotLeader(leader) => (0, leader),
            Refusal::Busy => (1, None),
        };
        self.put_refusal(count, reason, leader);
    }

    /// Says that this replica stopped leading.
    pub fn moved(&mut self, leader: Option<NodeId>) {
        self.begin(MOVED, SessionId::ZERO, Sequence::ZERO, Index::ZERO);
        self.put_refusal(0, 0, leader);
    }

    /// The frame; the builder is empty again and keeps spare capacity.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        assert!(
            self.bytes.len() <= FRAME_BYTES_MAX,
            "a frame of {} bytes was packed past its limit",
            self.bytes.len()
        );
        self.bytes.split().freeze()
    }

    fn begin(&mut self, kind: u8, session: SessionId, first: Sequence, index: Index) {
        self.answer_at = self.bytes.len();
        self.bytes.put_u8(kind);
        for field in [session.0, first.0, index.0, 0] {
            self.bytes.put_u64_le(field);
        }
    }

    fn put_refusal(&mut self, count: u32, reason: u8, leader: Option<NodeId>) {
        self.bytes.put_u8(reason);
        self.bytes.put_u16_le(leader.map_or(NOBODY, |node| node.0));
        self.grow(count, 3);
    }

    fn grow(&mut self, count: u32, body_bytes: usize) {
        let header = &mut self.bytes[self.answer_at..];
        let count = le_u32(header, 25) + count;
        let body_bytes = le_u32(header, 29) as usize + body_bytes;
        header[25..29].copy_from_slice(&count.to_le_bytes());
        let body_bytes = u32::try_from(body_bytes).expect("frames are far below 4 GiB");
        header[29..33].copy_from_slice(&body_bytes.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchBuilder;
    use proptest::prelude::*;

    #[test]
    fn a_frame_of_every_kind_is_read_back() {
        let mut batch = BatchBuilder::new();
        batch.begin(SessionId(7), Sequence(3), Sequence(1));
        batch.push_bytes(b"x");
        batch.push_bytes(b"y");
        let batch = batch.finish();
        let burst = batch.bursts().next().unwrap();

        let mut builder = AnswerBuilder::new();
        builder.begin_written(SessionId(7), Sequence(1), Index(5));
        builder.push_outcome(Outcome { status: 0, number: 11 });
        builder.push_outcome(Outcome { status: 1, number: 12 });
        builder.begin_values(SessionId(8), Sequence(9), Index(6));
        builder.push_value(0, b"value");
        builder.push_value(1, b"");
        builder.refuse(&burst, Refusal::NotLeader(Some(NodeId(2))));
        builder.refuse(&burst, Refusal::Busy);
        builder.moved(None);
        let frame = builder.finish();
        let read: Vec<Answer<'_>> = answers(&frame).map(Result::unwrap).collect();

        let AnswerBody::Written(outcomes) = read[0].body else { panic!("{read:?}") };
        assert_eq!(outcomes.iter().map(|o| (o.status, o.number)).collect::<Vec<_>>(), [(0, 11), (1, 12)]);
        assert_eq!(
            (read[0].session, read[0].first, read[0].count, read[0].index),
            (SessionId(7), Sequence(1), 2, Index(5))
        );
        let AnswerBody::Values(values) = read[1].body else { panic!("{read:?}") };
        assert_eq!(values.iter().collect::<Vec<_>>(), [(0, &b"value"[..]), (1, &b""[..])]);
        assert_eq!(read[2].body, AnswerBody::Refused(Refusal::NotLeader(Some(NodeId(2)))));
        assert_eq!((read[2].first, read[2].count), (Sequence(3), 2));
        assert_eq!(read[3].body, AnswerBody::Refused(Refusal::Busy));
        assert_eq!(read[4].body, AnswerBody::Moved(None));
    }

    #[test]
    fn a_request_for_nothing_is_no_request() {
        for request in [Request::Write(Batch::default()), Request::Read(Batch::default())] {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            assert!(Request::decode_all(bytes.into()).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for answer in answers(&bytes).flatten() {
                match answer.body {
                    AnswerBody::Written(outcomes) => prop_assert_eq!(outcomes.iter().count(), answer.count as usize),
                    AnswerBody::Values(values) => prop_assert_eq!(values.iter().count(), answer.count as usize),
                    AnswerBody::Refused(_) | AnswerBody::Moved(_) => {}
                }
            }
            if let Ok((request, proof)) = split_request(bytes.clone().into()) {
                let mut again = Vec::new();
                request.encode(&mut again);
                again.extend_from_slice(&proof);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
