//! How many rounds one update takes to reach everybody, against what the literature expects.

mod common;

use common::epidemic::{Spread, expected_rounds, mean_field_rounds, quiet, spread};
use common::world::{Network, World};
use qlab_gossip::Exchange;

const EXCHANGES: [Exchange; 3] = [Exchange::Push, Exchange::Pull, Exchange::PushPull];

/// The median of the rounds until everybody knows.
fn median_rounds(exchange: Exchange, nodes: usize) -> f64 {
    let run = |seed| spread(nodes, quiet(exchange, 3), Network::CALM, seed);
    let mut rounds: Vec<u32> = (0..9).map(|seed| run(seed).rounds[2]).collect();
    rounds.sort_unstable();
    f64::from(rounds[rounds.len() / 2])
}

#[test]
fn s2_everybody_knows_within_a_quarter_more_rounds_than_expected() {
    for exchange in EXCHANGES {
        for nodes in [64, 256, 1024] {
            let (median, expected) = (median_rounds(exchange, nodes), expected_rounds(exchange, nodes, 3));
            assert!(
                median <= 1.25 * expected,
                "{exchange:?}, {nodes} nodes: {median} rounds, expected {expected:.2}"
            );
        }
    }
}

#[test]
fn s2_rounds_are_those_of_the_mean_field_or_nearly() {
    for exchange in EXCHANGES {
        for nodes in [64, 256, 1024] {
            let (median, field) = (median_rounds(exchange, nodes), mean_field_rounds(exchange, nodes, 3));
            assert!(
                (median - f64::from(field)).abs() <= 1.5,
                "{exchange:?}, {nodes} nodes: {median} rounds, not {field}"
            );
        }
    }
}

#[test]
fn losses_cost_rounds_and_nothing_else() {
    let lossy = Network { loss_percent: 30, ..Network::CALM };
    let Spread { rounds, .. } = spread(256, quiet(Exchange::PushPull, 3), lossy, 1);
    let calm = spread(256, quiet(Exchange::PushPull, 3), Network::CALM, 1).rounds;
    assert!(rounds[2] >= calm[2] && rounds[2] <= 4 * calm[2], "{rounds:?} against {calm:?}");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let run = |seed| {
        let mut world = World::new(30, quiet(Exchange::PushPull, 2), Network::ROUGH, seed, false);
        world.run(std::time::Duration::from_secs(5));
        (world.messages, world.bytes)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
