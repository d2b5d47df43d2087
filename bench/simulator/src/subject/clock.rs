//! Clocks: five references, of which up to two lie or are gone, and two that follow them.

use std::time::Duration;

use qlab_clocks::sync::{Clock, Config};
use qlab_kernel::{NodeId, NodeSet};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::Subject;
use crate::byzantine::{Byzantine, clock::FalseTime};
use crate::laws::clock::ClockLaws;
use crate::schedule::Schedule;

const REFERENCES: usize = 5;
const FOLLOWERS: usize = 2;

impl Subject for Clock {
    type Laws = ClockLaws;

    const SURVIVES_LIARS: bool = true;

    /// That oscillators wander little is what bounds rest on.
    const STEADY_CLOCKS: bool = true;

    fn config(chance: &mut Pcg32) -> Config {
        Config {
            references: NodeSet::first(REFERENCES),
            reference_error: Duration::from_micros([0, 50][chance.random_range(0..2)]),
            poll_interval: Duration::from_millis([20, 50, 100][chance.random_range(0..3)]),
            frequency_error_ppm_max: [50, 500, 5_000][chance.random_range(0..3)],
            ..Config::default()
        }
    }

    fn laws(_: usize, config: &Config) -> ClockLaws {
        ClockLaws::new(config)
    }

    fn clock_drift_ppm(config: &Config) -> u32 {
        2 * config.frequency_error_ppm_max
    }

    fn trusts_clocks(_: &Config) -> bool {
        true
    }

    fn has_true_time(node: NodeId, config: &Config) -> bool {
        config.references.contains(node)
    }

    /// Clocks that learnt nothing under fire begin then, and may be a long slew away from the truth.
    fn patience(_: &Config) -> Duration {
        Duration::from_secs(20)
    }

    fn nodes(_: usize) -> usize {
        REFERENCES + FOLLOWERS
    }

    /// Nobody asks clocks anything.
    fn shape(schedule: &mut Schedule) {
        schedule.clients = 0;
    }

    fn faulty_max(_: usize) -> usize {
        (REFERENCES - 1) / 2
    }

    fn liar(_: NodeId, _: usize, _: &Config, chance: &mut Pcg32) -> Option<Box<dyn Byzantine<Self>>> {
        Some(Box::new(FalseTime::drawn(chance)))
    }
}
