//! What a simulated store answers is right, and found out as soon as it is tampered with.

mod common;

use common::{Load, history_of, random, simulate, verdict};
use qlab_checker::{ABSENT, Function, Method, Model, Operation, Outcome, Values, Verdict};

/// Histories tampered with in each way.
const HISTORIES: u64 = 40;

/// Tampers with simulated histories; `tamper` says whether it found a place to do so.
fn assert_found_out(tamper: impl Fn(&mut Vec<Operation>) -> bool) {
    let mut tampered = 0;
    for seed in 0..HISTORIES {
        let mut operations = simulate(&Load::unique(6, 2, 200), &mut Values::default(), &mut random(seed));
        if !tamper(&mut operations) {
            continue;
        }
        tampered += 1;
        let history = history_of(&operations, &Values::default());
        for method in [Method::Cheapest, Method::Search] {
            assert_eq!(verdict(&history, Model::Kv, method), Verdict::Invalid, "seed {seed}, {method:?}");
        }
    }
    assert!(tampered > HISTORIES / 2, "only {tampered} histories had a place to tamper with");
}

/// The places of completed gets that read a value.
fn reads(operations: &[Operation]) -> Vec<usize> {
    let reads = |operation: &Operation| {
        operation.function == Function::Get && operation.outcome == Outcome::Ok && operation.value != ABSENT
    };
    (0..operations.len()).filter(|place| reads(&operations[*place])).collect()
}

fn writer(operations: &[Operation], value: u64) -> usize {
    let writes = |operation: &Operation| operation.function == Function::Put && operation.value == value;
    operations.iter().position(writes).expect("a simulated get reads what was put")
}

#[test]
fn swapped_read_results_are_found_out() {
    assert_found_out(|operations| {
        let reads = reads(operations);
        let pairs = reads.iter().flat_map(|early| reads.iter().map(move |late| (*early, *late)));
        let swappable = pairs.into_iter().find(|(early, late)| {
            let written = &operations[writer(operations, operations[*late].value)];
            written.key == operations[*early].key && operations[*early].complete_ns < written.invoke_ns
        });
        let Some((early, late)) = swappable else { return false };
        let value = operations[early].value;
        operations[early].value = operations[late].value;
        operations[late].value = value;
        true
    });
}

#[test]
fn an_older_value_after_a_newer_one_is_found_out() {
    assert_found_out(|operations| {
        let reads = reads(operations);
        let follows = |a: usize, b: usize| {
            operations[a].key == operations[b].key && operations[a].complete_ns < operations[b].invoke_ns
        };
        let old_then_new =
            |old: usize, new: usize| follows(old, new) && operations[old].value != operations[new].value;
        for (old, new) in reads.iter().flat_map(|old| reads.iter().map(move |new| (*old, *new))) {
            if let Some(last) = reads.iter().find(|last| old_then_new(old, new) && follows(new, **last)) {
                operations[*last].value = operations[old].value;
                return true;
            }
        }
        false
    });
}

#[test]
fn a_dropped_write_is_found_out() {
    assert_found_out(|operations| {
        let Some(read) = reads(operations).pop() else { return false };
        let write = writer(operations, operations[read].value);
        operations.remove(write);
        true
    });
}

#[test]
fn a_value_never_written_is_found_out() {
    assert_found_out(|operations| {
        let Some(read) = reads(operations).pop() else { return false };
        operations[read].value = 1_000_000;
        true
    });
}

#[test]
fn an_acknowledged_write_that_all_readers_miss_is_found_out() {
    assert_found_out(|operations| {
        // The last get of a key reads what was there before a put that was over when it began.
        let Some(last) = reads(operations).pop() else { return false };
        let before = |operation: &Operation| {
            operation.key == operations[last].key && operation.complete_ns < operations[last].invoke_ns
        };
        let missed = operations.iter().rev().find(|put| put.function == Function::Put && before(put));
        let Some(missed) = missed.copied() else { return false };
        let older = |put: &&Operation| {
            put.function == Function::Put && put.key == missed.key && put.complete_ns < missed.invoke_ns
        };
        let Some(older) = operations.iter().find(older).map(|put| put.value) else { return false };
        operations[last].value = older;
        true
    });
}

fn assert_valid(load: &Load, seed: u64) {
    let mut values = Values::default();
    let history = history_of(&simulate(load, &mut values, &mut random(seed)), &values);
    for method in [Method::Cheapest, Method::Search] {
        assert_eq!(verdict(&history, Model::Kv, method), Verdict::Valid, "seed {seed}, {method:?}");
    }
}

#[test]
fn a_simulated_register_is_valid_by_both_methods() {
    for seed in 0..60 {
        assert_valid(&Load::unique(1 + seed as u32 % 12, 3, 400), seed);
    }
}

#[test]
fn a_simulated_store_with_few_values_and_every_function_is_valid() {
    for seed in 0..60 {
        let functions = vec![Function::Get, Function::Put, Function::Cas, Function::Delete, Function::Append];
        let clients = 1 + seed as u32 % 8;
        assert_valid(&Load { functions, values: Some(4), ..Load::unique(clients, 3, 300) }, seed);
    }
}
