//! Positive controls: worlds that must fail, and do; the same worlds without what is wrong with them are clean.
//!
//! For crash faults those are of Raft; for Byzantine ones of PBFT, where one liar or twin more than f divides the rest.

use std::time::Duration;

use qlab_clocks::sync::{self, Clock};
use qlab_gossip::Gossip;
use qlab_kernel::{NodeId, NodeSet};
use qlab_pbft::Pbft;
use qlab_quorum::Dynamo;
use qlab_quorum::dynamo::{self, Conflicts};
use qlab_raft::{Config, Raft, Reads};
use qlab_simulator::byzantine::clock::FalseTime;
use qlab_simulator::byzantine::pbft::{Equivocating, Forger};
use qlab_simulator::byzantine::{Byzantine, Hasty};
use qlab_simulator::campaign::schedule;
use qlab_simulator::{Schedule, Setup, Subject, attempt};
use rayon::prelude::*;

/// Something that no world may survive.
struct Control<S: Subject> {
    /// What is wrong.
    wrong: fn() -> Setup<S>,
    /// The same without it.
    right: fn() -> Setup<S>,
    /// Replicas, with what is wrong and without it.
    nodes: [usize; 2],
    faults: &'static str,
    seeds: u64,
    /// Laws that must see it, by number: one of them in some world at least.
    laws: &'static [&'static str],
}

impl<S: Subject> Control<S> {
    /// The number of the law that a world breaks.
    fn broken_law(&self, seed: u64, nodes: usize, setup: &Setup<S>) -> Option<String> {
        let choice = self.faults.parse().expect("the names of faults");
        let schedule = Schedule { nodes, ..schedule::<S>(seed, choice) };
        let violation = attempt(&schedule, setup).violation?;
        Some(violation.law.split(' ').next().expect("a law has a name").to_owned())
    }

    fn holds(&self) {
        let broken: Vec<(u64, String)> = (0..self.seeds)
            .into_par_iter()
            .filter_map(|seed| self.broken_law(seed, self.nodes[0], &(self.wrong)()).map(|law| (seed, law)))
            .collect();
        assert!(!broken.is_empty(), "{} worlds survive what none may", self.seeds);
        // Other laws may be broken first in some worlds: one that does not come right, say.
        let named = broken.iter().filter(|(_, law)| self.laws.contains(&law.as_str())).count();
        assert!(named > 0, "none of {:?} is broken: {broken:?}", self.laws);
        for seed in 0..self.seeds {
            assert_eq!(
                self.broken_law(seed, self.nodes[1], &(self.right)()),
                None,
                "seed {seed} without the control"
            );
        }
    }
}

#[test]
fn more_twins_than_faults_are_tolerated_elect_two_leaders() {
    let control = Control::<Raft> {
        nodes: [3, 3],
        wrong: || Setup { twins: 2, ..Setup::default() },
        right: Setup::default,
        faults: "partition,transfer",
        seeds: 20,
        laws: &["R1"],
    };
    control.holds();
}

#[test]
fn replicas_that_speak_before_their_disks_forget_what_they_said() {
    let control = Control::<Raft> {
        nodes: [3, 3],
        wrong: || Setup { byzantine: |_| Some(Box::new(Hasty)), ..Setup::default() },
        right: Setup::default,
        faults: "power-loss,blackout",
        seeds: 10,
        laws: &["R11", "R12", "R6"],
    };
    control.holds();
}

#[test]
fn a_replica_that_comes_back_with_an_empty_disk_breaks_its_word() {
    let control = Control::<Raft> {
        nodes: [3, 3],
        wrong: || Setup { rejoins_empty: true, ..Setup::default() },
        right: Setup::default,
        faults: "wipe,partition",
        seeds: 10,
        laws: &["R11", "R12", "R6", "R4"],
    };
    control.holds();
}

#[test]
fn leases_end_late_on_clocks_that_run_apart_further_than_declared() {
    let control = Control::<Raft> {
        nodes: [3, 3],
        wrong: || Setup { drift_factor: 50, ..lease() },
        right: lease,
        faults: "clock-drift,partition",
        seeds: 60,
        laws: &["R13"],
    };
    control.holds();
}

