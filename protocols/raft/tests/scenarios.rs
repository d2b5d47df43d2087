//! Stories from the papers, told step by step.

mod world;

use bytes::Bytes;
use qlab_kernel::{Effects, Index, Input, Lsn, NodeId, NodeSet, Protocol, Request, Seat, Term, Ticket, Time};
use qlab_raft::{Config, Entry, Message, Place, Raft, Reads};
use std::time::Duration;
use world::{CALM, World};

fn three() -> World {
    World::new(3, 1, Config::default(), CALM)
}

fn isolate(world: &mut World, node: NodeId) {
    for other in world.ids() {
        world.cut.insert((node, other));
        world.cut.insert((other, node));
    }
}

#[test]
fn a_leader_is_elected_and_a_write_is_applied_everywhere() {
    let mut world = three();
    let leader = world.elect();
    let write = world.write(leader);
    world.run_until("acknowledged", |w| w.acknowledged.contains(&write));
    world.run_until("applied everywhere", World::converged);
}

#[test]
fn a_replica_cut_off_does_not_push_terms_up() {
    let mut world = three();
    let leader = world.elect();
    let term = world.raft(leader).term();
    let outsider = world.ids().into_iter().find(|id| *id != leader).unwrap();
    isolate(&mut world, outsider);
    for _ in 0..300 {
        world.advance();
    }
    assert_eq!(world.raft(outsider).term(), term, "pre-votes change nothing");
    world.cut.clear();
    world.run_until("heard again", |w| qlab_kernel::Protocol::leader(w.raft(outsider)) == Some(leader));
    assert_eq!(world.raft(leader).term(), term, "the leader was not disturbed");
}

#[test]
fn a_leader_cut_off_steps_down_and_a_new_one_goes_on() {
    let mut world = three();
    let old = world.elect();
    isolate(&mut world, old);
    let lost = world.write(old);
    world.run_until("stepped down", |w| !w.raft(old).is_leader());
    let new = world.elect();
    assert_ne!(new, old);
    let kept = world.write(new);
    world.run_until("acknowledged", |w| w.acknowledged.contains(&kept));
    world.cut.clear();
    world.run_until("applied everywhere", World::converged);
    assert!(!world.acknowledged.contains(&lost), "overwritten by the new leader");
}

#[test]
fn an_entry_of_an_older_term_is_not_committed_by_counting_copies() {
    // Raft §5.4.2, figure 8: the no-op of the new term is what commits it.
    let mut world = three();
    let old = world.elect();
    world.run_until("in step", World::converged);
    let before = world.raft(old).commit_index();
    let peers: Vec<_> = world.ids().into_iter().filter(|id| *id != old).collect();
    // The entry reaches one follower only, whose acknowledgement never arrives.
    world.cut.extend([(old, peers[1]), (peers[0], old), (peers[1], old)]);
    let write = world.write(old);
    world.run_until("copied", |w| w.raft(peers[0]).last().index > before);
    world.sync_all(old);
    world.sync_all(peers[0]);
    world.crash(old);
    world.cut.clear();
    world.run_until("the follower with the entry leads", |w| w.leader() == Some(peers[0]));
    let place = world.raft(peers[0]).last();
    assert!(!world.acknowledged.contains(&write));
    world.elect();
    assert!(world.acknowledged.contains(&write), "committed together with the no-op");
    assert!(world.raft(peers[0]).commit_index() > place.index.previous());
}

#[test]
fn leadership_is_handed_over_without_waiting_for_a_timeout() {
    let mut world = three();
    let leader = world.elect();
    world.run_until("in step", World::converged);
    let heir = world.ids().into_iter().find(|id| *id != leader).unwrap();
    let before = world.now;
    world.give(leader, Input::Yield { to: Some(heir) });
    world.run_until("taken over", |w| w.raft(heir).is_leader());
    assert!(world.now.since(before) < Duration::from_millis(50));
}

#[test]
fn a_lease_ends_before_another_can_be_elected() {
    let config = Config { reads: Reads::Lease, ..Config::default() };
    let mut world = World::new(3, 1, config.clone(), CALM);
    let leader = world.elect();
    for _ in 0..50 {
        world.advance();
    }
    world.read(leader);
    assert_eq!(world.reads_answered, 1, "answered at once");
    // The leader's clock moves on while nobody else is heard: a pause.
    isolate(&mut world, leader);
    world.now = Time(world.now.0 + config.election_timeout_min.as_nanos() as u64);
    world.read(leader);
    assert_eq!(world.reads_answered, 1, "without a lease it must ask, and nobody answers");
}

