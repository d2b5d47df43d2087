//! What must be equal on all replicas of an ABD cluster.

use std::time::Duration;

use qlab_kernel::limits::SESSION_WINDOW;

use crate::quorums::{QuorumError, Quorums};

/// Times, limits and switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many replicas are enough; majorities if `None`.
    pub quorums: Option<Quorums>,
    /// A question that a quorum has not answered for so long is asked again.
    pub retry_interval: Duration,
    /// Commands that wait at one replica; with more it is busy.
    pub commands_max: usize,
    /// What all keys and values of a replica may weigh in memory; then it takes no writes.
    pub registers_bytes_max: usize,
    /// Bytes of records after which everything is written anew, so that the journal can let go of the rest.
    pub rewrite_log_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            quorums: None,
            retry_interval: Duration::from_millis(250),
            commands_max: 4 * SESSION_WINDOW as usize,
            registers_bytes_max: 4 << 30,
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
    #[error("{0} must be above zero and at most a minute")]
    Time(&'static str),
    /// Quorums that cannot be reached or need not meet.
    #[error("{0}")]
    Quorums(#[from] QuorumError),
}

/// The longest time in a configuration.
const TIME_MAX: Duration = Duration::from_secs(60);

impl Config {
    /// How many of `replicas` are enough.
    #[must_use]
    pub fn quorums(&self, replicas: usize) -> Quorums {
        self.quorums.unwrap_or(Quorums::majorities(replicas))
    }

    /// Checks the ranges, for a cluster of so many replicas.
    pub fn validate(&self, replicas: usize) -> Result<(), ConfigError> {
        self.quorums(replicas).check_meeting(replicas)?;
        if self.retry_interval.is_zero() || self.retry_interval > TIME_MAX {
            return Err(ConfigError::Time("retry_interval"));
        }
        in_range("commands_max", self.commands_max, 1, 1 << 20)?;
        in_range("registers_bytes_max", self.registers_bytes_max, 1 << 10, 1 << 40)?;
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
        let config = Config { retry_interval: Duration::ZERO, ..Config::default() };
        assert_eq!(config.validate(3), Err(ConfigError::Time("retry_interval")));
        let config = Config { commands_max: 0, ..Config::default() };
        assert!(matches!(config.validate(3), Err(ConfigError::Range { field: "commands_max", .. })));
        let config = Config { quorums: Some(Quorums { read: 1, write: 2 }), ..Config::default() };
        assert!(matches!(config.validate(3), Err(ConfigError::Quorums(QuorumError::Disjoint { .. }))));
    }
}
