//! The few protobuf messages of etcd's `KV` service that the generator speaks, by hand.
//!
//! Field numbers are those of `rpc.proto` and `kv.proto` of etcd 3. A gRPC message is a zero byte (not compressed), its
//! length in four bytes, big end first, and the protobuf.

use bytes::{BufMut, Bytes, BytesMut};
use qlab_machines::Command;

/// Bytes before a gRPC message.
const PREFIX_BYTES: usize = 5;
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
/// `Compare.CompareTarget`.
const TARGET_VERSION: u64 = 0;
const TARGET_VALUE: u64 = 3;

/// A method of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Reads.
    Range,
    /// Writes.
    Put,
    /// Compares and writes.
    Txn,
}

impl Method {
    /// Every method, in the order of its number.
    pub(super) const ALL: [Self; 3] = [Self::Range, Self::Put, Self::Txn];

    /// Its name on the wire.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Range => "/etcdserverpb.KV/Range",
            Self::Put => "/etcdserverpb.KV/Put",
            Self::Txn => "/etcdserverpb.KV/Txn",
        }
    }
}

/// The method and the request for a command; `None` for commands that etcd has no counterpart of.
pub(super) fn encode(command: &Command<'_>) -> Option<(Method, Bytes)> {
    let mut message = BytesMut::zeroed(PREFIX_BYTES);
    let method = match *command {
        Command::Get { key } => {
            // RangeRequest: key 1. Not serializable, and so linearizable, by default.
            put_bytes(&mut message, 1, key);
            Method::Range
        }
        Command::Put { key, value } => {
            put_request(&mut message, key, value);
            Method::Put
        }
        Command::CompareAndSet { key, expected, value } => {
            transaction(&mut message, key, expected, value);
            Method::Txn
        }
        Command::Delete { .. } | Command::Append { .. } => return None,
    };
    let len = u32::try_from(message.len() - PREFIX_BYTES).expect("commands are far below 4 GiB");
    message[1..PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
    Some((method, message.freeze()))
}

/// PutRequest: key 1, value 2.
fn put_request(message: &mut BytesMut, key: &[u8], value: &[u8]) {
    put_bytes(message, 1, key);
    put_bytes(message, 2, value);
}

/// TxnRequest: compare 1, success 2. Compare: result 1 (0, equal), target 2, key 3, version 4 or value 7; a key that is not
/// there has version 0. RequestOp: request_put 2.
fn transaction(message: &mut BytesMut, key: &[u8], expected: Option<&[u8]>, value: &[u8]) {
    let mut compare = BytesMut::new();
    put_varint_field(&mut compare, 2, if expected.is_some() { TARGET_VALUE } else { TARGET_VERSION });
    put_bytes(&mut compare, 3, key);
    match expected {
        Some(expected) => put_bytes(&mut compare, 7, expected),
        None => put_varint_field(&mut compare, 4, 0),
    }
    put_bytes(message, 1, &compare);
    let (mut put, mut operation) = (BytesMut::new(), BytesMut::new());
    put_request(&mut put, key, value);
    put_bytes(&mut operation, 2, &put);
    put_bytes(message, 2, &operation);
}

/// The value in a RangeResponse (kvs 2; KeyValue: value 5): `Ok(None)` if the key is not there.
pub(super) fn range_response(message: &[u8]) -> Option<Option<&[u8]>> {
    let mut found = None;
    let mut fields = Fields(unprefixed(message)?);
    while let Some((number, field)) = fields.next()? {
        if let (2, Field::Bytes(pair)) = (number, field) {
            found = Some(value_of(pair)?);
        }
    }
    Some(found)
}

fn value_of(pair: &[u8]) -> Option<&[u8]> {
    let mut value = &[][..];
    let mut fields = Fields(pair);
    while let Some((number, field)) = fields.next()? {
        if let (5, Field::Bytes(bytes)) = (number, field) {
            value = bytes;
        }
    }
    Some(value)
}

/// Whether the comparison of a TxnResponse held (succeeded 2).
pub(super) fn succeeded(message: &[u8]) -> Option<bool> {
    let mut succeeded = false;
    let mut fields = Fields(unprefixed(message)?);
    while let Some((number, field)) = fields.next()? {
        if let (2, Field::Varint(value)) = (number, field) {
            succeeded = value != 0;
        }
    }
    Some(succeeded)
}

fn unprefixed(message: &[u8]) -> Option<&[u8]> {
    let (prefix, body) = message.split_at_checked(PREFIX_BYTES)?;
    let len = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    (prefix[0] == 0 && len == body.len()).then_some(body)
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// `Some(None)` at the end, `None` for what is no message.
    #[expect(clippy::option_option, reason = "malformed, over, or a field")]
    fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            1 => self.take(8).map(|_| Field::Fixed)?,
            5 => self.take(4).map(|_| Field::Fixed)?,
            _ => return None,
        };
        Some(Some((tag >> 3, field)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
}

fn put_bytes(message: &mut BytesMut, number: u32, bytes: &[u8]) {
    put_varint(message, (number << 3 | LENGTH_DELIMITED).into());
    put_varint(message, bytes.len() as u64);
    message.put_slice(bytes);
}

fn put_varint_field(message: &mut BytesMut, number: u32, value: u64) {
    put_varint(message, (number << 3 | VARINT).into());
    put_varint(message, value);
}

fn put_varint(message: &mut BytesMut, mut value: u64) {
    while value >= 128 {
        message.put_u8(value as u8 | 128);
        value >>= 7;
    }
    message.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_what_the_protobuf_compiler_would_make_of_them() {
        let (method, put) = encode(&Command::Put { key: b"k", value: b"vw" }).unwrap();
        assert_eq!((method, &put[..]), (Method::Put, &b"\0\0\0\0\x07\x0a\x01k\x12\x02vw"[..]));
        let (_, get) = encode(&Command::Get { key: b"k" }).unwrap();
        assert_eq!(&get[..], b"\0\0\0\0\x03\x0a\x01k");
        let (_, swap) =
            encode(&Command::CompareAndSet { key: b"k", expected: Some(b"v"), value: b"w" }).unwrap();
        assert_eq!(
            &swap[..],
            b"\0\0\0\0\x14\x0a\x08\x10\x03\x1a\x01k\x3a\x01v\x12\x08\x12\x06\x0a\x01k\x12\x01w"
        );
        assert!(encode(&Command::Delete { key: b"k" }).is_none());
    }

    #[test]
    fn responses_are_read_whatever_else_is_in_them() {
        // A header (1), a pair (2) with key 1, create 2, value 5, and a count (4).
        let response = b"\0\0\0\0\x12\x0a\x02\x08\x01\x12\x08\x0a\x01k\x10\x02\x2a\x01v\x20\x80\x01";
        let response = [&response[..4], &[(response.len() - 5) as u8], &response[5..]].concat();
        assert_eq!(range_response(&response), Some(Some(&b"v"[..])));
        assert_eq!(range_response(b"\0\0\0\0\x04\x0a\x02\x08\x01"), Some(None));
        assert_eq!(succeeded(b"\0\0\0\0\x06\x0a\x02\x08\x01\x10\x01"), Some(true));
        assert_eq!(succeeded(b"\0\0\0\0\x00"), Some(false));
        assert_eq!(succeeded(b"\0\0\0\0\x01"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            let message = [&[0][..], &len, &bytes].concat();
            let _ = (range_response(&message), succeeded(&message), range_response(&bytes));
        }
    }
}