#[test]
fn a_lease_on_a_slow_clock_ends_before_another_leader_commits() {
    let config = Config { reads: Reads::Lease, clock_drift_ppm: 400_000, ..Config::default() };
    for seed in 0..40 {
        let mut world = World::new(3, seed, config.clone(), CALM);
        let old = world.elect();
        for id in world.ids() {
            world.set_drift(id, if id == old { -200_000 } else { 200_000 });
        }
        world.run_until("in step", World::converged);
        isolate(&mut world, old);
        read_until_deposed(&mut world, old);
    }
}

#[test]
fn a_voter_that_restarts_keeps_to_the_lease_it_gave() {
    for seed in 0..20 {
        let mut world = World::new(3, seed, Config { reads: Reads::Lease, ..Config::default() }, CALM);
        let old = world.elect();
        world.run_until("in step", World::converged);
        let others: Vec<_> = world.ids().into_iter().filter(|id| *id != old).collect();
        // One has not heard the leader for long and asks for votes already; the other has, and forgets it.
        world.cut.extend([(old, others[0]), (others[0], old)]);
        let until = world.now + Duration::from_millis(400);
        while world.now < until {
            world.advance();
        }
        isolate(&mut world, old);
        world.crash(others[1]);
        world.restart(others[1]);
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

#[test]
fn a_follower_far_behind_gets_an_image() {
    let config = Config { snapshot_log_bytes: 500, retained_log_bytes: 0, ..Config::default() };
    let mut world = World::new(3, 1, config, CALM);
    let leader = world.elect();
    let behind = world.ids().into_iter().find(|id| *id != leader).unwrap();
    world.crash(behind);
    for _ in 0..100 {
        world.write(leader);
        world.advance();
    }
    world.run_until("committed", |w| w.acknowledged.len() == 100);
    world.restart(behind);
    world.run_until("in step", World::converged);
    assert!(world.installed > 0 && world.compacted > 0);
    assert_eq!(world.raft(behind).commit_index(), world.raft(leader).commit_index());
}

/// A leader with a follower that has missed `writes` of 200 KB each and is back, over a slow bulk lane.
fn behind(writes: usize, bulk_delay: Duration) -> (World, NodeId) {
    let config = Config { snapshot_log_bytes: 500_000, retained_log_bytes: 0, ..Config::default() };
    let mut world = World::new(3, 1, config, CALM);
    let leader = world.elect();
    let behind = world.ids().into_iter().find(|id| *id != leader).unwrap();
    world.crash(behind);
    for count in 1..=writes {
        world.write_bytes(leader, 200_000);
        world.run_until("committed", |w| w.acknowledged.len() == count);
    }
    world.bulk_delay = bulk_delay;
    world.restart(behind);
    (world, leader)
}

#[test]
fn entries_overtaken_by_heartbeats_are_not_sent_twice() {
    // A window that holds every write, so that each has an entry of its own.
    let mut world = World::new(3, 1, Config { window_entries: 64, ..Config::default() }, CALM);
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
fn a_disk_slower_than_elections_delays_them_and_no_more() {
    let seat = Seat { me: NodeId(0), members: NodeSet::first(1), seed: 1 };
    let mut effects = Effects::new(Lsn::ZERO);
    let mut raft = Raft::recover(seat, &Config::default(), Time(0), std::iter::empty(), &mut effects);
    let (mut now, mut syncing, mut synced_at) = (Time(0), Lsn::ZERO, Time(0));
    while !raft.is_leader() {
        now = now + Duration::from_millis(10);
        assert!(now < Time(5_000_000_000), "every election gives way to another before its vote is durable");
        if now >= synced_at {
            raft.step(now, Input::Durable(syncing), &mut effects);
            (syncing, synced_at) = (effects.last(), now + Duration::from_millis(700));
        }
        raft.step(now, Input::Timeout, &mut effects);
        raft.flush(now, &mut effects);
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
    let mut world = World::new(3, 1, config, CALM);
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
