//! Many seeds of a hostile world; the laws are kept by the world itself.

mod world;

use qlab_kernel::{Input, NodeId};
use qlab_raft::{Config, LeaderWrite, Reads};
use world::{Faults, World};

/// Small windows and images, so that every path is taken often.
fn config(seed: u64) -> Config {
    Config {
        window_entries: [1, 4, 64][(seed % 3) as usize],
        window_bytes: [100, 1 << 20][(seed % 2) as usize],
        leader_write: if seed.is_multiple_of(5) { LeaderWrite::First } else { LeaderWrite::Parallel },
        clock_drift_ppm: [0, 10_000, 300_000][(seed / 4 % 3) as usize],
        reads: if seed % 4 < 2 { Reads::Index } else { Reads::Lease },
        batching: !seed.is_multiple_of(7),
        snapshot_log_bytes: [200, 2000, 1 << 20][(seed / 3 % 3) as usize],
        retained_log_bytes: [0, 300, 1 << 20][(seed / 9 % 3) as usize],
        ..Config::default()
    }
}

fn campaign(seed: u64) -> World {
    let nodes = [1, 2, 3, 3, 5][(seed % 5) as usize];
    let faults = Faults {
        loss_percent: [0, 5, 30][(seed / 2 % 3) as usize],
        duplicate_percent: [0, 10][(seed / 3 % 2) as usize],
        crash_percent: [0, 2, 5][(seed / 5 % 3) as usize],
        partition_percent: [0, 2][(seed / 7 % 2) as usize],
        delay_percent: [0, 0, 5][(seed / 11 % 3) as usize],
        blackout_percent: [0, 0, 0, 1][(seed / 13 % 4) as usize],
        pause_percent: [0, 0, 3][(seed / 17 % 3) as usize],
        hold_percent: [0, 50, 90][(seed / 19 % 3) as usize],
    };
    let mut world = World::new(nodes, seed, config(seed), faults);
    for turn in 0..600_u64 {
        world.advance();
        world.misfortune();
        let target = NodeId((turn % nodes as u64) as u16);
        if turn.is_multiple_of(3) {
            let target = world.leader().unwrap_or(target);
            world.write(target);
        }
        if turn.is_multiple_of(5) {
            world.read(target);
        }
        if turn.is_multiple_of(2) {
            // Also those who only believe that they lead, while another takes writes.
            for leader in world.leaders().collect::<Vec<_>>() {
                world.read(leader);
            }
        }
        if turn.is_multiple_of(97) {
            world.give(target, Input::Yield { to: None });
        }
    }
    world.heal();
    world
}

/// `SEEDS=from-to` asks for other worlds than the usual ones.
fn seeds() -> std::ops::Range<u64> {
    let Ok(seeds) = std::env::var("SEEDS") else { return 0..400 };
    let (from, to) = seeds.split_once('-').expect("SEEDS=from-to");
    from.parse().expect("a seed")..to.parse().expect("a seed")
}

#[test]
#[expect(clippy::print_stdout, reason = "whoever asks for other seeds wants to see that much happened")]
fn nothing_is_lost_and_everyone_agrees_in_a_hostile_world() {
    let (mut acknowledged, mut installed, mut compacted, mut elections, mut reads) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| {
            let mut world = campaign(seed);
            let before = world.acknowledged.clone();
            world.write_until_acknowledged();
            world.run_until("everyone has applied everything", World::converged);
            assert!(before.is_subset(&world.acknowledged));
            assert_eq!(world.misbehaved, 0, "nobody breaks the rules here");
            world
        });
        let world = result.unwrap_or_else(|_| panic!("seed {seed}"));
        acknowledged += world.acknowledged.len();
        installed += world.installed;
        compacted += world.compacted;
        elections += world.elections;
        reads += world.reads_answered;
    }
    // The world was hostile, and yet things happened.
    println!(
        "{acknowledged} writes, {reads} reads, {elections} elections, {compacted} images, {installed} installed"
    );
    assert!(
        acknowledged > 20_000 && reads > 5_000 && elections > 800 && compacted > 1_000 && installed > 100
    );
}
