//! The server's windows, and when it compacts.

use qlab_kernel::limits::BATCH_BYTES_MAX;

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Entries taken in and not yet durable; a request that waits to be packed counts as one. More is refused as busy.
    /// At least 1; 4,096 by default. Fewer than the clients keep in flight turn load into refusals.
    pub window_entries_max: usize,
    /// Bytes of those entries. At least [`BATCH_BYTES_MAX`], or the largest batch could never be taken; 64 MiB by
    /// default. They lie in memory.
    pub window_bytes_max: usize,
    /// Bytes of entries executed since the last snapshot until the next one is taken. At least 1; 64 MiB by default. Fewer
    /// make recovery shorter and the state machine stand still more often.
    pub snapshot_log_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { window_entries_max: 4096, window_bytes_max: 64 << 20, snapshot_log_bytes: 64 << 20 }
    }
}

impl Config {
    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least("window_entries_max", self.window_entries_max as u64, 1)?;
        at_least("window_bytes_max", self.window_bytes_max as u64, BATCH_BYTES_MAX as u64)?;
        at_least("snapshot_log_bytes", self.snapshot_log_bytes, 1)
    }
}

/// A value out of its range: correct the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreplicated: {field} is {value}, but must be at least {minimum}")]
pub struct ConfigError {
    field: &'static str,
    value: u64,
    minimum: u64,
}

fn at_least(field: &'static str, value: u64, minimum: u64) -> Result<(), ConfigError> {
    if value >= minimum { Ok(()) } else { Err(ConfigError { field, value, minimum }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_what_would_never_serve_is_not() {
        let valid = Config::default();
        assert_eq!(valid.validate(), Ok(()));
        for bad in [
            Config { window_entries_max: 0, ..valid.clone() },
            Config { window_bytes_max: BATCH_BYTES_MAX - 1, ..valid.clone() },
            Config { snapshot_log_bytes: 0, ..valid },
        ] {
            let message = bad.validate().unwrap_err().to_string();
            assert!(message.contains("must be at least"), "{message}");
        }
    }
}
