//! The codec: little-endian integers, lengths checked before anything is allocated, shared bytes kept shared.
//!
//! The same encoding serves the wire and the journal. `decode` must consume exactly what `encode` wrote, must reject what
//! `encode` cannot write, and must never panic: its input may come from anyone.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Index, Lsn, NodeId, Sequence, SessionId, Term};

/// Why bytes are not a value. The sender is at fault: close, count, carry on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends before the value does.
    #[error("{wanted} more bytes wanted, {left} left")]
    Short {
        /// Bytes the next field needs.
        wanted: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// The value ends before the input does.
    #[error("{0} bytes left over")]
    Trailing(usize),
    /// A tag or flag has a value that `encode` never writes.
    #[error("{what} cannot be {value}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// The value found.
        value: u64,
    },
    /// A length exceeds its limit.
    #[error("{what} has {bytes} bytes, more than {limit_bytes}")]
    TooLong {
        /// The field.
        what: &'static str,
        /// The length found.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// A batch is malformed.
    #[error("batch: {0}")]
    Batch(#[from] crate::BatchError),
}

/// Where encoded bytes go.
pub trait Sink {
    /// Appends a copy of `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Appends bytes that the sink may keep by reference count instead of copying.
    fn put_shared(&mut self, bytes: &Bytes) {
        self.put(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// A value with an encoding.
pub trait Wire: Sized {
    /// Appends this value's encoding.
    fn encode(&self, sink: &mut impl Sink);

    /// Takes one value off the front of `reader`.
    fn decode(reader: &mut Reader) -> Result<Self, WireError>;

    /// Decodes a value that must fill `bytes` to the end.
    fn decode_all(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// Takes values off the front of shared bytes; slices it hands out share the same memory.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// Bytes not yet taken.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// The next `len` bytes, without copying them.
    pub fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        self.need(len)?;
        Ok(self.bytes.split_to(len))
    }

    /// Everything that is left.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes)
    }

    /// A length of at most `limit_bytes`, then that many bytes: the counterpart of [`put_bytes`].
    pub fn take_bytes(&mut self, what: &'static str, limit_bytes: usize) -> Result<Bytes, WireError> {
        let bytes = self.u32()? as usize;
        if bytes > limit_bytes {
            return Err(WireError::TooLong { what, bytes, limit_bytes });
        }
        self.take(bytes)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.need(1)?;
        Ok(self.bytes.get_u8())
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.need(2)?;
        Ok(self.bytes.get_u16_le())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.need(4)?;
        Ok(self.bytes.get_u32_le())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.need(8)?;
        Ok(self.bytes.get_u64_le())
    }

    /// One byte that must be 0 or 1.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Invalid { what, value: other.into() }),
        }
    }

    /// Ends decoding: nothing may be left.
    pub fn finish(self) -> Result<(), WireError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.bytes.len())) }
    }

    fn need(&self, wanted: usize) -> Result<(), WireError> {
        let left = self.bytes.len();
        if left < wanted { Err(WireError::Short { wanted, left }) } else { Ok(()) }
    }
}

/// Writes a length and then the bytes, shared where the sink can: the counterpart of [`Reader::take_bytes`].
pub fn put_bytes(sink: &mut impl Sink, bytes: &Bytes) {
    let len = u32::try_from(bytes.len()).expect("nothing of 4 GiB is ever encoded: limits are far below");
    sink.put(&len.to_le_bytes());
    sink.put_shared(bytes);
}

/// The integer at `at`, which must be there: for places whose length was checked before.
pub(crate) fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The same for eight bytes.
pub(crate) fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

macro_rules! wire_integer {
    ($($type:ty => $read:ident),*) => {$(
        impl Wire for $type {
            fn encode(&self, sink: &mut impl Sink) {
                sink.put(&self.to_le_bytes());
            }
            fn decode(reader: &mut Reader) -> Result<Self, WireError> {
                reader.$read()
            }
        }
    )*};
}

macro_rules! wire_newtype {
    ($($type:ident => $read:ident),*) => {$(
        impl Wire for $type {
            fn encode(&self, sink: &mut impl Sink) {
                sink.put(&self.0.to_le_bytes());
            }
            fn decode(reader: &mut Reader) -> Result<Self, WireError> {
                reader.$read().map(Self)
            }
        }
    )*};
}

wire_integer!(u8 => u8, u16 => u16, u32 => u32, u64 => u64);
wire_newtype!(Index => u64, Lsn => u64, NodeId => u16, Sequence => u64, SessionId => u64, Term => u64);

impl Wire for bool {
    fn encode(&self, sink: &mut impl Sink) {
        sink.put(&[u8::from(*self)]);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        reader.bool("flag")
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, sink: &mut impl Sink) {
        self.is_some().encode(sink);
        if let Some(value) = self {
            value.encode(sink);
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(if reader.bool("presence")? { Some(T::decode(reader)?) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: &impl Wire) -> Bytes {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        bytes.into()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(number in any::<Option<u64>>(), flag in any::<bool>(), node in any::<u16>()) {
            prop_assert_eq!(Option::<u64>::decode_all(encoded(&number)), Ok(number));
            prop_assert_eq!(bool::decode_all(encoded(&flag)), Ok(flag));
            prop_assert_eq!(NodeId::decode_all(encoded(&NodeId(node))), Ok(NodeId(node)));
        }
    }

    #[test]
    fn short_trailing_and_overlong_inputs_are_refused() {
        assert_eq!(
            u32::decode_all(Bytes::from_static(&[1, 2])),
            Err(WireError::Short { wanted: 4, left: 2 })
        );
        assert_eq!(u16::decode_all(Bytes::from_static(&[1, 2, 3])), Err(WireError::Trailing(1)));
        assert_eq!(
            bool::decode_all(Bytes::from_static(&[7])),
            Err(WireError::Invalid { what: "flag", value: 7 })
        );
        let mut reader = Reader::new(Bytes::from_static(&[255, 255, 255, 255, 0]));
        assert_eq!(
            reader.take_bytes("value", 10),
            Err(WireError::TooLong { what: "value", bytes: u32::MAX as usize, limit_bytes: 10 })
        );
    }
}
