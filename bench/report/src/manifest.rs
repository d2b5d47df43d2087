//! `run.json`: what was run, where, on what, and how it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Cell, Utc, Validity};

/// Version of the manifest's shape.
pub const FORMAT: u32 = 1;

/// Everything about a run that is not a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The run's name: the name of its folder.
    pub run: String,
    /// The plan's name.
    pub plan: String,
    /// How it ended.
    pub status: Status,
    /// When it began.
    pub started: Utc,
    /// When it ended.
    pub finished: Utc,
    /// What was run.
    pub code: Code,
    /// [`Machine::key`] of `machine`.
    pub machine_key: String,
    /// Where it ran.
    pub machine: Machine,
    /// The machine's state before the first cell.
    pub health_before: Health,
    /// The machine's state over the run.
    pub health_after: Health,
    /// How the cells were ordered and timed.
    pub design: Design,
    /// Rows by verdict, validity and reason.
    pub summary: Summary,
    /// BLAKE3 of each file of the folder but this one, in hexadecimal.
    pub files: BTreeMap<String, String>,
    /// The run that this one replaces, by name.
    #[serde(default)]
    pub supersedes: Option<String>,
    /// Why this run must not be used any more.
    #[serde(default)]
    pub withdrawn: Option<String>,
}

impl Manifest {
    /// Whether tables may be made of it: it ran to its end and nobody withdrew it.
    pub fn is_usable(&self) -> bool {
        self.status == Status::Complete && self.withdrawn.is_none()
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every cell of the plan has its rows.
    Complete,
    /// It was stopped; the rows there are stand.
    Interrupted,
}

/// What was run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Full commit, or empty when it is not known.
    pub git_commit: String,
    /// Whether the checkout differed from the commit.
    pub git_dirty: bool,
    /// `rustc --version`.
    pub rustc: String,
    /// Cargo profile.
    pub profile: String,
    /// Version of the laboratory.
    pub version: String,
}

/// Where it ran: what does not change from run to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor architecture.
    pub arch: String,
    /// Processor model.
    pub cpu_model: String,
    /// Logical processors of the machine.
    pub cores: u32,
    /// Processors this process may use: its affinity, cut by its control group's quota, rounded down.
    pub effective_cpus: u32,
    /// Memory nodes.
    pub numa_nodes: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Kernel name and release.
    pub kernel: String,
    /// Filesystem of the data folder.
    pub filesystem: String,
}

impl Machine {
    /// Names the class of machine in folder names: a hash over architecture, processor model, cores, memory nodes and
    /// effective processors. Memory, kernel and filesystem may change under the same key.
    pub fn key(&self) -> String {
        let Self { arch, cpu_model, cores, numa_nodes, effective_cpus, .. } = self;
        let facts = format!("{arch}\n{cpu_model}\n{cores}\n{numa_nodes}\n{effective_cpus}\n");
        blake3::hash(facts.as_bytes()).to_hex()[..12].to_owned()
    }
}

/// The machine's state at a moment, or over the time since an earlier one. `None` where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Load average over one minute.
    pub load_1m: Option<f64>,
    /// Share of processor time that the hypervisor kept for others, 0 to 1.
    pub steal_fraction: Option<f64>,
    /// Pressure: percent of the last ten seconds in which some task waited for a processor.
    pub psi_cpu_some_10s: Option<f64>,
    /// The same for the disk.
    pub psi_io_some_10s: Option<f64>,
    /// The same for memory.
    pub psi_memory_some_10s: Option<f64>,
}

/// How the cells were ordered and timed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Design {
    /// Rounds.
    pub rounds: u32,
    /// Milliseconds cut from the start of each cell.
    pub warmup_ms: u64,
    /// Milliseconds measured in each cell.
    pub measure_ms: u64,
    /// Seed of orders and tapes.
    pub seed: u64,
    /// Whether each round had its own order.
    pub shuffled: bool,
    /// What was run, in order: `round cell system`.
    pub order: Vec<String>,
}

/// Rows by verdict, validity and reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Rows.
    pub cells: u64,
    /// Rows by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Rows by validity.
    pub validity: BTreeMap<String, u64>,
    /// Rows by reason; a row may have several.
    pub reasons: BTreeMap<String, u64>,
}

impl Summary {
    /// Counts the rows.
    pub fn of(cells: &[Cell]) -> Self {
        Self {
            cells: cells.len() as u64,
            verdicts: tally(cells.iter().map(|cell| cell.verdict.name())),
            validity: tally(cells.iter().map(|cell| cell.validity.name())),
            reasons: tally(cells.iter().flat_map(|cell| &cell.reasons).map(|reason| reason.name())),
        }
    }

    /// In words: `10 cells: 10 linearizable; 9 VALID, 1 SUSPECT (1 LATE_SEND)`.
    pub fn in_words(&self) -> String {
        let words = |counts: &BTreeMap<String, u64>| {
            counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        let valid = self.validity.get(Validity::Valid.name()) == Some(&self.cells);
        let doubts = if valid { "all VALID".to_owned() } else { words(&self.validity) };
        let reasons =
            if self.reasons.is_empty() { String::new() } else { format!(" ({})", words(&self.reasons)) };
        format!("{} cells: {}; {doubts}{reasons}", self.cells, words(&self.verdicts))
    }
}

fn tally<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name.to_owned()).or_insert(0) += 1);
    counts
}

/// Any value as JSON for files: sorted keys, indented, a line break at the end.
pub fn to_sorted_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, testing::cell};

    #[test]
    fn the_machine_key_ignores_what_changes_under_a_machine() {
        let machine = Machine { arch: "x86_64".into(), cores: 2, effective_cpus: 2, ..Machine::default() };
        let later = Machine {
            kernel: "Linux 7.0".into(),
            memory_bytes: 1,
            filesystem: "xfs".into(),
            ..machine.clone()
        };
        assert_eq!(machine.key(), later.key());
        for other in [
            Machine { arch: "aarch64".into(), ..machine.clone() },
            Machine { cpu_model: "another".into(), ..machine.clone() },
            Machine { cores: 4, ..machine.clone() },
            Machine { numa_nodes: 2, ..machine.clone() },
            Machine { effective_cpus: 1, ..machine.clone() },
        ] {
            assert_ne!(machine.key(), other.key(), "{other:?}");
        }
    }

    #[test]
    fn a_summary_tells_doubts_apart() {
        let mut doubtful = cell();
        (doubtful.validity, doubtful.reasons) = (Validity::Suspect, vec![Reason::LateSend, Reason::Clock]);
        let summary = Summary::of(&[cell(), doubtful]);
        assert_eq!(summary.in_words(), "2 cells: 2 linearizable; 1 SUSPECT, 1 VALID (1 CLOCK, 1 LATE_SEND)");
        assert_eq!(Summary::of(&[cell()]).in_words(), "1 cells: 1 linearizable; all VALID");
    }

    #[test]
    fn files_have_sorted_keys() {
        let text = to_sorted_json(&Code::default()).unwrap();
        let keys: Vec<&str> = text.lines().filter_map(|line| line.split('"').nth(1)).collect();
        assert!(keys.len() == 5 && keys.is_sorted(), "{text}");
    }
}
