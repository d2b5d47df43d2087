//! Values that live as long as an event does: the core of the register that keeps concurrent writes and of the set whose
//! additions win.

use std::collections::BTreeMap;

use bytes::Bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError, mutant};

use super::canonical::{put_count, put_element, take_element, take_map};
use super::{Crdt, Dot, DotContext};
use crate::Actor;

/// Live dots with their values, and every dot ever seen. A dot that has been seen and does not live is dead for good: that
/// takes the place of tombstones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CausalStore {
    values: BTreeMap<Dot, Bytes>,
    /// The same, by value.
    dots: BTreeMap<Bytes, Vec<Dot>>,
    seen: DotContext,
}

impl CausalStore {
    /// The values that live, in order, each once.
    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.dots.keys()
    }

    /// Whether an event with this value lives.
    pub(super) fn contains(&self, value: &[u8]) -> bool {
        self.dots.contains_key(value)
    }

    /// The live dots of a value.
    pub(super) fn dots_of(&self, value: &[u8]) -> Vec<Dot> {
        self.dots.get(value).cloned().unwrap_or_default()
    }

    /// All live dots.
    pub(super) fn dots(&self) -> Vec<Dot> {
        self.values.keys().copied().collect()
    }

    /// The delta by which a new event of `actor` takes the place of those in `replaced`.
    pub(super) fn write(&self, actor: Actor, value: Bytes, replaced: Vec<Dot>) -> Self {
        let dot = self.seen.next_dot(actor);
        let mut delta = Self::end(replaced);
        delta.seen.insert(dot);
        delta.enliven(dot, value);
        delta
    }

    /// The delta by which those events are over.
    pub(super) fn end(ended: Vec<Dot>) -> Self {
        let mut delta = Self::default();
        for dot in ended {
            delta.seen.insert(dot);
        }
        delta
    }

    /// What has been seen.
    pub(super) const fn context(&self) -> &DotContext {
        &self.seen
    }

    fn enliven(&mut self, dot: Dot, value: Bytes) {
        let dots = self.dots.entry(value.clone()).or_default();
        let at = dots.partition_point(|other| *other < dot);
        dots.insert(at, dot);
        self.values.insert(dot, value);
    }

    fn kill(&mut self, dot: Dot) {
        let Some(value) = self.values.remove(&dot) else { return };
        let dots = self.dots.get_mut(&value).expect("both maps hold the same dots");
        dots.retain(|other| *other != dot);
        if dots.is_empty() {
            self.dots.remove(&value);
        }
    }

    /// What lives here and is dead there. Costs what `other` has seen of it, so that a small delta is cheap.
    fn dead_in(&self, other: &Self) -> Vec<Dot> {
        let covered = other.seen.spans().flat_map(|(first, last)| self.values.range(first..=last));
        covered.map(|(dot, _)| *dot).filter(|dot| !other.values.contains_key(dot)).collect()
    }
}

impl Crdt for CausalStore {
    fn merge(&mut self, other: &Self) {
        let dead = self.dead_in(other);
        for (dot, value) in &other.values {
            if !self.seen.contains(*dot) {
                self.enliven(*dot, value.clone());
            }
        }
        for dot in dead {
            mutant!("crdt: a removal takes concurrent additions along", {
                let value = self.values.get(&dot).cloned().unwrap_or_default();
                self.dots_of(&value).into_iter().for_each(|dot| self.kill(dot));
            });
            self.kill(dot);
        }
        self.seen.merge(&other.seen);
    }
}

impl Wire for CausalStore {
    fn encode(&self, sink: &mut impl Sink) {
        self.seen.encode(sink);
        put_count(sink, self.values.len());
        for (dot, value) in &self.values {
            dot.encode(sink);
            put_element(sink, value);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let mut store = Self { seen: DotContext::decode(reader)?, ..Self::default() };
        let values =
            take_map(reader, "order of dots", |reader| Ok((Dot::decode(reader)?, take_element(reader)?)))?;
        for (dot, value) in values {
            if !store.seen.contains(dot) {
                return Err(WireError::Invalid { what: "live dot", value: dot.counter });
            }
            store.enliven(dot, value);
        }
        Ok(store)
    }
}
