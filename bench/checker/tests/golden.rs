//! Histories written by hand, each a story with a known end.

mod common;

use common::{history_of, verdict};
use qlab_checker::{ABSENT, Method, Model, Operation, Options, Values, Verdict, check};
use serde_json::json;

fn assert_valid(model: Model, operations: &[Operation], values: &Values) {
    let history = history_of(operations, values);
    for method in [Method::Cheapest, Method::Search] {
        assert_eq!(verdict(&history, model, method), Verdict::Valid, "{method:?}");
    }
}

/// Expects a violation whose witness is these operations, given by their places.
fn assert_violation(model: Model, operations: &[Operation], values: &Values, places: &[usize]) {
    let history = history_of(operations, values);
    for method in [Method::Cheapest, Method::Search] {
        let report = check(&history, model, &Options { method, ..Options::default() }).unwrap();
        assert_eq!(report.verdict, Verdict::Invalid, "{method:?}");
        let witness = report.witness.expect("an invalid history has a witness");
        let expected: Vec<_> =
            places.iter().map(|place| (operations[*place].process, operations[*place].invoke_ns)).collect();
        let shown: Vec<_> = witness.operations.iter().map(|shown| (shown.process, shown.invoke_ns)).collect();
        assert_eq!(shown, expected, "{method:?}\n{witness}");
    }
}

fn valid(operations: &[Operation]) {
    assert_valid(Model::Kv, operations, &Values::default());
}

fn violation(operations: &[Operation], places: &[usize]) {
    assert_violation(Model::Kv, operations, &Values::default(), places);
}

fn put(process: u32, value: u64) -> Operation {
    Operation::put(process, 1, value)
}

fn get(process: u32, value: u64) -> Operation {
    Operation::get(process, 1, value)
}

fn cas(process: u32, expected: u64, new: u64) -> Operation {
    Operation::cas(process, 1, expected, new)
}

#[test]
fn a_stale_read_is_a_violation() {
    let history = [
        put(0, 1).during(0, 10),
        get(1, 1).during(11, 12),
        put(0, 2).during(20, 30),
        get(1, 1).during(40, 50),
        get(2, 2).during(60, 70),
    ];
    violation(&history, &[0, 2, 3]);
}

#[test]
fn reading_null_after_an_acknowledged_write_is_a_violation() {
    violation(&[put(0, 1).during(0, 10), get(1, ABSENT).during(20, 30)], &[0, 1]);
}

#[test]
fn a_lost_update_by_two_cas_is_a_violation() {
    let history = [put(0, 1).during(0, 10), cas(1, 1, 2).during(20, 30), cas(2, 1, 3).during(20, 30)];
    violation(&history, &[0, 1, 2]);
}

#[test]
fn a_phantom_is_a_violation() {
    violation(&[put(0, 1).during(0, 10), get(1, 7).during(20, 30)], &[1]);
}

#[test]
fn a_read_from_the_future_is_a_violation() {
    violation(&[get(1, 1).during(0, 9), put(0, 1).during(10, 20), get(1, 1).during(30, 40)], &[0]);
}

#[test]
fn two_readers_that_see_new_then_old_are_a_violation() {
    let history = [
        put(0, 1).during(0, 10),
        put(0, 2).during(20, 100),
        get(1, 2).during(30, 40),
        get(2, 1).during(50, 60),
    ];
    violation(&history, &[0, 1, 2, 3]);
}

#[test]
fn two_readers_that_overlap_may_see_new_and_old() {
    valid(&[
        put(0, 1).during(0, 10),
        put(0, 2).during(20, 100),
        get(1, 2).during(30, 50),
        get(2, 1).during(50, 60),
    ]);
}

#[test]
fn a_pending_write_may_be_seen() {
    valid(&[put(0, 1).unknown_since(0), get(1, ABSENT).during(5, 6), get(1, 1).during(50, 60)]);
}

#[test]
fn a_pending_write_may_never_be_seen() {
    valid(&[put(0, 1).unknown_since(0), get(1, ABSENT).during(50, 60), put(2, 3).during(70, 80)]);
}

#[test]
fn a_pending_write_seen_and_then_unseen_is_a_violation() {
    let history = [put(0, 1).unknown_since(0), get(1, 1).during(10, 20), get(1, ABSENT).during(30, 40)];
    violation(&history, &[0, 1, 2]);
}

