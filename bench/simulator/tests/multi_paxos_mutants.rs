//! Seeded bugs of Multi-Paxos, each with the law that notices it.

#![cfg(feature = "mutants")]

use qlab_kernel::mutants::activate;
use qlab_paxos::MultiPaxos;
use qlab_simulator::{Choice, Setup, first_failure};

/// Worlds within which a bug must have been noticed.
const SEEDS: u64 = 2_000;

const MUTANTS: [&str; 8] = [
    "multi-paxos: a promise is told before it is durable",
    "multi-paxos: an accept is told before it is durable",
    "multi-paxos: ballots below the promise are accepted",
    "multi-paxos: ballots do not name their proposer",
    "multi-paxos: slots of any ballot are taken as chosen",
    "multi-paxos: phase 2 proposes the leader's own value",
    "multi-paxos: what others accepted is not fetched",
    "multi-paxos: reads are not confirmed",
];

// One test, as a mutant is on for the whole process.
#[test]
#[expect(clippy::print_stdout, reason = "whoever asks wants to see which law noticed what")]
fn every_seeded_bug_breaks_a_law() {
    let mut unnoticed = Vec::new();
    for mutant in MUTANTS {
        activate(Some(mutant));
        match first_failure::<MultiPaxos>(0..SEEDS, Choice::Swarm, Setup::default) {
            Some(failure) => println!("{mutant}: seed {}: {}", failure.seed, failure.law),
            None => unnoticed.push(mutant),
        }
    }
    activate(None);
    assert!(unnoticed.is_empty(), "nobody noticed: {unnoticed:#?}");
}
