//! One row of results: a system under a load, once.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{FaultEffect, Quantiles};

/// What one system did under one load, once. Field names carry their units and are a contract with readers of `--json`
/// and of `cells.csv`. `None` (`null`, an empty CSV field) means "could not be measured"; it is never written as 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the system under test, as on the command line.
    pub system: String,
    /// The plan's cell with the parameters that vary in it, such as `reads/raft.reads=lease`; equal for all systems
    /// that are compared in it. Never holds a space, a comma or `|`.
    pub cell: String,
    /// The round this was measured in, from 1. Systems are compared within a round.
    pub round: u32,
    /// The repeat within the round, from 1.
    pub repeat: u32,

    /// Replica processes.
    pub replicas: u32,
    /// What a write has survived when it is acknowledged.
    pub durability: Durability,
    /// Bytes of one value.
    pub value_bytes: u64,
    /// Share of reads among the operations, 0 to 1.
    pub read_fraction: f64,
    /// Keys that the load touches.
    pub keys: u64,
    /// How keys are chosen: `uniform`, `zipf:0.99`, `latest`.
    pub key_distribution: String,
    /// The load as the plan has it: `closed:64`, `open:20000`, `open:20000/constant`, `open:10%`.
    pub load: String,
    /// Client connections.
    pub connections: u32,
    /// Time cut from the start, in milliseconds.
    pub warmup_ms: u64,
    /// Time measured, in milliseconds.
    pub measure_ms: u64,
    /// Seed of the load's tape.
    pub seed: u64,
    /// Protocol switches by name, such as `raft.reads` to `lease`. Names and values are never empty.
    #[serde(default)]
    pub switches: BTreeMap<String, String>,
    /// The faults asked for, such as `kill-leader@2s/1s,loss@5s/1s`; `None` if none was.
    #[serde(default)]
    pub fault_schedule: Option<String>,

    /// Operations per second that were due; `None` for a closed loop, which offers what is answered.
    pub offered_per_s: Option<f64>,
    /// Operations per second answered.
    pub throughput_per_s: Option<f64>,
    /// Intended start to reply.
    pub response_ns: Quantiles,
    /// Sent to reply.
    pub service_ns: Quantiles,
    /// Intended start to sent: what the generator itself added.
    pub lag_ns: Quantiles,
    /// Operations refused, failed for certain, or due and never sent.
    pub errors: u64,
    /// Operations whose outcome is unknown for ever: timed out, or cut by the end.
    pub unknown: u64,

    /// Processor time of all processes per operation, in microseconds.
    pub cpu_us_per_op: Option<f64>,
    /// The same by role.
    #[serde(default)]
    pub cpu_us_per_op_by_role: CpuByRole,
    /// Disk syncs of all replicas per operation.
    pub fsyncs_per_op: Option<f64>,
    /// Messages between replicas and with clients, per operation.
    pub messages_per_op: Option<f64>,
    /// Bytes of those messages, per operation.
    pub bytes_per_op: Option<f64>,

    /// Questions asked of a quorum before a value was decided, those in vain included; `None` for systems that decide nothing
    /// by itself. Without contention it is the protocol's own number.
    #[serde(default)]
    pub round_trips_per_decision: Option<f64>,

    /// From when a lock's release was sent until the next in its queue heard of its grant; empty where no locks are taken.
    #[serde(default)]
    pub hand_off_ns: Quantiles,
    /// From the death of a lock's holder until the next in its queue heard of its grant; empty where none dies.
    #[serde(default)]
    pub freed_ns: Quantiles,

    /// What a store promises whose reads may be stale, and how stale they were; empty of every other.
    #[serde(default)]
    pub freshness: Freshness,

    /// Was it right?
    pub verdict: Verdict,
    /// Operations that the verdict rests on.
    pub judged_ops: u64,
    /// Is it a measurement?
    pub validity: Validity,
    /// Why it is not, or may not be.
    pub reasons: Vec<Reason>,
    /// What the faults did, in the order of their times. In `cells.csv` there is no such column: they are in `faults.csv`.
    #[serde(default)]
    pub faults: Vec<FaultEffect>,
}

