//! All methods against brute force, on small histories of every model.

mod common;

use common::brute_force::is_linearizable;
use common::small::{Kind, Truth, kinds, small_history};
use common::{history_of_witness, random, verdict};
use qlab_checker::{History, Method, Options, Report, Verdict, check};

/// Small histories of each kind; there are thirteen kinds.
const HISTORIES: u64 = 8_000;

/// How often what happened.
#[derive(Debug, Default)]
struct Counts {
    invalid: u64,
    without_search: u64,
}

fn differ(name: &str) -> Counts {
    let kind = kinds().into_iter().find(|kind| kind.name == name).expect("the test names a kind");
    let mut counts = Counts::default();
    for seed in 0..HISTORIES {
        let truth = [Truth::Right, Truth::Tampered, Truth::Tampered, Truth::Random][(seed % 4) as usize];
        let history = small_history(&kind, truth, &mut random(seed));
        let report = judge(&kind, &history, truth, seed);
        counts.invalid += u64::from(report.verdict == Verdict::Invalid);
        counts.without_search += report.keys_without_search;
    }
    let both_happen = HISTORIES / 10..HISTORIES * 9 / 10;
    assert!(both_happen.contains(&counts.invalid), "too lopsided for a test: {counts:?}");
    counts
}

fn judge(kind: &Kind, history: &History, truth: Truth, seed: u64) -> Report {
    let legal = is_linearizable(history, kind.model);
    let expected = if legal { Verdict::Valid } else { Verdict::Invalid };
    let context = || format!("{}, seed {seed}, {truth:?}: {history:#?}", kind.name);
    assert!(legal || truth != Truth::Right, "the generator made a wrong history: {}", context());
    let report = check(history, kind.model, &Options::default()).expect("the kind fits its model");
    assert_eq!(report.verdict, expected, "{}", context());
    assert_eq!(verdict(history, kind.model, Method::Search), expected, "by search: {}", context());
    if let Some(witness) = &report.witness {
        let alone = history_of_witness(witness);
        assert!(!is_linearizable(&alone, kind.model), "no contradiction:\n{witness}{}", context());
        assert_ne!(witness.operations[witness.impossible].complete_ns, None, "{witness}");
    }
    report
}

#[test]
fn unique_puts() {
    assert_eq!(differ("kv, unique").without_search, HISTORIES, "zones decide them all");
}

#[test]
fn puts_of_few_values() {
    assert!(differ("register, few").without_search > HISTORIES / 4);
}

#[test]
fn every_function_of_a_store_with_few_values() {
    differ("kv, few");
}

#[test]
fn cas_to_unique_values() {
    assert!(differ("cas, unique").without_search > HISTORIES / 4);
}

#[test]
fn cas_among_few_values() {
    differ("cas, few");
}

#[test]
fn texts() {
    differ("text");
}

#[test]
fn lists_of_unique_elements() {
    assert!(differ("list, unique").without_search > HISTORIES * 9 / 10);
}

#[test]
fn lists_of_few_elements() {
    differ("list, few");
}

#[test]
fn sets_of_unique_elements() {
    assert_eq!(differ("set, unique").without_search, HISTORIES, "levels decide them all");
}

#[test]
fn sets_of_few_elements() {
    assert_eq!(differ("set, few").without_search, HISTORIES, "levels decide them all");
}

#[test]
fn locks() {
    differ("mutex");
}

#[test]
fn unique_values_written_once() {
    differ("write-once, unique");
}

#[test]
fn few_values_written_once() {
    differ("write-once, few");
}
