//! One writer's entries, by key and by version.

use std::collections::BTreeMap;

use bytes::Bytes;
use qlab_kernel::mutant;

use super::{Delta, Entry};
use crate::Actor;
use crate::digest::Summary;
use crate::key::{Key, Kind};
use crate::message::encoded_bytes;

/// What one writer wrote, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    forgotten: u64,
    version: u64,
    /// The sum of what stands for the versions in `entries`.
    fingerprint: u64,
    entries: BTreeMap<u64, Entry>,
    /// Where each key's newest entry is.
    versions: BTreeMap<Key, u64>,
}

impl Lineage {
    pub(super) const fn summary(&self, origin: Actor) -> Summary {
        let Self { forgotten, version, fingerprint, .. } = *self;
        Summary { origin, forgotten, version, fingerprint }
    }

    pub(super) fn value(&self, key: &Key) -> Option<&Bytes> {
        self.entries[self.versions.get(key)?].value.as_ref()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Adds the next entry. Answers the bytes set free.
    pub(super) fn put(&mut self, entry: Entry) -> usize {
        assert!(entry.version > self.version, "entries come in the order of their versions");
        self.version = entry.version;
        if self.is_newer(&entry) { self.hold(entry) } else { entry.memory_bytes() }
    }

    /// Whether an entry that does not follow is missing here all the same. Shares of objects are never deleted. Of a writer's own
    /// bytes that are gone it is not known any more whether they were, and those that lie ahead may have been since.
    pub(super) fn misses(&self, entry: &Entry) -> bool {
        let may_be_deleted = entry.version <= self.forgotten || entry.version > self.version;
        self.is_newer(entry) && (entry.key.kind != Kind::Own || !may_be_deleted)
    }

    fn is_newer(&self, entry: &Entry) -> bool {
        self.versions.get(&entry.key).is_none_or(|held| *held < entry.version)
    }

    /// Holds an entry in place of any other of its key. Answers the bytes set free.
    pub(super) fn hold(&mut self, entry: Entry) -> usize {
        let replaced = self.versions.get(&entry.key).copied();
        let freed = replaced.map_or(0, |version| self.remove(version));
        self.fingerprint = self.fingerprint.wrapping_add(stands_for(entry.version));
        self.versions.insert(entry.key.clone(), entry.version);
        self.entries.insert(entry.version, entry);
        freed
    }

    /// Drops bytes that somebody who knows as much does not hold: they were deleted, and the deletion is forgotten. Answers the
    /// bytes set free.
    pub(super) fn drop_deleted(&mut self, delta: &Delta) -> usize {
        // What these bugs let in would be driven out again here, and nobody would notice them.
        mutant!("gossip: what was deleted and forgotten comes back", { return 0 });
        mutant!("gossip: whoever begins anew listens to those who forgot less", { return 0 });
        let last = delta.version.min(self.forgotten);
        if delta.after >= last {
            return 0;
        }
        let is_listed = |version: u64| delta.entries.iter().any(|entry| entry.version == version);
        let held = self.entries.range(delta.after + 1..=last);
        let deleted = held.filter(|(version, entry)| entry.key.kind == Kind::Own && !is_listed(**version));
        let deleted: Vec<u64> = deleted.map(|(version, _)| *version).collect();
        deleted.into_iter().map(|version| self.remove(version)).sum()
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

    /// Deletions up to `forgotten` may have been missed: forgets everything that can be deleted. Shares of objects stay, ahead of
    /// what is known from now on. Answers the bytes set free.
    pub(super) fn begin_anew(&mut self, forgotten: u64) -> usize {
        let own = self.entries.iter().filter(|(_, entry)| entry.key.kind == Kind::Own);
        let own: Vec<u64> = own.map(|(version, _)| *version).collect();
        let freed = own.into_iter().map(|version| self.remove(version)).sum();
        (self.forgotten, self.version) = (forgotten, 0);
        freed
    }

    /// What somebody who knows `theirs` lacks, as far as the entries fit into `bytes_max`.
    pub(super) fn delta_for(&self, theirs: &Summary, bytes_max: usize) -> Option<Delta> {
        let ours = self.summary(theirs.origin);
        if !ours.has_news_for(theirs) {
            return None;
        }
        let after = if ours.forgets_what_misses(theirs) { 0 } else { theirs.version };
        let (origin, version) = (theirs.origin, after.max(self.version));
        let nothing = Delta { origin, forgotten: self.forgotten, after, version, entries: Vec::new() };
        let known = self.entries.range(after + 1..).take_while(|(at, _)| **at <= version);
        let delta = fill(nothing, known, bytes_max);
        // A beginning without entries would throw away what the receiver has and give nothing.
        let useful = !delta.entries.is_empty() || delta.version == after.max(self.version);
        useful.then_some(delta)
    }

    /// What is held here in a stretch of versions that `salt` chooses, as far as it fits into `bytes_max`: all of it, so that
    /// whoever knows as much sees what else it holds.
    pub(super) fn stretch(&self, origin: Actor, salt: u64, bytes_max: usize) -> Delta {
        let first = salt.checked_rem(self.entries.len() as u64).unwrap_or_default() as usize;
        let before = first.checked_sub(1).and_then(|at| self.entries.keys().nth(at));
        let before = before.copied().unwrap_or_default();
        let after = before.min(self.version);
        let delta =
            Delta { origin, forgotten: self.forgotten, after, version: self.version, entries: Vec::new() };
        fill(delta, self.entries.range(before + 1..), bytes_max)
    }

    fn remove(&mut self, version: u64) -> usize {
        let entry = self.entries.remove(&version).expect("it was found there");
        self.fingerprint = self.fingerprint.wrapping_sub(stands_for(version));
        self.versions.remove(&entry.key);
        entry.memory_bytes()
    }

    /// Panics if the two maps differ. Answers the bytes held.
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.entries.len(), self.versions.len(), "a key has one entry");
        let sum = self.entries.keys().fold(0_u64, |sum, version| sum.wrapping_add(stands_for(*version)));
        assert_eq!(sum, self.fingerprint, "the fingerprint is that of the entries");
        let ahead = self.entries.range(self.version + 1..);
        let own = ahead.filter(|(_, entry)| entry.key.kind == Kind::Own).count();
        assert_eq!(own, 0, "what can be deleted never lies past version {}", self.version);
        self.entries.values().map(Entry::memory_bytes).sum()
    }
}

/// Adds these entries to a delta, as far as they fit.
fn fill<'a>(
    mut delta: Delta,
    entries: impl Iterator<Item = (&'a u64, &'a Entry)>,
    bytes_max: usize,
) -> Delta {
    let mut left = bytes_max;
    for (_, entry) in entries {
        let bytes = encoded_bytes(entry);
        if bytes > left {
            let last = delta.entries.last().map_or(delta.after, |last| last.version);
            delta.version = delta.version.min(last);
            break;
        }
        left -= bytes;
        delta.entries.push(entry.clone());
    }
    delta
}

/// A version as a number in which every bit depends on all of its own (the finaliser of SplitMix64; Steele, Lea, Flood, 2014).
const fn stands_for(version: u64) -> u64 {
    let mixed = (version ^ version >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