fn lease() -> Setup<Raft> {
    let config = Config {
        reads: Reads::Lease,
        clock_drift_ppm: 10_000,
        election_timeout_max: Duration::from_millis(160),
        ..Config::default()
    };
    Setup { config: Some(config), ..Setup::default() }
}

/// Laws that say that honest replicas disagree.
const DISAGREEMENT: &[&str] = &["B1", "G5", "G1", "B3", "B6"];

/// All liars propose and vote for two things at once.
fn equivocating(liars: usize, twins: usize) -> Setup<Pbft> {
    Setup {
        liars: Some(liars),
        twins,
        lies: |me, nodes, config, _| {
            Some(Box::new(Equivocating::new(Forger { me, nodes, config: config.clone() })))
        },
        ..Setup::default()
    }
}

#[test]
fn one_liar_more_than_f_divides_the_others() {
    let control = Control::<Pbft> {
        nodes: [4, 4],
        wrong: || equivocating(2, 0),
        right: || equivocating(1, 0),
        faults: "loss",
        seeds: 40,
        laws: DISAGREEMENT,
    };
    control.holds();
}

#[test]
fn one_twin_more_than_f_divides_the_others() {
    let control = Control::<Pbft> {
        nodes: [4, 4],
        wrong: || equivocating(0, 2),
        right: || equivocating(0, 1),
        faults: "loss,partial,pause",
        seeds: 100,
        laws: DISAGREEMENT,
    };
    control.holds();
}

#[test]
fn three_replicas_survive_no_liar_and_four_survive_one() {
    let control = Control::<Pbft> {
        nodes: [3, 4],
        wrong: || equivocating(1, 0),
        right: || equivocating(1, 0),
        faults: "loss",
        seeds: 20,
        laws: DISAGREEMENT,
    };
    control.holds();
}

/// Clocks of different replicas show times that are minutes apart: what was written after it had been read is older by the clock, and
/// goes.
#[test]
fn where_the_last_writer_wins_by_clocks_that_disagree_updates_are_lost() {
    let control = Control::<Dynamo> {
        nodes: [3, 3],
        wrong: || last_writer_wins(Conflicts::LastWriterWins),
        right: || last_writer_wins(Conflicts::Siblings),
        faults: "clock-drift,clock-jump",
        seeds: 10,
        laws: &["V2"],
    };
    control.holds();
}

fn last_writer_wins(conflicts: Conflicts) -> Setup<Dynamo> {
    Setup { config: Some(dynamo::Config { conflicts, ..dynamo::Config::default() }), ..Setup::default() }
}

/// One is the scale, whatever it says; of five, two that lie the same are outvoted.
#[test]
fn one_trusted_source_that_lies_is_believed() {
    let control = Control::<Clock> {
        nodes: [7, 7],
        wrong: || Setup { byzantine: first_lies, ..trusting(1) },
        right: || Setup { byzantine: first_two_lie, ..trusting(5) },
        faults: "loss,duplicate",
        seeds: 10,
        laws: &["T1"],
    };
    control.holds();
}

fn trusting(references: usize) -> Setup<Clock> {
    let config = sync::Config {
        references: NodeSet::first(references),
        poll_interval: Duration::from_millis(50),
        ..sync::Config::default()
    };
    Setup { config: Some(config), liars: Some(0), ..Setup::default() }
}

fn first_lies(node: NodeId) -> Option<Box<dyn Byzantine<Clock>>> {
    (node.0 < 1).then(|| Box::new(FalseTime::Shifted(5_000_000)) as Box<_>)
}

fn first_two_lie(node: NodeId) -> Option<Box<dyn Byzantine<Clock>>> {
    (node.0 < 2).then(|| Box::new(FalseTime::Shifted(5_000_000)) as Box<_>)
}

/// A life is what dots and versions are numbered in: one that is lived twice numbers different things alike.
#[test]
fn a_node_that_forgot_its_lives_numbers_two_things_alike() {
    let control = Control::<Gossip> {
        nodes: [5, 5],
        wrong: || Setup { rejoins_empty: true, ..Setup::default() },
        right: Setup::default,
        faults: "wipe,partition",
        seeds: 40,
        laws: &["C2", "C6", "L", "S1"],
    };
    control.holds();
}
