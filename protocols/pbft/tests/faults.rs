//! Crashes, losses, traitors and clients that lie.

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod world;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use qlab_kernel::{Event, Index, NodeId, Request, Term};
use qlab_pbft::keys::MAC_BYTES;
use qlab_pbft::message::{Message, PrePrepare, pre_prepare_statement};
use qlab_pbft::request::{ClientRequest, Requests};
use qlab_pbft::{Config, Record};
use world::{World, config};

const SECOND: Duration = Duration::from_secs(1);

fn without(place: u16) -> world::Network {
    Box::new(move |from, to, _| from != NodeId(place) && to != NodeId(place))
}

fn everything() -> world::Network {
    Box::new(|_, _, _| true)
}

/// Checkpoints after a few entries already.
fn small() -> Config {
    Config { log_window: 16, checkpoint_entries: 4, window_entries: 4, ..config() }
}

fn write(world: &mut World, place: usize, count: usize) {
    for client in 0..count {
        let request = world.write((client % 4) as u16);
        world.ask(place, request);
        world.settle();
    }
}

fn body(requests: &[(Request, Bytes)]) -> Requests {
    let one =
        |(request, proof): &(Request, Bytes)| ClientRequest::new(request.clone(), proof.clone()).unwrap();
    Requests::new(requests.iter().map(one).collect())
}

/// What a primary says that says whatever it likes.
fn proposal(world: &World, from: u16, view: u64, seq: u64, requests: Requests) -> Message {
    let (view, seq) = (Term(view), Index(seq));
    let signature =
        world.config.keys.sign(NodeId(from), &pre_prepare_statement(view, seq, requests.digest()));
    Message::PrePrepare(PrePrepare { view, seq, requests, signature })
}

#[test]
fn checkpoints_become_stable_and_the_journal_lets_go() {
    let mut world = World::new(small());
    write(&mut world, 0, 40);
    world.run(SECOND);
    for (place, node) in world.nodes.iter().enumerate() {
        assert_eq!(world.core(place).stable(), Index(40));
        assert!(node.journal.len() < 10, "{} records are kept", node.journal.len());
    }
}

#[test]
fn a_primary_that_says_two_things_makes_nobody_execute_two_things_and_is_left() {
    let mut world = World::new(config());
    world.network = without(0);
    world.liars = vec![NodeId(0)];
    let (one, two) = (world.write(1), world.write(2));
    let first = proposal(&world, 0, 0, 1, body(std::slice::from_ref(&one)));
    let second = proposal(&world, 0, 0, 1, body(std::slice::from_ref(&two)));
    world.hear(1, 0, first.clone());
    world.hear(2, 0, first.clone());
    world.hear(3, 0, second.clone());
    world.hear(1, 0, second);
    world.settle();
    assert!(world.nodes[1].events.contains(&Event::Misbehaved(NodeId(0))), "it heard both");
    world.ask_all(one);
    world.ask_all(two);
    // Whatever became of the first word, the next primary has both requests executed, in one entry or two.
    let commands =
        |node: &world::Node| node.executed().iter().map(qlab_kernel::Batch::commands).sum::<usize>();
    world.run_until(10 * SECOND, |world| world.nodes[1..].iter().all(|node| commands(node) == 2));
    assert!(world.core(1).view() > Term(0));
}

#[test]
fn what_is_prepared_anywhere_is_executed_in_the_next_view_at_its_place() {
    let mut world = World::new(config());
    // Commits are lost: all have certificates, and nobody knows that it is committed.
    world.network = Box::new(|_, _, message| !matches!(message, Message::Commit { .. }));
    let request = world.write(1);
    world.ask(0, request.clone());
    world.settle();
    let prepared = world.core(2).prepared_at(Index(1)).expect("it is prepared");
    assert_eq!(world.nodes[2].writes(), 0);
    world.network = without(0);
    world.run_until(10 * SECOND, |world| world.nodes[1..].iter().all(|node| node.writes() == 1));
    assert_eq!(world.core(2).prepared_at(Index(1)), Some((world.core(2).view(), prepared.1)));
    assert_eq!(world.nodes[3].applied[0].0, Index(1));
}

#[test]
fn a_replica_that_was_away_catches_up_by_what_is_said_again() {
    let mut world = World::new(config());
    world.network = without(3);
    write(&mut world, 0, 20);
    assert_eq!(world.nodes[3].writes(), 0);
    world.network = everything();
    world.run(SECOND);
    assert!(world.executed_by_all(20), "{}", world.summary());
    assert!(!world.nodes[3].events.iter().any(|event| matches!(event, Event::Installed(_))));
}

