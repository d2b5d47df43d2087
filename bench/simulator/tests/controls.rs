//! Positive controls: worlds that must fail, and do; the same worlds without what is wrong with them are clean.

use std::time::Duration;

use qlab_raft::{Config, Raft, Reads};
use qlab_simulator::byzantine::Hasty;
use qlab_simulator::campaign::schedule;
use qlab_simulator::{Schedule, Setup, attempt};
use rayon::prelude::*;

/// Something that no world may survive.
struct Control {
    /// What is wrong.
    wrong: fn() -> Setup<Raft>,
    /// The same without it.
    right: fn() -> Setup<Raft>,
    faults: &'static str,
    seeds: u64,
    /// Laws that must see it, by number: one of them in some world at least.
    laws: &'static [&'static str],
}

impl Control {
    fn holds(&self) {
        let broken: Vec<(u64, String)> = (0..self.seeds)
            .into_par_iter()
            .filter_map(|seed| broken_law(seed, self.faults, &(self.wrong)()).map(|law| (seed, law)))
            .collect();
        assert!(!broken.is_empty(), "{} worlds survive what none may", self.seeds);
        // Other laws may be broken first in some worlds: one that does not come right, say.
        let named = broken.iter().filter(|(_, law)| self.laws.contains(&law.as_str())).count();
        assert!(named > 0, "none of {:?} is broken: {broken:?}", self.laws);
        for seed in 0..self.seeds {
            assert_eq!(
                broken_law(seed, self.faults, &(self.right)()),
                None,
                "seed {seed} without the control"
            );
        }
    }
}

/// The number of the law that a world of three replicas breaks.
fn broken_law(seed: u64, faults: &str, setup: &Setup<Raft>) -> Option<String> {
    let choice = faults.parse().expect("the names of faults");
    let schedule = Schedule { nodes: 3, ..schedule::<Raft>(seed, choice) };
    let violation = attempt(&schedule, setup).violation?;
    Some(violation.law.split(' ').next().expect("a law has a name").to_owned())
}

#[test]
fn more_twins_than_faults_are_tolerated_elect_two_leaders() {
    let control = Control {
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
    let control = Control {
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
    let control = Control {
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
    let control = Control {
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
