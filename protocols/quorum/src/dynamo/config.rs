//! What must be equal on all replicas of a Dynamo cluster.

use std::time::Duration;

use qlab_kernel::limits::SESSION_WINDOW;

use crate::quorums::{QuorumError, Quorums};

/// Times, limits and switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many replicas hold each key: N. All of them if `None`.
    pub copies: Option<usize>,
    /// How many of those are enough: R and W, which need not meet.
    pub quorums: Quorums,
    /// Whether replicas that do not hold a key count for its quorums while those that do cannot be reached.
    pub sloppy: bool,
    /// Whether after a read everybody who holds the key is compared, and whoever is behind brought up to date.
    pub read_repair: bool,
    /// How long a read that was answered by its coordinator alone waits for others, until their keys are compared together.
    pub read_repair_interval: Duration,
    /// What becomes of values that were written without knowledge of each other.
    pub conflicts: Conflicts,
    /// What was not answered for so long is asked or told again; without end, for what somebody is owed.
    pub retry_interval: Duration,
    /// How often a replica compares what it holds with another one's.
    pub anti_entropy_interval: Duration,
    /// How long a deletion is remembered at least. A message that was on its way for longer may bring back what was deleted.
    pub tombstone_grace: Duration,
    /// Commands that wait at one replica; with more it is busy.
    pub commands_max: usize,
    /// What all keys and values of a replica may weigh in memory; then it takes no writes.
    pub store_bytes_max: usize,
    /// Bytes of records after which everything is written anew, so that the journal can let go of the rest.
    pub rewrite_log_bytes: usize,
}

/// What becomes of values that were written without knowledge of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflicts {
    /// All stay, side by side, until somebody writes who has read them: no update is lost.
    Siblings,
    /// The one that was written last by its coordinator's clock stays, whatever its author had read: updates are lost.
    LastWriterWins,
}

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantee {
    /// In a few words.
    pub name: &'static str,
    /// Whether updates that were answered may be lost.
    pub may_lose: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            copies: None,
            quorums: Quorums { read: 1, write: 1 },
            sloppy: false,
            read_repair: true,
            read_repair_interval: Duration::from_millis(10),
            conflicts: Conflicts::Siblings,
            retry_interval: Duration::from_millis(250),
            anti_entropy_interval: Duration::from_secs(1),
            tombstone_grace: Duration::from_secs(600),
            commands_max: 4 * SESSION_WINDOW as usize,
            store_bytes_max: 4 << 30,
            rewrite_log_bytes: 64 << 20,
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
    /// A time that nothing can be done in.
    #[error("{field} must be above zero and at most {max:?}")]
    Time {
        /// The field.
        field: &'static str,
        /// The longest it may be.
        max: Duration,
    },
    /// Quorums that cannot be reached.
    #[error("{0}")]
    Quorums(#[from] QuorumError),
}

/// The longest interval in a configuration.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// The longest grace: ten days, as others have it.
const GRACE_MAX: Duration = Duration::from_secs(10 * 24 * 3600);

impl Config {
    /// How many of `replicas` hold each key.
    #[must_use]
    pub fn copies(&self, replicas: usize) -> usize {
        self.copies.map_or(replicas, |copies| copies.min(replicas))
    }

    /// How many of those are enough.
    #[must_use]
    pub fn quorums(&self, replicas: usize) -> Quorums {
        let copies = self.copies(replicas);
        let Quorums { read, write } = self.quorums;
        Quorums { read: read.min(copies), write: write.min(copies) }
    }

    /// Whether a read knows every write that was answered before it was asked.
    #[must_use]
    pub fn reads_see_writes(&self, replicas: usize) -> bool {
        !self.sloppy && self.quorums(replicas).check_meeting(self.copies(replicas)).is_ok()
    }

    /// What is promised, for a cluster of so many replicas: to be said wherever a figure is.
    #[must_use]
    pub fn guarantee(&self, replicas: usize) -> Guarantee {
        let may_lose = self.conflicts == Conflicts::LastWriterWins;
        let name = match self.reads_see_writes(replicas) {
            _ if may_lose => "eventual (updates may be lost)",
            true => "eventual (no lost update; reads see what was answered)",
            false => "eventual (no lost update)",
        };
        Guarantee { name, may_lose }
    }

    /// Checks the ranges, for a cluster of so many replicas.
    pub fn validate(&self, replicas: usize) -> Result<(), ConfigError> {
        in_range("copies", self.copies.unwrap_or(replicas), 1, replicas)?;
        self.quorums.check_sizes(self.copies(replicas))?;
        for (field, time, max) in [
            ("read_repair_interval", self.read_repair_interval, INTERVAL_MAX),
            ("retry_interval", self.retry_interval, INTERVAL_MAX),
            ("anti_entropy_interval", self.anti_entropy_interval, INTERVAL_MAX),
            ("tombstone_grace", self.tombstone_grace, GRACE_MAX),
        ] {
            if time.is_zero() || time > max {
                return Err(ConfigError::Time { field, max });
            }
        }
        in_range("commands_max", self.commands_max, 1, 1 << 20)?;
        in_range("store_bytes_max", self.store_bytes_max, 1 << 10, 1 << 40)?;
        in_range("rewrite_log_bytes", self.rewrite_log_bytes, 1, 1 << 32)
    }
}

fn in_range(field: &'static str, value: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { field, value, min, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        assert_eq!(Config::default().validate(3), Ok(()));
        let config = Config { copies: Some(4), ..Config::default() };
        assert!(matches!(config.validate(3), Err(ConfigError::Range { field: "copies", .. })));
        let config = Config { tombstone_grace: Duration::ZERO, ..Config::default() };
        assert!(matches!(config.validate(3), Err(ConfigError::Time { field: "tombstone_grace", .. })));
        let config = Config { copies: Some(2), quorums: Quorums { read: 1, write: 3 }, ..Config::default() };
        assert!(matches!(config.validate(5), Err(ConfigError::Quorums(QuorumError::Size { .. }))));
    }

    #[test]
    fn what_is_promised_follows_from_the_quorums() {
        let guarantee = |read, write, sloppy, conflicts| {
            let quorums = Quorums { read, write };
            Config { quorums, sloppy, conflicts, ..Config::default() }.guarantee(3).name
        };
        assert_eq!(guarantee(1, 1, false, Conflicts::Siblings), "eventual (no lost update)");
        assert!(guarantee(2, 2, false, Conflicts::Siblings).contains("see what was answered"));
        assert_eq!(guarantee(2, 2, true, Conflicts::Siblings), "eventual (no lost update)");
        assert!(guarantee(2, 2, false, Conflicts::LastWriterWins).contains("may be lost"));
    }
}
