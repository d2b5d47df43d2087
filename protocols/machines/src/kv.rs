//! The key-value store.
//!
//! | command | outcome | number |
//! |---|---|---|
//! | put | [`STORED`] | revision |
//! | delete | [`DELETED`] or [`ABSENT`] | revision, or 0 |
//! | compare-and-set | [`SWAPPED`] or [`MISMATCH`] | revision, or 0 |
//! | append | [`APPENDED`] | bytes of the value now |
//! | one that would outgrow a limit | [`TOO_LARGE`] or [`FULL`] | 0 |
//! | get, as a write; anything that cannot be read | [`Outcome::MALFORMED`] | 0 |
//!
//! The revision counts the commands that changed the store, this one included. The one query, get, answers [`FOUND`] and
//! the value, or [`ABSENT`] and nothing; every other query is malformed.
//!
//! Keys are chosen by clients, so the map hashes them with the standard library's keyed SipHash: a client that could foresee
//! collisions could make every replica crawl. A multiply-and-fold hash would save about 20 ns of a put's 100. The hash key
//! differs between replicas, but nothing that it orders is ever seen: images are sorted.

use std::borrow::Cow;
use std::collections::HashMap;

use qlab_kernel::limits::COMMAND_BYTES_MAX;
use qlab_kernel::{Outcome, Reader, Sink, Wire, WireError};

use crate::machine::{MACHINE_BYTES_MAX, VALUE_BYTES_MAX};
use crate::{Command, Machine, Value};

pub use qlab_kernel::command::{
    ABSENT, APPENDED, DELETED, FOUND, FULL, KEY_BYTES_MAX, MISMATCH, STORED, SWAPPED, TOO_LARGE,
};

/// What an entry weighs besides its key and value: more than its lengths in an image, about its share of the map.
const ENTRY_BYTES: usize = 64;
/// What all entries may weigh together.
const STORE_BYTES_MAX: usize = MACHINE_BYTES_MAX - 16;

// A compare-and-set names two values.
const _: () = assert!(KEY_BYTES_MAX + 2 * VALUE_BYTES_MAX + 16 <= COMMAND_BYTES_MAX);

/// A map from keys to values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kv {
    values: HashMap<Box<[u8]>, Vec<u8>>,
    revision: u64,
    /// What all entries weigh.
    weight_bytes: usize,
}

impl Machine for Kv {
    fn apply(&mut self, command: &[u8]) -> Outcome {
        let outcome = match Command::parse(command) {
            Ok(Command::Put { key, value }) => self.put(key, value),
            Ok(Command::Delete { key }) => Ok(self.delete(key)),
            Ok(Command::CompareAndSet { key, expected, value }) => self.compare_and_set(key, expected, value),
            Ok(Command::Append { key, value }) => self.append(key, value),
            Ok(Command::Get { .. }) | Err(_) => Err(Refused(Outcome::MALFORMED)),
        };
        outcome.unwrap_or_else(|Refused(status)| Outcome::of(status))
    }

    fn query(&self, command: &[u8]) -> Value<'_> {
        match Command::parse(command) {
            Ok(Command::Get { key }) => self.get(key),
            _ => Value::MALFORMED,
        }
    }

    fn snapshot(&self, sink: &mut impl Sink) {
        let mut entries: Vec<_> = self.values.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        self.revision.encode(sink);
        (entries.len() as u64).encode(sink);
        for (key, value) in entries {
            u16::try_from(key.len()).expect("within KEY_BYTES_MAX").encode(sink);
            sink.put(key);
            u32::try_from(value.len()).expect("within VALUE_BYTES_MAX").encode(sink);
            sink.put(value);
        }
    }

    fn restore(reader: &mut Reader) -> Result<Self, WireError> {
        let mut store = Self { revision: reader.u64()?, ..Self::default() };
        let mut last: Option<Box<[u8]>> = None;
        for _ in 0..reader.u64()? {
            let key = restore_key(reader)?;
            if last.is_some_and(|last| last >= key) {
                return Err(WireError::Invalid { what: "order of keys", value: store.values.len() as u64 });
            }
            store.restore_entry(key.clone(), reader)?;
            last = Some(key);
        }
        Ok(store)
    }
}

/// A command that changed nothing, and the status that says why.
struct Refused(u8);

