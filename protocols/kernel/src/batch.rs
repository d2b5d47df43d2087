//! The unit of everything: the immutable bytes that client bursts were packed into.
//!
//! A batch is a sequence of bursts; a burst is what one session sent at once. The bytes are built once, at the client, and
//! are the log entry, the journal body, the wire body and the input of `apply` from then on.
//!
//! ```text
//! batch   := burst*
//! burst   := session u64, first u64, settled u64, count u32, body_bytes u32, body
//! body    := (command_bytes u32, command)*          count times
//! ```
//!
//! `first` numbers the burst's first command, the others follow without a gap. Everything below `settled` has been answered:
//! servers may forget those answers. A burst with `first` 0 and no commands opens its session.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{BATCH_BYTES_MAX, COMMAND_BYTES_MAX};
use crate::wire::{Reader, Sink, Wire, WireError, le_u32, le_u64, put_bytes};
use crate::{Sequence, SessionId};

/// Bytes of a burst before its body.
pub const BURST_HEADER_BYTES: usize = 32;

/// Why bytes are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A header, body or command reaches past the end.
    #[error("cut off at byte {at}")]
    CutOff {
        /// Where the piece that is cut off begins.
        at: usize,
    },
    /// The commands do not fill the body exactly.
    #[error("burst at byte {at}: {count} commands do not fill its body")]
    Count {
        /// Where the burst begins.
        at: usize,
        /// How many commands it claims.
        count: u32,
    },
    /// A burst breaks the numbering: commands at 0, an opening with commands, or past the end of numbers.
    #[error("burst at byte {at}: bad numbering")]
    Numbering {
        /// Where the burst begins.
        at: usize,
    },
    /// The batch or a command is larger than its limit.
    #[error("{bytes} bytes are more than {limit_bytes}")]
    TooLong {
        /// Bytes found.
        bytes: usize,
        /// Bytes allowed.
        limit_bytes: usize,
    },
}

/// Immutable, well-formed, shared by reference count.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} commands, {} bytes)", self.commands(), self.bytes.len())
    }
}

impl Batch {
    /// Checks that `bytes` are a batch; shares them.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        if bytes.len() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLong { bytes: bytes.len(), limit_bytes: BATCH_BYTES_MAX });
        }
        let mut at = 0;
        while at < bytes.len() {
            at += check_burst(&bytes, at)?;
        }
        Ok(Self { bytes })
    }

    /// The encoding.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether there is no burst in it: a no-op entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the encoding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bursts in order.
    pub fn bursts(&self) -> impl Iterator<Item = Burst<'_>> {
        let mut rest: &[u8] = &self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (burst, after) = Burst::split(rest);
            rest = after;
            Some(burst)
        })
    }

    /// Number of commands in all bursts.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.bursts().map(|burst| burst.count as usize).sum()
    }

    /// Whether every burst is in a session of the client at this place in the roster.
    #[must_use]
    pub fn belongs_to(&self, client: usize) -> bool {
        self.bursts().all(|burst| usize::from(burst.session.owner()) == client)
    }

    /// The concatenation of well-formed batches, which is well-formed.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        debug_assert!(Self::parse(bytes.clone()).is_ok());
        Self { bytes }
    }
}

impl Wire for Batch {
    fn encode(&self, sink: &mut impl Sink) {
        put_bytes(sink, &self.bytes);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self::parse(reader.take_bytes("batch", BATCH_BYTES_MAX)?)?)
    }
}

/// Length of the well-formed burst at `at`.
fn check_burst(bytes: &[u8], at: usize) -> Result<usize, BatchError> {
    let rest = &bytes[at..];
    if rest.len() < BURST_HEADER_BYTES {
        return Err(BatchError::CutOff { at });
    }
    let (first, count) = (le_u64(rest, 8), le_u32(rest, 24));
    let opens = first == 0;
    if opens != (count == 0) || first.checked_add(count.into()).is_none() {
        return Err(BatchError::Numbering { at });
    }
    let body_bytes = le_u32(rest, 28) as usize;
    let Some(mut body) = rest[BURST_HEADER_BYTES..].get(..body_bytes) else {
        return Err(BatchError::CutOff { at });
    };
    for _ in 0..count {
        if body.len() < 4 {
            return Err(BatchError::Count { at, count });
        }
        let len = le_u32(body, 0) as usize;
        if len > COMMAND_BYTES_MAX {
            return Err(BatchError::TooLong { bytes: len, limit_bytes: COMMAND_BYTES_MAX });
        }
        body = body[4..].get(len..).ok_or(BatchError::Count { at, count })?;
    }
    if body.is_empty() { Ok(BURST_HEADER_BYTES + body_bytes) } else { Err(BatchError::Count { at, count }) }
}

/// What one session sent at once, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst<'a> {
    /// Whose commands these are.
    pub session: SessionId,
    /// Number of the first command; 0 opens the session.
    pub first: Sequence,
    /// Every command below this one has been answered.
    pub settled: Sequence,
    /// How many commands.
    pub count: u32,
    body: &'a [u8],
}

