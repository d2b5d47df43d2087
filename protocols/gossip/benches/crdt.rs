//! What a merge costs: one delta into a state of a size, and two full states of that size.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use qlab_gossip::key::Kind;
use qlab_gossip::{Actor, Life, Object, Operation};
use qlab_kernel::NodeId;

const SIZES: [u32; 3] = [10, 1_000, 100_000];

const fn actor(node: u16) -> Actor {
    Actor { node: NodeId(node), life: Life::FIRST }
}

/// The operation that makes an object of this kind grow by its `at`-th item.
fn operation(kind: Kind, at: u32) -> Operation {
    let element = Bytes::copy_from_slice(&at.to_be_bytes());
    match kind {
        Kind::GrowSet => Operation::Grow(element),
        Kind::PnCounter => Operation::Increment(1),
        _ => Operation::Add(element),
    }
}

/// A state and some more items. Whoever has not seen what is done on the other side must be somebody else: no two writers share dots.
fn grown(mut state: Object, kind: Kind, items: std::ops::Range<u32>, side: u16) -> Object {
    for at in items {
        // Counters have an item for each actor, sets for each element.
        let writer = match kind {
            Kind::PnCounter => Actor { node: NodeId((at % 60_000) as u16), life: Life(1 + at / 60_000) },
            _ => actor(2 * side + (at % 2) as u16),
        };
        let delta = state.operate(writer, operation(kind, at));
        state.merge(&delta);
    }
    state
}

fn bottom(kind: Kind) -> Object {
    Object::bottom(kind).expect("a kind of object")
}

fn merges(criterion: &mut Criterion, kind: Kind) {
    let mut group = criterion.benchmark_group(format!("merge/{kind:?}"));
    for size in SIZES {
        let both = grown(bottom(kind), kind, 0..size / 2, 0);
        let ours = grown(both.clone(), kind, size / 2..size, 0);
        // Half of it is new to the others; the other half is known.
        let theirs = grown(both, kind, size..size + size / 2, 1);
        let delta = ours.operate(actor(7), operation(kind, size));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("delta", size), |bencher| {
            // The first time it is new, then known: merging is idempotent, and costs the same but for one insertion.
            let mut ours = ours.clone();
            bencher.iter(|| ours.merge(black_box(&delta)));
        });
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::new("full", size), |bencher| {
            let fresh = || ours.clone();
            bencher.iter_batched_ref(fresh, |ours| ours.merge(black_box(&theirs)), BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn encodings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode/OrSet");
    for size in SIZES {
        let set = grown(bottom(Kind::OrSet), Kind::OrSet, 0..size, 0);
        group.throughput(Throughput::Bytes(set.encode().len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| bencher.iter(|| set.encode()));
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    for kind in [Kind::GrowSet, Kind::PnCounter, Kind::OrSet] {
        merges(criterion, kind);
    }
    encodings(criterion);
}

criterion_group!(benches, all);
criterion_main!(benches);
