//! Options of `gossip`.

use std::time::Duration;

use qlab_gossip::{Config, Exchange, Gossip};
use qlab_kernel::Protocol;
use serde::Deserialize;

use super::{OptionsError, invalid, read};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GossipOptions {
    exchange: Option<ExchangeName>,
    fanout: Option<usize>,
    round_interval_ms: Option<u64>,
    probe_interval_ms: Option<u64>,
    probe_timeout_ms: Option<u64>,
    proxies: Option<usize>,
    suspicion_multiplier: Option<u32>,
    rumour_multiplier: Option<u32>,
    store_bytes_max: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ExchangeName {
    Push,
    Pull,
    PushPull,
}

pub(crate) fn gossip(options: &toml::Table) -> Result<Config, OptionsError> {
    let options: GossipOptions = read(Gossip::NAME, options)?;
    let defaults = Config::default();
    let milliseconds = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
    let config = Config {
        exchange: match options.exchange {
            None | Some(ExchangeName::PushPull) => Exchange::PushPull,
            Some(ExchangeName::Push) => Exchange::Push,
            Some(ExchangeName::Pull) => Exchange::Pull,
        },
        fanout: options.fanout.unwrap_or(defaults.fanout),
        round_interval: milliseconds(options.round_interval_ms, defaults.round_interval),
        probe_interval: milliseconds(options.probe_interval_ms, defaults.probe_interval),
        probe_timeout: milliseconds(options.probe_timeout_ms, defaults.probe_timeout),
        proxies: options.proxies.unwrap_or(defaults.proxies),
        suspicion_multiplier: options.suspicion_multiplier.unwrap_or(defaults.suspicion_multiplier),
        rumour_multiplier: options.rumour_multiplier.unwrap_or(defaults.rumour_multiplier),
        store_bytes_max: options.store_bytes_max.unwrap_or(defaults.store_bytes_max),
        ..defaults
    };
    config.validate().map_err(|error| invalid(Gossip::NAME, error))?;
    Ok(config)
}
