//! The kill matrix: every seeded bug breaks a law that is named for it, within a number of seeds that is named, too.
//!
//! `MUTANTS_TABLE=path` writes the table there; `MUTANTS=words,words` looks only at mutants whose names have one of them.

#![cfg(feature = "mutants")]

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use qlab_kernel::mutants;
use qlab_paxos::Paxos;
use qlab_paxos::single::{self, FirstBallot};
use qlab_raft::{Config, Raft, Reads};
use qlab_simulator::campaign::schedule;
use qlab_simulator::{Choice, Setup, Subject, attempt};
use rayon::prelude::*;

/// Disjoint ranges of seeds that each mutant is looked for in.
const RANGES: u64 = 5;
const RANGE_SEEDS: u64 = 1_000_000;

/// A seeded bug and what it must break.
struct Mutant<S: Subject> {
    name: &'static str,
    /// By number: the specification's first, then others that it comes to. One of them must notice.
    laws: &'static [&'static str],
    /// What the worlds are like: the swarm, or only some faults where the swarm needs too many seeds.
    faults: &'static str,
    /// How replicas are configured there; as the seed says if `None`.
    config: Option<fn() -> S::Config>,
    seeds_max: u64,
}

/// A mutant that the swarm kills.
const fn mutant<S: Subject>(name: &'static str, laws: &'static [&'static str]) -> Mutant<S> {
    Mutant { name, laws, faults: "swarm", config: None, seeds_max: 100 }
}

impl<S: Subject> Mutant<S> {
    /// Worlds with these faults alone.
    const fn under(self, faults: &'static str) -> Self {
        Self { faults, ..self }
    }

    const fn with(self, config: fn() -> S::Config) -> Self {
        Self { config: Some(config), ..self }
    }

    const fn within(self, seeds_max: u64) -> Self {
        Self { seeds_max, ..self }
    }
}

/// Clocks may run apart by half, and elections follow each other closely: a lease has little room for errors.
fn lease() -> Config {
    Config {
        reads: Reads::Lease,
        clock_drift_ppm: 500_000,
        election_timeout_max: Duration::from_millis(160),
        ..Config::default()
    }
}

/// Leases as long as elections take at least, and leaders that seldom hear that their time is over.
fn long_leases() -> Config {
    Config { clock_drift_ppm: 0, heartbeat_interval: Duration::from_millis(70), ..lease() }
}

/// Each request is an entry, and many are on their way: logs that differ do so by much.
fn long_tails() -> Config {
    Config { batching: false, window_entries: 64, ..Config::default() }
}

/// An image after every few entries.
fn images() -> Config {
    Config { snapshot_log_bytes: 300, retained_log_bytes: 0, ..long_tails() }
}

const RAFT: &[Mutant<Raft>] = &[
    // Elections.
    mutant("raft: any log gets votes", &["R4"]),
    mutant("raft: a vote is told before it is durable", &["R11"]),
    mutant("raft: a vote is not written", &["R11", "L"]),
    mutant("raft: everybody gets a vote", &["R1", "R11"]),
    mutant("raft: votes are not reset", &["R1", "R4", "panic"]),
    mutant("raft: half the votes elect", &["R1", "R4", "R6", "panic"]).under(LEADERS_CHANGE),
    mutant("raft: a leader stays in a newer term", &["R1", "panic"]),
    mutant("raft: a restart forgets its vote", &["R8", "R11"]),
    // Replication.
    mutant("raft: entries of earlier terms are counted", &["R6"]),
    mutant("raft: quorum is half", &["R6"]),
    mutant("raft: a leader counts itself before its disk", &["R6"]),
    mutant("raft: every append truncates", &["R16", "R12", "R6", "panic"]),
    mutant("raft: every append truncates what is not committed", &["R12", "R6", "panic"]),
    mutant("raft: a conflicting entry stays", &["R12", "R6", "G5"]),
    mutant("raft: places match by index alone", &["R12", "R6", "G5"]),
    mutant("raft: entries are acknowledged before they are durable", &["R12", "R6"]),
    mutant("raft: what was received counts as durable", &["R12", "R6"]),
    mutant("raft: one entry too many is acknowledged", &["R12", "R6"]),
    mutant("raft: what an earlier leader sent matches", &["R12", "R6", "L", "panic"])
        .under(LEADERS_CHANGE)
        .with(long_tails)
        .within(1_500),
    mutant("raft: a new leader takes all for equal", &["R12", "R6"]),
    mutant("raft: heartbeats commit whatever is there", &["R7", "R6", "G5"]).under(LEADERS_CHANGE),
    mutant("raft: a term begins without an entry", &["L"]),
    mutant("raft: a restart takes its whole log for committed", &["R6", "R7"]),
    // Reads.
    mutant("raft: reads are not confirmed", &["R13"]).under("partition,pause"),
    mutant("raft: reads come before the term's first entry", &["R13"]),
    mutant("reads: an earlier round confirms a read", &["R13"])
        .under("pause,partition")
        .with(Config::default)
        .within(1_500),
    mutant("raft: heartbeat answers of an earlier term count", &["R13"])
        .under("replay,transfer,partition")
        .with(Config::default)
        .within(1_500),
    mutant("reads: a lease never ends", &["R13"]).under("partition,pause").with(lease),
    mutant("reads: a lease outlives the handover", &["R13"])
        .under("transfer,one-way")
        .with(long_leases)
        .within(800),
    mutant("raft: leases trust clocks", &["R13"]).under("clock-drift,partition").with(lease),
    mutant("raft: voters are impatient", &["R13"]).under("partial").with(long_leases).within(1500),
    // Images.
    mutant("raft: every image replaces the log", &["R15", "R12", "R6", "R8", "panic"])
        .under("kill,power-loss,replay,duplicate,partition")
        .with(images)
        .within(1_500),
    mutant("raft: no image replaces the log", &["R15", "R12", "R7", "G5", "L"])
        .under(LEADERS_CHANGE)
        .with(images)
        .within(1_500),
    mutant("raft: entries behind an image are let go", &["R8", "panic"]),
    mutant("raft: the vote before an image is let go", &["R8", "R11"]),
    // Sessions.
    mutant("sessions: every request is executed", &["G3", "G1"]),
    mutant("sessions: the table is not in the image", &["G3", "R15", "G1"]),
    mutant("sessions: a settled request is executed again", &["G3", "G1"]),
    mutant("sessions: a settled request gets the newest answer", &["G3"]),
    mutant("sessions: one that is not known is opened", &["G3"]),
];

/// Phase 1 in every ballot, and every register written anew every now and then.
fn prepared() -> single::Config {
    single::Config { rewrite_log_bytes: 3_000, ..single::Config::default() }
}

/// One replica may skip phase 1; the others hear late of what that came to.
fn promised() -> single::Config {
    single::Config {
        first_ballot: FirstBallot::Promised,
        tell_interval: Duration::from_millis(100),
        ..prepared()
    }
}

const PAXOS: &[Mutant<Paxos>] = &[
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

/// Faults that bring one leader after the other, cut off from the last one's followers.
const LEADERS_CHANGE: &str = "partition,one-way,partial,transfer";

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

impl<S: Subject> Mutant<S> {
    fn choice(&self) -> Choice {
        self.faults.parse().expect("the names of faults")
    }

    fn setup(&self) -> Setup<S> {
        Setup { config: self.config.map(|config| config()), ..Setup::default() }
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
        let violation = attempt(&schedule::<S>(seed, self.choice()), &self.setup()).violation?;
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

/// What all hunts come to.
#[derive(Default)]
struct Report {
    table: String,
    complaints: Vec<String>,
}

impl Report {
    #[expect(clippy::print_stdout, reason = "the table is what the test is for")]
    fn hunt<S: Subject>(&mut self, mutants: &[Mutant<S>]) {
        let only = std::env::var("MUTANTS").unwrap_or_default();
        for mutant in mutants.iter().filter(|mutant| only.split(',').any(|only| mutant.name.contains(only))) {
            mutants::activate(Some(mutant.name));
            let kills = mutant.hunt();
            mutants::activate(None);
            let row = mutant.row(&kills);
            println!("{row}");
            writeln!(self.table, "{row}").expect("strings take everything");
            self.complaints.extend(mutant.complaint(&kills));
            let seeds: Vec<u64> = kills.iter().flatten().map(|kill| kill.seed).collect();
            let clean = |seed: &u64| {
                let law = mutant.broken_law(*seed)?;
                Some(format!("{}: seed {seed} breaks {law} without it", mutant.name))
            };
            self.complaints.par_extend(seeds.par_iter().filter_map(clean));
        }
    }
}

/// One test, as the switch is the whole process's.
#[test]
fn every_mutant_is_killed_by_a_law_named_for_it_and_without_it_the_same_worlds_are_clean() {
    let heading = "| mutant | killed by | worlds | median seeds | most |\n|---|---|---|--:|--:|\n";
    let mut report = Report { table: heading.to_owned(), ..Report::default() };
    report.hunt(RAFT);
    report.hunt(PAXOS);
    if let Ok(path) = std::env::var("MUTANTS_TABLE") {
        std::fs::write(path, report.table).expect("the table's place can be written");
    }
    assert!(report.complaints.is_empty(), "{:#?}", report.complaints);
}
