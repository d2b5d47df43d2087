//! What must be equal on all replicas of a Raft cluster.

use std::time::Duration;

use qlab_kernel::limits::BATCH_BYTES_MAX;
use qlab_kernel::mutant;

/// How linearizable reads are made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// A majority confirms the leader once for each group of reads (thesis §6.4).
    Index,
    /// The leader answers alone while a majority cannot have elected another (thesis §6.4.1). Rests on bounded clock drift.
    Lease,
}

/// When a leader sends an entry relative to its own disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderWrite {
    /// At once: followers write at the same time (thesis §10.2.1).
    Parallel,
    /// After its own copy is durable. Slower; here to measure by how much.
    First,
}

/// Times, windows and switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Shortest time without a leader before a replica asks for votes; nobody votes within this time of hearing a leader.
    pub election_timeout_min: Duration,
    /// Longest such time; each wait is drawn anew between the two.
    pub election_timeout_max: Duration,
    /// How often a leader makes itself heard. Well below `election_timeout_min`.
    pub heartbeat_interval: Duration,
    /// Whether all writes of a burst share an entry; otherwise each request gets its own.
    pub batching: bool,
    /// Bytes at which an entry takes no further request, 1 to [`BATCH_BYTES_MAX`].
    pub entry_bytes: usize,
    /// Entries on their way to a follower and not acknowledged; 1 turns pipelining off.
    pub window_entries: usize,
    /// Bytes on their way to a follower and not acknowledged, at least one entry.
    pub window_bytes: usize,
    /// Bytes of writes that wait to be put into the log, and as many of reads that wait for confirmation; a leader with more
    /// is busy.
    pub intake_bytes_max: usize,
    /// Reads that wait for confirmation; a leader with more is busy.
    pub waiting_reads_max: usize,
    /// See [`LeaderWrite`].
    pub leader_write: LeaderWrite,
    /// See [`Reads`].
    pub reads: Reads,
    /// By how much two clocks may run apart, in parts per million: a lease is shortened by that.
    pub clock_drift_ppm: u32,
    /// Bytes of applied entries after which the log is replaced by an image of the state.
    pub snapshot_log_bytes: usize,
    /// Bytes of entries kept in memory behind an image, so that a follower a little behind needs no image.
    pub retained_log_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_timeout_min: Duration::from_millis(150),
            election_timeout_max: Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(30),
            batching: true,
            entry_bytes: 256 << 10,
            // More do not make it faster, as bursts grow; fewer leave the disk or the network idle.
            window_entries: 8,
            window_bytes: 8 << 20,
            intake_bytes_max: 64 << 20,
            waiting_reads_max: 1 << 16,
            leader_write: LeaderWrite::Parallel,
            reads: Reads::Index,
            clock_drift_ppm: 10_000,
            snapshot_log_bytes: 64 << 20,
            retained_log_bytes: 16 << 20,
        }
    }
}

impl Config {
    /// How long after a heartbeat that a majority answered nobody else can have been elected.
    #[must_use]
    pub fn lease(&self) -> Duration {
        let drift_ppm = mutant!(self.clock_drift_ppm, "raft: leases trust clocks", 0);
        let margin = self.election_timeout_min * drift_ppm / 1_000_000;
        self.election_timeout_min.saturating_sub(margin)
    }
}

/// A value out of its range: correct the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A size or count does not fit its range.
    #[error("{field} is {value}, but must be {min} to {max}")]
    Range {
        /// The field.
        field: &'static str,
        /// What it is.
        value: usize,
        /// The least it may be.
        min: usize,
        /// The most it may be.
        max: usize,
    },
    /// Times that cannot work together.
    #[error("{0}")]
    Times(&'static str),
}

impl Config {
    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.heartbeat_interval.is_zero() || self.heartbeat_interval * 2 > self.election_timeout_min {
            return Err(ConfigError::Times(
                "heartbeat_interval must be above zero and at most half of election_timeout_min, or leaders lose \
                 their followers without reason",
            ));
        }
        if self.election_timeout_min >= self.election_timeout_max {
            return Err(ConfigError::Times(
                "election_timeout_min must be below election_timeout_max, or candidates split every vote",
            ));
        }
        in_range("entry_bytes", self.entry_bytes, 1, BATCH_BYTES_MAX)?;
        in_range("window_entries", self.window_entries, 1, 1 << 16)?;
        in_range("window_bytes", self.window_bytes, 1, 1 << 30)?;
        in_range("intake_bytes_max", self.intake_bytes_max, BATCH_BYTES_MAX, 1 << 30)?;
        in_range("waiting_reads_max", self.waiting_reads_max, 1, 1 << 24)?;
        in_range("snapshot_log_bytes", self.snapshot_log_bytes, 1, 1 << 32)?;
        in_range("clock_drift_ppm", self.clock_drift_ppm as usize, 0, 500_000)
    }
}

fn in_range(field: &'static str, value: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { field, value, min, max }) }
}