impl Kv {
    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn get(&self, key: &[u8]) -> Value<'_> {
        match self.values.get(key) {
            Some(value) => Value { status: FOUND, bytes: Cow::Borrowed(value) },
            None => Value::of(ABSENT),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<Outcome, Refused> {
        check_lengths(key, value.len())?;
        match self.values.get_mut(key) {
            Some(old) => {
                self.weight_bytes = grown(self.weight_bytes - old.len(), value.len())?;
                overwrite(old, value);
            }
            None => self.insert(key, value)?,
        }
        Ok(self.changed(STORED))
    }

    fn delete(&mut self, key: &[u8]) -> Outcome {
        let Some(value) = self.values.remove(key) else { return Outcome::of(ABSENT) };
        self.weight_bytes -= weight_bytes(key, &value);
        self.changed(DELETED)
    }

    fn compare_and_set(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<Outcome, Refused> {
        if self.values.get(key).map(Vec::as_slice) != expected {
            return Err(Refused(MISMATCH));
        }
        let stored = self.put(key, value)?;
        Ok(Outcome { status: SWAPPED, ..stored })
    }

    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<Outcome, Refused> {
        let old = self.values.get_mut(key);
        let len = old.as_ref().map_or(0, |old| old.len()) + value.len();
        check_lengths(key, len)?;
        match old {
            Some(old) => {
                self.weight_bytes = grown(self.weight_bytes, value.len())?;
                old.extend_from_slice(value);
            }
            None => self.insert(key, value)?,
        }
        Ok(Outcome { number: len as u64, ..self.changed(APPENDED) })
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.weight_bytes = grown(self.weight_bytes, weight_bytes(key, value))?;
        self.values.insert(key.into(), value.to_vec());
        Ok(())
    }

    fn changed(&mut self, status: u8) -> Outcome {
        self.revision += 1;
        Outcome { status, number: self.revision }
    }

    fn restore_entry(&mut self, key: Box<[u8]>, reader: &mut Reader) -> Result<(), WireError> {
        let value = reader.take_bytes("value", VALUE_BYTES_MAX)?;
        let bytes = self.weight_bytes + weight_bytes(&key, &value);
        if bytes > STORE_BYTES_MAX {
            return Err(WireError::TooLong { what: "store", bytes, limit_bytes: STORE_BYTES_MAX });
        }
        self.weight_bytes = bytes;
        self.values.insert(key, value.to_vec());
        Ok(())
    }
}

fn check_lengths(key: &[u8], value_bytes: usize) -> Result<(), Refused> {
    let fits = key.len() <= KEY_BYTES_MAX && value_bytes <= VALUE_BYTES_MAX;
    if fits { Ok(()) } else { Err(Refused(TOO_LARGE)) }
}

fn weight_bytes(key: &[u8], value: &[u8]) -> usize {
    ENTRY_BYTES + key.len() + value.len()
}

fn grown(weight_bytes: usize, by: usize) -> Result<usize, Refused> {
    let weight_bytes = weight_bytes + by;
    if weight_bytes <= STORE_BYTES_MAX { Ok(weight_bytes) } else { Err(Refused(FULL)) }
}

/// A value of the same length takes the old one's place; another gets memory of its own, so that none holds more than its
/// weight for what it once was.
fn overwrite(old: &mut Vec<u8>, value: &[u8]) {
    if old.len() == value.len() {
        old.copy_from_slice(value);
    } else {
        *old = value.to_vec();
    }
}

fn restore_key(reader: &mut Reader) -> Result<Box<[u8]>, WireError> {
    let bytes = usize::from(reader.u16()?);
    if bytes > KEY_BYTES_MAX {
        return Err(WireError::TooLong { what: "key", bytes, limit_bytes: KEY_BYTES_MAX });
    }
    Ok(reader.take(bytes)?.as_ref().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(store: &mut Kv, command: Command<'_>) -> (u8, u64) {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        let outcome = store.apply(&bytes);
        (outcome.status, outcome.number)
    }

    fn get(store: &Kv, key: &[u8]) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        Command::Get { key }.encode(&mut bytes);
        let value = store.query(&bytes);
        (value.status, value.bytes.into_owned())
    }

    #[test]
    fn each_command_does_what_its_name_says() {
        let mut store = Kv::default();
        assert_eq!(get(&store, b"a"), (ABSENT, vec![]));
        assert_eq!(run(&mut store, Command::Delete { key: b"a" }), (ABSENT, 0));
        assert_eq!(run(&mut store, Command::Put { key: b"a", value: b"one" }), (STORED, 1));
        assert_eq!(get(&store, b"a"), (FOUND, b"one".to_vec()));
        assert_eq!(run(&mut store, Command::Put { key: b"a", value: b"two" }), (STORED, 2));
        assert_eq!(run(&mut store, Command::Append { key: b"a", value: b"fold" }), (APPENDED, 7));
        assert_eq!(get(&store, b"a"), (FOUND, b"twofold".to_vec()));
        assert_eq!(run(&mut store, Command::Append { key: b"b", value: b"" }), (APPENDED, 0));
        assert_eq!(get(&store, b"b"), (FOUND, vec![]));
        assert_eq!(run(&mut store, Command::Delete { key: b"a" }), (DELETED, 5));
        assert_eq!(get(&store, b"a"), (ABSENT, vec![]));
    }

    #[test]
    fn a_compare_and_set_tells_an_absent_value_from_an_empty_one() {
        let swap = |expected, value| Command::CompareAndSet { key: b"k", expected, value };
        let mut store = Kv::default();
        assert_eq!(run(&mut store, swap(Some(b""), b"x")), (MISMATCH, 0));
        assert_eq!(run(&mut store, swap(None, b"")), (SWAPPED, 1));
        assert_eq!(run(&mut store, swap(None, b"x")), (MISMATCH, 0));
        assert_eq!(run(&mut store, swap(Some(b""), b"x")), (SWAPPED, 2));
        assert_eq!(run(&mut store, swap(Some(b"y"), b"z")), (MISMATCH, 0));
        assert_eq!(get(&store, b"k"), (FOUND, b"x".to_vec()));
    }

    #[test]
    fn what_is_too_large_is_refused_and_changes_nothing() {
        let (key, value) = (vec![b'k'; KEY_BYTES_MAX], vec![b'v'; VALUE_BYTES_MAX]);
        let (long_key, long_value) = ([&key[..], b"k"].concat(), [&value[..], b"v"].concat());
        let mut store = Kv::default();
        assert_eq!(run(&mut store, Command::Put { key: &long_key, value: b"" }), (TOO_LARGE, 0));
        assert_eq!(run(&mut store, Command::Append { key: &long_key, value: b"" }), (TOO_LARGE, 0));
        assert_eq!(run(&mut store, Command::Put { key: &key, value: &long_value }), (TOO_LARGE, 0));
        let swap = Command::CompareAndSet { key: &key, expected: None, value: &long_value };
        assert_eq!(run(&mut store, swap), (TOO_LARGE, 0));
        assert_eq!(store, Kv::default());
        assert_eq!(run(&mut store, Command::Put { key: &key, value: &value }), (STORED, 1));
        assert_eq!(run(&mut store, Command::Append { key: &key, value: b"v" }), (TOO_LARGE, 0));
        assert_eq!(get(&store, &key), (FOUND, value));
        assert_eq!(get(&store, &long_key), (ABSENT, vec![]));
    }

    #[test]
    fn a_full_store_says_so_until_something_is_deleted() {
        let mut store = Kv { weight_bytes: STORE_BYTES_MAX - ENTRY_BYTES - 2, ..Kv::default() };
        assert_eq!(run(&mut store, Command::Put { key: b"k", value: b"xy" }), (FULL, 0));
        assert_eq!(run(&mut store, Command::Put { key: b"k", value: b"x" }), (STORED, 1));
        assert_eq!(run(&mut store, Command::Append { key: b"k", value: b"y" }), (FULL, 0));
        assert_eq!(run(&mut store, Command::Put { key: b"k", value: b"xy" }), (FULL, 0));
        assert_eq!(run(&mut store, Command::Put { key: b"k", value: b"z" }), (STORED, 2));
        assert_eq!(run(&mut store, Command::Put { key: b"", value: b"" }), (FULL, 0));
        assert_eq!(run(&mut store, Command::Delete { key: b"k" }), (DELETED, 3));
        assert_eq!(run(&mut store, Command::Put { key: b"", value: b"xy" }), (STORED, 4));
    }

    #[test]
    fn a_read_in_the_log_and_a_write_as_a_query_are_malformed() {
        let mut store = Kv::default();
        assert_eq!(run(&mut store, Command::Get { key: b"k" }), (Outcome::MALFORMED, 0));
        let mut put = Vec::new();
        Command::Put { key: b"k", value: b"v" }.encode(&mut put);
        assert_eq!(store.query(&put), Value::MALFORMED);
        assert_eq!(store, Kv::default());
    }

    #[test]
    fn an_image_out_of_order_or_past_a_limit_is_refused() {
        let restore = |entries: &[(&[u8], usize)]| {
            let mut image = vec![0; 8];
            image.extend((entries.len() as u64).to_le_bytes());
            for (key, value_bytes) in entries {
                image.extend((key.len() as u16).to_le_bytes());
                image.extend(*key);
                image.extend((*value_bytes as u32).to_le_bytes());
                image.extend(vec![0; *value_bytes]);
            }
            Kv::restore(&mut Reader::new(image.into()))
        };
        assert_eq!(restore(&[(b"a", 1), (b"b", 2)]).map(|store| store.len()), Ok(2));
        assert!(matches!(restore(&[(b"b", 1), (b"a", 1)]), Err(WireError::Invalid { .. })));
        assert!(matches!(restore(&[(b"a", 1), (b"a", 1)]), Err(WireError::Invalid { .. })));
        assert!(matches!(restore(&[(&[0; KEY_BYTES_MAX + 1], 1)]), Err(WireError::TooLong { .. })));
        assert!(matches!(restore(&[(b"a", VALUE_BYTES_MAX + 1)]), Err(WireError::TooLong { .. })));
    }
}
