//! What a node knows of what every writer wrote: Scuttlebutt's state (van Renesse, Dumitriu, Gough, Thomas, "Efficient
//! reconciliation and flow control for anti-entropy protocols", 2008), with deletion.
//!
//! A writer numbers its entries, and only the newest entry of a key counts. Entries travel in the order of their versions, so two
//! numbers say all that is known of a writer: everything up to `version`, and forgotten are the deletions up to `forgotten`.
//! Whoever missed a deletion that the sender has forgotten begins that writer anew; so (`forgotten`, `version`) never goes back in
//! lexicographic order, though `version` may (S3), and what was deleted never comes back (C6).
//!
//! An entry that a later one replaced is told no more. So whoever was told a part of what there is may hold, of some keys, an older
//! entry than others who know as much, until it hears the rest; and if the writer and all who knew the rest are gone, it never
//! does. Therefore summaries carry a fingerprint, and those who know the same but hold other entries amend each other: the newer
//! entry of a key counts, and none if it may have been deleted.

mod lineage;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use qlab_kernel::wire::put_bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use crate::Actor;
use crate::digest::{Digest, Summary};
use crate::key::Key;
use crate::message::encoded_bytes;
use lineage::Lineage;

/// Bytes that an entry takes in memory besides its key and value: two trees' nodes, roughly.
pub const ENTRY_OVERHEAD_BYTES: usize = 128;

/// A key's newest value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number among its writer's, from 1.
    pub version: u64,
    /// What it is called.
    pub key: Key,
    /// `None` if it was deleted.
    pub value: Option<Bytes>,
}

impl Entry {
    fn memory_bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.key.name.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

impl Wire for Entry {
    fn encode(&self, sink: &mut impl Sink) {
        self.version.encode(sink);
        self.key.encode(sink);
        self.value.is_some().encode(sink);
        if let Some(value) = &self.value {
            put_bytes(sink, value);
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let version = reader.u64()?;
        if version == 0 {
            return Err(WireError::Invalid { what: "version", value: 0 });
        }
        let key = Key::decode(reader)?;
        let present = reader.bool("presence of a value")?;
        let value = if present { Some(reader.take_bytes("value", VALUE_BYTES_MAX)?) } else { None };
        Ok(Self { version, key, value })
    }
}

/// Writers of whom a node keeps anything: every life of every node is one.
pub const WRITERS_MAX: usize = 1 << 16;
/// Bytes of a value that any configuration lets through.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// One writer's entries with versions after `after` and up to `version`, all of them, and perhaps some shares of objects beyond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Whose.
    pub origin: Actor,
    /// The sender has forgotten the deletions up to this version.
    pub forgotten: u64,
    /// What the receiver must know already.
    pub after: u64,
    /// What it knows then.
    pub version: u64,
    /// In the order of their versions.
    pub entries: Vec<Entry>,
}

/// Bytes of a delta without entries.
pub const DELTA_HEADER_BYTES: usize = 6 + 3 * 8 + 4;

/// All writers' entries, within a bound.
#[derive(Debug)]
pub struct Store {
    lineages: BTreeMap<Actor, Lineage>,
    bytes: usize,
    bytes_max: usize,
}

impl Store {
    /// An empty store of at most `bytes_max` bytes, overhead included.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { lineages: BTreeMap::new(), bytes: 0, bytes_max }
    }

    /// Bytes in memory, overhead included.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The writers of whom something is known.
    #[must_use]
    pub fn writers(&self) -> usize {
        self.lineages.len()
    }

    /// What is known of every writer.
    pub fn summaries(&self) -> impl Iterator<Item = Summary> {
        self.lineages.iter().map(|(origin, lineage)| lineage.summary(*origin))
    }

    /// What is known of a writer.
    #[must_use]
    pub fn summary(&self, origin: Actor) -> Summary {
        self.lineages.get(&origin).map_or(Summary::nothing(origin), |lineage| lineage.summary(origin))
    }

    /// A key's value in a writer's own words, if it has one.
    #[must_use]
    pub fn value(&self, origin: Actor, key: &Key) -> Option<&Bytes> {
        self.lineages.get(&origin)?.value(key)
    }

    /// Everything that is held: each writer's entries in the order of their versions.
    pub fn entries(&self) -> impl Iterator<Item = (Actor, &Entry)> {
        self.lineages.iter().flat_map(|(origin, lineage)| lineage.entries().map(|entry| (*origin, entry)))
    }

    /// The writer itself writes, or deletes with `None`. Its version; `None` if the store is full.
    pub fn write(&mut self, me: Actor, key: Key, value: Option<Bytes>) -> Option<u64> {
        let version = self.summary(me).version + 1;
        self.put(me, Entry { version, key, value }).then_some(version)
    }

    /// The writer itself forgets its deletions up to `version`.
    pub fn forget(&mut self, me: Actor, version: u64) {
        if let Some(lineage) = self.lineages.get_mut(&me) {
            self.bytes -= lineage.forget(version);
        }
    }

    /// What is known of up to `writers_max` writers from `from` on.
    #[must_use]
    pub fn digest(&self, from: Actor, writers_max: usize) -> Digest {
        let mut rest = self.lineages.range(from..);
        let summaries = rest.by_ref().take(writers_max).map(|(origin, lineage)| lineage.summary(*origin));
        Digest { from, summaries: summaries.collect(), until: rest.next().map(|(origin, _)| *origin) }
    }

    /// Of which writers in the digest more or something else is known here, and how much its sender knows of them.
    #[must_use]
    pub fn news_for(&self, digest: &Digest) -> Vec<Summary> {
        let until = digest.until.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.lineages.range((Bound::Included(digest.from), until));
        let theirs = known.map(|(origin, lineage)| (digest.summary(*origin), lineage.summary(*origin)));
        let helps =
            |(theirs, ours): &(Summary, Summary)| ours.has_news_for(theirs) || ours.differs_from(theirs);
        theirs.filter(helps).map(|(theirs, _)| theirs).collect()
    }

