//! Options of `clock`.

use std::time::Duration;

use qlab_clocks::sync::{Clock, Config};
use qlab_kernel::{NodeSet, Protocol};
use serde::Deserialize;

use super::{OptionsError, invalid, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClockOptions {
    references: Option<usize>,
    reference_error_us: Option<u64>,
    poll_interval_ms: Option<u64>,
    frequency_error_ppm_max: Option<u32>,
    error_max_us: Option<u64>,
}

/// The references are the lowest seats.
pub(crate) fn clock(options: &toml::Table, replicas: usize) -> Result<Config, OptionsError> {
    let options: ClockOptions = read(Clock::NAME, options)?;
    let defaults = Config::default();
    let references = options.references.unwrap_or(defaults.references.len());
    if references > replicas {
        let reason = format!("references is {references}, but there are only {replicas} replicas");
        return Err(OptionsError::Invalid { system: Clock::NAME, reason });
    }
    let config = Config {
        references: NodeSet::first(references),
        reference_error: options.reference_error_us.map_or(defaults.reference_error, Duration::from_micros),
        poll_interval: options.poll_interval_ms.map_or(defaults.poll_interval, Duration::from_millis),
        frequency_error_ppm_max: options.frequency_error_ppm_max.unwrap_or(defaults.frequency_error_ppm_max),
        error_max: options.error_max_us.map_or(defaults.error_max, Duration::from_micros),
    };
    config.validate().map_err(|error| invalid(Clock::NAME, error))?;
    Ok(config)
}
