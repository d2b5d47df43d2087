//! Linearizability when every value read has one certain writer.
//!
//! Gibbons & Korach, "Testing shared memories" (1997), §4, restated for intervals that may touch.
//!
//! A *cluster* is a write together with the reads of its value. In any legal order the reads of a value follow its write
//! with no other write between, so the order arranges whole clusters one after the other. Write `first(C)` for the earliest
//! completion and `last(C)` for the latest invocation in C. Cluster A must come before B if some operation of A
//! completed before one of B was invoked, that is if `first(A) < last(B)`.
//!
//! *Theorem.* The history is linearizable exactly when no read completes before its write is invoked and no two clusters
//! must both come before each other.
//!
//! *Proof.* Necessity is plain. Sufficiency: were "must come before" cyclic, take a shortest cycle, of at least three
//! clusters by assumption, and in it the cluster A with the earliest `first`; let B follow A and D follow B. Then
//! `first(A) ≤ first(B) < last(D)`, so A must come before D, and the cycle without B is shorter: a contradiction. So the
//! clusters can be sorted; within a cluster put the write first, then the reads by their invocation. ∎
//!
//! The pairs in question are found by sorting. A cluster with `first < last` is a *forward zone* [first, last], any other a
//! *backward zone* [last, first]. Two clusters must come before each other exactly when two forward zones overlap or a
//! backward zone lies strictly inside a forward one. Forward zones without overlap are sorted by both their ends, so
//! neighbours suffice.
//!
//! The initial, absent value is a cluster whose write completed before everything: its `first` is −∞. A write of unknown
//! outcome completes never: if its value was read it took effect and is a write like any other, and if not, its cluster has
//! `first` = ∞, must come before nothing, and so permits everything. A read of unknown outcome says nothing.

use crate::operation::{ABSENT, Function, NEVER_NS, Operation};

/// Whether the operations of one key are linearizable, or `None` if this method cannot tell: a value that was read has
/// two writers, or there are operations that are neither reads nor writes.
pub(crate) fn linearizable(operations: &[Operation]) -> Option<bool> {
    let mut accesses = accesses(operations)?;
    accesses.sort_unstable_by_key(|access| (access.value, access.reads));
    let mut zones = Zones::default();
    for cluster in accesses.chunk_by(|a, b| a.value == b.value) {
        if !zones.add(cluster)? {
            return Some(false);
        }
    }
    Some(zones.can_be_ordered())
}

/// A read or a write of a value.
#[derive(Clone, Copy)]
struct Access {
    value: u64,
    invoke_ns: u64,
    complete_ns: u64,
    reads: bool,
}

fn accesses(operations: &[Operation]) -> Option<Vec<Access>> {
    let mut accesses = Vec::with_capacity(operations.len());
    for operation in operations {
        let reads = match operation.function {
            Function::Get if operation.is_unknown() => continue,
            Function::Get => true,
            Function::Put | Function::Delete => false,
            Function::Cas | Function::Append => return None,
        };
        let Operation { value, invoke_ns, complete_ns, .. } = *operation;
        accesses.push(Access { value, invoke_ns, complete_ns, reads });
    }
    Some(accesses)
}

/// The extent of a cluster.
struct Zone {
    /// The earliest completion.
    first_ns: u64,
    /// The latest invocation.
    last_ns: u64,
}

/// The zones of one key.
#[derive(Default)]
struct Zones {
    forward: Vec<Zone>,
    backward: Vec<Zone>,
    /// The latest invocation of a read of the initial value.
    initial_last_ns: Option<u64>,
}

impl Zones {
    /// Adds the accesses to one value, writes first: false if they contradict each other on their own, `None` if it is not
    /// certain which write was read.
    fn add(&mut self, accesses: &[Access]) -> Option<bool> {
        let (writes, reads) = accesses.split_at(accesses.partition_point(|access| !access.reads));
        let Some(read) = reads.first() else {
            writes.chunks(1).for_each(|write| self.push(write));
            return Some(true);
        };
        match (writes, read.value) {
            ([], ABSENT) => self.initial_last_ns = reads.iter().map(|read| read.invoke_ns).max(),
            ([], _) => return Some(false),
            ([write], value) if value != ABSENT => {
                if reads.iter().any(|read| read.complete_ns < write.invoke_ns) {
                    return Some(false);
                }
                self.push(accesses);
            }
            _ => return None,
        }
        Some(true)
    }

    fn push(&mut self, cluster: &[Access]) {
        let first_ns = cluster.iter().map(|access| access.complete_ns).min().unwrap_or(NEVER_NS);
        let last_ns = cluster.iter().map(|access| access.invoke_ns).max().unwrap_or(0);
        let zones = if first_ns < last_ns { &mut self.forward } else { &mut self.backward };
        zones.push(Zone { first_ns, last_ns });
    }

    /// Whether no two clusters must come before each other.
    fn can_be_ordered(mut self) -> bool {
        self.forward.sort_unstable_by_key(|zone| zone.first_ns);
        self.initial_comes_first()
            && self.forward.windows(2).all(|pair| pair[0].last_ns <= pair[1].first_ns)
            && self.backward.iter().all(|zone| !self.is_inside_forward(zone))
    }

    fn initial_comes_first(&self) -> bool {
        let Some(last_ns) = self.initial_last_ns else { return true };
        self.forward.iter().chain(&self.backward).all(|zone| last_ns <= zone.first_ns)
    }

    /// Whether this backward zone lies strictly inside a forward one; these are sorted and do not overlap.
    fn is_inside_forward(&self, zone: &Zone) -> bool {
        let before = self.forward.partition_point(|forward| forward.first_ns < zone.last_ns);
        before.checked_sub(1).is_some_and(|nearest| zone.first_ns < self.forward[nearest].last_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
