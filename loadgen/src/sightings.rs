//! What was seen when: every value that a read found, and what the author of each write had read, for the judges of stores that are not
//! linearizable.
//!
//! Such stores show several values of a key side by side, and take with each write a context of the last read, which says what it
//! replaces ([`envelope`](qlab_quorum::dynamo::envelope)). A generator hands on the context of its own last read of the key, in
//! whichever session that was: it is one application.

use std::collections::HashMap;

use bytes::Bytes;
use qlab_quorum::dynamo::envelope::{Reading, put_update};

use crate::history::FOREIGN;
use crate::values::value_id;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The key's number.
    pub key: u32,
    /// When it was first sent.
    pub sent_ns: u64,
    first: usize,
    count: usize,
}

/// Every read, and the one that each write follows.
#[derive(Debug, Default)]
pub struct Sightings {
    reads: Vec<Sighting>,
    values: Vec<u64>,
    /// By the id of the value written.
    writes: Vec<(u64, usize)>,
}

impl Sightings {
    /// Notes what a read found; its number, from 0.
    pub fn saw(&mut self, key: u32, sent_ns: u64, values: impl Iterator<Item = u64>) -> usize {
        let first = self.values.len();
        self.values.extend(values);
        self.reads.push(Sighting { key, sent_ns, first, count: self.values.len() - first });
        self.reads.len() - 1
    }

    /// Notes that a value was written by someone who had read what the read of this number found.
    pub fn wrote(&mut self, value: u64, read: usize) {
        self.writes.push((value, read));
    }

    /// Every read, in the order in which they were answered.
    #[must_use]
    pub fn reads(&self) -> &[Sighting] {
        &self.reads
    }

    /// The ids of the values that a read found; [`FOREIGN`] for what no generator wrote.
    #[must_use]
    pub fn values(&self, read: &Sighting) -> &[u64] {
        &self.values[read.first..read.first + read.count]
    }

    /// Values that were written, each with what its author had read: the value replaces that. A write that was sent twice may be here
    /// twice; those by authors who had read nothing are not.
    pub fn writes(&self) -> impl Iterator<Item = (u64, &[u64])> {
        self.writes.iter().map(|(value, read)| (*value, self.values(&self.reads[*read])))
    }
}

/// What a generator has read.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    last: HashMap<u32, (Bytes, usize)>,
    sightings: Sightings,
}

impl Contexts {
    /// Keeps what a read found; the id of one of the values, if there are any. `None` if it cannot be read.
    pub(crate) fn found(&mut self, key: u32, sent_ns: u64, bytes: &[u8]) -> Option<Option<u64>> {
        let Reading { context, values } = Reading::decode(Bytes::copy_from_slice(bytes)).ok()?;
        let ids = values.iter().map(|value| value_id(value).unwrap_or(FOREIGN));
        let read = self.sightings.saw(key, sent_ns, ids);
        // A copy: the frame must not live as long as the context.
        self.last.insert(key, (Bytes::copy_from_slice(&context), read));
        Some(self.sightings.values(&self.sightings.reads[read]).iter().copied().max())
    }

    /// Writes what a put carries: the value, and the context of the last read.
    pub(crate) fn update(&mut self, key: u32, id: u64, value: &[u8], bytes: &mut Vec<u8>) {
        let context = self.last.get(&key).map_or(&[][..], |(context, read)| {
            self.sightings.wrote(id, *read);
            context
        });
        put_update(bytes, context, Some(value));
    }

    pub(crate) fn into_sightings(self) -> Sightings {
        self.sightings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{ValueSizes, Values};

    fn value(id: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        Values::new(ValueSizes::fixed(16).unwrap(), 7).write(id, &mut bytes);
        bytes
    }

    fn reading(context: &[u8], ids: &[u64]) -> Vec<u8> {
        let mut bytes = vec![context.len() as u8, 0];
        bytes.extend_from_slice(context);
        for id in ids {
            bytes.extend_from_slice(&16_u32.to_le_bytes());
            bytes.extend_from_slice(&value(*id));
        }
        bytes
    }

    #[test]
    fn a_write_hands_on_the_context_of_the_last_read_of_its_key_and_replaces_what_that_found() {
        let mut contexts = Contexts::default();
        let mut bytes = Vec::new();
        contexts.update(1, 7, b"blind", &mut bytes);
        assert_eq!(bytes, b"\x01\0\0blind");
        assert_eq!(contexts.found(1, 10, &reading(b"old", &[7])), Some(Some(7)));
        assert_eq!(contexts.found(1, 20, &reading(b"new", &[8, 9])), Some(Some(9)));
        assert_eq!(contexts.found(2, 30, &reading(b"", &[])), Some(None));
        assert_eq!(contexts.found(2, 30, b"?"), None);
        bytes.clear();
        contexts.update(1, 11, b"value", &mut bytes);
        assert_eq!(bytes, b"\x01\x03\0newvalue");
        let sightings = contexts.into_sightings();
        assert_eq!(sightings.writes().collect::<Vec<_>>(), [(11, &[8, 9][..])]);
        assert_eq!(sightings.reads().len(), 3);
    }
}
