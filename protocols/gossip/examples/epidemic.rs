//! Figures of gossip in simulation, as tables.
//!
//! - `rounds [SEEDS]`: rounds to reach 50, 99 and 100 % of the nodes, against what is expected;
//! - `errors`: how often SWIM errs under losses;
//! - `large`: 10,000 nodes for 100 rounds, with membership and twenty writers.

#![expect(clippy::print_stdout, reason = "tables are what it is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use bytes::Bytes;
use common::epidemic::{Spread, expected_rounds, mean_field_rounds, quiet, spread};
use common::membership::{errors, expected_unanswered};
use common::statistics::{Z_95, quantile, wilson};
use common::world::{Network, World};
use qlab_gossip::{Config, Exchange, Operation};

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("rounds") => rounds(arguments.next().and_then(|seeds| seeds.parse().ok()).unwrap_or(20)),
        Some("errors") => membership_errors(),
        Some("large") => large(),
        _ => println!("usage: epidemic rounds [SEEDS] | errors | large"),
    }
}

fn rounds(seeds: u64) {
    println!("Fanout 3, {seeds} seeds; rounds as median (5 % to 95 %).\n");
    println!("| exchange | nodes | 50 % | 99 % | 100 % | expected | mean field | ratio | bytes/node |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for exchange in [Exchange::Push, Exchange::Pull, Exchange::PushPull] {
        for nodes in [32, 100, 316, 1000, 3162, 10_000] {
            let run = |seed| spread(nodes, quiet(exchange, 3), Network::CALM, seed);
            let runs: Vec<Spread> = (0..seeds).map(run).collect();
            let [half, most, all] = [0, 1, 2].map(|at| sorted(runs.iter().map(|run| run.rounds[at].into())));
            let bytes = sorted(runs.iter().map(|run| run.bytes_per_node));
            let expected = expected_rounds(exchange, nodes, 3);
            println!(
                "| {exchange:?} | {nodes} | {} | {} | {} | {expected:.2} | {} | {:.2} | {:.0} |",
                shown(&half),
                shown(&most),
                shown(&all),
                mean_field_rounds(exchange, nodes, 3),
                quantile(&all, 0.5) / expected,
                quantile(&bytes, 0.5),
            );
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn shown(sorted: &[f64]) -> String {
    format!("{} ({} to {})", quantile(sorted, 0.5), quantile(sorted, 0.05), quantile(sorted, 0.95))
}

fn membership_errors() {
    println!("Every node lives; 500 periods; intervals are Wilson's at 95 %.\n");
    println!("| nodes | loss | probes | unanswered | expected | declared dead per probe |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for nodes in [32, 128] {
        for loss_percent in [0, 5, 10, 20, 30] {
            let found = errors(nodes, loss_percent, 500, 1);
            println!(
                "| {nodes} | {loss_percent} % | {} | {} | {:.5} | {} |",
                found.probes,
                rate(found.unanswered, found.probes),
                expected_unanswered(loss_percent, 3),
                rate(found.declared_dead, found.probes),
            );
        }
    }
}

fn rate(events: u64, trials: u64) -> String {
    let (low, high) = wilson(events, trials, Z_95);
    format!("{:.5} ({low:.5} to {high:.5})", events as f64 / trials as f64)
}

fn large() {
    const NODES: usize = 10_000;
    let config = Config::default();
    let interval = config.round_interval;
    let mut world = World::new(NODES, config, Network { loss_percent: 1, ..Network::CALM }, 1, false);
    for round in 0..100 {
        let writer = round % 20 * (NODES / 20);
        world.node(writer).operate(&Bytes::from_static(b"count"), Operation::Count(1)).expect("room");
        world.run(interval);
    }
    let told = world.running().filter(|node| node.store().writers() == 20).count();
    println!(
        "{} messages, {} bytes; {told} nodes of {NODES} have heard all 20 writers",
        world.messages, world.bytes
    );
}
