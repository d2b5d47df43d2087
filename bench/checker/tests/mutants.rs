//! A judge with a seeded bug is found out by comparing it with brute force.

#![cfg(feature = "mutants")]

mod common;

use common::brute_force::is_linearizable;
use common::small::{Kind, Truth, kinds, small_history};
use common::{random, verdict};
use qlab_checker::mutants::{ALL, activate};
use qlab_checker::{History, Method, Verdict};

/// Seeds tried before a mutant counts as alive; each is a history of every kind.
const SEEDS_MAX: u64 = 4_000;

/// A history on which a judge and brute force differ.
struct Kill {
    kind: &'static str,
    method: Method,
    seed: u64,
    /// How many histories were judged, this one included.
    histories: u64,
}

/// Judges histories until one is judged wrong.
fn hunt(kinds: &[Kind]) -> Option<Kill> {
    let mut histories = 0;
    for seed in 0..SEEDS_MAX {
        for kind in kinds {
            let truth = [Truth::Right, Truth::Tampered, Truth::Random][(seed % 3) as usize];
            let history = small_history(kind, truth, &mut random(seed));
            histories += 1;
            if let Some(method) = wrong_method(kind, &history) {
                return Some(Kill { kind: kind.name, method, seed, histories });
            }
        }
    }
    None
}

fn wrong_method(kind: &Kind, history: &History) -> Option<Method> {
    let expected = if is_linearizable(history, kind.model) { Verdict::Valid } else { Verdict::Invalid };
    let methods = [Method::Cheapest, Method::Search];
    methods.into_iter().find(|method| verdict(history, kind.model, *method) != expected)
}

#[test]
#[expect(clippy::print_stdout, reason = "who killed whom is the result of this test")]
fn every_mutant_is_killed_and_the_right_judge_is_not() {
    // One test, as a mutant is on for the whole process.
    let kinds = kinds();
    assert!(hunt(&kinds).is_none(), "without mutants there is nothing to find");
    let mut alive = Vec::new();
    for mutant in ALL {
        activate(Some(mutant));
        match hunt(&kinds) {
            Some(Kill { kind, method, seed, histories }) => {
                println!(
                    "{mutant}: killed by {kind:?}, seed {seed}, {method:?}, after {histories} histories"
                );
            }
            None => alive.push(mutant),
        }
    }
    activate(None);
    assert!(alive.is_empty(), "alive after {SEEDS_MAX} histories of each kind: {alive:?}");
}
