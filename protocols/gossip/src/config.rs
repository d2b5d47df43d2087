//! What must be equal on all nodes.

use std::time::Duration;

use crate::digest::SUMMARY_BYTES;
use crate::message::ENVELOPE_BYTES_MAX;
use crate::store::{DELTA_HEADER_BYTES, VALUE_BYTES_MAX};

/// Which way entries travel when two nodes have compared digests (Demers et al., "Epidemic algorithms for replicated database
/// maintenance", 1987, §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// From the node that began to the one it chose.
    Push,
    /// From the one it chose to the node that began.
    Pull,
    /// Both ways.
    PushPull,
}

/// Times, bounds and switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which way entries travel.
    pub exchange: Exchange,
    /// Peers that a node compares digests with in a round, 1 to 64.
    pub fanout: usize,
    /// Time between two rounds. Well above a round trip, or digests are stale and entries travel twice.
    pub round_interval: Duration,
    /// Bytes of one message, at most. With the default a message fits a QUIC datagram on any path.
    pub message_bytes_max: usize,
    /// Writers in one digest, at most; if there are more, the next round's digest goes on where this one ended.
    pub digest_writers_max: usize,
    /// Bytes of entries that a node keeps, overhead included. A full node takes in no more and says so.
    pub store_bytes_max: usize,
    /// How long a deletion is told of. Nodes that missed it must begin its writer anew, which costs bytes, not safety.
    pub deletion_told: Duration,
    /// SWIM's protocol period: each node probes one other in it. At least three times `probe_timeout`, so that indirect
    /// answers have time, too.
    pub probe_interval: Duration,
    /// How long to wait for an answer until others are asked to ask.
    pub probe_timeout: Duration,
    /// How many others, 0 to 64: SWIM's k.
    pub proxies: usize,
    /// Suspects have this many periods, times log₂(n + 1), to object, 1 to 100. More make failures known later and false alarms
    /// rarer.
    pub suspicion_multiplier: u32,
    /// A rumour is told this many times log₂(n + 1) by each node, 1 to 100: SWIM's λ.
    pub rumour_multiplier: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            exchange: Exchange::PushPull,
            fanout: 3,
            round_interval: Duration::from_millis(200),
            message_bytes_max: 1100,
            digest_writers_max: 30,
            store_bytes_max: 64 << 20,
            deletion_told: Duration::from_secs(60),
            probe_interval: Duration::from_millis(500),
            probe_timeout: Duration::from_millis(100),
            proxies: 3,
            suspicion_multiplier: 4,
            rumour_multiplier: 3,
        }
    }
}

/// A value out of its range: correct the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A size or count does not fit its range.
    #[error("gossip: {field} is {value}, but must be {min} to {max}")]
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
    #[error("gossip: {0}")]
    Times(&'static str),
}

impl Config {
    /// Bytes of entries that a message has room for.
    #[must_use]
    pub const fn deltas_bytes_max(&self) -> usize {
        self.message_bytes_max - ENVELOPE_BYTES_MAX
    }

    /// Bytes of one encoded entry, at most: it must fit a message with nothing else.
    #[must_use]
    pub const fn entry_bytes_max(&self) -> usize {
        self.deltas_bytes_max() - DELTA_HEADER_BYTES
    }

    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let least = ENVELOPE_BYTES_MAX + DELTA_HEADER_BYTES + 512;
        in_range("fanout", self.fanout, 1, 64)?;
        in_range("message_bytes_max", self.message_bytes_max, least, VALUE_BYTES_MAX)?;
        let writers = (self.message_bytes_max - ENVELOPE_BYTES_MAX - 32) / SUMMARY_BYTES;
        in_range("digest_writers_max", self.digest_writers_max, 1, writers)?;
        in_range("store_bytes_max", self.store_bytes_max, self.message_bytes_max, 1 << 40)?;
        in_range("proxies", self.proxies, 0, 64)?;
        in_range("suspicion_multiplier", self.suspicion_multiplier as usize, 1, 100)?;
        in_range("rumour_multiplier", self.rumour_multiplier as usize, 1, 100)?;
        if self.round_interval.is_zero() || self.probe_timeout.is_zero() {
            return Err(ConfigError::Times("round_interval and probe_timeout must be above zero"));
        }
        if self.probe_timeout * 3 > self.probe_interval {
            return Err(ConfigError::Times(
                "probe_timeout must be at most a third of probe_interval, or indirect answers come too late",
            ));
        }
        Ok(())
    }
}

fn in_range(field: &'static str, value: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { field, value, min, max }) }
}

/// ⌈log₂(n + 1)⌉ for n nodes: what rumours and suspicions are scaled by.
#[must_use]
pub(crate) const fn log2_ceil(nodes: usize) -> u32 {
    (nodes + 1).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_would_never_work_is_not() {
        let valid = Config::default();
        assert_eq!(valid.validate(), Ok(()));
        for bad in [
            Config { fanout: 0, ..valid.clone() },
            Config { message_bytes_max: 100, ..valid.clone() },
            Config { digest_writers_max: 100, ..valid.clone() },
            Config { store_bytes_max: 0, ..valid.clone() },
            Config { probe_timeout: valid.probe_interval, ..valid.clone() },
            Config { round_interval: Duration::ZERO, ..valid.clone() },
            Config { suspicion_multiplier: 0, ..valid },
        ] {
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.contains("must be"), "{message}");
        }
    }

    #[test]
    fn logarithms_round_up() {
        assert_eq!([1, 3, 4, 7, 10_000].map(log2_ceil), [1, 2, 3, 3, 14]);
    }
}
