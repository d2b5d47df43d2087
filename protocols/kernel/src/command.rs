//! Commands to a store of values under keys, as its clients write them, and what becomes of them.
//!
//! State machines and protocols that hold the values themselves speak the same language, so that one load fits all of them.
//!
//! ```text
//! command         := op u8, key, arguments
//! get (0), delete (2)
//! put (1), append (4)      arguments := value
//! compare-and-set (3)      arguments := present u8 (0, 1), expected value if present, value
//! key             := key_bytes u16, key
//! value           := value_bytes u32, value
//! ```

use crate::{Cursor, Sink, WireError};

/// Status: the value is stored.
pub const STORED: u8 = 0;
/// Status: the key was there and is gone.
pub const DELETED: u8 = 1;
/// Status: there is no such key.
pub const ABSENT: u8 = 2;
/// Status: the value was as expected and is replaced.
pub const SWAPPED: u8 = 3;
/// Status: the value was not as expected and stays.
pub const MISMATCH: u8 = 4;
/// Status: the bytes are added.
pub const APPENDED: u8 = 5;
/// Status: here is the value.
pub const FOUND: u8 = 6;
/// Status: the key or the value would exceed its limit; nothing changed.
pub const TOO_LARGE: u8 = 7;
/// Status: the store would exceed its limit; nothing changed. Delete something first.
pub const FULL: u8 = 8;
/// Status: a register that is written once holds another value already; nothing changed.
pub const TAKEN: u8 = 9;

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 1024;
/// Bytes of one value, stored or answered.
pub const VALUE_BYTES_MAX: usize = 128 << 10;

const GET: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const COMPARE_AND_SET: u8 = 3;
const APPEND: u8 = 4;

/// A command, borrowed from whoever writes or holds it. What each does is its service's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Reads a value: the only query.
    Get {
        /// Whose.
        key: &'a [u8],
    },
    /// Writes a value, whatever was there.
    Put {
        /// Where.
        key: &'a [u8],
        /// What.
        value: &'a [u8],
    },
    /// Removes a key and its value.
    Delete {
        /// Which.
        key: &'a [u8],
    },
    /// Writes a value if the present one is as expected.
    CompareAndSet {
        /// Where.
        key: &'a [u8],
        /// The value that must be there; `None`: the key must be absent.
        expected: Option<&'a [u8]>,
        /// What is there afterwards.
        value: &'a [u8],
    },
    /// Adds to the end of a value; an absent one is empty.
    Append {
        /// Where.
        key: &'a [u8],
        /// What.
        value: &'a [u8],
    },
}

impl<'a> Command<'a> {
    /// The key it is about.
    #[must_use]
    pub const fn key(&self) -> &'a [u8] {
        match *self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Delete { key }
            | Self::CompareAndSet { key, .. }
            | Self::Append { key, .. } => key,
        }
    }

    /// Bytes that [`encode`](Self::encode) appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let arguments = match *self {
            Self::Get { .. } | Self::Delete { .. } => 0,
            Self::Put { value, .. } | Self::Append { value, .. } => 4 + value.len(),
            Self::CompareAndSet { expected, value, .. } => {
                1 + expected.map_or(0, |expected| 4 + expected.len()) + 4 + value.len()
            }
        };
        3 + self.key().len() + arguments
    }

    /// Appends the encoding. Panics if the key has 64 KiB or a value 4 GiB: the store's limits are far below.
    pub fn encode(&self, sink: &mut impl Sink) {
        match *self {
            Self::Get { key } => put_key(sink, GET, key),
            Self::Delete { key } => put_key(sink, DELETE, key),
            Self::Put { key, value } => {
                put_key(sink, PUT, key);
                put_value(sink, value);
            }
            Self::Append { key, value } => {
                put_key(sink, APPEND, key);
                put_value(sink, value);
            }
            Self::CompareAndSet { key, expected, value } => {
                put_key(sink, COMPARE_AND_SET, key);
                sink.put(&[u8::from(expected.is_some())]);
                if let Some(expected) = expected {
                    put_value(sink, expected);
                }
                put_value(sink, value);
            }
        }
    }

    /// Reads a command that must fill `bytes` to the end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let op = cursor.u8()?;
        let key = take_key(&mut cursor)?;
        let command = match op {
            GET => Self::Get { key },
            PUT => Self::Put { key, value: take_value(&mut cursor)? },
            DELETE => Self::Delete { key },
            COMPARE_AND_SET => Self::CompareAndSet {
                key,
                expected: take_expected(&mut cursor)?,
                value: take_value(&mut cursor)?,
            },
            APPEND => Self::Append { key, value: take_value(&mut cursor)? },
            other => return Err(WireError::Invalid { what: "command", value: other.into() }),
        };
        cursor.finish()?;
        Ok(command)
    }
}