impl Cell {
    /// What tells this row from every other of its run.
    pub fn key(&self) -> CellKey {
        CellKey {
            cell: self.cell.clone(),
            system: self.system.clone(),
            round: self.round,
            repeat: self.repeat,
        }
    }

    /// Whether this row may stand in a comparison: measured properly and judged right.
    pub fn is_usable(&self) -> bool {
        self.validity == Validity::Valid && self.verdict.holds()
    }

    /// Whether clients wait for replies before they send more.
    pub fn is_closed_loop(&self) -> bool {
        self.load.starts_with("closed:")
    }
}

/// What tells one row of a run from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellKey {
    /// [`Cell::cell`].
    pub cell: String,
    /// [`Cell::system`].
    pub system: String,
    /// [`Cell::round`].
    pub round: u32,
    /// [`Cell::repeat`].
    pub repeat: u32,
}

impl fmt::Display for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} round {} repeat {}", self.cell, self.system, self.round, self.repeat)
    }
}

/// Processor time per operation of each role, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuByRole {
    /// All load generators together.
    pub client: Option<f64>,
    /// The replica that orders.
    pub leader: Option<f64>,
    /// The mean of the other replicas.
    pub follower: Option<f64>,
}

/// How fresh reads were. A read is stale if it misses a write that had been answered before it was sent. The shares by age are the
/// curve of Bailis et al., "Probabilistically Bounded Staleness for Practical Partial Quorums" (2012): how likely a read is
/// fresh that is sent so long after the last write of its key was answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Freshness {
    /// What is promised, in words.
    pub promise: Option<String>,
    /// Share of stale reads, 0 to 1.
    pub stale: Option<f64>,
    /// Writes that a stale read missed, the mean.
    pub missed_writes: Option<f64>,
    /// Values that a read found side by side, the mean.
    pub values_per_read: Option<f64>,
    /// States sent to repair copies, in whichever way, per operation.
    pub repairs_per_op: Option<f64>,
    /// Share of fresh reads among those sent less than 1 ms after the last write.
    pub below_1ms: Option<f64>,
    /// The same from there to 2 ms.
    pub below_2ms: Option<f64>,
    /// The same from there to 5 ms.
    pub below_5ms: Option<f64>,
    /// The same from there to 10 ms.
    pub below_10ms: Option<f64>,
    /// The same from there to 50 ms.
    pub below_50ms: Option<f64>,
    /// The same of all later ones.
    pub later: Option<f64>,
}

/// What a write has survived when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Loss of power: it is on stable storage.
    Fdatasync,
    /// The end of the process: the kernel has it.
    Buffered,
    /// Nothing.
    Memory,
}

impl Durability {
    /// All classes, the strongest first.
    pub const ALL: [Self; 3] = [Self::Fdatasync, Self::Buffered, Self::Memory];

    /// The name used in plans and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fdatasync => "fdatasync",
            Self::Buffered => "buffered",
            Self::Memory => "memory",
        }
    }
}

/// Was the measured run right?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The history is linearizable, and all replicas applied the same.
    Linearizable,
    /// All replicas applied the same.
    Agreement,
    /// No update that was answered was lost, and all replicas ended in the same state.
    Converged,
    /// Nobody held a lock beside another, tokens followed the order of grants, and all replicas applied the same.
    Exclusive,
    /// The true time was within every span that was claimed to hold it, and no clock was stepped.
    Sound,
    /// Clocks told exactly which events happened before which, and no time put an effect before its cause.
    Causal,
    /// The judge's budget ran out.
    Unknown,
    /// Nobody judged.
    Unchecked,
    /// A guarantee was broken.
    #[serde(rename = "VIOLATED")]
    Violated,
}

