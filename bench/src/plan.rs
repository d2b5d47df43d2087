//! Experiments as data: a plan is a list of cells, lists in a cell expand to their cross product.
//!
//! | module | what it holds |
//! |---|---|
//! | `draft` | a plan's text, read with the line of everything in it, and written again |
//! | `scalar` | one value and its reading within bounds |
//! | `point` | one cell after expansion: one system under one load, and the checks of every parameter |
//! | `load` | `closed:64`, `open:20000/constant`, `open:10%` |
//! | `machine` | what is replicated: a store or locks |
//! | `faults` | `kill-leader@2s/1s,pause-follower@4s` |
//! | `duration` | `500ms`, `2s`, `1m` |

mod draft;
mod duration;
mod faults;
mod load;
mod machine;
mod point;
mod scalar;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::studies;

pub use draft::{Draft, PlanError};
pub(crate) use duration::parse_duration;
pub use faults::{Fault, Kind, Role, Schedule};
pub use load::{Load, Rate, Spacing};
pub use machine::Machine;
pub use point::{KeyDistribution, Point, SESSION_OUTSTANDING_MAX, System};
pub use scalar::{Scalar, option_value};

/// The plans inside the program, by name.
const EMBEDDED: [(&str, &str); 9] = [
    ("quick", include_str!("../plans/quick.toml")),
    ("floor", include_str!("../plans/floor.toml")),
    ("consensus", include_str!("../plans/consensus.toml")),
    ("ablation", include_str!("../plans/ablation.toml")),
    ("quorum", include_str!("../plans/quorum.toml")),
    ("locks", include_str!("../plans/locks.toml")),
    ("faults", include_str!("../plans/faults.toml")),
    ("quorum-faults", include_str!("../plans/quorum-faults.toml")),
    ("byzantine", include_str!("../plans/byzantine.toml")),
];

/// An experiment, checked and expanded.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names the folder of its runs: lower-case letters, digits and dashes.
    pub name: String,
    /// A sentence.
    pub description: String,
    /// How often every point is measured; each time is one row.
    pub rounds: u32,
    /// Cut from the start of each measurement.
    pub warmup: Duration,
    /// Measured.
    pub measure: Duration,
    /// Seed of orders and tapes.
    pub seed: u64,
    /// Whether each round has its own order.
    pub shuffle: bool,
    /// What is measured in each round.
    pub points: Vec<Point>,
    /// The plan as TOML, exactly as it runs.
    pub source: String,
}

/// One measurement to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// From 1.
    pub round: u32,
    /// Index into [`Plan::points`].
    pub point: usize,
}

