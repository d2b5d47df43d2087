//! What being measured and judged costs the generator for each operation: history and histograms are always on.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use qlab_loadgen::history::{End, History, Kind, Operation};
use qlab_loadgen::mix::Class;
use qlab_loadgen::recorder::{Recorder, Times, Window};

/// Operations recorded in one measurement: tens of MiB of history, as in a second of a run.
const OPERATIONS: u64 = 500_000;
const SECOND_NS: u64 = 1_000_000_000;

fn operation(number: u64) -> Operation {
    Operation {
        sent_ns: number * 2_000,
        completed_ns: number * 2_000 + 900_000,
        value: number,
        expected: 0,
        key: (number % 10_000) as u32,
        process: (number % 1_024) as u32,
        kind: Kind::Put,
        end: End::Ok,
    }
}

fn times(number: u64) -> Times {
    // Latencies of 0.3 to 4 ms, in no order.
    let service_ns = 300_000 + number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 3_700_000;
    let intended_ns = number * 2_000;
    Times { intended_ns, sent_ns: intended_ns + 40_000, completed_ns: intended_ns + 40_000 + service_ns }
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(OPERATIONS)).sample_size(10);
    group.bench_function("history", |bencher| {
        let fill = |mut history: History| {
            (0..OPERATIONS).for_each(|number| history.push(black_box(operation(number))));
            history
        };
        bencher.iter_batched(History::default, fill, BatchSize::PerIteration);
    });
    group.bench_function("histograms", |bencher| {
        let window = Window { start_ns: 0, end_ns: 10 * SECOND_NS };
        let fill = |mut recorder: Recorder| {
            (0..OPERATIONS)
                .for_each(|number| recorder.answered(Class::Write, black_box(times(number)), false));
            recorder
        };
        bencher.iter_batched(|| Recorder::new(window, SECOND_NS), fill, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
