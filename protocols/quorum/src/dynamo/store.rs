//! What a replica holds under every key, and what that comes to.

use std::collections::HashMap;

use bytes::Bytes;
use qlab_kernel::{Lsn, NodeId, NodeSet};

use super::content::{State, values_bytes};
use super::digest::{Digest, Tree};
use super::ring::{BUCKETS, Place, Ring};

/// What a key weighs besides itself and its values: about its share of the tables.
const ENTRY_BYTES: usize = 320;

/// One key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Bytes,
    pub(crate) place: Place,
    pub(crate) state: State,
    pub(crate) digest: Digest,
    /// The record that holds it.
    pub(crate) lsn: Lsn,
    /// Who may not hold all of this: they are told until they say that they do.
    pub(crate) owed: NodeSet,
    /// The round in which they are told. Another one with each change, so that nobody's word for less is taken for this.
    pub(crate) round: u64,
    /// Whether it waits among the debts.
    pub(crate) is_lent: bool,
}

impl Entry {
    fn weight_bytes(&self) -> usize {
        ENTRY_BYTES + self.key.len() + values_bytes(&self.state)
    }
}

/// All keys.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    ring: Ring,
    // Keys are chosen by clients, so the map hashes them with a key of its own; it is asked, never walked.
    slots: HashMap<Bytes, usize>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    /// By range; those whose home this is.
    ranges: Vec<Option<Range>>,
    weight_bytes: usize,
}

/// The keys of a range.
#[derive(Clone, Debug)]
struct Range {
    tree: Tree,
    /// Their slots, by bucket.
    buckets: Vec<Vec<usize>>,
}

impl Default for Range {
    fn default() -> Self {
        Self { tree: Tree::default(), buckets: vec![Vec::new(); BUCKETS] }
    }
}

impl Store {
    pub(crate) fn new(ring: Ring, me: NodeId) -> Self {
        let is_home = |range: usize| ring.homes(range as u16).contains(me);
        Self {
            ring,
            slots: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            ranges: (0..ring.ranges()).map(|range| is_home(range).then(Range::default)).collect(),
            weight_bytes: 0,
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.slots.get(key).and_then(|slot| self.entries[*slot].as_ref())
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.slots.get(key).and_then(|slot| self.entries[*slot].as_mut())
    }

    /// Holds this, which the record `lsn` says.
    pub(crate) fn set(&mut self, key: &[u8], state: State, lsn: Lsn) {
        let slot = match self.slots.get(key) {
            Some(slot) => *slot,
            None => self.add(key),
        };
        let entry = self.entries[slot].as_mut().expect("slots name entries");
        self.weight_bytes -= entry.weight_bytes();
        let before = entry.digest.in_tree(&entry.state);
        (entry.state, entry.lsn) = (state, lsn);
        entry.digest = Digest::of(&entry.key, &entry.state);
        let after = entry.digest.in_tree(&entry.state);
        self.weight_bytes += entry.weight_bytes();
        if let Some(range) = &mut self.ranges[usize::from(entry.place.range)] {
            range.tree.toggle(entry.place.bucket, before);
            range.tree.toggle(entry.place.bucket, after);
        }
    }

    /// Forgets a key.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        let Some(slot) = self.slots.remove(key) else { return };
        let Some(entry) = self.entries[slot].take() else { return };
        self.weight_bytes -= entry.weight_bytes();
        self.free.push(slot);
        if let Some(range) = &mut self.ranges[usize::from(entry.place.range)] {
            range.tree.toggle(entry.place.bucket, entry.digest.in_tree(&entry.state));
            range.buckets[usize::from(entry.place.bucket)].retain(|other| *other != slot);
        }
    }

    /// The tree of a range whose home this is.
    pub(crate) fn tree(&self, range: u16) -> Option<&Tree> {
        self.ranges.get(usize::from(range))?.as_ref().map(|range| &range.tree)
    }

    /// The keys of a bucket of a range whose home this is.
    pub(crate) fn bucket(&self, range: u16, bucket: u16) -> impl Iterator<Item = &Entry> {
        let range = self.ranges.get(usize::from(range)).and_then(Option::as_ref);
        let slots = range.and_then(|range| range.buckets.get(usize::from(bucket)));
        slots.into_iter().flatten().filter_map(|slot| self.entries[*slot].as_ref())
    }

    /// What all of it weighs, in bytes.
    pub(crate) const fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Slots in use or free again.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The slots from one on.
    pub(crate) fn from(&self, slot: usize) -> &[Option<Entry>] {
        &self.entries[slot..]
    }

    /// All keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    fn add(&mut self, key: &[u8]) -> usize {
        let (key, place) = (Bytes::copy_from_slice(key), self.ring.place(key));
        let entry = Entry {
            key: key.clone(),
            place,
            state: State::default(),
            digest: Digest::default(),
            lsn: Lsn::ZERO,
            owed: NodeSet::EMPTY,
            round: 0,
            is_lent: false,
        };
        self.weight_bytes += entry.weight_bytes();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[slot] = Some(entry);
        self.slots.insert(key, slot);
        if let Some(range) = &mut self.ranges[usize::from(place.range)] {
            range.buckets[usize::from(place.bucket)].push(slot);
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::Content;
    use super::*;
    use qlab_kernel::Time;

    fn written(state: &State, value: Option<&'static [u8]>) -> State {
        let mut state = state.clone();
        let content = Content { written_at: Time(1), value: value.map(Bytes::from_static) };
        let read = state.context().clone();
        state.write(NodeId(0), &read, content).unwrap();
        state
    }

    #[test]
    fn what_is_forgotten_leaves_no_trace_and_deletions_are_in_no_tree() {
        let ring = Ring::new(3, 3);
        let mut store = Store::new(ring, NodeId(0));
        let range = ring.place(b"key").range;
        let root = |store: &Store| store.tree(range).unwrap().root();
        let one = written(&State::default(), Some(b"one"));
        store.set(b"key", one.clone(), Lsn(1));
        let with_one = root(&store);
        assert_ne!(with_one, Digest::default());
        assert_eq!(store.weight_bytes(), ENTRY_BYTES + 6);
        store.set(b"key", written(&one, None), Lsn(2));
        assert_eq!(root(&store), Digest::default());
        assert_eq!(store.bucket(range, ring.place(b"key").bucket).count(), 1);
        store.set(b"key", one, Lsn(3));
        assert_eq!(root(&store), with_one);
        store.remove(b"key");
        assert_eq!((root(&store), store.weight_bytes(), store.iter().count()), (Digest::default(), 0, 0));
        store.set(b"other", State::default(), Lsn(4));
        assert_eq!(store.len(), 1, "its slot is used again");
    }

    #[test]
    fn who_stands_in_has_no_tree() {
        let ring = Ring::new(5, 3);
        let store = Store::new(ring, NodeId(4));
        let homes = (0..5).filter(|range| store.tree(*range).is_some()).count();
        assert_eq!(homes, 3);
    }
}
