//! Gossip: nodes that write by themselves, and must come to know the same.

use std::time::Duration;

use bytes::Bytes;
use qlab_gossip::{Config, Exchange, Gossip, Operation};
use qlab_kernel::Time;
use rand::RngExt;
use rand_pcg::Pcg32;

use super::Subject;
use crate::laws::gossip::GossipLaws;
use crate::schedule::Schedule;

impl Subject for Gossip {
    type Laws = GossipLaws;

    const ACTS: bool = true;

    /// Small messages and digests, so that both are cut; deletions that are soon forgotten, so that many are missed.
    fn config(chance: &mut Pcg32) -> Config {
        let mut pick = |choices: &[usize]| choices[chance.random_range(0..choices.len())];
        let probe_interval = Duration::from_millis(pick(&[60, 120]) as u64);
        Config {
            exchange: [Exchange::Push, Exchange::Pull, Exchange::PushPull][pick(&[0, 1, 2])],
            fanout: pick(&[1, 2, 3]),
            round_interval: Duration::from_millis(pick(&[20, 50]) as u64),
            message_bytes_max: pick(&[700, 1100]),
            digest_writers_max: pick(&[2, 3, 15]),
            deletion_told: Duration::from_millis(pick(&[50, 400]) as u64),
            probe_interval,
            probe_timeout: probe_interval / 3,
            proxies: pick(&[0, 1, 3]),
            suspicion_multiplier: pick(&[1, 4]) as u32,
            rumour_multiplier: pick(&[1, 3]) as u32,
            ..Config::default()
        }
    }

    fn laws(nodes: usize, _: &Config) -> GossipLaws {
        GossipLaws::new(nodes)
    }

    fn clock_drift_ppm(_: &Config) -> u32 {
        600_000
    }

    fn trusts_clocks(_: &Config) -> bool {
        false
    }

    /// Hundreds of rounds, and time for every dead node to be suspected by each.
    fn patience(_: &Config) -> Duration {
        Duration::from_secs(60)
    }

    /// Nobody asks; and writes that come less often than rounds are those that can be told apart.
    fn shape(schedule: &mut Schedule) {
        schedule.clients = 0;
        schedule.weather.think_max = schedule.weather.think_max.max(Duration::from_millis(50));
    }

    fn act(core: &mut Self, now: Time, chance: &mut Pcg32) {
        let some_bytes = |chance: &mut Pcg32| Bytes::from(vec![chance.random_range(0..20_u8); 30]);
        let name = Bytes::from_static(b"object");
        let node = core.node_mut();
        // Refused is what does not fit any more; laws are about what was taken.
        let _ = match chance.random_range(0..11) {
            0 => node.operate(&name, Operation::Grow(some_bytes(chance))),
            1 => node.operate(&name, Operation::Count(chance.random_range(0..9))),
            2 => node.operate(&name, Operation::Increment(chance.random_range(0..9))),
            3 => node.operate(&name, Operation::Decrement(chance.random_range(0..9))),
            4 => node.operate(&name, Operation::WriteLast { time: now.0, value: some_bytes(chance) }),
            5 => node.operate(&name, Operation::Write(some_bytes(chance))),
            6 => node.operate(&name, Operation::Add(some_bytes(chance))),
            7 => node.operate(&name, Operation::Remove(some_bytes(chance))),
            8 => node.delete(now, own_name(chance)),
            _ => {
                let name = own_name(chance);
                node.set(name, some_bytes(chance))
            }
        };
    }
}

fn own_name(chance: &mut Pcg32) -> Bytes {
    Bytes::from(vec![chance.random_range(0..6_u8)])
}
