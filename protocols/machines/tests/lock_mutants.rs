//! The kill matrix: every seeded bug breaks the law that is named for it within so many seeds.
//!
//! A bug is switched on for a whole process, so this test is alone in its own.

#![cfg(feature = "mutants")]

#[path = "lock/clocks.rs"]
mod clocks;
#[path = "lock/laws.rs"]
mod laws;
#[path = "lock/model.rs"]
mod model;
#[path = "lock/steps.rs"]
mod steps;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use qlab_kernel::mutants::activate;

use crate::clocks::{life_on_clocks, live_on_clocks, worst_clocks};
use crate::laws::{Broken, live};
use crate::steps::life;

const SEEDS_MAX: u64 = 400;
/// Disjoint ranges of seeds that each bug is looked for in.
const RANGES: u64 = 5;

/// A way to try a seed.
type Trial = fn(u64) -> Result<(), Broken>;

/// Name, law, and where it shows.
const MUTANTS: [(&str, &str, Trial); 13] = [
    ("locks: an old token is as good as a new one", "L1", in_a_life),
    ("locks: tokens begin again after a snapshot", "L1", in_a_life),
    ("locks: a lease counts from its answer", "L2", on_clocks),
    ("locks: a lease runs from the tick before its renewal", "L2", on_clocks),
    ("locks: two ticks count the same time", "L2", on_clocks),
    ("locks: leases trust clocks", "L2", on_the_worst_clocks),
    ("locks: anyone may release", "L3", in_a_life),
    ("locks: the dead keep what they claimed", "L4", in_a_life),
    ("locks: a wake-up is lost", "L5", in_a_life),
    ("locks: shared claims overtake an exclusive one", "L5", in_a_life),
    ("locks: shared joins exclusive", "L6", in_a_life),
    ("locks: a victim keeps its locks", "L7", in_a_life),
    ("locks: nobody looks for deadlocks", "L7", in_a_life),
];

fn in_a_life(seed: u64) -> Result<(), Broken> {
    live(&chosen(seed, life()))
}

fn on_clocks(seed: u64) -> Result<(), Broken> {
    live_on_clocks(&chosen(seed, life_on_clocks()))
}

fn on_the_worst_clocks(_: u64) -> Result<(), Broken> {
    let (belief_ns, ended_ns) = worst_clocks(10_000);
    if belief_ns <= ended_ns { Ok(()) } else { Err("L2: a belief outlives its lease".to_owned()) }
}

/// What a seed stands for.
fn chosen<S: Strategy>(seed: u64, strategy: S) -> S::Value {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).expect("nothing is filtered").current()
}

/// How many seeds it takes in each range to break a law, and which.
fn hunt(trial: Trial) -> Vec<(u64, Broken)> {
    let range = |range: u64| {
        let found = (0..SEEDS_MAX).find_map(|seed| Some((seed + 1, trial(range << 32 | seed).err()?)));
        found.unwrap_or((u64::MAX, "none".to_owned()))
    };
    (0..RANGES).map(range).collect()
}

#[test]
fn every_seeded_bug_breaks_its_law() {
    let mut complaints = Vec::new();
    for (name, law, trial) in MUTANTS {
        activate(Some(name));
        let mut kills = hunt(trial);
        activate(None);
        kills.sort_unstable_by_key(|(seeds, _)| *seeds);
        let (median, most) = (kills[kills.len() / 2].0, kills[kills.len() - 1].0);
        let mut laws: Vec<&str> = kills.iter().map(|(_, broken)| &broken[..2]).collect();
        laws.sort_unstable();
        laws.dedup();
        eprintln!("| {name} | {} | {median} | {most} |", laws.join(", "));
        if most > SEEDS_MAX || !laws.contains(&law) {
            complaints.push(format!("{name}: {law} was expected within {SEEDS_MAX} seeds, found {kills:?}"));
        }
        assert_eq!(trial(0), Ok(()), "without {name} all is well");
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}
