//! What must be equal on all replicas of a PBFT cluster; and one thing that is each one's own, its keys.

use std::time::Duration;

use qlab_kernel::limits::{BATCH_BYTES_MAX, FRAME_BYTES_MAX};

use crate::keys::{Authentication, Keyring};
use crate::message::ViewChange;

/// Times, windows, switches, keys.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica's keys.
    pub keys: Keyring,
    /// See [`Authentication`].
    pub authentication: Authentication,
    /// How long the oldest known request may stay unexecuted before a backup asks for the next view; doubled with each view that
    /// executes nothing (OSDI '99 §4.5.2).
    pub view_timeout: Duration,
    /// How often a replica tells the others how far it is, so that they help it.
    pub status_interval: Duration,
    /// Whether all requests of a burst share an entry; otherwise each request gets its own.
    pub batching: bool,
    /// Bytes at which an entry takes no further request, 1 to [`BATCH_BYTES_MAX`].
    pub entry_bytes: usize,
    /// Entries between the last one that a primary has executed and the last one it has proposed; 1 turns pipelining off.
    pub window_entries: usize,
    /// The sequence numbers after the last stable checkpoint that a replica speaks of: the paper's *L*.
    pub log_window: usize,
    /// Entries between two checkpoints, at most half of `log_window`.
    pub checkpoint_entries: usize,
    /// Bytes applied between two checkpoints, if that comes first.
    pub checkpoint_bytes: usize,
    /// Bytes of requests that wait here to be executed; a replica with more is busy.
    pub intake_bytes_max: usize,
    /// How many of these bytes may be one client's.
    pub client_bytes_max: usize,
}

impl Config {
    /// Everything at its default, with these keys.
    #[must_use]
    pub const fn new(keys: Keyring) -> Self {
        Self {
            keys,
            authentication: Authentication::Macs,
            view_timeout: Duration::from_millis(500),
            status_interval: Duration::from_millis(100),
            batching: true,
            entry_bytes: 256 << 10,
            window_entries: 8,
            log_window: 2048,
            checkpoint_entries: 1024,
            checkpoint_bytes: 64 << 20,
            intake_bytes_max: 64 << 20,
            client_bytes_max: 8 << 20,
        }
    }

    /// Checks the ranges, for a cluster of so many replicas.
    pub fn validate(&self, replicas: usize) -> Result<(), ConfigError> {
        if replicas < 4 || replicas % 3 != 1 {
            return Err(ConfigError::Replicas(replicas));
        }
        if self.status_interval.is_zero() || self.status_interval * 2 > self.view_timeout {
            return Err(ConfigError::Times(
                "status_interval must be above zero and at most half of view_timeout, or views change where one \
                 lost message could have been sent again",
            ));
        }
        in_range("entry_bytes", self.entry_bytes, 1, BATCH_BYTES_MAX)?;
        // As many certificates as the window holds must fit the frame of one view-change message.
        let window_max = (FRAME_BYTES_MAX - ViewChange::bytes_max(0, replicas))
            / (ViewChange::bytes_max(1, replicas) - ViewChange::bytes_max(0, replicas));
        in_range("log_window", self.log_window, 2, window_max)?;
        in_range("window_entries", self.window_entries, 1, self.log_window)?;
        in_range("checkpoint_entries", self.checkpoint_entries, 1, self.log_window / 2)?;
        in_range("checkpoint_bytes", self.checkpoint_bytes, 1, 1 << 32)?;
        in_range("client_bytes_max", self.client_bytes_max, BATCH_BYTES_MAX + 4096, 1 << 30)?;
        in_range("intake_bytes_max", self.intake_bytes_max, self.client_bytes_max, 1 << 30)
    }
}

/// A value out of its range: correct the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not 3f + 1.
    #[error("{0} replicas are not 3f + 1: take 4, 7, 10, …")]
    Replicas(usize),
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

fn in_range(field: &'static str, value: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { field, value, min, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_serve_four_and_seven_replicas_and_others_are_told_what_to_change() {
        let config = Config::new(Keyring::simulated(4, 1, 0));
        assert_eq!(config.validate(4), Ok(()));
        assert_eq!(config.validate(7), Ok(()));
        for replicas in [0, 1, 3, 5, 6] {
            assert_eq!(config.validate(replicas), Err(ConfigError::Replicas(replicas)));
        }
        let Err(ConfigError::Range { field: "log_window", max, .. }) = config.validate(13) else {
            panic!("a view-change of that many certificates is larger than a frame")
        };
        let smaller = Config { log_window: max, checkpoint_entries: max / 2, ..config };
        assert_eq!(smaller.validate(13), Ok(()));
    }

    #[test]
    fn a_window_holds_two_checkpoints() {
        let config = Config::new(Keyring::simulated(4, 1, 0));
        let narrow = Config { log_window: 10, checkpoint_entries: 6, ..config.clone() };
        assert!(matches!(
            narrow.validate(4),
            Err(ConfigError::Range { field: "checkpoint_entries", max: 5, .. })
        ));
        let hasty = Config { view_timeout: Duration::from_millis(150), ..config };
        assert!(matches!(hasty.validate(4), Err(ConfigError::Times(_))));
    }
}
