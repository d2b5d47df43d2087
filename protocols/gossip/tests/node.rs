//! One node as hosts drive it, and its bounds.

use std::time::Duration;

use bytes::Bytes;
use qlab_gossip::key::Kind;
use qlab_gossip::world::{Network, World};
use qlab_gossip::{Config, Gossip, Life, Object, Operation, Record, WriteError};
use qlab_kernel::command::{STORED, TOO_LARGE};
use qlab_kernel::{
    Batch, BatchBuilder, Command, Effects, Event, Input, Lsn, NodeId, NodeSet, Outcome, Protocol, Reply,
    ReplyBody, Request, Seat, Sequence, SessionId, Ticket, Time,
};

fn seat(node: u16) -> Seat {
    Seat { me: NodeId(node), members: NodeSet::first(3), seed: 1 }
}

fn recovered(records: &[Record], effects: &mut Effects<Gossip>) -> Gossip {
    let records = records.iter().enumerate().map(|(at, record)| (Lsn(at as u64 + 1), *record));
    Gossip::recover(seat(0), &Config::default(), Time(0), records, effects)
}

#[test]
fn a_restarted_node_comes_back_in_a_later_life_that_is_durable_before_anyone_hears_of_it() {
    let mut effects = Effects::new(Lsn::ZERO);
    let mut node = recovered(&[], &mut effects);
    let due = node.deadline().unwrap();
    node.step(due, Input::Timeout, &mut effects);
    node.flush(due, &mut effects);
    let records: Vec<Record> = effects.records().map(|(_, record)| *record).collect();
    assert_eq!(records, [Record(Life::FIRST)]);
    let sends: Vec<Lsn> = effects.take_sends().map(|send| send.after).collect();
    assert!(!sends.is_empty() && sends.iter().all(|after| *after == Lsn(1)), "{sends:?}");
    effects.clear();
    node.flush(due, &mut effects);
    assert_eq!(effects.records().len(), 0, "a life is written down once");
    node.check();

    let again = recovered(&records, &mut Effects::new(Lsn(1)));
    assert_eq!(again.node().actor().life, Life::FIRST.next());
}

#[test]
fn a_node_that_lost_its_disk_takes_up_a_later_life_when_somebody_remembers_it() {
    let mut world = World::new(3, Config::default(), Network::CALM, 1, false);
    let count = |world: &mut World, by| {
        world.node(0).operate(&Bytes::from_static(b"c"), Operation::Count(by)).unwrap();
    };
    count(&mut world, 5);
    world.run(Duration::from_secs(2));
    world.stop(0);
    world.lose_disk(0);
    world.start(0, false);
    world.run(Duration::from_secs(5));
    assert_eq!(world.node(0).actor().life, Life(2));
    count(&mut world, 7);
    world.run(Duration::from_secs(5));
    for node in world.running() {
        let Some(Object::GCounter(counter)) = node.object(Kind::GCounter, &Bytes::from_static(b"c")) else {
            panic!("no counter")
        };
        assert_eq!(counter.value(), 12);
    }
}

fn batch(commands: &[&[u8]]) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(SessionId(1), Sequence(1), Sequence(1));
    commands.iter().for_each(|command| builder.push_bytes(command));
    builder.finish()
}

fn put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Command::Put { key, value }.encode(&mut bytes);
    bytes
}

