//! Cuts a violation down to the operations that contradict each other.
//!
//! Leaving out any operation would be easy and wrong: without the write it read, a correct read looks like a phantom. So
//! only reductions are used that *never make a linearizable history a violation*; then what is left contradicts itself, and
//! contradicts any system that produced it:
//!
//! - **Prefix.** What happened after a moment is left out, and what was open at that moment gets an unknown outcome.
//! - **Observers.** A get or a failed cas changes nothing: without it, a legal order is a legal order.
//! - **Values.** All writes of a value go together with all gets of it; a cas that expects it goes too, and then so does the
//!   value it writes. No operation left could tell the difference, except a failed cas, so those go as well.
//! - **Unread elements** of a list or a set. In a legal order they are added after all gets.
//! - **Holds** of a lock. In a legal order nothing comes between an acquire and the release by which the same process goes on,
//!   but for operations of its own of unknown outcome, which then need not have happened; so both can go. And all
//!   operations of a process can, as the lock is nobody else's while it is theirs.
//!
//! Each is tried on large parts first, then on ever smaller ones, until no single one can be left out. An operation whose
//! outcome the prefix had made unknown gets its outcome back: knowing more never makes a violation legal.

use std::collections::HashSet;

use crate::model::Model;
use crate::operation::{ABSENT, Function, Operation, Outcome};
use crate::values::Values;

/// The smallest violation found within these operations of one key, ordered by invocation.
///
/// `is_violation` must be true of `operations`, and may say false when it does not know.
pub(crate) fn shrink(
    operations: &[Operation],
    model: Model,
    values: &Values,
    is_violation: &mut impl FnMut(&[Operation]) -> bool,
) -> Vec<Operation> {
    let mut left = shortest_prefix(operations, is_violation);
    loop {
        let before = left.len();
        leave_out_observers(&mut left, is_violation);
        match model {
            Model::Append | Model::Set => leave_out_unread_elements(&mut left, values, is_violation),
            Model::Mutex => leave_out_holds(&mut left, is_violation),
            _ => leave_out_values(&mut left, is_violation),
        }
        if left.len() == before {
            break;
        }
    }
    left.iter_mut().for_each(|operation| restore_outcome(operation, operations));
    left.sort_by_key(|operation| (operation.invoke_ns, operation.complete_ns));
    left
}

fn shortest_prefix(
    operations: &[Operation],
    is_violation: &mut impl FnMut(&[Operation]) -> bool,
) -> Vec<Operation> {
    let completed = operations.iter().filter(|operation| !operation.is_unknown());
    let mut moments: Vec<u64> = completed.map(|operation| operation.complete_ns).collect();
    moments.sort_unstable();
    moments.dedup();
    let shortest = moments.partition_point(|moment_ns| !is_violation(&prefix(operations, *moment_ns)));
    moments.get(shortest).map_or_else(|| operations.to_vec(), |moment_ns| prefix(operations, *moment_ns))
}

/// What was known at a moment.
pub(crate) fn prefix(operations: &[Operation], moment_ns: u64) -> Vec<Operation> {
    let invoked = operations.iter().filter(|operation| operation.invoke_ns <= moment_ns);
    let known = |operation: &Operation| {
        let open = operation.complete_ns > moment_ns;
        if open { operation.unknown_since(operation.invoke_ns) } else { *operation }
    };
    invoked.map(known).collect()
}

fn leave_out_observers(left: &mut Vec<Operation>, is_violation: &mut impl FnMut(&[Operation]) -> bool) {
    let observers = left.iter().filter(|operation| operation.only_observes()).copied().collect();
    leave_out(left, observers, without_operations, is_violation);
}

fn without_operations(operations: &[Operation], dropped: &[Operation]) -> Vec<Operation> {
    let dropped: HashSet<&Operation> = dropped.iter().collect();
    operations.iter().filter(|operation| !dropped.contains(operation)).copied().collect()
}

