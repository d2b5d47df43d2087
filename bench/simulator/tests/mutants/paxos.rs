//! Paxos, single decree.

use std::time::Duration;

use qlab_paxos::Paxos;
use qlab_paxos::single::{Config, FirstBallot};

use super::{Mutant, mutant};

pub(crate) const MUTANTS: &[Mutant<Paxos>] = &[
    mutant("paxos: a promise is told before it is durable", &["P3"]),
    mutant("paxos: an accept is told before it is durable", &["P3"]),
    mutant("paxos: only what is above the promise is accepted", &["L"]).with(prepared),
    mutant("paxos: the promise does not bind", &["P3"]),
    mutant("paxos: half of the promises are enough", &["P5"]),
    mutant("paxos: half of the accepts are enough", &["P6"]),
    mutant("paxos: its own value after phase 1", &["P5"]),
    mutant("paxos: a ballot without its node", &["P4", "P5"]),
    mutant("paxos: a restart is the same life", &["P4"])
        .under("power-loss,disk-stall")
        .with(prepared)
        .within(800),
    mutant("paxos: the first ballot is used before that is durable", &["P5", "P1"])
        .under("power-loss,disk-stall")
        .with(promised)
        .within(1_500),
    mutant("paxos: a learner mixes ballots", &["P6"]).within(800),
    mutant("paxos: a read takes any accepted value", &["P6"]),
    mutant("paxos: a read joins a question asked before it", &["G1"])
        .under("delay,loss,partial")
        .within(1_500),
];

/// Phase 1 in every ballot, and every register written anew every now and then.
fn prepared() -> Config {
    Config { rewrite_log_bytes: 3_000, ..Config::default() }
}

/// One replica may skip phase 1; the others hear late of what that came to.
fn promised() -> Config {
    Config { first_ballot: FirstBallot::Promised, tell_interval: Duration::from_millis(100), ..prepared() }
}
