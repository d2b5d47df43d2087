//! What clocks cost: one element is one operation, on clocks of 3 to 1,000 processes that are all in use.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use qlab_clocks::sync::{Interval, select};
use qlab_clocks::{HybridClock, HybridTime, VectorClock};
use qlab_kernel::{NodeId, Wire};

const PROCESSES: [u16; 4] = [3, 10, 100, 1000];

criterion_group!(benches, vector, hybrid, agreement);
criterion_main!(benches);

fn vector(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vector");
    for processes in PROCESSES {
        let (mine, theirs) = (clock(processes, 0), clock(processes, 1));
        let mut bench = |name, routine: &mut dyn FnMut()| {
            group.bench_function(BenchmarkId::new(name, processes), |bencher| bencher.iter(&mut *routine));
        };
        let mut ticking = mine.clone();
        bench("tick", &mut || {
            black_box(ticking.tick(black_box(NodeId(processes / 2))));
        });
        let mut merging = mine.clone();
        bench("merge", &mut || black_box(&mut merging).merge(black_box(&theirs)));
        // The whole of both is read: one is below the other, or they are equal.
        let mut above = mine.clone();
        above.merge(&theirs);
        bench("compare", &mut || {
            black_box(black_box(&mine).compare(black_box(&above)));
        });
        let mut bytes = Vec::new();
        bench("encode", &mut || {
            bytes.clear();
            black_box(&mine).encode(&mut bytes);
        });
        let encoded = bytes::Bytes::from(bytes.clone());
        bench("decode", &mut || {
            black_box(VectorClock::decode_all(black_box(encoded.clone())).expect("it was encoded"));
        });
    }
    group.finish();
}

fn hybrid(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hybrid");
    let mut clock = HybridClock::new(Duration::from_millis(1));
    let mut physical_ns = 0;
    group.bench_function("tick", |bencher| {
        bencher.iter(|| {
            physical_ns += 10;
            clock.tick(black_box(physical_ns))
        });
    });
    group.bench_function("receive", |bencher| {
        bencher.iter(|| {
            physical_ns += 10;
            clock.receive(black_box(physical_ns), HybridTime { physical_ns: physical_ns + 5, counter: 1 })
        });
    });
    group.finish();
}

/// What the sources agree on, all of them true.
fn agreement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("select");
    for sources in [1, 3, 5, 7] {
        let heard: Vec<Interval> = (0..sources).map(|i| Interval::around(1000 + 7 * i % 5, 100)).collect();
        group.bench_function(BenchmarkId::from_parameter(sources), |bencher| {
            bencher.iter(|| select(black_box(&heard), heard.len(), 0));
        });
    }
    group.finish();
}

/// A clock whose processes are about equally far: up to seven ticks apart, `turn` decides who is ahead.
fn clock(processes: u16, turn: u16) -> VectorClock {
    let mut clock = VectorClock::new();
    for process in 0..processes {
        for _ in 0..100 + (process + turn) % 7 {
            clock.tick(NodeId(process));
        }
    }
    clock
}
