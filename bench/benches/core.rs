//! What the cores cost by themselves: three replicas pumped in one thread, memory only, commands of 64 bytes.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use qlab_kernel::{Batch, BatchBuilder, Command, Input, Protocol, Request, Sequence, SessionId, Ticket};
use qlab_paxos::Paxos;
use qlab_paxos::single::{self, FirstBallot};
use qlab_raft::Raft;
use qlab_simulator::Pump;

const COMMAND_BYTES: usize = 64;
const BURSTS: [u64; 5] = [1, 16, 256, 1024, 4096];

/// Every command is a request of its own: packing them is part of what is measured.
fn requests(count: u64) -> Vec<Batch> {
    let mut builder = BatchBuilder::new();
    (1..=count)
        .map(|sequence| {
            builder.begin(SessionId(1), Sequence(sequence), Sequence(1));
            builder.push_bytes(&[7; COMMAND_BYTES]);
            builder.finish()
        })
        .collect()
}

fn commits<P: Protocol>(criterion: &mut Criterion, config: &P::Config, nodes: usize) {
    let mut group = criterion.benchmark_group(format!("commits/{}", P::NAME));
    for burst in BURSTS {
        let requests = requests(burst);
        let mut pump = Pump::<P>::new(nodes, config);
        let leader = pump.leader();
        group.throughput(Throughput::Elements(burst));
        group.bench_function(BenchmarkId::from_parameter(burst), |bencher| {
            bencher.iter(|| {
                for batch in &requests {
                    pump.give(
                        leader,
                        Input::Request {
                            ticket: Ticket(1),
                            request: Request::Write(batch.clone()),
                            proof: Bytes::new(),
                        },
                    );
                }
                let before = pump.applied(leader);
                pump.settle();
                assert!(black_box(pump.applied(leader)) > before, "nothing was committed");
            });
        });
    }
    group.finish();
}

/// A put on a key of its own in each request.
fn claims(count: u64) -> Vec<Batch> {
    let mut builder = BatchBuilder::new();
    (1..=count)
        .map(|sequence| {
            builder.begin(SessionId(1), Sequence(sequence), Sequence(1));
            let (key, value) = (sequence.to_le_bytes(), [7; COMMAND_BYTES]);
            let put = Command::Put { key: &key, value: &value };
            let mut bytes = Vec::with_capacity(put.encoded_len());
            put.encode(&mut bytes);
            builder.push_bytes(&bytes);
            builder.finish()
        })
        .collect()
}

/// Each round on a cluster of its own: a register is decided once.
fn decisions(criterion: &mut Criterion, name: &str, config: &single::Config) {
    let mut group = criterion.benchmark_group(format!("decisions/{name}"));
    for burst in BURSTS {
        let requests = claims(burst);
        group.throughput(Throughput::Elements(burst));
        group.bench_function(BenchmarkId::from_parameter(burst), |bencher| {
            let cluster = || Pump::<Paxos>::new(3, config);
            let decide = |mut pump: Pump<Paxos>| {
                let node = pump.leader();
                for batch in &requests {
                    let (ticket, request) = (Ticket(1), Request::Write(batch.clone()));
                    pump.give(node, Input::Request { ticket, request, proof: Bytes::new() });
                }
                pump.settle();
                assert_eq!(black_box(pump.replies(node)), burst, "not everything was decided");
                pump
            };
            bencher.iter_batched(cluster, decide, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn paxos(criterion: &mut Criterion) {
    let config = single::Config::default();
    decisions(criterion, Paxos::NAME, &config);
    let promised = single::Config { first_ballot: FirstBallot::Promised, ..config };
    decisions(criterion, "paxos-promised", &promised);
}

fn raft(criterion: &mut Criterion) {
    commits::<Raft>(criterion, &qlab_raft::Config::default(), 3);
}

criterion_group!(benches, raft, paxos);
criterion_main!(benches);
