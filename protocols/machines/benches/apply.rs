//! What a replica pays to execute puts: 256-byte values over 10,000 keys, in batches of 64 from one session.
//!
//! One element is one put. `leader` packs the answers, `follower` does not, `machine` is the store alone and `chain` the
//! hash of the history alone: the difference between follower and the last two is the session's bookkeeping.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::{Batch, BatchBuilder, Index, Sequence, SessionId};
use qlab_machines::answers::Unheard;
use qlab_machines::{Answers, Command, Kv, Machine, Service};

const KEYS: u64 = 10_000;
const COMMANDS: u64 = 64;
const VALUE_BYTES: usize = 256;
const SESSION: SessionId = SessionId(1);

criterion_group!(benches, apply);
criterion_main!(benches);

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(COMMANDS));
    group.bench_function("leader", |bencher| {
        let (mut load, mut frames) = (Load::new(), Frames::default());
        let setup = || load.next();
        let mut service = filled();
        bencher.iter_batched(
            setup,
            |(index, batch)| {
                service.apply(index, &batch, &mut frames);
                frames.0.finish()
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("follower", |bencher| {
        let mut load = Load::new();
        let mut service = filled();
        let routine = |(index, batch)| service.apply(index, &batch, &mut Unheard);
        bencher.iter_batched(|| load.next(), routine, BatchSize::PerIteration);
    });
    group.bench_function("machine", |bencher| {
        let mut load = Load::new();
        let mut machine = filled().machine().clone();
        let routine = |(_, batch): (Index, Batch)| {
            for (_, command) in batch.bursts().flat_map(|burst| burst.commands()) {
                std::hint::black_box(machine.apply(command));
            }
        };
        bencher.iter_batched(|| load.next(), routine, BatchSize::PerIteration);
    });
    group.bench_function("chain", |bencher| {
        let mut load = Load::new();
        let mut chain = filled().chain();
        let routine = |(index, batch): (Index, Batch)| chain.extend(index, &batch);
        bencher.iter_batched(|| load.next(), routine, BatchSize::PerIteration);
    });
    group.finish();
}

/// A service after the first entries of the load, which write every key once.
fn filled() -> Service<Kv> {
    let mut service = Service::<Kv>::default();
    let mut opening = BatchBuilder::new();
    opening.begin(SESSION, Sequence::ZERO, Sequence::ZERO);
    service.apply(Index(1), &opening.finish(), &mut Unheard);
    let mut load = Load { index: Index(1), sent: 0, builder: BatchBuilder::new() };
    while service.machine().len() < KEYS as usize {
        let (index, batch) = load.next();
        service.apply(index, &batch, &mut Unheard);
    }
    service
}

/// A client that walks over all keys in strides, so that neighbours in time are strangers in memory.
struct Load {
    index: Index,
    sent: u64,
    builder: BatchBuilder,
}

impl Load {
    /// Continues where [`filled`] ends.
    fn new() -> Self {
        let entries = KEYS.div_ceil(COMMANDS);
        Self { index: Index(1 + entries), sent: entries * COMMANDS, builder: BatchBuilder::new() }
    }

    fn next(&mut self) -> (Index, Batch) {
        let first = Sequence(self.sent + 1);
        self.builder.begin(SESSION, first, first);
        for _ in 0..COMMANDS {
            let key = format!("key-{:012}", self.sent * 7919 % KEYS);
            let command = Command::Put { key: key.as_bytes(), value: &[self.sent as u8; VALUE_BYTES] };
            self.builder.push(command.encoded_len(), |bytes| command.encode(bytes));
            self.sent += 1;
        }
        self.index = self.index.next();
        (self.index, self.builder.finish())
    }
}

#[derive(Default)]
struct Frames(AnswerBuilder);

impl Answers for Frames {
    fn room(&mut self, _: SessionId, _: usize) -> Option<&mut AnswerBuilder> {
        Some(&mut self.0)
    }
}
