//! After warm-up a step allocates nothing, and packing an entry at most once.

mod unsafe_counting_allocator;

use bytes::Bytes;
use qlab_kernel::{Batch, BatchBuilder, Input, Request, Sequence, SessionId, Ticket};
use qlab_raft::{Config, Raft};
use qlab_simulator::Pump;
use unsafe_counting_allocator::{Counting, allocations};

#[global_allocator]
static COUNTING: Counting = Counting;

const BATCHES: u64 = 1000;

fn requests(count: u64) -> Vec<Batch> {
    let mut builder = BatchBuilder::new();
    let batch = |sequence| {
        builder.begin(SessionId(1), Sequence(sequence), Sequence(1));
        builder.push_bytes(&[7; 64]);
        builder.finish()
    };
    (1..=count).map(batch).collect()
}

/// Allocations of [`BATCHES`] bursts through three replicas, none of which makes an image meanwhile.
fn allocations_of(burst: u64) -> u64 {
    let requests = requests(burst);
    let entry_bytes = requests.iter().map(Batch::len).sum::<usize>();
    // An image after every four thousand entries: the logs have reached their size after a few.
    let config =
        Config { snapshot_log_bytes: 4000 * entry_bytes, retained_log_bytes: 0, ..Config::default() };
    let mut pump = Pump::<Raft>::new(3, &config);
    let mut round = || {
        for batch in &requests {
            let request = Request::Write(batch.clone());
            pump.give(pump.leader(), Input::Request { ticket: Ticket(1), request, proof: Bytes::new() });
        }
        pump.settle();
    };
    (0..12_100).for_each(|_| round());
    let before = allocations();
    (0..BATCHES).for_each(|_| round());
    allocations() - before
}

#[test]
fn steps_allocate_nothing_and_batches_at_most_once_after_warm_up() {
    // One test, as the count is the process's.
    assert_eq!(allocations_of(1), 0, "a single request is shared, not packed");
    let packed = allocations_of(64);
    assert!(packed <= BATCHES, "{packed} allocations for {BATCHES} batches");
}
