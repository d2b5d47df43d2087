//! Real processes, real faults: killed, paused and restarted replicas under load, judged on the very history.

use std::path::PathBuf;
use std::time::Duration;

use laboratory::byzantine::Lie;
use laboratory::cluster::Cluster;
use laboratory::fleet::{Fleet, FleetSpec};
use laboratory::interrupt::Interrupt;
use laboratory::measure::{WATCH_INTERVAL, drive};
use laboratory::verdict;
use qlab_loadgen::arrivals::{Load, Spacing};
use qlab_loadgen::clock::monotonic_ns;
use qlab_loadgen::mix::Mix;
use qlab_loadgen::run::{Outcome, Spec};
use qlab_loadgen::values::ValueSizes;
use qlab_machines::MachineKind;
use qlab_node::control::{Order, Status};
use qlab_report::Verdict;

const CONNECTIONS: usize = 4;

/// A system, how many replicas survive the failure of one, and options with which images are made and sent within seconds.
type System = (&'static str, u16, &'static str);
const RAFT: System = ("raft", 3, "snapshot_log_bytes = 300000");
const PBFT: System = ("pbft", 4, "checkpoint_bytes = 300000");

fn fleet(system: System, dir: PathBuf, durability: &str) -> Fleet {
    Fleet::start(cluster_of(system, dir, durability)).unwrap()
}

fn cluster_of((system, replicas, options): System, dir: PathBuf, durability: &str) -> FleetSpec {
    FleetSpec {
        program: env!("CARGO_BIN_EXE_qlab").into(),
        dir,
        system: system.into(),
        options: options.parse().unwrap(),
        machine: MachineKind::Kv,
        replicas,
        durability: durability.into(),
        seed: 11,
        emulated_link: true,
        byzantine: false,
        oscillators: Vec::new(),
    }
}

fn spec(measure: Duration) -> Spec {
    Spec {
        load: Load::Open { rate_per_s: 2_000.0, spacing: Spacing::Poisson },
        mix: Mix::ycsb('a').unwrap(),
        keys: 200,
        values: ValueSizes::fixed(64).unwrap(),
        warmup: Duration::from_millis(300),
        measure,
        cooldown: Duration::from_millis(100),
        slice: Duration::from_millis(100),
        connect_timeout: Duration::from_secs(20),
        timeout: Duration::from_millis(500),
        give_up: Duration::from_secs(20),
        ..Spec::default()
    }
}

/// Runs a load during which `disturb` is called some twenty times a second with the number of the call.
fn under_load(cluster: &mut Cluster, spec: &Spec, mut disturb: impl FnMut(&mut Fleet, u32)) -> Outcome {
    let mut calls = 0;
    drive(cluster, CONNECTIONS, spec, &Interrupt::default(), |cluster, moment| {
        let Cluster::Ours(fleet) = cluster else { unreachable!("only ours are disturbed") };
        if moment.is_none() {
            calls += 1;
            disturb(fleet, calls);
        }
        Ok(WATCH_INTERVAL)
    })
    .unwrap()
}

fn expect_right(cluster: &mut Cluster, outcome: &Outcome) {
    expect_right_but(None, cluster, outcome);
}

