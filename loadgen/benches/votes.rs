//! What it costs a client to compare what four replicas answered, command by command.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::{BatchBuilder, Index, NodeId, Outcome, Request, Sequence, SessionId, Votes};

const REPLICAS: u16 = 4;
/// Commands that a burst has under load.
const COMMANDS: u64 = 64;

fn asked(session: SessionId, first: u64) -> Request {
    let mut batch = BatchBuilder::new();
    batch.begin(session, Sequence(first), Sequence(first));
    (0..COMMANDS).for_each(|_| batch.push_bytes(&[0; 8]));
    Request::Write(batch.finish())
}

fn written(session: SessionId, first: u64) -> Bytes {
    let mut answers = AnswerBuilder::new();
    answers.begin_written(session, Sequence(first), Index(first));
    (0..COMMANDS).for_each(|number| answers.push_outcome(Outcome { status: 0, number }));
    answers.finish()
}

fn votes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("votes");
    group.throughput(Throughput::Elements(COMMANDS));
    group.bench_function("writes", |bencher| {
        let session = SessionId::owned(0, 1);
        let (mut votes, mut given) = (Votes::new(REPLICAS.into(), 2), Vec::new());
        let mut first = 1;
        bencher.iter_batched(
            || {
                first += COMMANDS;
                (asked(session, first), written(session, first))
            },
            |(request, frame)| {
                votes.asked(&request);
                for from in (0..REPLICAS).map(NodeId) {
                    votes.take(from, &frame, &mut given).expect("a well-formed frame");
                }
                assert_eq!(given.len(), 1);
                given.clear();
            },
            BatchSize::NumIterations(1000),
        );
    });
    group.finish();
}

criterion_group!(benches, votes);
criterion_main!(benches);
