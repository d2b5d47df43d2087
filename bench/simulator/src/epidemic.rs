//! How fast one update of gossip spreads in worlds of up to thousands of nodes, measured in rounds, against what the literature
//! expects; and how often its members err about each other.
//!
//! Rounds are in step and every exchange ends within its round, as in the analyses. The nodes are those that run as processes;
//! membership asks so seldom while updates are measured that it does not matter.

mod accuracy;
mod statistics;

use std::time::Duration;

use bytes::Bytes;
use qlab_gossip::world::{Network, World};
use qlab_gossip::{Actor, Config, Exchange, Life, Operation};
use qlab_kernel::NodeId;

pub use accuracy::{Errors, errors, expected_unanswered};
pub use statistics::{Z_95, Z_999, quantile, wilson};

/// What became of one update.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Rounds until half of the nodes, 99 % and all of them knew it.
    pub rounds: [u32; 3],
    /// Bytes that a node sent until then, on average: that of the digests, too.
    pub bytes_per_node: f64,
}

/// The part of the nodes that each entry of [`Spread::rounds`] is about.
pub const SHARES: [f64; 3] = [0.5, 0.99, 1.0];

/// Rounds after which an update counts as lost.
pub const ROUNDS_MAX: u32 = 200;

/// Gossip alone, in rounds of a tenth of a second.
#[must_use]
pub fn quiet(exchange: Exchange, fanout: usize) -> Config {
    let probe_interval = Duration::from_secs(1 << 20);
    Config {
        exchange,
        fanout,
        round_interval: Duration::from_millis(100),
        probe_interval,
        ..Config::default()
    }
}

/// One node writes; then rounds, until everybody knows, or [`ROUNDS_MAX`].
#[must_use]
pub fn spread(nodes: usize, config: Config, network: Network, seed: u64) -> Spread {
    let interval = config.round_interval;
    let mut world = World::new(nodes, config, network, seed, true);
    world
        .node(0)
        .operate(&Bytes::from_static(b"news"), Operation::Grow(Bytes::from_static(b"x")))
        .expect("room");
    let origin = Actor { node: NodeId(0), life: Life::FIRST };
    let mut rounds = [ROUNDS_MAX; 3];
    // Rounds begin at multiples of the interval; between them everything arrives.
    world.run(interval / 2);
    for round in 1..ROUNDS_MAX {
        world.run(interval);
        let informed = world.running().filter(|node| node.store().summary(origin).version > 0).count();
        for (at, share) in SHARES.iter().enumerate() {
            if informed as f64 >= share * nodes as f64 {
                rounds[at] = rounds[at].min(round);
            }
        }
        if informed == nodes {
            break;
        }
    }
    Spread { rounds, bytes_per_node: world.sent().1 as f64 / nodes as f64 }
}

/// The leading terms of the rounds to inform all n nodes when each calls k others in a round.
///
/// - Push: log₁₊ₖ n + ln n / k. For k = 1, log₂ n + ln n (Pittel, "On spreading a rumor", 1987); for calls of mean k, Panagiotou,
///   Pourmiri and Sauerwald, "Faster rumor spreading with multiple calls", 2015.
/// - Push-pull: log₁₊₂ₖ n + log₁₊ₖ ln n: the informed grow by 1 + 2k while they are few, and once most know, a node stays ignorant
///   only if all its k calls reach ignorant ones. For k = 1, log₃ n + O(ln ln n) (Karp, Schindelhauer, Shenker, Vöcking,
///   "Randomized rumor spreading", 2000).
/// - Pull: the same with growth by 1 + k.
#[must_use]
pub fn expected_rounds(exchange: Exchange, nodes: usize, fanout: usize) -> f64 {
    let (n, k) = (nodes as f64, fanout as f64);
    match exchange {
        Exchange::Push => n.ln() / (1.0 + k).ln() + n.ln() / k,
        Exchange::Pull => n.ln() / (1.0 + k).ln() + n.ln().ln() / (1.0 + k).ln(),
        Exchange::PushPull => n.ln() / (1.0 + 2.0 * k).ln() + n.ln().ln() / (1.0 + k).ln(),
    }
}

/// Rounds until fewer than half a node is expected to be ignorant, if in every round just what is expected happens: no formula,
/// but no constants are left out either.
#[must_use]
pub fn mean_field_rounds(exchange: Exchange, nodes: usize, fanout: usize) -> u32 {
    let (n, k) = (nodes as f64, fanout as f64);
    let mut ignorant = n - 1.0;
    let mut rounds = 0;
    while ignorant >= 0.5 {
        let informed = n - ignorant;
        let none_pushes = (1.0 - k / (n - 1.0)).powf(informed);
        let none_pulls = (0..fanout)
            .map(|call| (ignorant - 1.0 - call as f64).max(0.0) / (n - 1.0 - call as f64))
            .product::<f64>();
        ignorant *= match exchange {
            Exchange::Push => none_pushes,
            Exchange::Pull => none_pulls,
            Exchange::PushPull => none_pushes * none_pulls,
        };
        rounds += 1;
    }
    rounds
}