    /// Of which writers in the digest its sender knows more or something else, and how much is known of them here.
    #[must_use]
    pub fn wanted_of(&self, digest: &Digest) -> Vec<Summary> {
        let pairs = digest.summaries.iter().map(|theirs| (theirs, self.summary(theirs.origin)));
        let helps =
            |(theirs, ours): &(&Summary, Summary)| theirs.has_news_for(ours) || theirs.differs_from(ours);
        pairs.filter(helps).map(|(_, ours)| ours).collect()
    }

    /// What those who know `theirs` lack, in at most `bytes_max` bytes: writer by writer, each in the order of its versions. Of
    /// writers of whom they know the same but hold something else, a stretch that `salt` chooses.
    #[must_use]
    pub fn deltas(&self, theirs: &[Summary], salt: u64, bytes_max: usize) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let mut left = bytes_max;
        for summary in theirs {
            if left < DELTA_HEADER_BYTES {
                break;
            }
            let Some(lineage) = self.lineages.get(&summary.origin) else { continue };
            let room = left - DELTA_HEADER_BYTES;
            let delta = if lineage.summary(summary.origin).differs_from(summary) {
                Some(lineage.stretch(summary.origin, salt, room))
            } else {
                lineage.delta_for(summary, room)
            };
            if let Some(delta) = delta {
                left -= DELTA_HEADER_BYTES + delta.entries.iter().map(encoded_bytes).sum::<usize>();
                deltas.push(delta);
            }
        }
        deltas
    }

    /// Takes in what follows on what is known or amends it, and nothing else. Answers the entries that are new, in order.
    pub fn apply(&mut self, delta: Delta) -> Vec<Entry> {
        let ours = self.summary(delta.origin);
        let Some(begins_anew) = ours.accepts(&delta) else { return Vec::new() };
        if !self.lineages.contains_key(&delta.origin) && self.lineages.len() >= WRITERS_MAX {
            return Vec::new();
        }
        let lineage = self.lineages.entry(delta.origin).or_default();
        if begins_anew {
            self.bytes -= lineage.begin_anew(delta.forgotten);
        }
        let origin = delta.origin;
        let (mut fresh, all) = self.append(&delta);
        if all {
            let lineage = self.lineages.get_mut(&origin).expect("it was made above");
            lineage.advance(delta.version);
            self.bytes -= lineage.forget(delta.forgotten);
        }
        self.amend(&delta, &mut fresh);
        let now = self.summary(origin);
        assert!(
            (now.forgotten, now.version) >= (ours.forgotten, ours.version),
            "S3: what is known of {origin} went back from {ours:?} to {now:?}"
        );
        fresh
    }

    /// Compares with what somebody holds who has forgotten the same, and adds the entries that are new to `fresh`.
    fn amend(&mut self, delta: &Delta, fresh: &mut Vec<Entry>) {
        let lineage = self.lineages.get_mut(&delta.origin).expect("who accepts a delta knows its writer");
        if lineage.summary(delta.origin).forgotten != delta.forgotten {
            return;
        }
        self.bytes -= lineage.drop_deleted(delta);
        for entry in &delta.entries {
            if lineage.misses(entry) && self.bytes + entry.memory_bytes() <= self.bytes_max {
                self.bytes += entry.memory_bytes();
                self.bytes -= lineage.hold(entry.clone());
                fresh.push(entry.clone());
            }
        }
    }

    /// Adds the entries that are new, and says whether all found room: what was taken in is a prefix in any case.
    fn append(&mut self, delta: &Delta) -> (Vec<Entry>, bool) {
        let known = self.summary(delta.origin).version;
        let mut fresh = Vec::new();
        let follows = |entry: &Entry| (known + 1..=delta.version).contains(&entry.version);
        for entry in delta.entries.iter().filter(|entry| follows(entry)) {
            if !self.put(delta.origin, entry.clone()) {
                return (fresh, false);
            }
            fresh.push(entry.clone());
        }
        (fresh, true)
    }

    fn put(&mut self, origin: Actor, entry: Entry) -> bool {
        if self.bytes + entry.memory_bytes() > self.bytes_max {
            return false;
        }
        self.bytes += entry.memory_bytes();
        self.bytes -= self.lineages.entry(origin).or_default().put(entry);
        true
    }

    /// Panics if the books do not balance.
    pub fn check(&self) {
        let bytes: usize = self.lineages.values().map(Lineage::check).sum();
        assert_eq!(bytes, self.bytes, "the store lost count of its bytes");
        assert!(self.bytes <= self.bytes_max, "the store holds {} bytes of {}", self.bytes, self.bytes_max);
    }
}

impl Wire for Delta {
    fn encode(&self, sink: &mut impl Sink) {
        self.origin.encode(sink);
        for version in [self.forgotten, self.after, self.version] {
            version.encode(sink);
        }
        u32::try_from(self.entries.len()).expect("messages are far below 2^32 entries").encode(sink);
        for entry in &self.entries {
            entry.encode(sink);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let origin = Actor::decode(reader)?;
        let (forgotten, after, version) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let count = reader.u32()?;
        let mut entries = Vec::new();
        let mut last = after;
        for _ in 0..count {
            let entry = Entry::decode(reader)?;
            if entry.version <= last {
                return Err(WireError::Invalid { what: "order of versions", value: entry.version });
            }
            last = entry.version;
            entries.push(entry);
        }
        if version < after {
            return Err(WireError::Invalid { what: "version of a delta", value: version });
        }
        Ok(Self { origin, forgotten, after, version, entries })
    }
}
