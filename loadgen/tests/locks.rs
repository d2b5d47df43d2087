//! Whole runs against a lock service inside the process.

use std::collections::BTreeMap;
use std::future::pending;
use std::num::NonZeroU64;
use std::time::Duration;

use qlab_kernel::{Batch, Index, Request, Time};
use qlab_loadgen::clock::monotonic_ns;
use qlab_loadgen::history::{End, Kind, Operation};
use qlab_loadgen::mix::Class;
use qlab_loadgen::run::{Outcome, RunError, Spec, run};
use qlab_loadgen::targets::memory::{Engine, Memory};
use qlab_loadgen::workload::{LockLoad, Workload};
use qlab_machines::answers::Unheard;
use qlab_machines::lock::Metronome;
use qlab_machines::{Answers, Locks, Service};

/// A lock service alone, whose time passes whenever it is asked.
#[derive(Default)]
struct Keeper {
    service: Service<Locks>,
    metronome: Metronome,
    last: Index,
}

impl Keeper {
    fn apply(&mut self, batch: &Batch, answers: &mut impl Answers) {
        self.last = self.last.next();
        self.service.apply(self.last, batch, answers);
        self.metronome.hear(self.service.machine().ticks(), Time(monotonic_ns()));
    }
}

impl Engine for Keeper {
    fn answer(&mut self, request: &Request, answers: &mut impl Answers) {
        if let Some(tick) = self.metronome.propose(Time(monotonic_ns())) {
            self.apply(&tick, &mut Unheard);
        }
        match request {
            Request::Write(batch) => self.apply(batch, answers),
            Request::Read(batch) => self.service.query(batch, answers),
        }
    }
}

fn execute(lease: Duration, deaths_every: Option<u64>, measure: Duration) -> Result<Outcome, RunError> {
    let spec = Spec {
        workload: Workload::Locks(LockLoad { lease, deaths_every: deaths_every.and_then(NonZeroU64::new) }),
        load: "closed:16".parse().unwrap(),
        keys: 4,
        sessions: 4,
        preload: false,
        verify: false,
        warmup: Duration::from_millis(50),
        measure,
        cooldown: Duration::from_millis(50),
        slice: Duration::from_millis(100),
        ..Spec::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(Memory::new(Keeper::default(), 1), &spec, |_, _| {}, pending()))
}

/// The acquisitions of each lock, by token.
fn by_lock(outcome: &Outcome) -> BTreeMap<u32, Vec<Operation>> {
    let mut locks = BTreeMap::<u32, Vec<Operation>>::new();
    for operation in outcome.history.iter() {
        assert_eq!((operation.kind, operation.end), (Kind::Acquire, End::Ok));
        locks.entry(operation.key).or_default().push(*operation);
    }
    locks.values_mut().for_each(|acquired| acquired.sort_by_key(|operation| operation.value));
    locks
}

#[test]
fn whoever_waits_gets_its_lock_when_the_one_before_has_left_it() {
    let outcome = execute(Duration::from_secs(10), None, Duration::from_millis(200)).unwrap();
    let locks = by_lock(&outcome);
    assert_eq!(locks.len(), 4);
    for acquired in locks.values() {
        assert!(acquired.windows(2).all(|pair| pair[0].value < pair[1].value), "no token is given twice");
        assert!(acquired.windows(2).all(|pair| pair[0].expected <= pair[1].completed_ns));
    }
    let record = outcome.recorder.class(Class::Lock);
    assert!(record.answered > 100 && record.mismatched == 0, "{record:?}");
    assert_eq!((outcome.counters.errors, outcome.counters.unknown), (0, 0));
    let hand_overs = outcome.recorder.hand_overs();
    assert!(hand_overs.hand_off.len() > 50 && hand_overs.freed.is_empty());
}

#[test]
fn a_dead_holder_is_outlived_by_those_who_wait_and_by_nobody_sooner() {
    let lease = Duration::from_millis(60);
    let outcome = execute(lease, Some(100), Duration::from_secs(2)).unwrap();
    for acquired in by_lock(&outcome).values() {
        assert!(acquired.windows(2).all(|pair| pair[0].expected <= pair[1].completed_ns));
    }
    let freed = &outcome.recorder.hand_overs().freed;
    assert!(freed.len() > 4, "{} locks were freed", freed.len());
    // A third of its lease may have passed when a holder dies.
    assert!(freed.min() > 35_000_000, "freed after {} ns", freed.min());
    assert!(freed.value_at_quantile(0.5) < 1_000_000_000);
}

#[test]
fn locks_are_neither_written_nor_read() {
    let load = LockLoad { lease: Duration::from_secs(1), deaths_every: None };
    let spec = Spec { workload: Workload::Locks(load), ..Spec::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(run(Memory::new(Keeper::default(), 1), &spec, |_, _| {}, pending()));
    assert!(matches!(refused, Err(RunError::Spec(why)) if why.contains("neither written")));
}
