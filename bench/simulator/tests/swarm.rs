//! A slice of the swarm in every test run, and what a campaign must be worth: the same seed is the same world, and it goes
//! everywhere.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use qlab_clocks::sync::Clock;
use qlab_gossip::Gossip;
use qlab_machines::MachineKind;
use qlab_paxos::{MultiPaxos, Paxos, multi};
use qlab_pbft::Pbft;
use qlab_quorum::{Abd, Dynamo, Quorums, abd};
use qlab_raft::Raft;
use qlab_simulator::campaign::schedule;
use qlab_simulator::{Choice, Fault, Setup, Subject, Summary, attempt, campaign};
use qlab_unreplicated::Unreplicated;
use rand_pcg::Pcg32;

fn swarm<S: Subject>(seeds: Range<u64>) -> Summary {
    swarm_of::<S>(seeds, Setup::default)
}

fn swarm_of<S: Subject>(seeds: Range<u64>, setup: impl Fn() -> Setup<S> + Sync) -> Summary {
    let summary = campaign::<S>(seeds, Choice::Swarm, setup, &AtomicBool::new(false), || ());
    assert!(summary.failures.is_empty(), "{}: {:#?}", S::NAME, summary.failures);
    summary
}

#[test]
fn raft_keeps_its_laws_in_a_swarm_that_goes_everywhere() {
    let summary = swarm::<Raft>(0..500);
    went_everywhere(&summary, 20_000);
    assert!(summary.marks.count("truncated its log") > 0);
}

#[test]
fn multi_paxos_keeps_its_laws_in_a_swarm_that_goes_everywhere() {
    went_everywhere(&swarm::<MultiPaxos>(0..500), 20_000);
}

#[test]
fn locks_keep_their_laws_whatever_carries_them() {
    let summaries = [
        swarm_of::<Raft>(0..300, || Setup { machine: MachineKind::Locks, ..Setup::default() }),
        swarm_of::<MultiPaxos>(0..200, || Setup { machine: MachineKind::Locks, ..Setup::default() }),
        swarm_of::<Unreplicated>(0..100, || Setup { machine: MachineKind::Locks, ..Setup::default() }),
    ];
    for summary in summaries {
        let marks = [
            "locks granted",
            "registers written",
            "stale holders fenced off",
            "victims of deadlocks",
            "owners outlived their lease",
            "restored an image",
        ];
        for mark in marks {
            assert!(summary.marks.count(mark) > 0, "never: {mark}");
        }
        assert!(summary.operations > 10_000, "{} questions answered", summary.operations);
    }
}

#[test]
fn pbft_keeps_its_laws_in_a_swarm_with_liars_and_hostile_clients_that_goes_everywhere() {
    let summary = swarm::<Pbft>(0..300);
    went_everywhere(&summary, 5_000);
    for mark in ["saw misbehaviour", "view entered"] {
        assert!(summary.marks.count(mark) > 0, "never: {mark}");
    }
}

#[test]
fn multi_paxos_keeps_its_laws_with_quorums_of_unequal_size() {
    // Nobody is lost for good here: four of five must be there to elect a leader.
    let faults = "loss,duplicate,replay,reorder,delay,partition,kill,power-loss,pause,disk-stall,transfer";
    let choice: Choice = faults.parse().unwrap();
    let worlds = (0..200).map(|seed| schedule::<MultiPaxos>(seed, choice)).filter(|world| world.nodes == 5);
    let mut operations = 0;
    for world in worlds {
        let quorums = Some(multi::Quorums { phase_1: 4, phase_2: 2 });
        let drawn = MultiPaxos::config(&mut Pcg32::new(world.seed, 0));
        let setup =
            Setup { config: Some(multi::Config { quorums, ..drawn }), ..Setup::<MultiPaxos>::default() };
        let outcome = attempt(&world, &setup);
        assert_eq!(outcome.violation, None, "seed {}", world.seed);
        operations += outcome.operations;
    }
    assert!(operations > 1_000, "hardly anything was served: {operations}");
}

fn went_everywhere(summary: &Summary, operations: u64) {
    for (fault, times) in summary.tally.iter() {
        assert!(times > 0, "{fault} never took effect");
    }
    let marks = [
        "campaigned",
        "compacted its log",
        "deposed",
        "elected",
        "ended by its disk",
        "ended within a commit",
        "installed an image",
        "queries answered",
        "refused a damaged journal",
        "requests asked again",
        "requests refused",
        "restored an image",
        "started from a journal",
    ];
    for mark in marks {
        assert!(summary.marks.count(mark) > 0, "never: {mark}");
    }
    assert!(summary.operations > operations, "hardly anything was served: {}", summary.operations);
}

#[test]
fn the_unreplicated_server_keeps_its_laws_in_a_swarm() {
    let summary = swarm::<Unreplicated>(0..200);
    assert!(summary.operations > 5_000, "hardly anything was served: {}", summary.operations);
}

#[test]
fn paxos_keeps_its_laws_in_a_swarm_that_goes_everywhere() {
    let summary = swarm::<Paxos>(0..500);
    for (fault, times) in summary.tally.iter() {
        assert!(times > 0, "{fault} never took effect");
    }
    let marks = [
        "compacted its log",
        "ended by its disk",
        "ended within a commit",
        "refused a damaged journal",
        "requests asked again",
        "requests refused",
        "started from a journal",
    ];
    for mark in marks {
        assert!(summary.marks.count(mark) > 0, "never: {mark}");
    }
    assert!(summary.operations > 20_000, "hardly anything was served: {}", summary.operations);
}

