//! What must be equal on all replicas of a Multi-Paxos cluster.

use std::time::Duration;

use qlab_kernel::limits::BATCH_BYTES_MAX;

/// How linearizable reads are made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// A quorum confirms the leader once for each group of reads.
    Confirm,
    /// The leader answers alone while no quorum can have promised another ballot (Paxos Made Live §5.2). Rests on bounded clock
    /// drift.
    Lease,
}

/// Sizes of quorums (Flexible Paxos §4): any of the first kind meets any of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    /// Replicas that must promise a ballot before its leader proposes.
    pub phase_1: usize,
    /// Replicas that must accept a value before it is chosen.
    pub phase_2: usize,
}

impl Quorums {
    /// Majorities, where no size is given.
    #[must_use]
    pub fn given(phase_1: Option<usize>, phase_2: Option<usize>, replicas: usize) -> Self {
        let majority = replicas / 2 + 1;
        Self { phase_1: phase_1.unwrap_or(majority), phase_2: phase_2.unwrap_or(majority) }
    }
}

/// Times, windows and switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Shortest time without a leader before a replica tries to lead; nobody promises another ballot within this time of hearing
    /// a leader.
    pub election_timeout_min: Duration,
    /// Longest such time; each wait is drawn anew between the two.
    pub election_timeout_max: Duration,
    /// How often a leader makes itself heard. Well below `election_timeout_min`.
    pub heartbeat_interval: Duration,
    /// Whether all writes of a burst share a slot; otherwise each request gets its own.
    pub batching: bool,
    /// Bytes at which a slot takes no further request, 1 to [`BATCH_BYTES_MAX`].
    pub entry_bytes: usize,
    /// Slots that are proposed and not chosen, and slots on their way to an acceptor; 1 turns pipelining off.
    pub window_entries: usize,
    /// Bytes on their way to an acceptor and not acknowledged, at least one slot.
    pub window_bytes: usize,
    /// Bytes of writes that wait for a slot, and as many of reads that wait for confirmation; a leader with more is busy.
    pub intake_bytes_max: usize,
    /// Reads that wait for confirmation; a leader with more is busy.
    pub waiting_reads_max: usize,
    /// See [`Reads`].
    pub reads: Reads,
    /// By how much two clocks may run apart, in parts per million: a lease is shortened by that.
    pub clock_drift_ppm: u32,
    /// Bytes of applied slots after which they are replaced by an image of the state.
    pub snapshot_log_bytes: usize,
    /// Bytes of slots kept in memory behind an image, so that a replica a little behind needs no image.
    pub retained_log_bytes: usize,
    /// Sizes of quorums; majorities if not given.
    pub quorums: Option<Quorums>,
    /// Whether values go to just enough acceptors at first, and after this time to everybody.
    pub thrifty: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        // What Raft has, so that the two compare.
        Self {
            election_timeout_min: Duration::from_millis(150),
            election_timeout_max: Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(30),
            batching: true,
            entry_bytes: 256 << 10,
            window_entries: 8,
            window_bytes: 8 << 20,
            intake_bytes_max: 64 << 20,
            waiting_reads_max: 1 << 16,
            reads: Reads::Confirm,
            clock_drift_ppm: 10_000,
            snapshot_log_bytes: 64 << 20,
            retained_log_bytes: 16 << 20,
            quorums: None,
            thrifty: None,
        }
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
    /// A quorum of phase 1 could miss what a quorum of phase 2 has chosen.
    #[error(
        "quorum_1 = {phase_1} and quorum_2 = {phase_2} of {replicas} replicas need not meet: \
         their sum must be above {replicas}"
    )]
    Quorums {
        /// Size of the first.
        phase_1: usize,
        /// Size of the second.
        phase_2: usize,
        /// Replicas there are.
        replicas: usize,
    },
}

impl Config {
    /// How long after a heartbeat that enough acceptors answered nobody else can have been promised a ballot.
    #[must_use]
    pub fn lease(&self) -> Duration {
        let margin = self.election_timeout_min * self.clock_drift_ppm / 1_000_000;
        self.election_timeout_min.saturating_sub(margin)
    }

    /// The sizes of quorums among so many replicas, if any two of them meet.
    pub fn quorums(&self, replicas: usize) -> Result<Quorums, ConfigError> {
        let Quorums { phase_1, phase_2 } =
            self.quorums.unwrap_or_else(|| Quorums::given(None, None, replicas));
        in_range("quorum_1", phase_1, 1, replicas)?;
        in_range("quorum_2", phase_2, 1, replicas)?;
        if phase_1 + phase_2 <= replicas {
            return Err(ConfigError::Quorums { phase_1, phase_2, replicas });
        }
        Ok(Quorums { phase_1, phase_2 })
    }

    /// Checks the ranges, for a cluster of so many replicas.
    pub fn validate(&self, replicas: usize) -> Result<(), ConfigError> {
        if self.heartbeat_interval.is_zero() || self.heartbeat_interval * 2 > self.election_timeout_min {
            return Err(ConfigError::Times(
                "heartbeat_interval must be above zero and at most half of election_timeout_min, or leaders lose \
                 their followers without reason",
            ));
        }
        if self.election_timeout_min >= self.election_timeout_max {
            return Err(ConfigError::Times(
                "election_timeout_min must be below election_timeout_max, or candidates duel for ever",
            ));
        }
        in_range("entry_bytes", self.entry_bytes, 1, BATCH_BYTES_MAX)?;
        in_range("window_entries", self.window_entries, 1, 1 << 16)?;
        in_range("window_bytes", self.window_bytes, 1, 1 << 30)?;
        in_range("intake_bytes_max", self.intake_bytes_max, BATCH_BYTES_MAX, 1 << 30)?;
        in_range("waiting_reads_max", self.waiting_reads_max, 1, 1 << 24)?;
        in_range("snapshot_log_bytes", self.snapshot_log_bytes, 1, 1 << 32)?;
        in_range("clock_drift_ppm", self.clock_drift_ppm as usize, 0, 500_000)?;
        self.quorums(replicas).map(drop)
    }
}

fn in_range(field: &'static str, value: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { field, value, min, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quorums_are_taken_exactly_if_any_two_of_them_must_meet(
            replicas in 1_usize..10, phase_1 in 0_usize..12, phase_2 in 0_usize..12,
        ) {
            let config = Config { quorums: Some(Quorums { phase_1, phase_2 }), ..Config::default() };
            let fit = (1..=replicas).contains(&phase_1) && (1..=replicas).contains(&phase_2);
            prop_assert_eq!(config.validate(replicas).is_ok(), fit && phase_1 + phase_2 > replicas);
            prop_assert!(Config::default().validate(replicas).is_ok());
        }
    }
}