#[test]
fn a_read_that_never_returned_says_nothing() {
    valid(&[put(0, 1).during(0, 10), get(1, 99).unknown_since(20)]);
}

#[test]
fn a_cas_that_fails_though_the_value_was_expected_is_a_violation() {
    violation(&[put(0, 1).during(0, 10), cas(1, 1, 2).failed_during(20, 30)], &[0, 1]);
    valid(&[put(0, 1).during(0, 10), cas(1, 1, 2).failed_during(10, 30)]);
}

#[test]
fn a_cas_that_succeeds_though_the_value_differed_is_a_violation() {
    violation(&[put(0, 1).during(0, 10), cas(1, 5, 2).during(20, 30)], &[1]);
}

#[test]
fn a_deleted_value_that_is_read_again_is_a_violation() {
    let history = [put(0, 1).during(0, 10), Operation::delete(0, 1).during(20, 30), get(1, 1).during(40, 50)];
    violation(&history, &[0, 1, 2]);
    valid(&[history[0], history[1], get(1, ABSENT).during(40, 50)]);
}

#[test]
fn intervals_that_touch_are_concurrent() {
    valid(&[put(0, 1).during(0, 10), get(1, ABSENT).during(10, 20)]);
}

#[test]
fn keys_are_independent_and_the_witness_is_of_one_key() {
    let other = |operation: Operation| Operation { key: 2, ..operation };
    let history =
        [put(0, 1).during(0, 10), other(get(1, ABSENT)).during(20, 30), get(2, ABSENT).during(20, 30)];
    violation(&history, &[0, 2]);
}

#[test]
fn texts_append_in_one_order_for_all_readers() {
    let mut values = Values::default();
    let [a, b, ab, ba] = ["a", "b", "ab", "ba"].map(|text| values.intern(&json!(text)));
    let append = |process, value| Operation::append(process, 1, value);
    let appends = [append(0, a).during(0, 10), append(1, b).during(0, 10)];
    assert_valid(Model::Kv, &[appends[0], appends[1], get(2, ba).during(20, 30)], &values);
    let history = [appends[0], appends[1], get(2, ba).during(20, 30), get(3, ab).during(20, 30)];
    assert_violation(Model::Kv, &history, &values, &[0, 1, 2, 3]);
}

#[test]
fn elements_appended_out_of_order_are_a_violation() {
    let mut values = Values::default();
    let [right, wrong] = [json!([1, 2]), json!([2, 1])].map(|list| values.intern(&list));
    let append = |value, start| Operation::append(0, 1, value).during(start, start + 5);
    let history = |list| [append(1, 0), append(2, 10), append(3, 20), get(1, list).during(12, 19)];
    assert_valid(Model::Append, &history(right), &values);
    assert_violation(Model::Append, &history(wrong), &values, &[0, 1, 3]);
}

fn acquire(process: u32) -> Operation {
    Operation::acquire(process, 1)
}

fn release(process: u32) -> Operation {
    Operation::release(process, 1)
}

fn lock_is_valid(operations: &[Operation]) {
    assert_valid(Model::Mutex, operations, &Values::default());
}

fn lock_is_violated(operations: &[Operation], places: &[usize]) {
    assert_violation(Model::Mutex, operations, &Values::default(), places);
}

#[test]
fn a_lock_that_two_hold_is_a_violation() {
    let early = [acquire(3).during(0, 1), release(3).during(2, 3)];
    let history =
        [early[0], early[1], acquire(1).during(4, 9), acquire(2).during(10, 20), release(1).during(30, 40)];
    lock_is_violated(&history, &[2, 3]);
    lock_is_valid(&[history[2], release(1).during(10, 20), acquire(2).during(10, 20)]);
}

#[test]
fn only_the_owner_releases_a_lock() {
    lock_is_violated(&[acquire(1).during(0, 9), release(2).during(10, 20)], &[1]);
    lock_is_violated(&[release(1).during(0, 9)], &[0]);
    lock_is_violated(&[acquire(1).during(0, 5), release(1).during(6, 7), release(1).during(8, 9)], &[2]);
}

