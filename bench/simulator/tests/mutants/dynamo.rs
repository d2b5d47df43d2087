//! Dynamo.

use std::time::Duration;

use qlab_quorum::{Dynamo, Quorums, dynamo::Config};

use super::{Mutant, mutant};

pub(crate) const MUTANTS: &[Mutant<Dynamo>] = &[
    mutant("dynamo: names begin again after a key was forgotten", &["V1", "V2"])
        .with(forgetful)
        .within(1_000),
    mutant("dynamo: a replica speaks before its disk", &["V1", "V7", "V2"]),
    mutant("dynamo: a write replaces what its author has not read", &["V2"]),
    mutant("dotted version vectors: replaced values come back", &["V3"]),
    mutant("dotted version vectors: a write replaces nothing", &["V3"]),
    mutant("vector clock: merge takes the minimum", &["V2", "V3", "V7"]),
    mutant("dynamo: hints are dropped once they were told", &["V4", "V5"]).with(few_copies),
    mutant("dynamo: roots that differ are not looked into", &["L", "V5"]),
    mutant("dynamo: deletions are forgotten when their grace is over", &["V6"]).with(forgetful),
    mutant("dynamo: one replica too few stores it", &["V7"]),
];

/// Deletions are forgotten soon.
fn forgetful() -> Config {
    Config {
        tombstone_grace: Duration::from_millis(20),
        retry_interval: Duration::from_millis(20),
        anti_entropy_interval: Duration::from_millis(100),
        ..Config::default()
    }
}

/// Whoever is asked is often nobody's home.
fn few_copies() -> Config {
    Config {
        copies: Some(2),
        quorums: Quorums { read: 1, write: 1 },
        sloppy: true,
        retry_interval: Duration::from_millis(20),
        anti_entropy_interval: Duration::from_millis(100),
        ..Config::default()
    }
}
