//! Whole runs against a store inside the process.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use qlab_kernel::Request;
use qlab_loadgen::history::{End, Kind};
use qlab_loadgen::mix::Class;
use qlab_loadgen::run::{Moment, Outcome, RunError, Spec, run};
use qlab_loadgen::targets::memory::{Engine, Memory, Store};
use qlab_machines::Answers;
use tokio::sync::Notify;

fn spec(load: &str, mix: &str) -> Spec {
    Spec {
        load: load.parse().unwrap(),
        mix: mix.parse().unwrap(),
        keys: 500,
        sessions: 4,
        warmup: Duration::from_millis(50),
        measure: Duration::from_millis(200),
        cooldown: Duration::from_millis(50),
        slice: Duration::from_millis(100),
        ..Spec::default()
    }
}

fn execute(
    spec: &Spec,
    observe: impl FnMut(Moment, u64),
    stop: impl Future<Output = ()>,
) -> Result<Outcome, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(Memory::new(Store::default(), 2), spec, observe, stop))
}

#[test]
fn an_open_loop_run_offers_its_rate_and_its_history_is_complete() {
    let mut moments = Vec::new();
    let outcome =
        execute(&spec("open:20000", "a"), |moment, at_ns| moments.push((moment, at_ns)), pending()).unwrap();
    use Moment::{Connected, Drained, MeasureEnd, MeasureStart, Preloaded, Verified};
    let expected = [Connected, Preloaded, MeasureStart, MeasureEnd, Drained, Verified];
    assert_eq!(moments.iter().map(|(moment, _)| *moment).collect::<Vec<_>>(), expected);
    assert!(moments.is_sorted_by_key(|(_, at_ns)| *at_ns));

    let total = outcome.recorder.total();
    assert!((3600..4400).contains(&total.offered()), "20,000/s for 200 ms offer {}", total.offered());
    assert_eq!((total.answered, total.lag.len()), (total.offered(), total.offered()));
    assert_eq!(outcome.recorder.slices().iter().map(|slice| slice.offered).sum::<u64>(), total.offered());
    // Preload, the whole load and verification.
    assert_eq!(outcome.history.len() as u64, outcome.counters.completed);
    assert!(outcome.counters.completed > total.offered() * 5 / 4 + 1000);
    assert!(outcome.verified && !outcome.stopped && outcome.cpu_ns > 0);
}

#[test]
fn what_is_read_at_the_end_is_what_was_written_last() {
    let outcome = execute(&spec("closed:16", "f"), |_, _| {}, pending()).unwrap();
    let operations: Vec<_> = outcome.history.iter().collect();
    let (load, verification) = operations.split_at(operations.len() - 500);
    for read in verification {
        let mut writes = load.iter().rev().filter(|op| op.key == read.key && op.kind != Kind::Get);
        // One store, one thread: operations end in the order of their effects.
        let last = writes.find(|op| op.end == End::Ok).unwrap();
        assert_eq!((read.kind, read.value), (Kind::Get, last.value));
    }
    let keys: BTreeSet<_> = verification.iter().map(|op| op.key).collect();
    assert_eq!(keys.len(), 500);
    assert!(outcome.recorder.class(Class::ReadModifyWrite).answered > 100);
}

#[test]
fn a_stop_keeps_what_was_measured() {
    let spec = Spec { measure: Duration::from_secs(3600), ..spec("open:5000/constant", "0") };
    let outcome =
        execute(&spec, |_, _| {}, async { tokio::time::sleep(Duration::from_millis(250)).await }).unwrap();
    let total = outcome.recorder.total();
    let expected = outcome.recorder.window().len_ns() / 200_000;
    assert!(outcome.stopped && expected > 500);
    assert!(total.offered().abs_diff(expected) <= 1, "{} instead of {expected}", total.offered());
    assert_eq!(total.answered, total.offered());
}

/// Far below every timeout of the specification.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A store that hears some requests only.
struct HardOfHearing {
    store: Store,
    hears: fn(&Request) -> bool,
}

impl Engine for HardOfHearing {
    fn answer(&mut self, request: &Request, answers: &mut impl Answers) {
        if (self.hears)(request) {
            self.store.answer(request, answers);
        }
    }
}

fn opens_sessions(request: &Request) -> bool {
    matches!(request, Request::Write(batch) if batch.bursts().all(|burst| burst.opens_session()))
}

/// Runs against a store that hears some requests only, and stops it a little after `stop_after`, or after the start.
fn execute_and_stop(
    spec: &Spec,
    hears: fn(&Request) -> bool,
    stop_after: Option<Moment>,
) -> Result<Outcome, RunError> {
    let (signal, target) = (Notify::new(), Memory::new(HardOfHearing { store: Store::default(), hears }, 2));
    if stop_after.is_none() {
        signal.notify_one();
    }
    let observe = |moment, _| {
        if Some(moment) == stop_after {
            signal.notify_one();
        }
    };
    // An async block panics when it is polled again after it has ended.
    let stop = async {
        signal.notified().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let in_time = async { tokio::time::timeout(STOP_PATIENCE, run(target, spec, observe, stop)).await };
    runtime.block_on(in_time).expect("the stop ends the run")
}

#[test]
fn a_stop_before_the_load_leaves_no_run() {
    let spec = spec("closed:8", "0");
    let connecting = execute_and_stop(&spec, |_| false, None);
    assert!(matches!(connecting, Err(RunError::Stopped)), "{connecting:?}");
    let preloading = execute_and_stop(&spec, opens_sessions, Some(Moment::Connected));
    assert!(matches!(preloading, Err(RunError::Stopped)), "{preloading:?}");
}

#[test]
fn a_stop_during_the_load_is_not_followed_by_verification() {
    let spec = Spec { measure: Duration::from_secs(3600), ..spec("closed:8", "0") };
    let outcome = execute_and_stop(&spec, |_| true, Some(Moment::MeasureStart)).unwrap();
    assert!(outcome.stopped && !outcome.verified && outcome.recorder.total().answered > 0);
    assert!(outcome.history.iter().all(|op| op.kind == Kind::Put && op.end == End::Ok));
}

#[test]
fn a_stop_during_the_cool_down_keeps_the_window_and_skips_verification() {
    let spec = Spec { cooldown: Duration::from_secs(3600), ..spec("closed:8", "0") };
    let outcome = execute_and_stop(&spec, |_| true, Some(Moment::MeasureEnd)).unwrap();
    assert!(!outcome.stopped && !outcome.verified);
}

#[test]
fn a_stop_during_verification_keeps_the_whole_window() {
    let writes_only = |request: &Request| matches!(request, Request::Write(_));
    let outcome = execute_and_stop(&spec("closed:8", "0"), writes_only, Some(Moment::Drained)).unwrap();
    assert!(!outcome.stopped && !outcome.verified && outcome.recorder.total().answered > 0);
    let reads: Vec<_> = outcome.history.iter().filter(|op| op.kind == Kind::Get).collect();
    assert!(!reads.is_empty() && reads.iter().all(|op| op.end == End::Unknown));
}

#[test]
fn a_specification_that_cannot_be_met_says_why() {
    let message = |spec: &Spec| execute(spec, |_, _| {}, pending()).unwrap_err().to_string();
    assert!(message(&Spec { sessions: 1, ..spec("closed:1", "a") }).contains("2 connections"));
    assert!(message(&Spec { window: 1, ..spec("closed:64", "a") }).contains("closed:64"));
    assert!(message(&Spec { give_up: Duration::ZERO, ..spec("closed:1", "a") }).contains("give_up"));
}
