//! Dots, and sets of them: which events a state has seen.

use std::collections::BTreeMap;

use qlab_kernel::{Reader, Sink, Wire, WireError, mutant};

use super::canonical::{put_count, take_map, take_positive};
use crate::Actor;

/// The name of one event: an actor's `counter`-th, from 1. An actor names a life, so no dot is ever used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Whose event.
    pub actor: Actor,
    /// Which of its events, from 1.
    pub counter: u64,
}

impl Wire for Dot {
    fn encode(&self, sink: &mut impl Sink) {
        self.actor.encode(sink);
        self.counter.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { actor: Actor::decode(reader)?, counter: take_positive(reader, "dot")? })
    }
}

/// A set of dots: for each actor, ranges that neither overlap nor touch. So a set has one form, and an actor whose events have
/// all been seen takes one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotContext {
    ranges: BTreeMap<Actor, Vec<Range>>,
}

/// Counters from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    first: u64,
    last: u64,
}

impl DotContext {
    /// Whether `dot` is in the set.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        let Some(ranges) = self.ranges.get(&dot.actor) else { return false };
        let at = ranges.partition_point(|range| range.last < dot.counter);
        ranges.get(at).is_some_and(|range| range.first <= dot.counter)
    }

    /// Adds a dot.
    pub fn insert(&mut self, dot: Dot) {
        let range = Range { first: dot.counter, last: dot.counter };
        insert_range(self.ranges.entry(dot.actor).or_default(), range);
    }

    /// Adds every dot of another set.
    pub fn merge(&mut self, other: &Self) {
        for (actor, theirs) in &other.ranges {
            let ours = self.ranges.entry(*actor).or_default();
            for range in theirs {
                insert_range(ours, *range);
            }
        }
    }

    /// The first dot of `actor` after all its dots here.
    #[must_use]
    pub fn next_dot(&self, actor: Actor) -> Dot {
        let last = self.ranges.get(&actor).and_then(|ranges| ranges.last()).map_or(0, |range| range.last);
        // Counters grow by one and no actor lives for 2^64 events; but a peer may claim any.
        Dot { actor, counter: last.saturating_add(1) }
    }

    /// Number of ranges: what the set takes in memory and on the wire.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.ranges.values().map(Vec::len).sum()
    }

    /// The set as spans: first and last dot of each range, in order.
    pub(super) fn spans(&self) -> impl Iterator<Item = (Dot, Dot)> + '_ {
        self.ranges.iter().flat_map(|(&actor, ranges)| {
            let dot = move |counter| Dot { actor, counter };
            ranges.iter().map(move |range| (dot(range.first), dot(range.last)))
        })
    }
}

fn insert_range(ranges: &mut Vec<Range>, new: Range) {
    let reach = mutant!(1, "crdt: a range does not join the one after it", 0);
    let from = ranges.partition_point(|range| range.last < new.first - 1);
    let to = ranges.partition_point(|range| range.first <= new.last.saturating_add(reach));
    let mut joined = new;
    for range in &ranges[from..to] {
        joined = Range { first: joined.first.min(range.first), last: joined.last.max(range.last) };
    }
    ranges.splice(from..to, [joined]);
}

impl Wire for Range {
    fn encode(&self, sink: &mut impl Sink) {
        self.first.encode(sink);
        self.last.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let range = Self { first: take_positive(reader, "range")?, last: reader.u64()? };
        if range.first <= range.last {
            Ok(range)
        } else {
            Err(WireError::Invalid { what: "end of a range", value: range.last })
        }
    }
}

impl Wire for DotContext {
    fn encode(&self, sink: &mut impl Sink) {
        put_count(sink, self.ranges.len());
        for (actor, ranges) in &self.ranges {
            actor.encode(sink);
            put_count(sink, ranges.len());
            for range in ranges {
                range.encode(sink);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let ranges =
            take_map(reader, "order of actors", |reader| Ok((Actor::decode(reader)?, take_ranges(reader)?)))?;
        Ok(Self { ranges })
    }
}

fn take_ranges(reader: &mut Reader) -> Result<Vec<Range>, WireError> {
    let count = reader.u32()?;
    let mut ranges: Vec<Range> = Vec::new();
    for _ in 0..count {
        let range = Range::decode(reader)?;
        if ranges.last().is_some_and(|last| last.last >= range.first - 1) {
            return Err(WireError::Invalid { what: "order of ranges", value: range.first });
        }
        ranges.push(range);
    }
    if ranges.is_empty() {
        return Err(WireError::Invalid { what: "ranges of an actor", value: 0 });
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Life;
    use proptest::prelude::*;
    use qlab_kernel::NodeId;
    use std::collections::BTreeSet;

    fn dot(node: u16, counter: u64) -> Dot {
        Dot { actor: Actor { node: NodeId(node), life: Life::FIRST }, counter }
    }

    fn context(dots: &[(u16, u64)]) -> DotContext {
        let mut context = DotContext::default();
        for &(node, counter) in dots {
            context.insert(dot(node, counter));
        }
        context
    }

    proptest! {
        #[test]
        fn a_context_is_a_set_of_dots(
            ours in prop::collection::vec((0_u16..3, 1_u64..20), 0..30),
            theirs in prop::collection::vec((0_u16..3, 1_u64..20), 0..30),
        ) {
            let mut merged = context(&ours);
            merged.merge(&context(&theirs));
            let model: BTreeSet<(u16, u64)> = ours.iter().chain(&theirs).copied().collect();
            for node in 0..3 {
                for counter in 1..20 {
                    prop_assert_eq!(merged.contains(dot(node, counter)), model.contains(&(node, counter)));
                }
                let last = model.iter().filter(|dot| dot.0 == node).map(|dot| dot.1).max().unwrap_or(0);
                prop_assert_eq!(merged.next_dot(dot(node, 1).actor), dot(node, last + 1));
            }
            let sorted: Vec<(u16, u64)> = model.into_iter().collect();
            prop_assert_eq!(merged, context(&sorted), "a set has one form");
        }
    }

    #[test]
    fn dots_without_a_gap_take_one_range() {
        let mut all = DotContext::default();
        for counter in (1..=1000).rev() {
            all.insert(dot(1, counter));
        }
        assert_eq!(all.ranges(), 1);
    }
}
