//! Stories of four replicas, of which one may be a traitor.

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use qlab_kernel::{NodeId, Protocol, Request, Term, Time};
use qlab_pbft::Message;
use world::{World, batch, config, signed};

const SECOND: Duration = Duration::from_secs(1);

fn without(place: u16) -> world::Network {
    Box::new(move |from, to, _| from != NodeId(place) && to != NodeId(place))
}

#[test]
fn a_request_is_executed_by_all_in_the_first_view() {
    for config in [config(), signed()] {
        let mut world = World::new(config);
        for client in 0..4 {
            let request = world.write(client);
            world.ask(0, request);
        }
        world.settle();
        assert!(
            world.nodes.iter().all(|node| node.writes() == 1),
            "one burst, one entry: {}",
            world.summary()
        );
        let request = world.write(0);
        world.ask(0, request);
        world.settle();
        assert!(world.executed_by_all(2));
        assert_eq!(world.core(3).view(), Term(0));
    }
}

/// OSDI '99 §4.2: with n = 3f + 1, an entry costs n − 1 pre-prepares, (n − 1)² prepares and n (n − 1) commits. Where only what
/// must be carried on is signed, it costs n signatures; n − 1 verifications of the primary's word, 2f − 1 of others' prepares at each
/// backup, and 2f at the primary.
#[test]
fn an_entry_costs_the_messages_signatures_and_verifications_of_the_formula() {
    let mut world = World::new(config());
    let said = Rc::new(RefCell::new([0; 4]));
    let counted = Rc::clone(&said);
    world.network = Box::new(move |_, _, message| {
        let kind = match message {
            Message::PrePrepare(_) => 0,
            Message::Prepare { .. } => 1,
            Message::Commit { .. } => 2,
            _ => 3,
        };
        counted.borrow_mut()[kind] += 1;
        true
    });
    let work = |world: &World, name: &str| -> u64 {
        let counters = (0..4).flat_map(|place| world.core(place).counters(Time(0)));
        counters.filter(|(counter, _)| *counter == name).map(|(_, count)| count).sum()
    };
    let before = ["signatures", "verifications"].map(|name| work(&world, name));
    let request = world.write(0);
    world.ask(0, request);
    world.settle();
    assert!(world.executed_by_all(1), "{}", world.summary());
    assert_eq!(*said.borrow(), [3, 9, 12, 0]);
    let after = ["signatures", "verifications"].map(|name| work(&world, name));
    assert_eq!([after[0] - before[0], after[1] - before[1]], [4, 3 + 3 + 2]);
}

#[test]
fn three_of_four_go_on_without_the_fourth() {
    let mut world = World::new(config());
    world.crash(3);
    for _ in 0..20 {
        let request = world.write(1);
        world.ask(0, request);
        world.settle();
    }
    assert!(world.executed_by_all(20), "{}", world.summary());
    assert_eq!(world.core(0).view(), Term(0));
}

#[test]
fn two_of_four_execute_nothing() {
    let mut world = World::new(config());
    world.crash(3);
    world.crash(2);
    let request = world.write(1);
    world.ask_all(request);
    world.run(5 * SECOND);
    assert_eq!(world.nodes[0].writes() + world.nodes[1].writes(), 0);
}

#[test]
fn reads_are_executed_where_they_are_ordered() {
    let mut world = World::new(config());
    let request = Request::Read(batch(2, 0, b""));
    assert!(matches!(request, Request::Read(_)));
    let write = world.write(2);
    let read = Request::Read(batch(2, 5, b"?"));
    let proof = world.prover(2).prove(&read);
    world.ask(0, write);
    world.ask(0, (read.clone(), proof));
    world.settle();
    for node in &world.nodes {
        assert_eq!((node.writes(), node.queried.len()), (1, 1));
    }
}

#[test]
fn when_the_primary_is_silent_the_next_one_executes_the_same_request() {
    for config in [config(), signed()] {
        let mut world = World::new(config);
        world.network = without(0);
        let request = world.write(1);
        world.ask_all(request.clone());
        world.run_until(5 * SECOND, |world| world.nodes[1..].iter().all(|node| node.writes() == 1));
        assert_eq!(world.core(1).view(), Term(1));
        let (Request::Write(batch) | Request::Read(batch)) = request.0;
        assert_eq!(world.nodes[2].executed(), [batch]);
    }
}

#[test]
fn two_silent_primaries_in_a_row_are_passed_over() {
    let mut world = World::new(config());
    let view_changes_only =
        |message: &Message| matches!(message, Message::ViewChange(_) | Message::Status { .. });
    // The second takes part in changing views, and then says nothing as a primary.
    world.network = Box::new(move |from, to, message| {
        from != NodeId(0)
            && to != NodeId(0)
            && (from != NodeId(1) || view_changes_only(message) || is_vote(message))
    });
    let request = world.write(1);
    world.ask_all(request);
    world.run_until(20 * SECOND, |world| world.core(2).view() >= Term(2) && world.core(2).is_active());
    world.run_until(20 * SECOND, |world| world.nodes[2].writes() == 1 && world.nodes[3].writes() == 1);
}

fn is_vote(message: &Message) -> bool {
    matches!(message, Message::Prepare { .. } | Message::Commit { .. } | Message::Checkpoint { .. })
}
