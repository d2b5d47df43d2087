//! What a world costs, in messages delivered per second on one core, between replicas and with clients: laws, journals, clients and the judge of
//! what they saw included.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use qlab_raft::{Config, Raft};
use qlab_simulator::campaign::schedule;
use qlab_simulator::faults::FaultSet;
use qlab_simulator::schedule::Weather;
use qlab_simulator::{Choice, Schedule, Setup, attempt};

/// Nothing goes wrong, and clients ask as soon as they are answered.
fn calm() -> Schedule {
    Schedule {
        seed: 1,
        nodes: 3,
        clients: 16,
        keys: 64,
        fire: Duration::from_secs(1),
        faults: FaultSet::default(),
        weather: Weather {
            loss_percent: 0,
            duplicate_percent: 0,
            replay_percent: 0,
            reorder: false,
            late_percent: 0,
            late_max: Duration::ZERO,
            flight_max: Duration::from_micros(100),
            burst_wait_max: Duration::from_micros(10),
            burst_inputs_max: 64,
            sync_max: Duration::from_micros(200),
            think_max: Duration::from_micros(1),
        },
        strikes: Vec::new(),
    }
}

fn setup() -> Setup<Raft> {
    Setup { config: Some(Config::default()), ..Setup::default() }
}

fn messages(schedules: &[Schedule], setup: &Setup<Raft>) -> u64 {
    let delivered = |schedule| {
        let outcome = attempt(schedule, setup);
        assert_eq!(outcome.violation, None, "seed {}", schedule.seed);
        outcome.messages
    };
    schedules.iter().map(delivered).sum()
}

fn worlds(criterion: &mut Criterion) {
    let swarm: Vec<Schedule> = (0..20).map(|seed| schedule::<Raft>(seed, Choice::Swarm)).collect();
    let mut group = criterion.benchmark_group("messages");
    group.sample_size(10);
    for (name, schedules, setup) in [("calm", vec![calm()], setup()), ("swarm", swarm, Setup::default())] {
        group.throughput(Throughput::Elements(messages(&schedules, &setup)));
        group.bench_function(name, |bencher| bencher.iter(|| messages(&schedules, &setup)));
    }
    group.finish();
}

criterion_group!(benches, worlds);
criterion_main!(benches);
