//! Counters: each actor counts for itself, and the sum is the value.

use std::collections::BTreeMap;

use qlab_kernel::{Reader, Sink, Wire, WireError, mutant};

use super::Crdt;
use super::canonical::{put_count, take_map, take_positive};
use crate::Actor;

/// A counter that only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GCounter {
    /// What each actor has counted; never zero.
    counts: BTreeMap<Actor, u64>,
}

impl GCounter {
    /// The delta that counts `by` more; an actor's own count ends at `u64::MAX`.
    #[must_use]
    pub fn increment(&self, actor: Actor, by: u64) -> Self {
        let count = self.counts.get(&actor).copied().unwrap_or(0).saturating_add(by);
        Self { counts: if count == 0 { BTreeMap::new() } else { BTreeMap::from([(actor, count)]) } }
    }

    /// The sum of all increments.
    #[must_use]
    pub fn value(&self) -> u128 {
        self.counts.values().map(|count| u128::from(*count)).sum()
    }
}

impl Crdt for GCounter {
    fn merge(&mut self, other: &Self) {
        for (actor, &theirs) in &other.counts {
            let ours = self.counts.entry(*actor).or_default();
            *ours =
                mutant!((*ours).max(theirs), "crdt: counters are merged by sum", ours.saturating_add(theirs));
        }
    }
}

impl Wire for GCounter {
    fn encode(&self, sink: &mut impl Sink) {
        put_count(sink, self.counts.len());
        for (actor, count) in &self.counts {
            actor.encode(sink);
            count.encode(sink);
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let counts = take_map(reader, "order of counts", |reader| {
            Ok((Actor::decode(reader)?, take_positive(reader, "count")?))
        })?;
        Ok(Self { counts })
    }
}

/// A counter that goes up and down: two that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PnCounter {
    increments: GCounter,
    decrements: GCounter,
}

impl PnCounter {
    /// The delta that counts up.
    #[must_use]
    pub fn increment(&self, actor: Actor, by: u64) -> Self {
        Self { increments: self.increments.increment(actor, by), decrements: GCounter::default() }
    }

    /// The delta that counts down.
    #[must_use]
    pub fn decrement(&self, actor: Actor, by: u64) -> Self {
        Self { increments: GCounter::default(), decrements: self.decrements.increment(actor, by) }
    }

    /// Increments less decrements.
    #[must_use]
    pub fn value(&self) -> i128 {
        let signed = |sum: u128| i128::try_from(sum).expect("2^48 actors of 2^64 each stay below 2^127");
        signed(self.increments.value()) - signed(self.decrements.value())
    }
}

impl Crdt for PnCounter {
    fn merge(&mut self, other: &Self) {
        self.increments.merge(&other.increments);
        self.decrements.merge(&other.decrements);
    }
}

impl Wire for PnCounter {
    fn encode(&self, sink: &mut impl Sink) {
        self.increments.encode(sink);
        self.decrements.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { increments: GCounter::decode(reader)?, decrements: GCounter::decode(reader)? })
    }
}
