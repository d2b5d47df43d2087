//! What the cores cost by themselves: replicas pumped in one thread, memory only, commands of 64 bytes.

use std::hint::black_box;
use std::ops::Range;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use qlab_kernel::{Batch, BatchBuilder, Command, Input, Protocol, Request, Sequence, SessionId, Ticket};
use qlab_paxos::single::{self, FirstBallot};
use qlab_paxos::{MultiPaxos, Paxos, multi};
use qlab_pbft::{Authentication, Keyring, Pbft};
use qlab_raft::Raft;
use qlab_simulator::Pump;

const COMMAND_BYTES: usize = 64;
const BURSTS: [u64; 5] = [1, 16, 256, 1024, 4096];

/// Every command is a request of its own: packing them is part of what is measured.
fn requests<M>(sequences: Range<u64>, prove: impl Fn(&Request) -> Bytes) -> Vec<Input<M>> {
    let mut builder = BatchBuilder::new();
    sequences
        .map(|sequence| {
            builder.begin(SessionId(1), Sequence(sequence), Sequence(1));
            builder.push_bytes(&[7; COMMAND_BYTES]);
            let request = Request::Write(builder.finish());
            let proof = prove(&request);
            Input::Request { ticket: Ticket(1), request, proof }
        })
        .collect()
}

fn commits<P: Protocol>(
    criterion: &mut Criterion,
    config: &P::Config,
    nodes: usize,
    prove: impl Fn(&Request) -> Bytes,
) {
    let mut group = criterion.benchmark_group(format!("commits/{}", P::NAME));
    for burst in BURSTS {
        let mut pump = Pump::<P>::new(nodes, config);
        let leader = pump.leader();
        let mut next = 1;
        group.throughput(Throughput::Elements(burst));
        group.bench_function(BenchmarkId::from_parameter(burst), |bencher| {
            // New ones each time: what was executed a moment ago may not be taken again.
            let ask = || {
                next += burst;
                requests(next - burst..next, &prove)
            };
            let commit = |requests: Vec<Input<P::Message>>| {
                requests.into_iter().for_each(|request| pump.give(leader, request));
                let before = pump.applied(leader);
                pump.settle();
                assert!(black_box(pump.applied(leader)) > before, "nothing was committed");
            };
            bencher.iter_batched(ask, commit, BatchSize::LargeInput);
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

fn logs(criterion: &mut Criterion) {
    commits::<Raft>(criterion, &qlab_raft::Config::default(), 3, |_| Bytes::new());
    commits::<MultiPaxos>(criterion, &multi::Config::default(), 3, |_| Bytes::new());
    // With keys that cost next to nothing: what agreement itself costs. The example `commits_per_second` of its crate has both.
    let keys = Keyring::simulated(4, 1, 1);
    let prover = keys.prover(0, Authentication::Macs);
    commits::<Pbft>(criterion, &qlab_pbft::Config::new(keys), 4, |request| prover.prove(request));
}

criterion_group!(benches, logs, paxos);
criterion_main!(benches);
