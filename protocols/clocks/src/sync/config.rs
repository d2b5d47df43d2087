//! What must be equal on all replicas of a cluster that keeps time.

use std::time::Duration;

use qlab_kernel::NodeSet;

use super::rate::FREQUENCY_TOLERANCE_PPB;

/// Who has the time, and what oscillators are trusted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose own clocks are the common scale; everyone else asks each of them. Fewer than half of them may be false, so one
    /// is believed whatever it says, two must agree, and three outvote one. At least one; seat 0 by default.
    pub references: NodeSet,
    /// How far a true reference's clock may be from the common scale. At most an hour; zero by default, which makes a single
    /// reference the scale itself.
    pub reference_error: Duration,
    /// Time between two questions to the same source, 1 ms to 1 h; 16 s by default. Answers that take longer are lost. Eight
    /// of them make a clock synchronised; the bound on its error grows in between.
    pub poll_interval: Duration,
    /// How far any oscillator may be from its nominal rate, whatever has been learnt about it: 15 to 100,000 parts per
    /// million; 500 by default, which is what RFC 5905 allows. An oscillator beyond that voids every bound.
    pub frequency_error_ppm_max: u32,
    /// The largest error with which a clock still calls itself synchronised. At least 1 µs; 100 ms by default.
    pub error_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            references: NodeSet::first(1),
            reference_error: Duration::ZERO,
            poll_interval: Duration::from_secs(16),
            frequency_error_ppm_max: 500,
            error_max: Duration::from_millis(100),
        }
    }
}

impl Config {
    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let hour = Duration::from_secs(3600);
        let ppm_min = (FREQUENCY_TOLERANCE_PPB / 1000) as u32;
        within("references", &self.references.len(), &1, &NodeSet::CAPACITY)?;
        within("reference_error", &self.reference_error, &Duration::ZERO, &hour)?;
        within("poll_interval", &self.poll_interval, &Duration::from_millis(1), &hour)?;
        within("frequency_error_ppm_max", &self.frequency_error_ppm_max, &ppm_min, &100_000)?;
        within("error_max", &self.error_max, &Duration::from_micros(1), &hour)
    }

    /// The bound on every oscillator's rate, in parts per billion.
    #[must_use]
    pub fn frequency_error_ppb(&self) -> u64 {
        u64::from(self.frequency_error_ppm_max) * 1000
    }
}

/// A value out of its range: correct the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("clock: {field} is {value}, but must be from {minimum} to {maximum}")]
pub struct ConfigError {
    field: &'static str,
    value: String,
    minimum: String,
    maximum: String,
}

fn within<T: PartialOrd + std::fmt::Debug>(
    field: &'static str,
    value: &T,
    minimum: &T,
    maximum: &T,
) -> Result<(), ConfigError> {
    if (minimum..=maximum).contains(&value) {
        return Ok(());
    }
    let [value, minimum, maximum] = [value, minimum, maximum].map(|it| format!("{it:?}"));
    Err(ConfigError { field, value, minimum, maximum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_could_not_keep_time_is_not() {
        let valid = Config::default();
        assert_eq!(valid.validate(), Ok(()));
        for bad in [
            Config { references: NodeSet::EMPTY, ..valid.clone() },
            Config { reference_error: Duration::from_secs(3601), ..valid.clone() },
            Config { poll_interval: Duration::ZERO, ..valid.clone() },
            Config { frequency_error_ppm_max: 14, ..valid.clone() },
            Config { error_max: Duration::ZERO, ..valid },
        ] {
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.contains("must be from"), "{message}");
        }
    }
}