#[test]
fn a_replica_that_was_away_for_long_takes_over_an_image() {
    let mut world = World::new(small());
    world.crash(3);
    write(&mut world, 0, 50);
    world.start(3);
    world.run(2 * SECOND);
    assert_eq!(world.core(3).executed(), Index(50), "{}", world.summary());
    assert!(world.nodes[3].events.iter().any(|event| matches!(event, Event::Installed(_))));
    write(&mut world, 0, 10);
    world.run(SECOND);
    assert_eq!(world.core(3).executed(), Index(60));
    assert_eq!(world.core(3).stable(), Index(60));
}

#[test]
fn an_image_that_is_not_the_proved_one_is_not_taken() {
    let mut world = World::new(small());
    world.crash(3);
    write(&mut world, 0, 50);
    world.start(3);
    world.liars = vec![NodeId(0)];
    // Whatever replica 0 sends as an image is of another state.
    world.network =
        Box::new(|from, _, message| from != NodeId(0) || !matches!(message, Message::State { .. }));
    world.settle();
    let forged = qlab_kernel::Snapshot { index: Index(48), term: Term::ZERO, image: vec![7; 40].into() };
    for _ in 0..20 {
        world.hear(3, 0, Message::State { chunk: forged.chunk(0), last: true });
        world.run(Duration::from_millis(100));
    }
    assert_eq!(world.core(3).executed(), Index(50), "{}", world.summary());
    assert!(world.nodes[3].events.contains(&Event::Misbehaved(NodeId(0))));
}

#[test]
fn a_restarted_backup_keeps_silent_about_what_it_may_have_said_and_still_executes() {
    let mut world = World::new(config());
    write(&mut world, 0, 5);
    world.restart(2);
    world.network = Box::new(|from, _, message| {
        assert!(from != NodeId(2) || !matches!(message, Message::Prepare { .. }), "it prepares");
        true
    });
    write(&mut world, 0, 5);
    world.run(SECOND);
    // What it had executed before, it executes again from the start.
    assert_eq!(world.core(2).executed(), world.core(0).executed(), "{}", world.summary());
    assert!(world.core(2).executed() >= Index(10));
}

#[test]
fn a_restarted_primary_asks_for_the_next_view() {
    let mut world = World::new(config());
    write(&mut world, 0, 5);
    world.restart(0);
    world.run(SECOND);
    assert_eq!(world.core(0).view(), Term(1));
    let request = world.write(1);
    world.ask_all(request);
    world.run_until(10 * SECOND, |world| world.nodes[1..].iter().all(|node| node.writes() == 6));
    world.run_until(10 * SECOND, |world| world.core(0).executed() == world.core(1).executed());
}

#[test]
fn after_a_restart_of_all_nothing_is_lost_and_work_goes_on() {
    for config in [config(), small()] {
        let mut world = World::new(config);
        write(&mut world, 0, 22);
        (0..4).for_each(|place| world.crash(place));
        (0..4).for_each(|place| world.start(place));
        let request = world.write(1);
        world.ask_all(request);
        world.run_until(20 * SECOND, |world| (0..4).all(|place| world.core(place).executed() >= Index(23)));
        assert_eq!(world.nodes[0].applied.last().unwrap().0, world.core(0).executed());
    }
}

/// A proof that convinces only these replicas.
fn partial(world: &mut World, client: u16, convinced: &[usize]) -> (Request, Bytes) {
    let (request, proof) = world.write(client);
    let mut proof = proof.to_vec();
    for (place, code) in proof.chunks_mut(MAC_BYTES).enumerate() {
        if !convinced.contains(&place) {
            code.fill(0);
        }
    }
    (request, proof.into())
}

#[test]
fn a_proof_that_convinces_the_primary_and_one_backup_convinces_all() {
    let mut world = World::new(config());
    let request = partial(&mut world, 1, &[0, 2]);
    world.ask(0, request);
    world.settle();
    assert!(world.executed_by_all(1), "{}", world.summary());
    assert_eq!(world.core(0).view(), Term(0));
}

#[test]
fn a_client_that_convinces_only_primaries_costs_a_view_for_each_at_most() {
    let mut world = World::new(config());
    for _ in 0..30 {
        let primary = world.nodes.iter().position(|node| node.core.as_ref().unwrap().is_primary());
        if let Some(primary) = primary {
            let request = partial(&mut world, 3, &[primary]);
            world.ask(primary, request);
        }
        let honest = world.write(1);
        world.ask_all(honest);
        world.run(3 * SECOND);
    }
    assert!(world.core(1).view() <= Term(4), "{}", world.summary());
    assert!(world.nodes.iter().all(|node| node.writes() >= 25), "the others are served: {}", world.summary());
}

