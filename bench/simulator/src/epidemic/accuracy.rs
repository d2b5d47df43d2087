//! How often SWIM errs under losses, and how often it should.

use qlab_gossip::Config;
use qlab_gossip::world::{Network, World};

/// What came of probing nodes all of which live.
#[derive(Clone, Copy, Debug)]
pub struct Errors {
    /// Probes, one for each node and period.
    pub probes: u64,
    /// Those that nobody answered.
    pub unanswered: u64,
    /// Nodes declared dead by somebody that had waited for their objection.
    pub declared_dead: u64,
}

/// So many periods of the default configuration, in which everybody lives.
#[must_use]
pub fn errors(nodes: usize, loss_percent: u32, periods: u32, seed: u64) -> Errors {
    let config = Config::default();
    let time = config.probe_interval * periods;
    let mut world = World::new(nodes, config, Network { loss_percent, ..Network::CALM }, seed, false);
    world.run(time);
    let mut errors = Errors { probes: 0, unanswered: 0, declared_dead: 0 };
    for node in world.running() {
        let verdicts = node.membership().verdicts();
        errors.probes += verdicts.probes;
        errors.unanswered += verdicts.unanswered;
        errors.declared_dead += verdicts.declared_dead;
    }
    errors
}

/// The part of probes of the living that nobody answers, if a message arrives with probability q: neither the ping and its answer
/// arrive, (1 − q²), nor all four messages through any of the k others, (1 − q⁴)ᵏ (SWIM §3.1, where q is the part of the living).
#[must_use]
pub fn expected_unanswered(loss_percent: u32, proxies: i32) -> f64 {
    let q = 1.0 - f64::from(loss_percent) / 100.0;
    (1.0 - q.powi(2)) * (1.0 - q.powi(4)).powi(proxies)
}