#[test]
fn abd_keeps_its_laws_in_a_swarm_that_goes_everywhere() {
    let summary = swarm::<Abd>(0..500);
    for (fault, times) in summary.tally.iter() {
        assert!(times > 0, "{fault} never took effect");
    }
    let marks = [
        "compacted its log",
        "ended by its disk",
        "ended within a commit",
        "refused a damaged journal",
        "requests asked again",
        "requests refused",
        "sessions expired",
        "started from a journal",
    ];
    for mark in marks {
        assert!(summary.marks.count(mark) > 0, "never: {mark}");
    }
    assert!(summary.operations > 20_000, "hardly anything was served: {}", summary.operations);
}

#[test]
fn dynamo_keeps_its_laws_in_a_swarm_that_goes_everywhere() {
    let summary = swarm::<Dynamo>(0..500);
    for (fault, times) in summary.tally.iter() {
        assert!(times > 0, "{fault} never took effect");
    }
    let marks = [
        "compacted its log",
        "ended by its disk",
        "ended within a commit",
        "refused a damaged journal",
        "requests asked again",
        "requests refused",
        "sessions expired",
        "started from a journal",
    ];
    for mark in marks {
        assert!(summary.marks.count(mark) > 0, "never: {mark}");
    }
    assert!(summary.operations > 20_000, "hardly anything was served: {}", summary.operations);
}

#[test]
fn abd_keeps_its_laws_with_quorums_of_unequal_size() {
    // Nobody is lost for good here: four of five must be there for a write.
    let faults = "loss,duplicate,replay,reorder,delay,partition,kill,power-loss,pause,disk-stall";
    let choice: Choice = faults.parse().unwrap();
    let worlds = (0..200).map(|seed| schedule::<Abd>(seed, choice)).filter(|world| world.nodes == 5);
    let mut operations = 0;
    for world in worlds {
        let quorums =
            if world.seed % 2 == 0 { Quorums { read: 2, write: 4 } } else { Quorums { read: 4, write: 2 } };
        let drawn = Abd::config(&mut Pcg32::new(world.seed, 0));
        let setup = Setup {
            config: Some(abd::Config { quorums: Some(quorums), ..drawn }),
            ..Setup::<Abd>::default()
        };
        let outcome = attempt(&world, &setup);
        assert_eq!(outcome.violation, None, "seed {}", world.seed);
        operations += outcome.operations;
    }
    assert!(operations > 1_000, "hardly anything was served: {operations}");
}

#[test]
fn gossip_keeps_its_laws_in_a_swarm_that_goes_everywhere() {
    let summary = swarm::<Gossip>(0..300);
    for (fault, times) in summary.tally.iter() {
        // Datagrams overtake each other in any weather.
        assert!(times > 0 || fault.name() == "reorder", "{fault} never took effect");
    }
    for mark in
        ["acted by itself", "ended by its disk", "refused a damaged journal", "started from a journal"]
    {
        assert!(summary.marks.count(mark) > 0, "never: {mark}");
    }
}

#[test]
fn clocks_keep_their_laws_in_a_swarm_with_false_references() {
    let summary = swarm::<Clock>(0..300);
    // Clocks that jump or change their rates void every bound; clocks write nothing down, so that there is nothing to damage; and
    // datagrams overtake each other in any weather.
    let without_effect =
        ["bit-flip", "clock-jump", "clock-strobe", "disk-full", "read-error", "reorder", "sync-error"];
    for (fault, times) in summary.tally.iter() {
        assert!(times > 0 || without_effect.contains(&fault.name()), "{fault} never took effect");
    }
}

#[test]
fn a_calm_world_serves_everybody() {
    calm::<Raft>();
    calm::<MultiPaxos>();
    calm::<Paxos>();
    calm::<Abd>();
    calm::<Dynamo>();
    calm::<Gossip>();
    calm::<Clock>();
}

fn calm<S: Subject>() {
    let calm = Choice::Only(qlab_simulator::faults::FaultSet::default());
    let summary = campaign::<S>(0..20, calm, Setup::default, &AtomicBool::new(false), || ());
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert!(Fault::ALL.into_iter().zip(summary.tally.iter()).all(|(_, (_, times))| times == 0));
    assert_eq!(summary.marks.count("deposed"), 0, "nobody loses a leader without reason");
}

#[test]
fn the_same_seed_is_the_same_world() {
    same_world::<Raft>();
    same_world::<MultiPaxos>();
    same_world::<Paxos>();
    same_world::<Pbft>();
    same_world::<Abd>();
    same_world::<Dynamo>();
    same_world::<Gossip>();
    same_world::<Clock>();
}

fn same_world<S: Subject>() {
    let told = || Setup::<S> { tells_story: true, ..Setup::default() };
    for seed in 0..5 {
        let schedule = schedule::<S>(seed, Choice::Swarm);
        let (first, second) = (attempt(&schedule, &told()), attempt(&schedule, &told()));
        assert_eq!(first.digest, second.digest);
        assert_eq!(first.story, second.story);
        // A world of one node has little to tell.
        assert!(first.story.len() > 100 || schedule.nodes == 1);
    }
}
