//! How fast gossip spreads among up to ten thousand nodes, how often members err, and what that takes: three studies.

use anyhow::Context;
use bytes::Bytes;
use qlab_gossip::world::{Network, World};
use qlab_gossip::{Config, Exchange, Operation};
use qlab_report::Study;
use qlab_report::study::{Findings, GossipErrors, GossipRounds, GossipScale, Quartet, Share};
use qlab_simulator::epidemic::{self, ROUNDS_MAX, Spread, Z_95};

use super::{Progress, converged, finish, millis};
use crate::clock::Stopwatch;
use crate::interrupt::Interrupt;

/// Sizes of clusters, half a power of ten apart.
const NODES: [usize; 6] = [32, 100, 316, 1_000, 3_162, 10_000];
const FANOUT: usize = 3;
/// Periods in which members probe each other.
const PERIODS: u32 = 500;
/// Clusters and losses, in a hundred, in which that is done.
const PROBED: [(usize, u32); 10] =
    [(32, 0), (32, 5), (32, 10), (32, 20), (32, 30), (128, 0), (128, 5), (128, 10), (128, 20), (128, 30)];
/// The large cluster.
const LARGE_NODES: usize = 10_000;
const LARGE_ROUNDS: usize = 100;
const LARGE_WRITERS: usize = 20;
const LARGE_LOSS_PERCENT: u32 = 1;

/// Makes the three studies, with so many worlds for each size and way to gossip.
pub(super) fn studies(worlds: u64, interrupt: &Interrupt) -> anyhow::Result<Vec<Study>> {
    let progress = Progress::new(3 * NODES.len() + PROBED.len() + 1, interrupt)?;
    let rounds = finish(|| {
        let mut rows = Vec::new();
        for (name, exchange) in
            [("push", Exchange::Push), ("pull", Exchange::Pull), ("push-pull", Exchange::PushPull)]
        {
            for nodes in NODES {
                rows.push(rounds(name, exchange, nodes, worlds)?);
                progress.step()?;
            }
        }
        Ok(Findings::GossipRounds(rows))
    })?;
    let errors = finish(|| {
        let row = |(nodes, loss_percent)| {
            progress.step()?;
            Ok(errors(nodes, loss_percent))
        };
        PROBED.into_iter().map(row).collect::<anyhow::Result<_>>().map(Findings::GossipErrors)
    })?;
    let scale = finish(|| Ok(Findings::GossipScale(vec![scale()])))?;
    Ok(vec![rounds, errors, scale])
}

fn rounds(name: &str, exchange: Exchange, nodes: usize, worlds: u64) -> anyhow::Result<GossipRounds> {
    let spread = |seed| epidemic::spread(nodes, epidemic::quiet(exchange, FANOUT), Network::CALM, seed);
    let spreads: Vec<Spread> = (0..worlds).map(spread).collect();
    let to = |share: usize| {
        let rounds = spreads.iter().map(|spread| f64::from(spread.rounds[share])).collect();
        Quartet::of(rounds).context("there is at least one world")
    };
    let bytes = Quartet::of(spreads.iter().map(|spread| spread.bytes_per_node).collect());
    let everybody_knows = spreads.iter().all(|spread| spread.rounds[2] < ROUNDS_MAX);
    Ok(GossipRounds {
        exchange: name.to_owned(),
        nodes: nodes as u64,
        fanout: FANOUT as u64,
        worlds,
        rounds_to_half: to(0)?,
        rounds_to_most: to(1)?,
        rounds_to_all: to(2)?,
        expected_rounds: epidemic::expected_rounds(exchange, nodes, FANOUT),
        mean_field_rounds: epidemic::mean_field_rounds(exchange, nodes, FANOUT).into(),
        bytes_per_node: bytes.context("there is at least one world")?.p50,
        verdict: converged(everybody_knows),
    })
}

fn errors(nodes: usize, loss_percent: u32) -> GossipErrors {
    let found = epidemic::errors(nodes, loss_percent, PERIODS, 1);
    let share = |events| {
        let (low, high) = epidemic::wilson(events, found.probes, Z_95);
        Share { events, low, high }
    };
    GossipErrors {
        nodes: nodes as u64,
        loss_percent: loss_percent.into(),
        probes: found.probes,
        unanswered: share(found.unanswered),
        unanswered_expected: epidemic::expected_unanswered(loss_percent, Config::default().proxies as i32),
        declared_dead: share(found.declared_dead),
    }
}

fn scale() -> GossipScale {
    let watch = Stopwatch::start();
    let config = Config::default();
    let interval = config.round_interval;
    let network = Network { loss_percent: LARGE_LOSS_PERCENT, ..Network::CALM };
    let mut world = World::new(LARGE_NODES, config, network, 1, false);
    for round in 0..LARGE_ROUNDS {
        let writer = round % LARGE_WRITERS * (LARGE_NODES / LARGE_WRITERS);
        let written = world.node(writer).operate(&Bytes::from_static(b"count"), Operation::Count(1));
        written.expect("a counter fits every store");
        world.run(interval);
    }
    let heard_all = world.running().all(|node| node.store().writers() == LARGE_WRITERS);
    let (messages, bytes) = world.sent();
    GossipScale {
        nodes: LARGE_NODES as u64,
        rounds: LARGE_ROUNDS as u64,
        writers: LARGE_WRITERS as u64,
        loss_percent: LARGE_LOSS_PERCENT.into(),
        messages,
        bytes,
        elapsed_ms: millis(watch.elapsed()),
        verdict: converged(heard_all),
    }
}

#[cfg(test)]
mod tests {
    use qlab_report::Verdict;

    use super::*;

    #[test]
    fn rounds_of_a_few_worlds_are_near_what_is_expected_and_everybody_knows() {
        let row = rounds("push-pull", Exchange::PushPull, 64, 5).unwrap();
        assert_eq!((row.verdict, row.worlds), (Verdict::Converged, 5));
        assert!(row.rounds_to_half.p50 < row.rounds_to_all.p50);
        assert!(row.rounds_to_all.p50 <= 1.25 * row.expected_rounds, "{row:?}");
    }
}
