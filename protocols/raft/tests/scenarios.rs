//! Stories from the papers, told step by step.

mod world;

use qlab_kernel::{Input, NodeId, Time};
use qlab_raft::{Config, Reads};
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