impl Plan {
    /// Reads a plan by name, or from a path: whatever holds a `/` or ends in `.toml`.
    pub fn draft(name_or_path: &str) -> Result<Draft, PlanError> {
        if name_or_path.contains('/') || name_or_path.ends_with(".toml") {
            let read = fs::read_to_string(Path::new(name_or_path));
            let text = read.map_err(|reason| PlanError::Io { path: name_or_path.to_owned(), reason })?;
            return Draft::parse(name_or_path, &text);
        }
        let known = EMBEDDED.iter().find(|(name, _)| *name == name_or_path);
        let (name, text) = known.ok_or_else(|| PlanError::UnknownPlan {
            name: name_or_path.to_owned(),
            known: EMBEDDED
                .map(|(name, _)| name)
                .into_iter()
                .chain(studies::NAMES)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        Draft::parse(&format!("plans/{name}.toml"), text)
    }

    /// The names of all switches that any point sets: the switch columns of `cells.csv`.
    pub fn switch_names(&self) -> Vec<String> {
        let names: BTreeSet<String> =
            self.points.iter().flat_map(|point| point.all_switches().into_keys()).collect();
        names.into_iter().collect()
    }

    /// What is measured, in order: round by round, each shuffled by the plan's seed. In each round, points whose rate is
    /// a share of another's throughput come after all others.
    pub fn schedule(&self) -> Vec<Slot> {
        let mut chance = Pcg64::seed_from_u64(self.seed);
        (1..=self.rounds).flat_map(|round| self.round_order(round, &mut chance)).collect()
    }

    fn round_order(&self, round: u32, chance: &mut Pcg64) -> Vec<Slot> {
        let waits = |point: &usize| self.points[*point].percent_of.is_some();
        let (mut later, mut first): (Vec<usize>, Vec<usize>) = (0..self.points.len()).partition(waits);
        if self.shuffle {
            shuffle(&mut first, chance);
            shuffle(&mut later, chance);
        }
        first.into_iter().chain(later).map(|point| Slot { round, point }).collect()
    }

    /// The cell whose throughput this point's percentage is of: the smallest of its systems' throughputs in the same
    /// round is 100 %, so that all systems are compared at one common rate.
    pub fn reference(&self, point: &Point) -> Option<Vec<&Point>> {
        let name = point.percent_of.as_ref()?;
        Some(self.points.iter().filter(|other| other.cell == *name).collect())
    }
}

/// Fisher and Yates, here so that a seed gives the same order with every version of every library.
fn shuffle(order: &mut [usize], chance: &mut Pcg64) {
    for last in (1..order.len()).rev() {
        order.swap(last, chance.random_range(0..=last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded(name: &str) -> Plan {
        Plan::draft(name).and_then(Draft::finish).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_embedded_plan_is_sound_and_bears_its_name() {
        EMBEDDED.iter().for_each(|(name, text)| {
            let plan = embedded(name);
            assert_eq!((&plan.name[..], &plan.source[..]), (*name, *text));
        });
    }

    #[test]
    fn the_quick_plan_measures_for_less_than_a_minute() {
        let plan = embedded("quick");
        let seconds = (plan.warmup + plan.measure).as_secs_f64() * plan.schedule().len() as f64;
        assert!(seconds < 45.0, "{seconds} s and the processes' start");
    }

    #[test]
    fn the_floor_plan_compares_read_modes_and_a_common_rate() {
        let plan = embedded("floor");
        assert_eq!(plan.switch_names(), ["raft.reads"]);
        assert!(plan.rounds >= 5);
        let cells: BTreeSet<&str> = plan.points.iter().map(|point| &point.cell[..]).collect();
        for expected in ["latency", "reads/raft.reads=lease", "reads/raft.reads=read-index", "saturated"] {
            assert!(cells.contains(expected), "{expected} is not in {cells:?}");
        }
        let latency = plan.points.iter().find(|point| point.cell == "latency").unwrap();
        let systems: Vec<_> = plan.reference(latency).unwrap().iter().map(|point| point.system).collect();
        assert_eq!(systems, [System::Unreplicated, System::Raft]);
    }

    #[test]
    fn the_ablation_plan_switches_one_thing_at_a_time_beside_the_default() {
        let plan = embedded("ablation");
        for point in &plan.points {
            let switched = usize::from(point.cell != "default");
            // Two sizes are one choice of quorums.
            let switches = point.switches.len().min(1);
            assert_eq!(switches, switched, "{} in {}", point.system, point.cell);
            let beside = |other: &&Point| other.cell == "default" && other.system == point.system;
            let default = plan.points.iter().find(beside).expect("what is switched has a default");
            assert_eq!((default.load, default.replicas), (point.load, point.replicas));
        }
    }

    #[test]
    fn consensus_is_compared_among_systems_that_survive_one_fault_each() {
        let plan = embedded("consensus");
        let replicas = |system| plan.points.iter().find(|point| point.system == system).unwrap().replicas;
        assert_eq!([System::Raft, System::MultiPaxos, System::Pbft].map(replicas), [3, 3, 4]);
    }

    #[test]
    fn each_round_measures_every_point_and_shares_come_last() {
        let plan = embedded("floor");
        let slots = plan.schedule();
        assert_eq!(slots, plan.schedule(), "the order is a function of the plan");
        let rounds: Vec<&[Slot]> = slots.chunk_by(|a, b| a.round == b.round).collect();
        assert_eq!(rounds.len(), 5);
        for round in &rounds {
            let points: BTreeSet<usize> = round.iter().map(|slot| slot.point).collect();
            assert_eq!(points.len(), plan.points.len());
            assert!(round.is_sorted_by_key(|slot| plan.points[slot.point].percent_of.is_some()));
        }
        let orders: BTreeSet<Vec<usize>> =
            rounds.iter().map(|round| round.iter().map(|slot| slot.point).collect()).collect();
        assert!(orders.len() > 1, "rounds have their own orders");
    }

    #[test]
    fn an_unknown_plan_is_answered_with_the_known_ones() {
        let error = Plan::draft("flor").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no plan \"flor\"; there are quick, floor, consensus, ablation, \
             quorum, locks, faults, quorum-faults, byzantine, gossip, gossip-quick, clock, clock-quick, or give the path of a .toml file"
        );
        assert!(Plan::draft("./none.toml").unwrap_err().to_string().starts_with("./none.toml: "));
    }
}
