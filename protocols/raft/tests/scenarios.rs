//! What neither a story nor a random world shows: how often something is sent, and what is counted.

mod world;

use bytes::Bytes;
use qlab_kernel::{Index, Input, NodeId, Request, Term, Ticket};
use qlab_raft::{Config, Entry, Message, Place, Reads};
use std::time::Duration;
use world::World;

fn three() -> World {
    World::new(3, 1, Config::default())
}

fn isolate(world: &mut World, node: NodeId) {
    for other in world.ids() {
        world.cut.insert((node, other));
        world.cut.insert((other, node));
    }
}

#[test]
fn a_lease_on_a_slow_clock_ends_before_another_leader_commits() {
    let config = Config { reads: Reads::Lease, clock_drift_ppm: 400_000, ..Config::default() };
    for seed in 0..40 {
        let mut world = World::new(3, seed, config.clone());
        let old = world.elect();
        for id in world.ids() {
            world.set_drift(id, if id == old { -200_000 } else { 200_000 });
        }
        world.run_until("in step", World::converged);
        isolate(&mut world, old);
        read_until_deposed(&mut world, old);
    }
}

/// The world compares what each read sees with what has been committed elsewhere.
fn read_until_deposed(world: &mut World, old: NodeId) {
    while world.raft(old).is_leader() {
        if let Some(new) = world.leader().filter(|new| *new != old) {
            world.write(new);
        }
        world.read(old);
        world.advance();
    }
}

/// A leader with a follower that has missed `writes` of 200 KB each and is back, over a slow bulk lane.
fn behind(writes: usize, bulk_delay: Duration) -> (World, NodeId) {
    let config = Config { snapshot_log_bytes: 500_000, retained_log_bytes: 0, ..Config::default() };
    let mut world = World::new(3, 1, config);
    let leader = world.elect();
    let behind = world.ids().into_iter().find(|id| *id != leader).unwrap();
    world.crash(behind);
    for count in 1..=writes {
        world.write_bytes(leader, 200_000);
        world.run_until("committed", |w| w.acknowledged.len() == count);
    }
    world.bulk_delay = bulk_delay;
    world.start(behind);
    (world, leader)
}

#[test]
fn entries_overtaken_by_heartbeats_are_not_sent_twice() {
    // A window that holds every write, so that each has an entry of its own.
    let mut world = World::new(3, 1, Config { window_entries: 64, ..Config::default() });
    let leader = world.elect();
    world.run_until("in step", World::converged);
    world.bulk_delay = Duration::from_millis(20);
    let before = world.bulk_sent;
    for _ in 0..50 {
        world.write(leader);
        for _ in 0..10 {
            // Reads make heartbeats follow each other closely.
            world.read(leader);
            world.advance();
        }
    }
    world.run_until("in step", World::converged);
    assert_eq!(world.bulk_sent - before, 2 * 50);
}

#[test]
fn an_image_overtaken_by_heartbeats_is_not_sent_twice() {
    let (mut world, leader) = behind(12, Duration::from_millis(20));
    let before = world.bulk_sent;
    while !world.converged() {
        world.read(leader);
        world.advance();
    }
    let pieces = 12 * 200_000 / qlab_kernel::limits::SNAPSHOT_CHUNK_BYTES + 1;
    assert!(world.installed == 1 && world.bulk_sent - before < pieces + 5, "{}", world.bulk_sent - before);
}

#[test]
fn an_image_arrives_although_newer_ones_are_made_meanwhile() {
    let (mut world, leader) = behind(12, Duration::from_millis(100));
    let until = world.now + Duration::from_secs(1);
    let mut write_at = world.now;
    while world.installed == 0 {
        assert!(world.now < until, "every image is given up for a newer one");
        if world.now >= write_at {
            world.write_bytes(leader, 200_000);
            write_at = world.now + Duration::from_millis(15);
        }
        world.advance();
    }
}

#[test]
fn what_nobody_can_have_is_not_believed() {
    let mut world = three();
    let leader = world.elect();
    world.run_until("in step", World::converged);
    let (from, term) = (world.ids().into_iter().find(|id| *id != leader).unwrap(), world.raft(leader).term());
    let last = world.raft(leader).last();
    let later = Entry { term: Term(term.0 + 1), batch: qlab_kernel::Batch::default() };
    world.write(leader);
    for message in [
        Message::HeartbeatReply { term, round: 1 << 40, received: Index(u64::MAX) },
        Message::Matched { term, matched: Index(u64::MAX) },
        Message::Conflict { term, previous: Index(u64::MAX), hint: Place { index: Index(u64::MAX), term } },
    ] {
        world.give(leader, Input::Message { from, message });
    }
    assert_eq!(world.misbehaved, 0, "stale or odd, but no proof of malice");
    world.give(
        from,
        Input::Message {
            from: leader,
            message: Message::Append { term, previous: last, commit: Index::ZERO, entry: Some(later) },
        },
    );
    assert_eq!(world.misbehaved, 1);
    world.run_until("in step", World::converged);
}

#[test]
fn reads_that_wait_are_bounded_in_bytes() {
    let config = Config { intake_bytes_max: qlab_kernel::limits::BATCH_BYTES_MAX, ..Config::default() };
    let mut world = World::new(3, 1, config);
    let leader = world.elect();
    isolate(&mut world, leader);
    let mut builder = qlab_kernel::BatchBuilder::new();
    builder.begin(qlab_kernel::SessionId(1), qlab_kernel::Sequence(1), qlab_kernel::Sequence(1));
    builder.push_bytes(&[7; 400_000]);
    let batch = builder.finish();
    for ticket in 1..=4 {
        let request = Request::Read(batch.clone());
        world.give(leader, Input::Request { ticket: Ticket(ticket), request, proof: Bytes::new() });
    }
    assert_eq!(world.refused, 2);
}