fn put_key(sink: &mut impl Sink, op: u8, key: &[u8]) {
    let len = u16::try_from(key.len()).expect("keys of the store are far below 64 KiB");
    sink.put(&[op]);
    sink.put(&len.to_le_bytes());
    sink.put(key);
}

fn put_value(sink: &mut impl Sink, value: &[u8]) {
    let len = u32::try_from(value.len()).expect("values of the store are far below 4 GiB");
    sink.put(&len.to_le_bytes());
    sink.put(value);
}

fn take_key<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], WireError> {
    let len = u16::from_le_bytes(cursor.array()?);
    cursor.take(len.into())
}

fn take_value<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], WireError> {
    let len = u32::from_le_bytes(cursor.array()?);
    cursor.take(len as usize)
}

fn take_expected<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, WireError> {
    match cursor.u8()? {
        0 => Ok(None),
        1 => take_value(cursor).map(Some),
        other => Err(WireError::Invalid { what: "presence of an expected value", value: other.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(command: &Command<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        assert_eq!(bytes.len(), command.encoded_len());
        bytes
    }

    #[test]
    fn the_encoding_is_the_one_documented() {
        assert_eq!(encoded(&Command::Get { key: b"k" }), b"\x00\x01\x00k");
        assert_eq!(encoded(&Command::Put { key: b"k", value: b"vw" }), b"\x01\x01\x00k\x02\x00\x00\x00vw");
        assert_eq!(encoded(&Command::Delete { key: b"" }), b"\x02\x00\x00");
        assert_eq!(
            encoded(&Command::CompareAndSet { key: b"k", expected: Some(b"v"), value: b"w" }),
            b"\x03\x01\x00k\x01\x01\x00\x00\x00v\x01\x00\x00\x00w"
        );
        assert_eq!(
            encoded(&Command::CompareAndSet { key: b"k", expected: None, value: b"" }),
            b"\x03\x01\x00k\x00\x00\x00\x00\x00"
        );
        assert_eq!(encoded(&Command::Append { key: b"k", value: b"v" }), b"\x04\x01\x00k\x01\x00\x00\x00v");
    }

    #[test]
    fn what_is_cut_off_left_over_or_unknown_is_refused() {
        let whole = encoded(&Command::CompareAndSet { key: b"key", expected: Some(b"old"), value: b"new" });
        for len in 0..whole.len() {
            assert!(matches!(Command::parse(&whole[..len]), Err(WireError::Short { .. })), "{len} bytes");
        }
        assert_eq!(Command::parse(b"\x00\x00\x00!"), Err(WireError::Trailing(1)));
        assert_eq!(Command::parse(b"\x05\x00\x00"), Err(WireError::Invalid { what: "command", value: 5 }));
        assert!(matches!(Command::parse(b"\x03\x00\x00\x02"), Err(WireError::Invalid { value: 2, .. })));
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_what_was_encoded(bytes in prop::collection::vec(0_u8..6, 0..24)) {
            if let Ok(command) = Command::parse(&bytes) {
                prop_assert_eq!(encoded(&command), bytes);
            }
        }

        #[test]
        fn what_is_encoded_is_parsed(
            op in 0_u8..5,
            key: Vec<u8>,
            expected: Option<Vec<u8>>,
            value: Vec<u8>,
        ) {
            let (key, expected, value) = (&key[..], expected.as_deref(), &value[..]);
            let command = match op {
                GET => Command::Get { key },
                PUT => Command::Put { key, value },
                DELETE => Command::Delete { key },
                APPEND => Command::Append { key, value },
                _ => Command::CompareAndSet { key, expected, value },
            };
            let bytes = encoded(&command);
            prop_assert_eq!(Command::parse(&bytes), Ok(command));
        }
    }
}