#[test]
fn writes_are_answered_with_their_version_and_reads_are_handed_back() {
    let mut effects = Effects::new(Lsn::ZERO);
    let mut node = recovered(&[], &mut effects);
    let commands = [put(b"set", b"one"), put(b"set", b"two"), put(b"set", &[0; 5000]), b"?".to_vec()];
    let request = Request::Write(batch(&commands.each_ref().map(|command| &command[..])));
    node.step(Time(0), Input::Request { ticket: Ticket(1), request, proof: Bytes::new() }, &mut effects);
    node.flush(Time(0), &mut effects);
    let replies: Vec<Reply> = effects.take_replies().collect();
    assert!(replies.iter().all(|reply| reply.after == Lsn(1)), "not before the life is durable: {replies:?}");
    let outcomes: Vec<(u8, u64)> = replies
        .iter()
        .map(|reply| match &reply.body {
            ReplyBody::Written(outcome) => (outcome.status, outcome.number),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcomes, [(STORED, 1), (STORED, 2), (TOO_LARGE, 0), (Outcome::MALFORMED, 0)]);
    let Some(Object::GrowSet(set)) = node.node().object(Kind::GrowSet, &Bytes::from_static(b"set")) else {
        panic!("no set")
    };
    assert_eq!(set.elements().count(), 2);
    let learned = Event::Learned { writer: NodeId(0), life: 1, version: 2 };
    assert_eq!(effects.take_events().collect::<Vec<_>>(), [learned]);

    let request = Request::Read(batch(&[b"x"]));
    node.step(Time(0), Input::Request { ticket: Ticket(1), request, proof: Bytes::new() }, &mut effects);
    assert_eq!(effects.take_refusals().count(), 1);
}

#[test]
fn observers_hear_of_suspicions_and_deaths_once() {
    let mut effects = Effects::new(Lsn::ZERO);
    let mut node = recovered(&[], &mut effects);
    let mut told = Vec::new();
    // Nobody ever answers.
    while node.deadline().unwrap() < Time(20_000_000_000) {
        let due = node.deadline().unwrap();
        node.step(due, Input::Timeout, &mut effects);
        node.flush(due, &mut effects);
        told.extend(effects.take_events());
        effects.clear();
    }
    for peer in [NodeId(1), NodeId(2)] {
        let of_peer: Vec<&Event> = told
            .iter()
            .filter(|event| matches!(event, Event::Suspected(of) | Event::DeclaredDead(of) if *of == peer))
            .collect();
        assert_eq!(of_peer, [&Event::Suspected(peer), &Event::DeclaredDead(peer)]);
    }
    let counters = node.counters(Time(0));
    assert!(counters.contains(&("declared_dead", 2)), "{counters:?}");
}

#[test]
fn s4_an_object_that_outgrows_a_message_spreads_in_parts() {
    let mut world = World::new(4, Config::default(), Network::CALM, 1, false);
    let name = Bytes::from_static(b"set");
    let elements: Vec<Bytes> = (0..60_u8).map(|element| Bytes::from(vec![element; 100])).collect();
    for element in &elements {
        world.node(0).operate(&name, Operation::Add(element.clone())).unwrap();
    }
    world.node(0).operate(&name, Operation::Remove(elements[0].clone())).unwrap();
    world.run(Duration::from_secs(10));
    for node in world.running() {
        let Some(Object::OrSet(set)) = node.object(Kind::OrSet, &name) else { panic!("no set") };
        assert!(set.elements().eq(&elements[1..]), "at {}", node.actor());
        node.check();
    }
}

#[test]
fn s4_more_writers_than_a_digest_names_are_all_heard() {
    let config = Config { digest_writers_max: 4, ..Config::default() };
    let mut world = World::new(20, config, Network::CALM, 1, false);
    for node in 0..20 {
        world.node(node).operate(&Bytes::from_static(b"c"), Operation::Count(1)).unwrap();
    }
    world.run(Duration::from_secs(20));
    assert!(world.running().all(|node| node.store().writers() == 20));
}

#[test]
fn s4_a_full_node_says_so_and_takes_in_what_fits() {
    let config = Config { store_bytes_max: 2000, ..Config::default() };
    let mut world = World::new(2, config, Network::CALM, 1, false);
    let value = Bytes::from(vec![7; 300]);
    let written = (0..10_u8)
        .take_while(|key| world.node(0).set(Bytes::from(vec![*key]), value.clone()).is_ok())
        .count();
    assert_eq!(written, 4);
    assert_eq!(
        world.node(0).set(Bytes::from_static(b"more"), value.clone()),
        Err(WriteError::Full { store_bytes_max: 2000 })
    );
    world.node(1).set(Bytes::from_static(b"own"), value).unwrap();
    world.run(Duration::from_secs(5));
    for node in world.running() {
        assert!(node.store().bytes() <= 2000);
        node.check();
    }
}

#[test]
fn what_fits_no_message_is_refused_and_changes_nothing() {
    let mut world = World::new(2, Config::default(), Network::CALM, 1, false);
    let name = Bytes::from_static(b"set");
    let large = Operation::Add(Bytes::from(vec![0; 1100]));
    assert!(matches!(world.node(0).operate(&name, large), Err(WriteError::TooLarge { .. })));
    assert!(matches!(
        world.node(0).set(Bytes::from(vec![0; 300]), Bytes::new()),
        Err(WriteError::TooLarge { .. })
    ));
    assert_eq!(world.node(0).object(Kind::OrSet, &name), None);
}
