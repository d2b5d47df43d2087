//! The kill matrix: every seeded bug breaks a law that is named for it, within a number of seeds that is named, too.
//!
//! `MUTANTS_TABLE=path` writes the table there; `MUTANTS=words,words` looks only at mutants whose names have one of them.

#![cfg(feature = "mutants")]

mod abd;
mod clock;
mod dynamo;
mod gossip;
mod locks;
mod multi_paxos;
mod paxos;
mod pbft;
mod raft;

use std::fmt::Write as _;
use std::ops::Range;

use qlab_kernel::mutants;
use qlab_machines::MachineKind;
use qlab_simulator::campaign::schedule;
use qlab_simulator::{Choice, Setup, Subject, attempt};
use rayon::prelude::*;

/// Disjoint ranges of seeds that each mutant is looked for in.
const RANGES: u64 = 5;
const RANGE_SEEDS: u64 = 1_000_000;

/// A seeded bug and what it must break.
pub(crate) struct Mutant<P: Subject> {
    name: &'static str,
    /// By number: the specification's first, then others that it comes to. One of them must notice.
    laws: &'static [&'static str],
    /// What the worlds are like: the swarm, or only some faults where the swarm needs too many seeds.
    faults: &'static str,
    /// How replicas are configured there; as the seed says if `None`.
    config: Option<fn() -> P::Config>,
    machine: MachineKind,
    seeds_max: u64,
}

/// A mutant that the swarm kills.
pub(crate) const fn mutant<P: Subject>(name: &'static str, laws: &'static [&'static str]) -> Mutant<P> {
    Mutant { name, laws, faults: "swarm", config: None, machine: MachineKind::Kv, seeds_max: 100 }
}

impl<P: Subject> Mutant<P> {
    /// Worlds with these faults alone.
    const fn under(self, faults: &'static str) -> Self {
        Self { faults, ..self }
    }

    const fn with(self, config: fn() -> P::Config) -> Self {
        Self { config: Some(config), ..self }
    }

    /// Worlds in which locks are replicated.
    const fn of_locks(self) -> Self {
        Self { machine: MachineKind::Locks, ..self }
    }

    const fn within(self, seeds_max: u64) -> Self {
        Self { seeds_max, ..self }
    }
}

/// Faults that bring one leader after the other, cut off from the last one's followers.
pub(crate) const LEADERS_CHANGE: &str = "partition,one-way,partial,transfer";

/// How a mutant was found in one range: in which seed, and which law it broke there.
struct Kill {
    seed: u64,
    law: String,
}

impl Kill {
    /// How many worlds that took.
    const fn seeds(&self) -> u64 {
        self.seed % RANGE_SEEDS + 1
    }
}

impl<P: Subject> Mutant<P> {
    fn choice(&self) -> Choice {
        self.faults.parse().expect("the names of faults")
    }

    fn setup(&self) -> Setup<P> {
        Setup { config: self.config.map(|config| config()), machine: self.machine, ..Setup::default() }
    }

    /// The mutant is on.
    fn hunt(&self) -> Vec<Option<Kill>> {
        let ranges = (0..RANGES).into_par_iter();
        ranges
            .map(|range| self.first_kill(range * RANGE_SEEDS..range * RANGE_SEEDS + self.seeds_max))
            .collect()
    }

    fn first_kill(&self, mut seeds: Range<u64>) -> Option<Kill> {
        seeds.find_map(|seed| self.broken_law(seed).map(|law| Kill { seed, law }))
    }

    fn broken_law(&self, seed: u64) -> Option<String> {
        let violation = attempt(&schedule::<P>(seed, self.choice()), &self.setup()).violation?;
        let number = violation.law.split(' ').next().expect("a law has a name");
        Some(number.to_owned())
    }

    /// What is wrong with how it was found.
    fn complaint(&self, kills: &[Option<Kill>]) -> Option<String> {
        let found: Vec<&Kill> = kills.iter().flatten().collect();
        if found.len() < kills.len() {
            return Some(format!("{}: only {} of {} ranges kill it", self.name, found.len(), kills.len()));
        }
        // In some worlds another law is broken first: one that does not come right, say.
        let named = found.iter().any(|kill| self.laws.contains(&kill.law.as_str()));
        let laws: Vec<&str> = found.iter().map(|kill| kill.law.as_str()).collect();
        (!named).then(|| format!("{}: {laws:?} are broken, and none of {:?}", self.name, self.laws))
    }

    fn row(&self, kills: &[Option<Kill>]) -> String {
        let mut laws: Vec<&str> = kills.iter().flatten().map(|kill| kill.law.as_str()).collect();
        laws.sort_unstable();
        laws.dedup();
        let mut seeds: Vec<u64> =
            kills.iter().map(|kill| kill.as_ref().map_or(u64::MAX, Kill::seeds)).collect();
        seeds.sort_unstable();
        let shown = |seeds: u64| {
            if seeds == u64::MAX { format!("> {}", self.seeds_max) } else { seeds.to_string() }
        };
        let (median, most) = (shown(seeds[seeds.len() / 2]), shown(seeds[seeds.len() - 1]));
        format!("| {} | {} | {} | {median} | {most} |", self.name, laws.join(", "), self.faults)
    }
}

/// What came of all mutants.
struct Matrix {
    table: String,
    complaints: Vec<String>,
    /// Words of which a mutant's name must have one to be looked at.
    only: String,
}

impl Matrix {
    #[expect(clippy::print_stdout, reason = "the table is what the test is for")]
    fn hunt<P: Subject>(&mut self, mutants: &[Mutant<P>]) {
        let wanted = |mutant: &&Mutant<P>| self.only.split(',').any(|only| mutant.name.contains(only));
        for mutant in mutants.iter().filter(wanted) {
            mutants::activate(Some(mutant.name));
            let kills = mutant.hunt();
            mutants::activate(None);
            let row = mutant.row(&kills);
            println!("{row}");
            writeln!(self.table, "{row}").expect("strings take everything");
            self.complaints.extend(mutant.complaint(&kills));
            let seeds: Vec<u64> = kills.iter().flatten().map(|kill| kill.seed).collect();
            let clean = |seed: &u64| {
                mutant.broken_law(*seed).map(|law| format!("seed {seed} breaks {law} without a mutant"))
            };
            self.complaints.par_extend(seeds.par_iter().filter_map(clean));
        }
    }
}

/// One test, as the switch is the whole process's.
#[test]
fn every_mutant_is_killed_by_a_law_named_for_it_and_without_it_the_same_worlds_are_clean() {
    let mut matrix = Matrix {
        table: "| mutant | killed by | worlds | median seeds | most |\n|---|---|---|--:|--:|\n".to_owned(),
        complaints: Vec::new(),
        only: std::env::var("MUTANTS").unwrap_or_default(),
    };
    matrix.hunt(raft::MUTANTS);
    matrix.hunt(multi_paxos::MUTANTS);
    matrix.hunt(paxos::MUTANTS);
    matrix.hunt(pbft::MUTANTS);
    matrix.hunt(locks::MUTANTS);
    matrix.hunt(abd::MUTANTS);
    matrix.hunt(dynamo::MUTANTS);
    matrix.hunt(gossip::MUTANTS);
    matrix.hunt(clock::MUTANTS);
    if let Ok(path) = std::env::var("MUTANTS_TABLE") {
        std::fs::write(path, &matrix.table).expect("the table's place can be written");
    }
    assert!(matrix.complaints.is_empty(), "{:#?}", matrix.complaints);
}