#[test]
fn a_client_that_convinces_no_primary_costs_no_view_either() {
    let mut world = World::new(config());
    for _ in 0..20 {
        let primary =
            world.nodes.iter().position(|node| node.core.as_ref().unwrap().is_primary()).unwrap_or(0);
        let others: Vec<usize> = (0..4).filter(|place| *place != primary).collect();
        for convinced in [&others[..], &others[..2], &others[..1]] {
            let request = partial(&mut world, 3, convinced);
            world.ask_all(request);
            world.run(SECOND);
        }
    }
    assert!(world.core(1).view() <= Term(1), "{}", world.summary());
    assert!(world.nodes.iter().all(|node| node.writes() >= 20), "those that enough believe are executed");
}

#[test]
fn requests_without_a_proof_are_neither_executed_nor_waited_for() {
    let mut world = World::new(config());
    let (request, _) = world.write(1);
    world.ask_all((request.clone(), Bytes::new()));
    let foreign = world.prover(2).prove(&request);
    world.ask_all((request, foreign));
    world.run(10 * SECOND);
    assert_eq!((world.core(1).view(), world.nodes[1].writes()), (Term(0), 0));
}

#[test]
fn a_view_entered_is_on_the_disk_before_anything_is_said_in_it() {
    let mut world = World::new(config());
    world.network = without(0);
    let request = world.write(1);
    world.ask_all(request);
    world.run_until(10 * SECOND, |world| world.nodes[1].writes() == 1);
    let entered = |record: &Record| matches!(record, Record::Entered { view: Term(1) });
    assert!(world.nodes[1..].iter().all(|node| node.journal.iter().any(|(_, record)| entered(record))));
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Ask(u16, usize),
    Crash(usize),
    Start(usize),
    Wait(u64),
    Lose(u8),
    Cut(u16),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        4 => (0..4_u16, 0..20_usize).prop_map(|(client, rounds)| Trouble::Ask(client, rounds)),
        1 => (0..4_usize).prop_map(Trouble::Crash),
        2 => (0..4_usize).prop_map(Trouble::Start),
        3 => (1..800_u64).prop_map(Trouble::Wait),
        1 => (0..60_u8).prop_map(Trouble::Lose),
        1 => (0..5_u16).prop_map(Trouble::Cut),
    ]
}

/// Loses messages by a number drawn from how many there were: the same each time.
fn lossy(percent: u8, cut: u16) -> world::Network {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    Box::new(move |from, to, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 100 >= u64::from(percent) && from != NodeId(cut) && to != NodeId(cut)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_lost_and_whoever_crashes_all_execute_the_same_and_go_on_after(
        troubles in prop::collection::vec(trouble(), 1..60), signed in any::<bool>(),
    ) {
        let authentication = if signed { world::signed() } else { config() }.authentication;
        let mut world = World::new(Config { authentication, ..small() });
        let (mut percent, mut cut) = (0, 9);
        for trouble in troubles {
            match trouble {
                Trouble::Ask(client, rounds) => {
                    let request = world.write(client);
                    world.ask_all(request);
                    world.rounds(rounds);
                }
                Trouble::Crash(place) => world.crash(place),
                Trouble::Start(place) if world.nodes[place].core.is_none() => world.start(place),
                Trouble::Start(place) => world.restart(place),
                Trouble::Wait(ms) => world.run(Duration::from_millis(ms)),
                Trouble::Lose(lost) => percent = lost,
                Trouble::Cut(place) => cut = place,
            }
            world.network = lossy(percent, cut);
        }
        world.network = everything();
        for place in 0..4 {
            if world.nodes[place].core.is_none() {
                world.start(place);
            }
        }
        let before = (0..4).map(|place| world.core(place).executed()).max().unwrap();
        let request = world.write(0);
        let digest = *ClientRequest::new(request.0.clone(), request.1.clone()).unwrap().digest();
        let (Request::Write(wanted) | Request::Read(wanted)) = request.0.clone();
        for _ in 0..60 {
            world.ask_all(request.clone());
            world.run(SECOND);
            let has_it = |node: &world::Node| node.executed().iter().any(|batch| {
                batch.bytes().windows(wanted.len()).any(|window| window == &wanted.bytes()[..])
            });
            if world.nodes.iter().filter(|node| has_it(node)).count() >= 3 {
                return Ok(());
            }
        }
        prop_assert!(false, "{digest:?} is not executed after {before}: {}", world.summary());
    }
}
