//! The lines between a replica and whoever started it: one JSON object each.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;

use qlab_transport::Counts;
use serde::{Deserialize, Serialize};

/// What a replica is told on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Where everyone listens, by seat. Comes once, after [`Report::Listening`].
    Start {
        /// The addresses.
        addresses: Vec<SocketAddr>,
    },
    /// Report the status.
    Status,
    /// Report what was observed since this was asked last.
    Observations,
    /// Hand leadership over, to a seat or to whoever is best placed.
    Yield {
        /// The successor wished for.
        to: Option<u16>,
    },
    /// Every sync of the journal takes that much longer from now on.
    SyncDelay {
        /// Milliseconds.
        ms: u64,
    },
    /// Disturb what leaves towards every other address. Needs `emulated_link`.
    Link {
        /// Milliseconds that each datagram takes.
        delay_ms: u64,
        /// Milliseconds that it takes longer at the most.
        jitter_ms: u64,
        /// Probability that it vanishes, 0 to 1.
        loss: f64,
    },
    /// Neither send to nor hear these addresses, in place of those named before. Needs `emulated_link`.
    Partition {
        /// The addresses.
        from: Vec<SocketAddr>,
    },
    /// Bring what was written down to the disk and end; whatever waits for an answer will ask elsewhere.
    Stop,
}

/// What a replica says on its standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// It is bound and waits for [`Order::Start`].
    Listening {
        /// Where it listens.
        address: SocketAddr,
    },
    /// It has recovered and serves.
    Ready {
        /// Entries found in its journal and executed or restored.
        recovered_index: u64,
    },
    /// Answers [`Order::Status`].
    Status(Box<Status>),
    /// Answers [`Order::Observations`].
    Observations {
        /// In the order of time.
        observations: Vec<Observation>,
        /// How many more there were than are kept.
        forgotten: u64,
    },
    /// It cannot go on, and ends.
    Failed {
        /// Why, in a sentence.
        reason: String,
    },
}

/// Something that a replica has come to know or to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When, by the host's clock.
    pub at_ns: u64,
    /// What.
    #[serde(flatten)]
    pub what: Observed,
}

/// What a replica has come to know or to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// Everything that a node wrote in one of its lives, up to a version.
    Learned {
        /// Which node.
        writer: u16,
        /// In which life.
        life: u32,
        /// The version.
        version: u64,
    },
    /// That a node lives after all.
    FoundAlive(u16),
    /// That it may be dead.
    Suspected(u16),
    /// That it is dead.
    DeclaredDead(u16),
}

/// A replica, as of now. Counters grow from its start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Its seat.
    pub node: u16,
    /// When this was true, by the host's clock.
    pub at_ns: u64,
    /// Whom it takes for the leader.
    pub leader: Option<u16>,
    /// The last entry it has applied.
    pub applied_index: u64,
    /// The hash of everything applied, in hexadecimal; none if nothing is, and for protocols that apply no log.
    pub chain: Option<String>,
    /// Processor time of the process so far, in microseconds: user and system.
    pub cpu_us: u64,
    /// The largest amount of memory it has had resident, in KiB.
    pub memory_peak_kib: u64,
    /// Commands it has executed.
    pub commands: u64,
    /// Entries it has executed.
    pub entries: u64,
    /// Queries it has answered.
    pub queries: u64,
    /// Commands that the protocol has answered itself, without a log.
    pub replies: u64,
    /// Messages handed to the transport for other replicas.
    pub messages: u64,
    /// Requests refused, as it does not lead or is busy.
    pub refused: u64,
    /// Times it came to lead.
    pub elected: u64,
    /// Messages of peers that break the rules.
    pub misbehaved: u64,
    /// Images of the state it has made or taken over.
    pub images: u64,
    /// Bursts: steps taken together with one flush.
    pub bursts: u64,
    /// What only its protocol counts and shows, by name.
    pub counters: BTreeMap<String, u64>,
    /// What the journal has done.
    pub journal: JournalStatus,
    /// What the transport has done.
    pub transport: Counts,
}

/// A journal, as of now. Nanoseconds are wall time around a commit's write and sync.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Groups written.
    pub commits: u64,
    /// Syncs waited for.
    pub syncs: u64,
    /// Records written.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// All commits together.
    pub commit_ns_total: u64,
    /// The slowest.
    pub commit_ns_max: u64,
}

/// Says something to whoever started this process. If that is gone, nobody is left to hear.
#[expect(clippy::print_stdout, reason = "standard output is how a replica reports")]
pub(crate) fn report(report: &Report) {
    let line = serde_json::to_string(report).expect("reports are plain data");
    println!("{line}");
    let _ = std::io::stdout().flush();
}
