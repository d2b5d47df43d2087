//! What a round costs a node, by the number of writers it knows: to say what it knows, to find out what another lacks, to encode and
//! decode what passes between them.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use qlab_gossip::key::Key;
use qlab_gossip::membership::Incarnation;
use qlab_gossip::message::Body;
use qlab_gossip::store::Store;
use qlab_gossip::{Actor, Config, Life, Message};
use qlab_kernel::{NodeId, Wire};

const WRITERS: [u16; 3] = [8, 32, 1_000];
const STORE_BYTES: usize = 1 << 24;

/// Each writer wrote as many entries as that.
fn store(writers: u16, entries: u32) -> Store {
    let mut store = Store::new(STORE_BYTES);
    for node in 0..writers {
        let writer = Actor { node: NodeId(node), life: Life::FIRST };
        for entry in 0..entries {
            let key = Key::own(Bytes::copy_from_slice(&entry.to_be_bytes()));
            store.write(writer, key, Some(Bytes::from_static(&[7; 32]))).expect("room for all of them");
        }
    }
    store
}

fn message(body: Body) -> Message {
    Message { incarnation: Incarnation::FIRST, rumours: Vec::new(), body }
}

fn exchange(criterion: &mut Criterion) {
    let config = Config::default();
    let mut group = criterion.benchmark_group("exchange");
    for writers in WRITERS {
        // One has what the other lacks: the last entry of each writer.
        let (ahead, behind) = (store(writers, 11), store(writers, 10));
        let digest = || behind.digest(Actor::MIN, config.digest_writers_max);
        group.bench_function(BenchmarkId::new("digest", writers), |bencher| bencher.iter(digest));
        let theirs = digest();
        group.bench_function(BenchmarkId::new("compare", writers), |bencher| {
            bencher.iter(|| ahead.news_for(black_box(&theirs)));
        });
        let lacking = ahead.news_for(&theirs);
        group.bench_function(BenchmarkId::new("deltas", writers), |bencher| {
            bencher.iter(|| ahead.deltas(black_box(&lacking), 0, config.deltas_bytes_max()));
        });
        let deltas = ahead.deltas(&lacking, 0, config.deltas_bytes_max());
        for (name, message) in
            [("digest", message(Body::Digest(theirs.clone()))), ("deltas", message(Body::Deltas(deltas)))]
        {
            let mut bytes = Vec::new();
            group.bench_function(BenchmarkId::new(format!("encode {name}"), writers), |bencher| {
                bencher.iter(|| {
                    bytes.clear();
                    black_box(&message).encode(&mut bytes);
                });
            });
            let encoded = Bytes::from(bytes.clone());
            group.bench_function(BenchmarkId::new(format!("decode {name}"), writers), |bencher| {
                bencher.iter(|| Message::decode_all(black_box(encoded.clone())).expect("it was encoded"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, exchange);
criterion_main!(benches);