fn leave_out_values(left: &mut Vec<Operation>, is_violation: &mut impl FnMut(&[Operation]) -> bool) {
    if left.iter().any(Operation::accumulates) {
        return; // A text holds all values appended since the last put: none of them can be left out alone.
    }
    let mut seen = HashSet::new();
    let values = left.iter().map(|operation| operation.value).filter(|value| seen.insert(*value)).collect();
    leave_out(left, values, without_values, is_violation);
}

fn without_values(operations: &[Operation], dropped: &[u64]) -> Vec<Operation> {
    let mut dropped: HashSet<u64> = dropped.iter().copied().collect();
    let is_chained =
        |operation: &Operation| operation.function == Function::Cas && !operation.only_observes();
    loop {
        let before = dropped.len();
        for cas in operations.iter().filter(|operation| is_chained(operation)) {
            if dropped.contains(&cas.expected) {
                dropped.insert(cas.value);
            }
        }
        if dropped.len() == before {
            break;
        }
    }
    let stays =
        |operation: &&Operation| operation.outcome != Outcome::Fail && !dropped.contains(&operation.value);
    operations.iter().filter(stays).copied().collect()
}

fn leave_out_unread_elements(
    left: &mut Vec<Operation>,
    values: &Values,
    is_violation: &mut impl FnMut(&[Operation]) -> bool,
) {
    let gets = left.iter().filter(|operation| operation.function == Function::Get && !operation.is_unknown());
    let read: HashSet<u64> = gets.flat_map(|get| values.elements(get.value).unwrap_or_default()).collect();
    let is_unread = |operation: &&Operation| operation.accumulates() && !read.contains(&operation.value);
    let unread = left.iter().filter(is_unread).copied().collect();
    leave_out(left, unread, without_operations, is_violation);
}

fn leave_out_holds(left: &mut Vec<Operation>, is_violation: &mut impl FnMut(&[Operation]) -> bool) {
    let mut processes: Vec<u32> = left.iter().map(|operation| operation.process).collect();
    processes.sort_unstable();
    processes.dedup();
    leave_out(left, processes, without_processes, is_violation);
    let holds = holds(left);
    leave_out(left, holds, |rest, dropped| without_operations(rest, dropped.as_flattened()), is_violation);
}

fn without_processes(operations: &[Operation], dropped: &[u32]) -> Vec<Operation> {
    operations.iter().filter(|operation| !dropped.contains(&operation.process)).copied().collect()
}

/// Each completed acquire with the release that is the next completed operation of its process; both are lowered to cas.
fn holds(operations: &[Operation]) -> Vec<[Operation; 2]> {
    let completed = operations.iter().filter(|operation| !operation.is_unknown());
    let mut completed: Vec<Operation> = completed.copied().collect();
    completed.sort_by_key(|operation| (operation.process, operation.invoke_ns, operation.complete_ns));
    let is_hold = |[acquire, release]: &[Operation; 2]| {
        acquire.process == release.process
            && acquire.expected == ABSENT
            && release.value == ABSENT
            && acquire.complete_ns < release.invoke_ns
    };
    completed.array_windows().filter(|pair| is_hold(pair)).copied().collect()
}

/// Leaves out as many of `items` as possible: halves, quarters, …, single ones until no single one can go.
fn leave_out<T>(
    left: &mut Vec<Operation>,
    mut items: Vec<T>,
    without: impl Fn(&[Operation], &[T]) -> Vec<Operation>,
    is_violation: &mut impl FnMut(&[Operation]) -> bool,
) {
    let mut chunk = items.len();
    while chunk > 0 {
        let before = items.len();
        let mut start = 0;
        while start < items.len() {
            let end = items.len().min(start + chunk);
            let rest = without(left, &items[start..end]);
            if is_violation(&rest) {
                *left = rest;
                items.drain(start..end);
            } else {
                start = end;
            }
        }
        chunk = if chunk == 1 { usize::from(items.len() < before) } else { chunk.div_ceil(2) };
    }
}

