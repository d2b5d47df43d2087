//! How many rounds one update takes to reach everybody, against what the literature expects, and how often SWIM errs.

use qlab_gossip::Exchange;
use qlab_gossip::world::{Network, World};
use qlab_simulator::epidemic::{
    Errors, Spread, Z_999, errors, expected_rounds, expected_unanswered, mean_field_rounds, quiet, spread,
    wilson,
};

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
        world.sent()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn probes_of_the_living_fail_as_often_as_expected() {
    let Errors { probes, unanswered, .. } = errors(50, 10, 100, 1);
    let (low, high) = wilson(unanswered, probes, Z_999);
    let expected = expected_unanswered(10, 3);
    assert!(low <= expected && expected <= high, "{unanswered} of {probes}: not {expected}");
}

#[test]
fn the_living_are_hardly_ever_declared_dead() {
    let Errors { probes, declared_dead, .. } = errors(50, 20, 100, 1);
    let (_, high) = wilson(declared_dead, probes, Z_999);
    assert!(high < 0.01, "{declared_dead} of {probes}");
}

#[test]
fn without_losses_nobody_is_suspected() {
    let Errors { probes, unanswered, declared_dead } = errors(20, 0, 50, 1);
    assert!(probes >= 20 * 49);
    assert_eq!((unanswered, declared_dead), (0, 0));
}
