//! What must be equal on all replicas of a Paxos cluster.

use std::time::Duration;

use qlab_kernel::limits::SESSION_WINDOW;

/// How a proposer begins in an instance that nobody has heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBallot {
    /// With phase 1, like every other ballot: two round trips to a decision.
    Prepare,
    /// The first round of each instance belongs to one replica, and everybody has promised it from the beginning: that one skips
    /// phase 1, once. One round trip; the others begin in the second round.
    Promised,
}

/// Times, limits and switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// See [`FirstBallot`].
    pub first_ballot: FirstBallot,
    /// A question that a quorum has not answered for so long is asked again.
    pub retry_interval: Duration,
    /// After a rejection, a proposer waits for a random time up to this, doubled with each further one up to 64 times
    /// `retry_interval`, before it tries again.
    pub back_off: Duration,
    /// How long a decision may wait until the others are told of it, many at once.
    pub tell_interval: Duration,
    /// Commands that wait for a decision at one replica; with more it is busy.
    pub commands_max: usize,
    /// What all registers of a replica may weigh in memory; then it takes no new ones.
    pub registers_bytes_max: usize,
    /// Bytes of records after which all registers are written anew, so that the journal can let go of the rest.
    pub rewrite_log_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            first_ballot: FirstBallot::Prepare,
            retry_interval: Duration::from_millis(250),
            back_off: Duration::from_millis(2),
            tell_interval: Duration::from_millis(5),
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
}

/// The longest time in a configuration.
const TIME_MAX: Duration = Duration::from_secs(60);
/// How often [`Config::back_off`] is doubled at most; [`Config::retry_interval`] ends that sooner.
const DOUBLINGS_MAX: u32 = 16;
/// The longest pause, in intervals after which questions are asked again. A pause shorter than a round trip ends no duel; and where
/// many registers are fought for, only pauses that go on growing take the load away that makes every round trip longer.
const BACK_OFF_RETRIES_MAX: u32 = 64;

impl Config {
    /// The longest that a proposer waits after so many rejections, at least one, in a row.
    #[must_use]
    pub fn back_off_max(&self, rejections: u32) -> Duration {
        let doubled = self.back_off * (1 << (rejections.clamp(1, DOUBLINGS_MAX + 1) - 1));
        doubled.min(self.retry_interval * BACK_OFF_RETRIES_MAX).max(self.back_off)
    }

    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let times = [
            ("retry_interval", self.retry_interval),
            ("back_off", self.back_off),
            ("tell_interval", self.tell_interval),
        ];
        if let Some((field, _)) = times.iter().find(|(_, time)| time.is_zero() || *time > TIME_MAX) {
            return Err(ConfigError::Time(field));
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
    fn back_offs_double_and_end() {
        let (back_off, retry_interval) = (Duration::from_millis(1), Duration::from_millis(5));
        let config = Config { back_off, retry_interval, ..Config::default() };
        let waits: Vec<u128> = (0..9).map(|n| config.back_off_max(n).as_millis()).collect();
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 64, 128]);
        assert_eq!(config.back_off_max(u32::MAX).as_millis(), 320);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let config = Config { tell_interval: Duration::ZERO, ..Config::default() };
        assert_eq!(config.validate(), Err(ConfigError::Time("tell_interval")));
        let config = Config { commands_max: 0, ..Config::default() };
        assert!(matches!(config.validate(), Err(ConfigError::Range { field: "commands_max", .. })));
    }
}