/// Gives back the outcome that the prefix took away.
fn restore_outcome(operation: &mut Operation, originals: &[Operation]) {
    if operation.is_unknown() {
        let cut = |original: &&Operation| original.unknown_since(original.invoke_ns) == *operation;
        *operation = *originals
            .iter()
            .find(cut)
            .expect("every operation left is an original or one cut by the prefix");
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::search::{Found, search};
    use crate::specification::ValueSpecification;

    #[test]
    fn a_value_goes_with_all_that_follows_from_it() {
        let operations = [
            Operation::put(0, 0, 1).during(0, 1),
            Operation::cas(0, 0, 1, 2).during(2, 3),
            Operation::cas(0, 0, 2, 3).unknown_since(4),
            Operation::get(1, 0, 3).during(5, 6),
            Operation::cas(1, 0, 7, 8).failed_during(5, 6),
            Operation::put(1, 0, 9).during(7, 8),
        ];
        assert_eq!(without_values(&operations, &[1]), [operations[5]]);
        assert_eq!(without_values(&operations, &[3]), [operations[0], operations[1], operations[5]]);
    }

    #[test]
    fn a_prefix_knows_nothing_of_what_comes_later() {
        let [early, open, late] =
            [(0, 5), (5, 7), (6, 7)].map(|(start, end)| Operation::put(0, 0, 1).during(start, end));
        assert_eq!(prefix(&[early, open, late], 5), [early, open.unknown_since(5)]);
    }

    #[test]
    fn single_items_are_left_out_until_none_can_go() {
        let operations: Vec<Operation> =
            (0..100).map(|value| Operation::get(0, 0, value).during(value, value)).collect();
        let mut left = operations.clone();
        let needed = [operations[17], operations[60]];
        leave_out_observers(&mut left, &mut |rest| needed.iter().all(|operation| rest.contains(operation)));
        assert_eq!(left, needed);
        assert!(left.iter().all(|operation| operation.value != ABSENT));
    }

    fn small_history(random: &mut Pcg64Mcg) -> Vec<Operation> {
        let operation = |process| {
            let mut value = || [1, 2, 3, ABSENT][random.random_range(0..4)];
            let (expected, value) = (value(), value());
            let (invoke_ns, length_ns) = (random.random_range(0..12), random.random_range(0..6));
            let complete_ns = invoke_ns + length_ns;
            match random.random_range(0..6) {
                0 => Operation::put(process, 0, value).unknown_since(invoke_ns),
                1 => Operation::cas(process, 0, expected, value).unknown_since(invoke_ns),
                2 => Operation::cas(process, 0, expected, value).failed_during(invoke_ns, complete_ns),
                3 => Operation::cas(process, 0, expected, value).during(invoke_ns, complete_ns),
                4 => Operation::put(process, 0, value).during(invoke_ns, complete_ns),
                _ => Operation::get(process, 0, value).during(invoke_ns, complete_ns),
            }
        };
        (0..6).map(operation).collect()
    }

    fn is_legal(operations: &[Operation]) -> bool {
        let values = Values::default();
        search(operations, &mut ValueSpecification::new(&values), &mut 100_000) == Found::Linearizable
    }

    #[test]
    fn no_reduction_makes_a_legal_history_a_violation() {
        let mut random = Pcg64Mcg::seed_from_u64(3);
        let histories = (0..10_000).map(|_| small_history(&mut random));
        let legal: Vec<_> = histories.filter(|operations| is_legal(operations)).collect();
        assert!(legal.len() > 1_000, "only {} are legal", legal.len());
        for operations in legal {
            for moment_ns in [3, 6, 9, 12] {
                assert!(is_legal(&prefix(&operations, moment_ns)), "before {moment_ns}: {operations:#?}");
            }
            for value in [1, 2, 3, ABSENT] {
                assert!(is_legal(&without_values(&operations, &[value])), "without {value}: {operations:#?}");
            }
            for observer in operations.iter().filter(|operation| operation.only_observes()) {
                let rest = without_operations(&operations, &[*observer]);
                assert!(is_legal(&rest), "without {observer:?}: {operations:#?}");
            }
        }
    }
}