#[test]
fn the_owner_does_not_acquire_its_lock_again() {
    lock_is_violated(&[acquire(1).during(0, 9), acquire(1).during(10, 20)], &[0, 1]);
}

#[test]
fn a_release_that_never_returned_may_have_freed_the_lock_or_not() {
    let history = [acquire(1).during(0, 9), release(1).unknown_since(10), acquire(2).during(20, 30)];
    lock_is_valid(&history);
    lock_is_valid(&history[..2]);
    lock_is_violated(&[history[0], history[2], release(1).unknown_since(31)], &[0, 1]);
}

#[test]
fn an_acquire_that_never_returned_may_hold_the_lock_or_not() {
    let history = [acquire(1).unknown_since(0), acquire(2).during(20, 30), release(2).during(40, 50)];
    lock_is_valid(&history);
    lock_is_valid(&[history[0], release(1).during(5, 6), history[1]]);
    lock_is_violated(&[history[0], release(1).during(5, 6), release(1).during(7, 8)], &[0, 1, 2]);
}

#[test]
fn an_element_of_a_set_that_vanishes_is_a_violation() {
    let mut values = Values::default();
    let [one, both] = [json!([1]), json!([2, 1])].map(|set| values.intern(&set));
    let add = |process, value| Operation::add(process, 1, value);
    let adds = [add(0, 1).during(0, 10), add(1, 2).during(0, 10)];
    let history = |first, then| [adds[0], adds[1], get(2, first).during(5, 8), get(3, then).during(20, 30)];
    assert_valid(Model::Set, &history(one, both), &values);
    assert_violation(Model::Set, &history(both, one), &values, &[0, 1, 3]);
}

#[test]
fn an_add_that_never_returned_may_be_seen_late_but_not_vanish() {
    let mut values = Values::default();
    let one = values.intern(&json!([1]));
    let add = Operation::add(0, 1, 1).unknown_since(0);
    let reads = |first, then| [add, get(1, first).during(10, 20), get(1, then).during(30, 40)];
    assert_valid(Model::Set, &reads(ABSENT, one), &values);
    assert_valid(Model::Set, &reads(ABSENT, ABSENT), &values);
    assert_violation(Model::Set, &reads(one, ABSENT), &values, &[0, 1, 2]);
}

#[test]
fn an_element_nobody_added_is_a_violation() {
    let mut values = Values::default();
    let two = values.intern(&json!([1, 2]));
    let history = [Operation::add(0, 1, 1).during(0, 10), get(1, two).during(20, 30)];
    assert_violation(Model::Set, &history, &values, &[0, 1]);
}

fn once_is_valid(operations: &[Operation]) {
    assert_valid(Model::WriteOnce, operations, &Values::default());
}

fn once_is_violated(operations: &[Operation], places: &[usize]) {
    assert_violation(Model::WriteOnce, operations, &Values::default(), places);
}

#[test]
fn a_second_write_to_a_write_once_register_fails() {
    let first = put(0, 1).during(0, 10);
    once_is_valid(&[first, put(1, 2).failed_during(20, 30), get(2, 1).during(40, 50)]);
    once_is_violated(&[first, put(1, 2).during(20, 30)], &[0, 1]);
    once_is_violated(&[first, put(1, 1).during(20, 30)], &[0, 1]);
    once_is_violated(&[first, put(1, 2).failed_during(20, 30), get(2, 2).during(40, 50)], &[2]);
}

#[test]
fn a_write_once_register_refuses_nobody_before_it_is_written() {
    once_is_violated(&[put(0, 1).failed_during(0, 10), put(1, 2).during(20, 30)], &[0]);
    once_is_valid(&[put(0, 1).failed_during(0, 10), put(1, 2).during(5, 30)]);
}

#[test]
fn a_write_that_never_returned_may_have_been_the_first() {
    let unknown = put(0, 1).unknown_since(0);
    once_is_valid(&[unknown, put(1, 2).failed_during(20, 30), get(2, 1).during(40, 50)]);
    once_is_valid(&[unknown, put(1, 2).during(20, 30), get(2, 2).during(40, 50)]);
    once_is_violated(&[unknown, put(1, 2).during(20, 30), get(2, 1).during(40, 50)], &[0, 1, 2]);
}
