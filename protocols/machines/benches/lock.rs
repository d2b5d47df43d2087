//! What a replica pays to execute lock commands, encoded as they come from the log.
//!
//! One element is one grant and what it takes to give it back. `uncontended`: each of 64 owners takes a lock of its own among
//! 10,000 and releases it. `contended`: 64 owners queue for one lock, exclusively; whoever holds it releases it, which hands it
//! to the next, and queues again. `shared`: the same 64 share it. `crossing`: 64 owners take two of eight locks in either
//! order, under each policy; victims restart and are counted as elements, too. `tick`: one tick over 4,096 owners.

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use qlab_kernel::Outcome;
use qlab_machines::lock::{self, Command, LockId, Mode, OWNERS_MAX, OwnerId, Policy, Token};
use qlab_machines::{Locks, Machine};

const OWNERS: u64 = 64;
const LOCKS: u64 = 10_000;
const CROSSED: u64 = 8;

criterion_group!(benches, lock);
criterion_main!(benches);

fn lock(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lock");
    group.throughput(Throughput::Elements(OWNERS));
    uncontended(&mut group);
    contended(&mut group);
    shared(&mut group);
    for policy in [Policy::Detect, Policy::WaitDie, Policy::WoundWait] {
        crossing(&mut group, policy);
    }
    group.throughput(Throughput::Elements(1));
    tick(&mut group);
    group.finish();
}

fn uncontended(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (mut desk, mut next) = (Desk::open(Policy::Detect, OWNERS), 0);
    group.bench_function("uncontended", |bencher| {
        bencher.iter(|| {
            for owner in owners() {
                // In strides, so that neighbours in time are strangers in memory.
                next = (next + 7919) % LOCKS;
                let token = desk.acquire(owner, LockId(next), Mode::Exclusive).number;
                desk.release(owner, LockId(next), Token(token));
            }
        });
    });
}

fn contended(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (mut desk, lock) = (Desk::open(Policy::Detect, OWNERS), LockId(1));
    for owner in owners() {
        desk.acquire(owner, lock, Mode::Exclusive);
    }
    group.bench_function("contended", |bencher| {
        bencher.iter(|| {
            for owner in owners() {
                let token = desk.token(lock);
                assert_eq!(desk.release(owner, lock, token).status, lock::RELEASED);
                desk.acquire(owner, lock, Mode::Exclusive);
            }
        });
    });
}

fn shared(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut desk = Desk::open(Policy::Detect, OWNERS);
    group.bench_function("shared", |bencher| {
        bencher.iter(|| {
            for owner in owners() {
                desk.acquire(owner, LockId(1), Mode::Shared);
            }
            for owner in owners() {
                let token = desk.token(LockId(1));
                desk.release(owner, LockId(1), token);
            }
        });
    });
}

/// Neighbours take the same two locks, one in the other's order, and no two owners are served before all have asked.
fn crossing(group: &mut BenchmarkGroup<'_, WallTime>, policy: Policy) {
    let mut desk = Desk::open(policy, OWNERS);
    group.bench_function(format!("crossing/{policy:?}"), |bencher| {
        bencher.iter(|| {
            for second in [false, true] {
                for owner in owners() {
                    let pair = owner.0 / 2 % CROSSED;
                    let reversed = owner.0 % 2 == 1;
                    let at = if second == reversed { pair } else { (pair + 1) % CROSSED };
                    desk.acquire(owner, LockId(at), Mode::Exclusive);
                }
            }
            for owner in owners() {
                desk.run(Command::Restart { owner });
            }
        });
    });
}

fn tick(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut desk = Desk::open(Policy::Detect, OWNERS_MAX as u64);
    group.bench_function("tick", |bencher| {
        bencher.iter(|| desk.run(Command::Tick { after: desk.locks.ticks(), elapsed_ns: 0 }));
    });
}

fn owners() -> impl Iterator<Item = OwnerId> {
    (1..=OWNERS).map(OwnerId)
}

/// A service, and commands to it as bytes.
struct Desk {
    locks: Locks,
    command: Vec<u8>,
}

impl Desk {
    fn open(policy: Policy, owners: u64) -> Self {
        let mut desk = Self { locks: Locks::default(), command: Vec::new() };
        desk.run(Command::Policy(policy));
        for _ in 0..owners {
            desk.run(Command::Open { ttl_ns: 1_000_000_000 });
        }
        desk
    }

    fn run(&mut self, command: Command<'_>) -> Outcome {
        self.command.clear();
        command.encode(&mut self.command);
        self.locks.apply(&self.command)
    }

    fn acquire(&mut self, owner: OwnerId, lock: LockId, mode: Mode) -> Outcome {
        self.run(Command::Acquire { owner, lock, mode })
    }

    fn release(&mut self, owner: OwnerId, lock: LockId, token: Token) -> Outcome {
        self.run(Command::Release { owner, lock, token })
    }

    /// That of whoever has held a lock for longest.
    fn token(&self, lock: LockId) -> Token {
        self.locks.lock(lock).expect("it is held").holders()[0].token
    }
}
