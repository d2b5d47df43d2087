//! Raft, and what every system rests on: reads, images and sessions.

use std::time::Duration;

use qlab_raft::{Config, Raft, Reads};

use super::{LEADERS_CHANGE, Mutant, mutant};

pub(crate) const MUTANTS: &[Mutant<Raft>] = &[
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
