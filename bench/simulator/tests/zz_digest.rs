use qlab_paxos::MultiPaxos;
use qlab_raft::Raft;
use qlab_simulator::campaign::schedule;
use qlab_simulator::{Choice, Setup, Subject, attempt};
use qlab_unreplicated::Unreplicated;
fn sum<S: Subject>() {
    let mut all = 0_u64;
    for seed in 0..150 {
        let world = schedule::<S>(seed, Choice::Swarm);
        let outcome = attempt(&world, &Setup::<S>::default());
        all = all.rotate_left(5) ^ outcome.digest;
    }
    println!("DIGEST {} {all:016x}", S::NAME);
}
#[test]
fn digests() {
    sum::<Raft>();
    sum::<MultiPaxos>();
    sum::<Unreplicated>();
}