/// Nothing is expected of the liar.
fn expect_right_but(liar: Option<usize>, cluster: &mut Cluster, outcome: &Outcome) {
    assert!(outcome.verified, "not every key could be read after the load: {:?}", outcome.counters);
    let judgement = verdict::judge(&outcome.history, qlab_checker::Model::Kv);
    assert_eq!(judgement.verdict, Verdict::Linearizable, "{}", judgement.explanation);
    let Cluster::Ours(fleet) = cluster else { unreachable!("only ours") };
    for _ in 0..200 {
        let mut statuses = fleet.statuses().unwrap();
        statuses.retain(|status| Some(usize::from(status.node)) != liar);
        if let Some(agreed) = verdict::agreement(&statuses) {
            return agreed.unwrap();
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("the replicas are never level: {:?}", fleet.statuses());
}

#[test]
fn a_leader_killed_and_a_follower_paused_under_load_lose_nothing() {
    kill_leader_and_pause_follower(RAFT);
}

#[test]
fn a_primary_killed_and_a_backup_paused_under_load_lose_nothing() {
    kill_leader_and_pause_follower(PBFT);
}

fn kill_leader_and_pause_follower(system: System) {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::Ours(Box::new(fleet(system, dir.path().join("fleet"), "fdatasync")));
    let (mut killed, mut paused) = (None, None);
    let outcome = under_load(&mut cluster, &spec(Duration::from_secs(6)), |fleet, call| match call {
        20 => {
            let leader = fleet.leader().unwrap().expect("a leader serves the load");
            fleet.kill(leader).unwrap();
            killed = Some(leader);
        }
        60 => fleet.restart(killed.unwrap()).unwrap(),
        75 => {
            let leader = fleet.leader().unwrap();
            let follower = (0..fleet.replicas()).find(|node| Some(*node) != leader).unwrap();
            fleet.pause(follower).unwrap();
            paused = Some(follower);
        }
        95 => fleet.resume(paused.unwrap()).unwrap(),
        _ => {}
    });
    assert!(paused.is_some(), "the load ended before the follower was paused");
    assert!(outcome.counters.completed > 5_000, "hardly anything was served: {:?}", outcome.counters);
    expect_right(&mut cluster, &outcome);
    cluster.stop().unwrap();
}

#[test]
fn a_leader_paused_past_its_election_serves_no_stale_read_when_it_goes_on() {
    pause_leader(RAFT);
}

#[test]
fn a_primary_paused_past_its_view_is_not_believed_when_it_goes_on() {
    pause_leader(PBFT);
}

fn pause_leader(system: System) {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::Ours(Box::new(fleet(system, dir.path().join("fleet"), "memory")));
    let mut paused = None;
    let outcome = under_load(&mut cluster, &spec(Duration::from_secs(4)), |fleet, call| match call {
        15 => {
            let leader = fleet.leader().unwrap().expect("a leader serves the load");
            fleet.pause(leader).unwrap();
            paused = Some(leader);
        }
        45 => fleet.resume(paused.unwrap()).unwrap(),
        _ => {}
    });
    assert!(paused.is_some(), "the load ended before the leader was paused");
    expect_right(&mut cluster, &outcome);
    cluster.stop().unwrap();
}

#[test]
fn all_replicas_killed_at_once_come_back_with_everything_acknowledged() {
    kill_everyone(RAFT);
}

#[test]
fn all_replicas_of_pbft_killed_at_once_come_back_with_everything_acknowledged() {
    kill_everyone(PBFT);
}

fn kill_everyone(system: System) {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::Ours(Box::new(fleet(system, dir.path().join("fleet"), "fdatasync")));
    let outcome = under_load(&mut cluster, &spec(Duration::from_secs(4)), |fleet, call| {
        if call == 20 {
            (0..fleet.replicas()).for_each(|node| fleet.kill(node).unwrap());
            (0..fleet.replicas()).for_each(|node| fleet.begin_restart(node).unwrap());
            (0..fleet.replicas()).for_each(|node| while !fleet.restarted(node).unwrap() {});
        }
    });
    expect_right(&mut cluster, &outcome);
    cluster.stop().unwrap();
}

#[test]
fn a_partition_a_slow_disk_and_a_lossy_link_lose_nothing() {
    disturb(RAFT);
}

fn disturb(system: System) {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::Ours(Box::new(fleet(system, dir.path().join("fleet"), "fdatasync")));
    let mut cut_off = None;
    let outcome = under_load(&mut cluster, &spec(Duration::from_secs(5)), |fleet, call| match call {
        15 => {
            let leader = fleet.leader().unwrap().expect("a leader serves the load");
            let others = (0..fleet.replicas())
                .filter(|node| *node != leader)
                .map(|node| fleet.address(node))
                .collect();
            fleet.order(leader, &Order::Partition { from: others }).unwrap();
            cut_off = Some(leader);
        }
        45 => fleet.order(cut_off.unwrap(), &Order::Partition { from: Vec::new() }).unwrap(),
        50 => fleet.order(0, &Order::SyncDelay { ms: 50 }).unwrap(),
        65 => fleet.order(0, &Order::SyncDelay { ms: 0 }).unwrap(),
        70 => fleet.order(1, &Order::Link { delay_ms: 3, jitter_ms: 5, loss: 0.05 }).unwrap(),
        85 => fleet.order(1, &Order::Link { delay_ms: 0, jitter_ms: 0, loss: 0.0 }).unwrap(),
        _ => {}
    });
    assert!(cut_off.is_some(), "the load ended before the leader was cut off");
    expect_right(&mut cluster, &outcome);
    cluster.stop().unwrap();
}

#[test]
fn a_primary_that_proposes_nothing_is_replaced() {
    let told = lie(Lie::Silent, Load::Open { rate_per_s: 1_000.0, spacing: Spacing::Poisson });
    assert_ne!(told.leader, Some(told.liar), "it leads for ever");
}

#[test]
fn a_primary_that_is_deaf_to_a_session_is_replaced() {
    let told = lie(Lie::Censoring, Load::Open { rate_per_s: 1_000.0, spacing: Spacing::Poisson });
    assert_ne!(told.leader, Some(told.liar), "it leads for ever");
}

#[test]
fn a_primary_that_proposes_two_things_makes_nobody_disagree() {
    lie(Lie::Equivocating, Load::Open { rate_per_s: 1_000.0, spacing: Spacing::Poisson });
}

#[test]
fn a_primary_that_forges_is_noticed_and_harms_nobody() {
    let told = lie(Lie::Forging, Load::Open { rate_per_s: 1_000.0, spacing: Spacing::Poisson });
    assert!(told.misbehaved > 0, "nobody noticed");
}

/// Whatever it does, each of N requests is answered once its client's and then the backups' patience is over, and what is asked
/// then is agreed on: N / (client's timeout + view timeout + agreement) requests per second is the least.
#[test]
fn a_primary_that_is_as_slow_as_it_may_be_does_not_go_below_the_floor() {
    const OUTSTANDING: u32 = 64;
    let told = lie(Lie::Slow, Load::Closed { outstanding: OUTSTANDING });
    let agreement = Duration::from_millis(500);
    let answer_time_max = spec(Duration::ZERO).timeout + Duration::from_millis(500) + agreement;
    let floor_per_s = f64::from(OUTSTANDING) / answer_time_max.as_secs_f64();
    assert!(told.answered_per_s >= floor_per_s, "{} of {floor_per_s}", told.answered_per_s);
    assert!(told.silence > Duration::from_millis(300), "it was not slow: {:?}", told.silence);
}

/// What came of a lie.
#[derive(Debug)]
struct Lied {
    liar: usize,
    /// Who leads in the end, as the others say.
    leader: Option<usize>,
    /// How often the others found somebody break the rules.
    misbehaved: u64,
    answered_per_s: f64,
    /// The longest time without an answer.
    silence: Duration,
}

/// The primary lies from the first second to the end.
fn lie(lie: Lie, load: Load) -> Lied {
    let dir = tempfile::tempdir().unwrap();
    let fleet = FleetSpec { byzantine: true, ..cluster_of(PBFT, dir.path().join("fleet"), "fdatasync") };
    let mut cluster = Cluster::Ours(Box::new(Fleet::start(fleet).unwrap()));
    let mut struck = None;
    let spec = Spec { load, ..spec(Duration::from_secs(4)) };
    let outcome = under_load(&mut cluster, &spec, |fleet, call| {
        if call >= 15
            && struck.is_none()
            && let Some(leader) = fleet.leader().unwrap()
        {
            fleet.lie(leader, Some(lie)).unwrap();
            struck = Some((leader, monotonic_ns()));
        }
    });
    let (liar, at_ns) = struck.expect("somebody leads");
    expect_right_but(Some(liar), &mut cluster, &outcome);
    let Cluster::Ours(fleet) = &mut cluster else { unreachable!("only ours") };
    let others: Vec<Status> =
        fleet.statuses().unwrap().into_iter().filter(|status| usize::from(status.node) != liar).collect();
    cluster.stop().unwrap();
    let window = outcome.recorder.window();
    let mut moments: Vec<u64> = outcome.history.iter().map(|operation| operation.completed_ns).collect();
    moments.retain(|ns| *ns > at_ns && window.contains(*ns));
    moments.sort_unstable();
    let silences = moments.windows(2).map(|pair| pair[1] - pair[0]);
    let last = &outcome.recorder.slices()[30..];
    assert!(last.iter().any(|slice| slice.completed > 0), "{lie:?}: nothing is answered any more");
    Lied {
        liar,
        leader: others[0].leader.map(usize::from),
        misbehaved: others.iter().map(|status| status.misbehaved).sum(),
        answered_per_s: moments.len() as f64 * 1e9 / (window.end_ns - at_ns) as f64,
        silence: Duration::from_nanos(silences.max().unwrap_or(0)),
    }
}

#[test]
fn a_replica_that_is_not_to_lie_cannot_be_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = fleet(PBFT, dir.path().join("fleet"), "memory");
    let refusal = fleet.lie(0, Some(Lie::Silent)).unwrap_err().to_string();
    assert!(refusal.contains("correct ones"), "{refusal}");
    fleet.stop().unwrap();
}

#[test]
fn a_replica_that_lost_its_journal_must_not_come_back_as_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = fleet(RAFT, dir.path().join("fleet"), "fdatasync");
    fleet.kill(1).unwrap();
    std::fs::remove_dir_all(dir.path().join("fleet/journal-1")).unwrap();
    let refusal = format!("{:#}", fleet.restart(1).unwrap_err());
    assert!(refusal.contains("must not rejoin as itself"), "{refusal}");
}

#[test]
fn leadership_that_is_yielded_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = fleet(RAFT, dir.path().join("fleet"), "memory");
    let first = await_leader(&mut fleet, None);
    fleet.order(first, &Order::Yield { to: None }).unwrap();
    await_leader(&mut fleet, Some(first));
    fleet.stop().unwrap();
}

fn await_leader(fleet: &mut Fleet, not: Option<usize>) -> usize {
    for _ in 0..200 {
        if let Some(leader) = fleet.leader().unwrap().filter(|leader| Some(*leader) != not) {
            return leader;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    panic!("nobody leads but {not:?}");
}
