//! A slice of the swarm in every test run; the same seed is the same world.

use std::sync::atomic::AtomicBool;

use qlab_raft::Raft;
use qlab_simulator::campaign as campaigns;
use qlab_simulator::{Choice, Setup, Subject, Summary, attempt, campaign};
use qlab_unreplicated::Unreplicated;

fn swarm<S: Subject>(seeds: std::ops::Range<u64>) -> Summary {
    let summary = campaign::<S>(seeds, Choice::Swarm, Setup::default, &AtomicBool::new(false), || ());
    assert!(summary.failures.is_empty(), "{}: {:#?}", S::NAME, summary.failures);
    summary
}

#[test]
fn raft_keeps_its_laws_in_a_swarm() {
    let summary = swarm::<Raft>(0..400);
    println!("{summary:#?}");
}

#[test]
fn the_unreplicated_server_keeps_its_laws_in_a_swarm() {
    swarm::<Unreplicated>(0..200);
}

#[test]
fn the_same_seed_is_the_same_world() {
    let told = || Setup::<Raft> { tells_story: true, ..Setup::default() };
    for seed in 0..5 {
        let schedule = campaigns::schedule::<Raft>(seed, Choice::Swarm);
        let (first, second) = (attempt(&schedule, &told()), attempt(&schedule, &told()));
        assert_eq!(first.digest, second.digest);
        assert_eq!(first.story, second.story);
        assert!(first.story.len() > 100);
    }
}
