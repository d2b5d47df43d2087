//! One writer's entries, by key and by version.

use std::collections::BTreeMap;

use bytes::Bytes;
use qlab_kernel::mutant;

use super::{Delta, Entry};
use crate::Actor;
use crate::digest::Summary;
use crate::key::Key;
use crate::message::encoded_bytes;

/// What one writer wrote, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    forgotten: u64,
    version: u64,
    entries: BTreeMap<u64, Entry>,
    /// Where each key's newest entry is.
    versions: BTreeMap<Key, u64>,
}

impl Lineage {
    pub(super) const fn summary(&self, origin: Actor) -> Summary {
        Summary { origin, forgotten: self.forgotten, version: self.version }
    }

    pub(super) fn value(&self, key: &Key) -> Option<&Bytes> {
        self.entries[self.versions.get(key)?].value.as_ref()
    }

    /// Adds the next entry. Answers the bytes set free.
    pub(super) fn put(&mut self, entry: Entry) -> usize {
        assert!(entry.version > self.version, "entries come in the order of their versions");
        self.version = entry.version;
        let replaced = self.versions.insert(entry.key.clone(), entry.version);
        self.entries.insert(entry.version, entry);
        let replaced = replaced.and_then(|version| self.entries.remove(&version));
        replaced.map_or(0, |entry| entry.memory_bytes())
    }

    /// Everything up to `version` is known.
    pub(super) fn advance(&mut self, version: u64) {
        let known = self.version;
        self.version =
            mutant!(known.max(version), "gossip: a digest takes the lower version", known.min(version));
    }

    /// Drops the deletions up to `version`. Answers the bytes set free.
    pub(super) fn forget(&mut self, version: u64) -> usize {
        if version <= self.forgotten {
            return 0;
        }
        self.forgotten = version;
        let deleted = self.entries.range(..=version).filter(|(_, entry)| entry.value.is_none());
        let deleted: Vec<u64> = deleted.map(|(version, _)| *version).collect();
        deleted.into_iter().map(|version| self.remove(version)).sum()
    }

    /// Forgets everything: deletions up to `forgotten` may have been missed. Answers the bytes set free.
    pub(super) fn begin_anew(&mut self, forgotten: u64) -> usize {
        let freed = self.entries.values().map(Entry::memory_bytes).sum();
        *self = Self { forgotten, ..Self::default() };
        freed
    }

    /// What somebody who knows `theirs` lacks, as far as the entries fit into `bytes_max`.
    pub(super) fn delta_for(&self, theirs: &Summary, bytes_max: usize) -> Option<Delta> {
        let ours = self.summary(theirs.origin);
        if !ours.has_news_for(theirs) {
            return None;
        }
        let after = if ours.forgets_what_misses(theirs) { 0 } else { theirs.version };
        let mut delta = Delta {
            origin: theirs.origin,
            forgotten: self.forgotten,
            after,
            version: after.max(self.version),
            entries: Vec::new(),
        };
        let mut left = bytes_max;
        for entry in self.entries.range(after + 1..).map(|(_, entry)| entry) {
            let bytes = encoded_bytes(entry);
            if bytes > left {
                delta.version = delta.entries.last().map_or(after, |last| last.version);
                break;
            }
            left -= bytes;
            delta.entries.push(entry.clone());
        }
        // A beginning without entries would throw away what the receiver has and give nothing.
        let useful = !delta.entries.is_empty() || delta.version == after.max(self.version);
        useful.then_some(delta)
    }

    fn remove(&mut self, version: u64) -> usize {
        let entry = self.entries.remove(&version).expect("it was found there");
        self.versions.remove(&entry.key);
        entry.memory_bytes()
    }

    /// Panics if the two maps differ. Answers the bytes held.
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.entries.len(), self.versions.len(), "a key has one entry");
        if let Some((last, _)) = self.entries.last_key_value() {
            assert!(*last <= self.version, "entry {last} lies past version {}", self.version);
        }
        self.entries.values().map(Entry::memory_bytes).sum()
    }
}
