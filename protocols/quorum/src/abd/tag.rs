//! What orders the values of a key.

use bytes::Bytes;
use qlab_kernel::command::VALUE_BYTES_MAX;
use qlab_kernel::wire::put_bytes;
use qlab_kernel::{NodeId, Reader, Sink, Wire, WireError};

/// The place of a value among all values of its key: ordered, and given to one value, once. No two writers share one, as it carries
/// the writer's number; nor do two lives of one, as it carries the life's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Above that of every value that was written before.
    pub timestamp: u64,
    /// Who chose it.
    pub writer: NodeId,
    /// In which of its lives.
    pub incarnation: u32,
}

impl Tag {
    /// Before every tag: nothing was written.
    pub const ZERO: Self = Self { timestamp: 0, writer: NodeId(0), incarnation: 0 };
    /// Timestamps that a tag may have: nobody lives to see more, and arithmetic on them cannot overflow.
    pub const TIMESTAMP_MAX: u64 = 1 << 62;

    /// The first of a writer's life above this one.
    #[must_use]
    pub const fn next_of(self, writer: NodeId, incarnation: u32) -> Self {
        Self { timestamp: self.timestamp + 1, writer, incarnation }
    }

    /// Whether a value may carry it.
    #[must_use]
    pub fn is_given(self) -> bool {
        (1..=Self::TIMESTAMP_MAX).contains(&self.timestamp)
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.timestamp, self.writer, self.incarnation)
    }
}

impl Wire for Tag {
    fn encode(&self, sink: &mut impl Sink) {
        self.timestamp.encode(sink);
        self.writer.encode(sink);
        self.incarnation.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { timestamp: reader.u64()?, writer: NodeId::decode(reader)?, incarnation: reader.u32()? })
    }
}

/// A value and its tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The tag.
    pub tag: Tag,
    /// The value; `None` once it is deleted, or before it was ever written.
    pub value: Option<Bytes>,
}

/// Bytes of a version without its value, at most.
pub(crate) const VERSION_BYTES: usize = 32;

impl Version {
    /// Bytes of the value.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }

    /// Whether a correct replica can hold it: without a tag there is no value.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.tag.is_given() || (self.tag == Tag::ZERO && self.value.is_none())
    }
}

impl Wire for Version {
    fn encode(&self, sink: &mut impl Sink) {
        self.tag.encode(sink);
        self.value.is_some().encode(sink);
        if let Some(value) = &self.value {
            put_bytes(sink, value);
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let tag = Tag::decode(reader)?;
        let is_there = reader.bool("presence of a value")?;
        let value = if is_there { Some(reader.take_bytes("value", VALUE_BYTES_MAX)?) } else { None };
        Ok(Self { tag, value })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_tag() -> impl Strategy<Value = Tag> {
        (any::<u64>(), any::<u16>(), any::<u32>()).prop_map(|(timestamp, writer, incarnation)| Tag {
            timestamp,
            writer: NodeId(writer),
            incarnation,
        })
    }

    pub(crate) fn any_version() -> impl Strategy<Value = Version> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from));
        (any_tag(), value).prop_map(|(tag, value)| Version { tag, value })
    }

    proptest! {
        #[test]
        fn tags_of_two_writers_or_two_lives_differ_and_later_ones_are_larger(
            timestamp in 0..Tag::TIMESTAMP_MAX, one in (0_u16..64, 1_u32..9), other in (0_u16..64, 1_u32..9),
        ) {
            let seen = Tag { timestamp, writer: NodeId(63), incarnation: 9 };
            let next = |(writer, life): (u16, u32)| seen.next_of(NodeId(writer), life);
            prop_assert!(next(one) > seen && next(one).is_given());
            prop_assert_eq!(next(one) == next(other), one == other);
        }
    }
}