impl Verdict {
    /// The name used in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Agreement => "agreement",
            Self::Converged => "converged",
            Self::Exclusive => "exclusive",
            Self::Sound => "sound",
            Self::Causal => "causal",
            Self::Unknown => "unknown",
            Self::Unchecked => "unchecked",
            Self::Violated => "VIOLATED",
        }
    }

    /// Whether a guarantee was judged and found kept.
    pub fn holds(self) -> bool {
        matches!(
            self,
            Self::Linearizable
                | Self::Agreement
                | Self::Converged
                | Self::Exclusive
                | Self::Sound
                | Self::Causal
        )
    }
}

/// Is it a measurement? In rising order of doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Validity {
    /// Yes.
    Valid,
    /// Perhaps: shown, never ranked.
    Suspect,
    /// No: shown, never ranked.
    Invalid,
}

impl Validity {
    /// The name used in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Suspect => "SUSPECT",
            Self::Invalid => "INVALID",
        }
    }
}

/// Why a row is no measurement, or may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The load generator was the bottleneck.
    GeneratorBound,
    /// Requests left later than they were due.
    LateSend,
    /// Throughput or latency still moved while it was measured.
    NotSteady,
    /// Too many operations failed.
    Errors,
    /// Too few operations for the quantiles asked for.
    LowSamples,
    /// Something else used the machine.
    MachineBusy,
    /// The clock was not good enough.
    Clock,
    /// A fault that was asked for struck late or not at all.
    FaultMissed,
    /// No verdict.
    Unchecked,
}

impl Reason {
    /// Every code, as it is written in files.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::GeneratorBound, "GENERATOR_BOUND"),
        (Self::LateSend, "LATE_SEND"),
        (Self::NotSteady, "NOT_STEADY"),
        (Self::Errors, "ERRORS"),
        (Self::LowSamples, "LOW_SAMPLES"),
        (Self::MachineBusy, "MACHINE_BUSY"),
        (Self::Clock, "CLOCK"),
        (Self::FaultMissed, "FAULT_MISSED"),
        (Self::Unchecked, "UNCHECKED"),
    ];

    /// The code as it is written in files.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What `--json` prints of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The folder written, or `None` when nothing was kept.
    pub run_dir: Option<PathBuf>,
    /// All rows.
    pub cells: Vec<Cell>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_cell, cell};

    #[test]
    fn the_names_of_the_json_contract_are_all_there() {
        let json =
            serde_json::to_value(Output { run_dir: Some("results/x".into()), cells: vec![cell()] }).unwrap();
        let row = &json["cells"][0];
        for name in "system replicas durability value_bytes load offered_per_s throughput_per_s response_ns service_ns \
                     lag_ns errors unknown cpu_us_per_op fsyncs_per_op messages_per_op bytes_per_op verdict judged_ops \
                     validity reasons faults"
            .split_whitespace()
        {
            assert!(row.get(name).is_some(), "{name} is missing");
        }
        for name in ["p50", "p90", "p99", "p999", "max", "count"] {
            assert!(row["response_ns"].get(name).is_some(), "{name} is missing");
        }
        assert_eq!(json["run_dir"], "results/x");
    }

    #[test]
    fn names_in_tables_are_the_names_in_files() {
        Reason::ALL.iter().for_each(|(reason, name)| {
            assert_eq!(serde_json::to_value(reason).unwrap(), *name);
            assert_eq!(reason.name(), *name);
        });
        Durability::ALL
            .iter()
            .for_each(|class| assert_eq!(serde_json::to_value(class).unwrap(), class.name()));
        for verdict in [Verdict::Linearizable, Verdict::Unknown, Verdict::Violated] {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.name());
        }
        assert_eq!(serde_json::to_value(Validity::Suspect).unwrap(), Validity::Suspect.name());
    }

    #[test]
    fn fields_of_later_versions_are_ignored() {
        let mut json = serde_json::to_value(cell()).unwrap();
        json["allocations_per_op"] = 3.into();
        assert_eq!(serde_json::from_value::<Cell>(json).unwrap(), cell());
    }

    proptest! {
        #[test]
        fn a_cell_survives_json(cell in any_cell()) {
            let text = serde_json::to_string(&cell).unwrap();
            prop_assert_eq!(serde_json::from_str::<Cell>(&text).unwrap(), cell);
        }
    }
}
