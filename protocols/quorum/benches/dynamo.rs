//! The parts of Dynamo by themselves: joining what two replicas hold, digests of it, and its encoding.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use qlab_clocks::VectorClock;
use qlab_kernel::{NodeId, Time, Wire};
use qlab_quorum::dynamo::envelope::put_update;
use qlab_quorum::dynamo::{Content, Digest, State};

const VALUE_BYTES: usize = 256;
const REPLICAS: u16 = 3;

/// What a replica holds after so many writes of which nobody had seen another's.
fn siblings(count: u64) -> State {
    let mut state = State::default();
    for number in 0..count {
        let content = Content { written_at: Time(number), value: Some(Bytes::from(vec![7; VALUE_BYTES])) };
        let node = NodeId((number % u64::from(REPLICAS)) as u16);
        state.write(node, &VectorClock::new(), content).expect("few siblings");
    }
    state
}

fn states(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dynamo");
    for count in [1, 4, 16] {
        let state = siblings(count);
        let mut further = state.clone();
        let content = Content { written_at: Time(99), value: Some(Bytes::from(vec![8; VALUE_BYTES])) };
        further.write(NodeId(0), state.context(), content).expect("few siblings");
        group.bench_function(BenchmarkId::new("join", count), |bencher| {
            bencher.iter(|| {
                let mut joined = state.clone();
                joined.join(black_box(&further));
                joined
            });
        });
        group.bench_function(BenchmarkId::new("digest", count), |bencher| {
            bencher.iter(|| Digest::of(black_box(b"00000001"), black_box(&state)));
        });
        group.bench_function(BenchmarkId::new("codec", count), |bencher| {
            bencher.iter(|| {
                let mut bytes = Vec::new();
                black_box(&state).encode(&mut bytes);
                State::decode_all(bytes.into()).expect("what was encoded")
            });
        });
    }
    group.finish();
}

fn envelopes(criterion: &mut Criterion) {
    let mut context = Vec::new();
    siblings(3).context().encode(&mut context);
    let value = [7; VALUE_BYTES];
    criterion.bench_function("dynamo/update", |bencher| {
        let mut bytes = Vec::new();
        bencher.iter(|| {
            bytes.clear();
            put_update(&mut bytes, black_box(&context), Some(black_box(&value)));
            bytes.len()
        });
    });
}

criterion_group!(benches, states, envelopes);
criterion_main!(benches);