impl<'a> Burst<'a> {
    /// Whether this burst opens its session.
    #[must_use]
    pub fn opens_session(&self) -> bool {
        self.first == Sequence::ZERO
    }

    /// The commands with their numbers.
    pub fn commands(&self) -> impl Iterator<Item = (Sequence, &'a [u8])> + use<'a> {
        let mut rest = self.body;
        let mut next = self.first;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (command, after) = rest[4..].split_at(le_u32(rest, 0) as usize);
            let numbered = (next, command);
            (rest, next) = (after, next.next());
            Some(numbered)
        })
    }

    fn split(bytes: &'a [u8]) -> (Self, &'a [u8]) {
        let (body, after) = bytes[BURST_HEADER_BYTES..].split_at(le_u32(bytes, 28) as usize);
        let burst = Self {
            session: SessionId(le_u64(bytes, 0)),
            first: Sequence(le_u64(bytes, 8)),
            settled: Sequence(le_u64(bytes, 16)),
            count: le_u32(bytes, 24),
            body,
        };
        (burst, after)
    }
}

/// Packs bursts into a batch.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: BytesMut,
    burst_at: usize,
}

impl BatchBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes packed so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is packed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins a burst: commands pushed next are numbered from `first`.
    pub fn begin(&mut self, session: SessionId, first: Sequence, settled: Sequence) {
        self.burst_at = self.bytes.len();
        for field in [session.0, first.0, settled.0, 0] {
            self.bytes.put_u64_le(field);
        }
    }

    /// Adds a command of `len` bytes to the burst begun last, written by `write`, which must append exactly `len` bytes.
    pub fn push(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) {
        assert!(len <= COMMAND_BYTES_MAX, "a command of {len} bytes is past its limit");
        self.bytes.put_u32_le(u32::try_from(len).expect("below the limit"));
        let before = self.bytes.len();
        write(&mut self.bytes);
        assert_eq!(self.bytes.len() - before, len, "a command wrote another length than it announced");
        let count = le_u32(&self.bytes, self.burst_at + 24) + 1;
        let body_bytes = self.bytes.len() - self.burst_at - BURST_HEADER_BYTES;
        self.put_u32_at(self.burst_at + 24, count);
        self.put_u32_at(self.burst_at + 28, u32::try_from(body_bytes).expect("below the limit"));
    }

    /// Adds a command.
    pub fn push_bytes(&mut self, command: &[u8]) {
        self.push(command.len(), |bytes| bytes.put_slice(command));
    }

    /// The batch; the builder is empty again and keeps spare capacity.
    #[must_use]
    pub fn finish(&mut self) -> Batch {
        let bytes = self.bytes.split().freeze();
        self.burst_at = 0;
        assert!(bytes.len() <= BATCH_BYTES_MAX, "a batch of {} bytes was packed past its limit", bytes.len());
        Batch { bytes }
    }

    fn put_u32_at(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(bursts: &[(u64, u64, Vec<Vec<u8>>)]) -> Batch {
        let mut builder = BatchBuilder::new();
        for (session, first, commands) in bursts {
            builder.begin(SessionId(*session), Sequence(*first), Sequence(1));
            for command in commands {
                builder.push_bytes(command);
            }
        }
        builder.finish()
    }

    #[test]
    fn an_opening_has_no_commands_and_commands_have_numbers() {
        assert!(Batch::parse(batch(&[(7, 0, vec![])]).bytes).is_ok());
        assert_eq!(Batch::parse(batch(&[(7, 0, vec![vec![1]])]).bytes), Err(BatchError::Numbering { at: 0 }));
        assert_eq!(Batch::parse(batch(&[(7, 1, vec![])]).bytes), Err(BatchError::Numbering { at: 0 }));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_parsed(
            bursts in prop::collection::vec(
                (any::<u64>(), 1_u64..1 << 40, prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5)),
                0..5,
            )
        ) {
            let packed = batch(&bursts);
            let parsed = Batch::parse(packed.bytes.clone()).unwrap();
            let back: Vec<(u64, u64, Vec<Vec<u8>>)> = parsed
                .bursts()
                .map(|b| (b.session.0, b.first.0, b.commands().map(|(_, c)| c.to_vec()).collect()))
                .collect();
            prop_assert_eq!(back, bursts);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(batch) = Batch::parse(bytes.into()) {
                for burst in batch.bursts() {
                    prop_assert_eq!(burst.commands().count(), burst.count as usize);
                }
            }
        }

        #[test]
        fn a_flipped_byte_is_refused_or_still_well_formed(at in 0_usize..80, flip in 1_u8..) {
            let mut bytes = batch(&[(7, 1, vec![vec![1; 20], vec![2; 20]])]).bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(batch) = Batch::parse(bytes.into()) {
                prop_assert_eq!(batch.bursts().map(|b| b.commands().count()).sum::<usize>(), batch.commands());
            }
        }
    }
}
