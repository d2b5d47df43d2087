//! Linearizability when every value read has one certain writer.
//!
//! Gibbons & Korach, "Testing shared memories" (1997), §4, restated for intervals that may touch and for cas.
//!
//! Any legal order arranges whole [chains](crate::clusters), one after the other. Write `first(C)` for the earliest
//! completion and `last(C)` for the latest invocation in the chain C. A must come before B if some operation of A completed
//! before one of B was invoked, that is if `first(A) < last(B)`.
//!
//! *Theorem.* The history is linearizable exactly when no chain contradicts itself (a get completes before its value is
//! written, or an operation before one that the chain puts ahead of it is invoked) and no two chains must both come before
//! each other.
//!
//! *Proof.* Necessity is plain. Sufficiency: were "must come before" cyclic, take a shortest cycle, of at least three
//! chains by assumption, and in it the chain A with the earliest `first`; let B follow A and D follow B. Then
//! `first(A) ≤ first(B) < last(D)`, so A must come before D, and the cycle without B is shorter: a contradiction. So the
//! chains can be sorted. Within a chain the clusters have their order; within a cluster put the write first, then the gets
//! by their invocation. ∎
//!
//! The pairs in question are found by sorting. A chain with `first < last` is a *forward zone* [first, last], any other a
//! *backward zone* [last, first]. Two chains must come before each other exactly when two forward zones overlap or a
//! backward zone lies strictly inside a forward one. Forward zones without overlap are sorted by both their ends, so
//! neighbours suffice.
//!
//! The initial value was written before everything: its chain has `first` = −∞ and must come before all others. A write
//! nobody saw and nobody knows to have completed has `first` = ∞, must come before nothing, and so permits everything.

use crate::clusters::{Chain, Obstacle, chains};
use crate::operation::Operation;

/// Whether the operations of one key are linearizable, or `None` if this method cannot tell: a value that was seen has
/// two writers, a cas failed on a value that was current at some time, or there are operations of other kinds.
pub(crate) fn linearizable(operations: &[Operation]) -> Option<bool> {
    let found = match chains(operations) {
        Ok(found) => found,
        Err(Obstacle::Violation) => return Some(false),
        Err(Obstacle::Uncertain) => return None,
    };
    match (Zones::of(found.chains).can_be_ordered(), found.failures_matter) {
        (true, true) => None,
        (can_be_ordered, _) => Some(can_be_ordered),
    }
}

/// The zones of one key.
struct Zones {
    /// By their beginning.
    forward: Vec<Chain>,
    backward: Vec<Chain>,
    /// The latest invocation in the chain of the initial value.
    initial_last_ns: u64,
}

impl Zones {
    fn of(mut chains: Vec<Chain>) -> Self {
        let initial = chains.extract_if(.., |chain| chain.is_initial).map(|chain| chain.last_ns).max();
        #[cfg(feature = "mutants")]
        let initial = initial.filter(|_| !crate::mutants::active("zones: the initial value may come late"));
        let is_forward = |chain: &mut Chain| chain.first_ns < chain.last_ns;
        let mut forward: Vec<Chain> = chains.extract_if(.., is_forward).collect();
        forward.sort_unstable_by_key(|chain| chain.first_ns);
        Zones { forward, backward: chains, initial_last_ns: initial.unwrap_or(0) }
    }

    /// Whether no two chains must come before each other.
    fn can_be_ordered(&self) -> bool {
        self.forward.iter().chain(&self.backward).all(|chain| self.initial_last_ns <= chain.first_ns)
            && self.forward.windows(2).all(|pair| pair[0].last_ns <= pair[1].first_ns)
            && self.backward.iter().all(|chain| !self.is_inside_forward(chain))
    }

    /// Whether this backward zone lies strictly inside a forward one; these are sorted and do not overlap.
    fn is_inside_forward(&self, backward: &Chain) -> bool {
        #[cfg(feature = "mutants")]
        if crate::mutants::active("zones: a backward zone may lie inside a forward one") {
            return false;
        }
        let before = self.forward.partition_point(|forward| forward.first_ns < backward.last_ns);
        before.checked_sub(1).is_some_and(|nearest| backward.first_ns < self.forward[nearest].last_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::ABSENT;

    fn put(value: u64) -> Operation {
        Operation::put(0, 0, value)
    }

    fn get(value: u64) -> Operation {
        Operation::get(0, 0, value)
    }

    #[test]
    fn forward_zones_that_overlap_are_a_violation_and_touching_ones_are_not() {
        let history = |second| {
            [put(1).during(0, 10), get(1).during(second, 40), put(2).during(0, 20), get(2).during(30, 40)]
        };
        assert_eq!(linearizable(&history(20)), Some(true));
        assert_eq!(linearizable(&history(21)), Some(false));
    }

    #[test]
    fn a_backward_zone_strictly_inside_a_forward_one_is_a_violation() {
        let history = |start| [put(1).during(0, 10), put(2).during(start, 20), get(1).during(30, 40)];
        assert_eq!(linearizable(&history(10)), Some(true));
        assert_eq!(linearizable(&history(11)), Some(false));
    }

    #[test]
    fn the_initial_value_is_older_than_everything_even_at_time_zero() {
        let history = |start| [put(1).during(0, 0), get(ABSENT).during(start, 5)];
        assert_eq!(linearizable(&history(0)), Some(true));
        assert_eq!(linearizable(&history(1)), Some(false));
    }

    #[test]
    fn a_value_read_with_two_writers_is_left_to_the_search() {
        assert_eq!(linearizable(&[put(1).during(0, 1), put(1).during(2, 3)]), Some(true));
        assert_eq!(linearizable(&[put(1).during(0, 1), put(1).during(2, 3), get(1).during(4, 5)]), None);
        let deleted = Operation::delete(0, 0).during(0, 1);
        assert_eq!(linearizable(&[deleted, get(ABSENT).during(2, 3)]), None);
    }
    #[test]
    fn a_cas_that_failed_where_it_could_have_succeeded_is_left_to_the_search() {
        let failed = |expected| Operation::cas(0, 0, expected, 9).failed_during(20, 30);
        assert_eq!(linearizable(&[put(1).during(0, 10), failed(7)]), Some(true));
        assert_eq!(linearizable(&[put(1).during(0, 10), failed(1)]), None);
        assert_eq!(linearizable(&[put(1).during(0, 10), failed(1), get(2).during(0, 1)]), Some(false));
    }
}
