//! Whether replicated data types come to the same however their changes are delivered, and to what they must; and what sending and
//! merging them costs: two studies.

use std::hint::black_box;

use anyhow::Context;
use bytes::Bytes;
use qlab_gossip::history::{Delivery, History, KINDS, Value, value};
use qlab_gossip::key::Kind;
use qlab_gossip::{Actor, Life, Object, Operation};
use qlab_kernel::NodeId;
use qlab_report::study::{Findings, Payload, PayloadCost, Quartet};
use qlab_report::{Study, Verdict};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::{Progress, converged, finish};
use crate::clock::Stopwatch;
use crate::interrupt::Interrupt;

/// Replicas of an object.
const REPLICAS: usize = 8;
/// Things that happen to it: operations, merges, deliveries, losses.
const STEPS: usize = 500;
/// Histories for each world that was asked for.
const HISTORIES: u64 = 10;

/// Kinds of objects and the sizes in which their cost is measured. Of writes that each replace the other there is never more than
/// one, and side by side stand at most as many values as writers that have not heard of each other.
const SIZES: [(Kind, &[usize]); 6] = [
    (Kind::GrowSet, &[10, 1_000, 10_000]),
    (Kind::GCounter, &[10, 1_000, 10_000]),
    (Kind::PnCounter, &[10, 1_000, 10_000]),
    (Kind::LwwRegister, &[1]),
    (Kind::MvRegister, &[1, 10, 1_000]),
    (Kind::OrSet, &[10, 1_000, 10_000]),
];
/// Bytes of an element or value: those of an id.
const ELEMENT_BYTES: usize = 16;
/// Writers among whom the elements of a set are dealt.
const WRITERS: usize = 8;
/// Measurements of time.
const BATCHES: usize = 15;
/// Merges of one measurement at most.
const MERGES: usize = 1_000;
/// Elements at most of all states together that a measurement merges into.
const BATCH_ELEMENTS: usize = 200_000;

/// Makes both studies, with ten histories of each kind for each world.
pub(super) fn studies(worlds: u64, interrupt: &Interrupt) -> anyhow::Result<Vec<Study>> {
    let sizes: usize = SIZES.iter().map(|(_, sizes)| sizes.len()).sum();
    let progress = Progress::new(KINDS.len() * worlds as usize + sizes, interrupt)?;
    let payloads = finish(|| payloads(worlds, &progress).map(Findings::Payloads))?;
    let costs = finish(|| costs(&progress).map(Findings::PayloadCosts))?;
    Ok(vec![payloads, costs])
}

fn payloads(worlds: u64, progress: &Progress<'_>) -> anyhow::Result<Vec<Payload>> {
    let mut rows = Vec::new();
    for kind in KINDS {
        let mut tally = Tally::default();
        for world in 0..worlds {
            for seed in world * HISTORIES..(world + 1) * HISTORIES {
                tally.add(&history(kind, seed), &mut Pcg32::new(seed, 2));
            }
            progress.step()?;
        }
        rows.push(tally.row(kind));
    }
    Ok(rows)
}

fn costs(progress: &Progress<'_>) -> anyhow::Result<Vec<PayloadCost>> {
    let mut rows = Vec::new();
    for (kind, sizes) in SIZES {
        for size in sizes {
            rows.push(cost(kind, *size)?);
            progress.step()?;
        }
    }
    Ok(rows)
}

fn history(kind: Kind, seed: u64) -> History {
    History::drawn(kind, REPLICAS, STEPS, &mut Pcg32::new(seed, 1))
}

/// What histories of one kind came to.
#[derive(Debug, Default)]
struct Tally {
    histories: u64,
    operations: u64,
    restarts: u64,
    deliveries: u64,
    differing: u64,
    values: u64,
    wrong_values: u64,
}

impl Tally {
    /// Delivers a history in every way, and judges what came of it.
    fn add(&mut self, history: &History, chance: &mut Pcg32) {
        self.histories += 1;
        self.operations += history.events.len() as u64;
        self.restarts += history.ended.len() as u64;
        let delivered = Delivery::ALL.map(|delivery| history.delivered(delivery, chance));
        let first = delivered[0].encode();
        self.deliveries += delivered.len() as u64;
        self.differing += delivered.iter().filter(|state| state.encode() != first).count() as u64;
        let everything = history.specification(&(0..history.events.len()).collect());
        delivered.iter().for_each(|state| self.compare(state, &everything));
        for replica in &history.replicas {
            self.compare(&replica.state, &history.specification(&replica.visible));
        }
    }

    fn compare(&mut self, state: &Object, specified: &Value) {
        self.values += 1;
        self.wrong_values += u64::from(value(state) != *specified);
    }

    fn row(&self, kind: Kind) -> Payload {
        let mut row = Payload {
            kind: name(kind).to_owned(),
            replicas: REPLICAS as u64,
            histories: self.histories,
            operations: self.operations,
            restarts: self.restarts,
            deliveries: self.deliveries,
            differing: self.differing,
            values: self.values,
            wrong_values: self.wrong_values,
            verdict: Verdict::Unchecked,
        };
        row.verdict = row.judged();
        row
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Own => "own",
        Kind::GrowSet => "grow-set",
        Kind::GCounter => "g-counter",
        Kind::PnCounter => "pn-counter",
        Kind::LwwRegister => "lww-register",
        Kind::MvRegister => "mv-register",
        Kind::OrSet => "or-set",
    }
}

fn cost(kind: Kind, size: usize) -> anyhow::Result<PayloadCost> {
    let specimens = Specimens::new(kind, size);
    let Specimens { ours, theirs, next } = &specimens;
    let delta_bytes = next.iter().flatten().map(|delta| delta.encode().len() as f64).collect();
    let states = vec![std::slice::from_ref(theirs); MERGES.min(BATCH_ELEMENTS / size)];
    let deltas: Vec<&[Object]> = next.iter().map(Vec::as_slice).collect();
    let [merge_delta_ns, merge_state_ns] =
        [deltas, states].map(|others| (0..BATCHES).map(|_| merge_ns(ours, &others)).collect());
    let quartet = |values: Vec<f64>| Quartet::of(values).context("there is at least one batch");
    Ok(PayloadCost {
        kind: name(kind).to_owned(),
        elements: size as u64,
        element_bytes: if is_counter(kind) { 0 } else { ELEMENT_BYTES as u64 },
        delta_bytes: quartet(delta_bytes)?,
        state_bytes: ours.encode().len() as u64,
        merge_delta_ns: quartet(merge_delta_ns)?,
        merge_state_ns: quartet(merge_state_ns)?,
        verdict: converged(specimens.converge(kind, size)),
    })
}

/// What one merge takes: each row in turn into a copy of the state of its own, since that is changed by it.
fn merge_ns(state: &Object, rows: &[&[Object]]) -> f64 {
    let mut copies = vec![state.clone(); rows.len()];
    let watch = Stopwatch::start();
    for (copy, row) in copies.iter_mut().zip(rows) {
        row.iter().for_each(|other| copy.merge(other));
    }
    let elapsed = watch.elapsed();
    black_box(copies);
    elapsed.as_nanos() as f64 / rows.iter().map(|row| row.len()).sum::<usize>() as f64
}

/// Two states of one size that went different ways after half of it, and what was done next.
struct Specimens {
    ours: Object,
    theirs: Object,
    /// Deltas, a row for each of some replicas that hold the first state and then operate, never so often that its size changes much.
    next: Vec<Vec<Object>>,
}

impl Specimens {
    fn new(kind: Kind, size: usize) -> Self {
        let mut ours = bottom(kind);
        (0..size / 2).for_each(|at| grow(&mut ours, kind, at, actor(kind, at, 0)));
        let mut theirs = ours.clone();
        (size / 2..size).for_each(|at| grow(&mut ours, kind, at, actor(kind, at, 0)));
        (size..items(size)).for_each(|at| grow(&mut theirs, kind, at, actor(kind, at, 1)));
        let mut chance = Pcg32::seed_from_u64(size as u64);
        let operations = match kind {
            // One write is enough to replace all values.
            Kind::LwwRegister | Kind::MvRegister => 1,
            _ => size.div_ceil(10),
        };
        let replicas = (MERGES / operations).min(BATCH_ELEMENTS / size);
        let next = (0..replicas).map(|_| deltas_after(&ours, kind, (size, operations), &mut chance));
        Self { next: next.collect(), ours, theirs }
    }

    /// Whether both ways to merge them come to the same bytes, and to the right value.
    fn converge(&self, kind: Kind, size: usize) -> bool {
        let merged = |into: &Object, from: &Object| {
            let mut into = into.clone();
            into.merge(from);
            into
        };
        let both = merged(&self.ours, &self.theirs);
        let items = items(size);
        let expected = match kind {
            _ if is_counter(kind) => Value::Sum(items as i128),
            // The last write wins, and both came last: the larger writer's.
            Kind::LwwRegister => Value::Elements([element(items - 1)].into()),
            _ => Value::Elements((0..items).map(element).collect()),
        };
        both.encode() == merged(&self.theirs, &self.ours).encode() && value(&both) == expected
    }
}

/// The deltas of so many operations, one after the other, on a state of that size.
fn deltas_after(
    state: &Object,
    kind: Kind,
    (size, operations): (usize, usize),
    chance: &mut Pcg32,
) -> Vec<Object> {
    let mut state = state.clone();
    let operate = |_| {
        let at = chance.random_range(0..size);
        let delta = state.operate(actor(kind, at, 0), draw_operation(kind, at, chance));
        state.merge(&delta);
        delta
    };
    (0..operations).map(operate).collect()
}

/// Items of two states of a size together, half of which they share.
const fn items(size: usize) -> usize {
    size + size - size / 2
}

const fn is_counter(kind: Kind) -> bool {
    matches!(kind, Kind::GCounter | Kind::PnCounter)
}

fn bottom(kind: Kind) -> Object {
    Object::bottom(kind).expect("own entries have no size")
}

/// Puts its `at`-th item into a state.
fn grow(state: &mut Object, kind: Kind, at: usize, actor: Actor) {
    let operation = match kind {
        Kind::Own => unreachable!("own entries are no objects"),
        Kind::GrowSet => Operation::Grow(element(at)),
        Kind::GCounter => Operation::Count(1),
        Kind::PnCounter => Operation::Increment(1),
        Kind::LwwRegister => Operation::WriteLast { time: 1, value: element(at) },
        Kind::MvRegister => Operation::Write(element(at)),
        Kind::OrSet => Operation::Add(element(at)),
    };
    let delta = match kind {
        // Nobody has heard of the others, so that all values stand side by side.
        Kind::MvRegister => bottom(kind).operate(actor, operation),
        _ => state.operate(actor, operation),
    };
    state.merge(&delta);
}

/// An operation on what is there: as often as in histories, a set loses something.
fn draw_operation(kind: Kind, at: usize, chance: &mut Pcg32) -> Operation {
    let fresh = Bytes::copy_from_slice(&chance.random::<[u8; ELEMENT_BYTES]>());
    match (kind, chance.random_range(0..5) < 3) {
        (Kind::Own, _) => unreachable!("own entries are no objects"),
        (Kind::GrowSet, _) => Operation::Grow(fresh),
        (Kind::GCounter, _) => Operation::Count(1),
        (Kind::PnCounter, true) => Operation::Increment(1),
        (Kind::PnCounter, false) => Operation::Decrement(1),
        (Kind::LwwRegister, _) => Operation::WriteLast { time: 1, value: fresh },
        (Kind::MvRegister, _) => Operation::Write(fresh),
        (Kind::OrSet, true) => Operation::Add(fresh),
        (Kind::OrSet, false) => Operation::Remove(element(at)),
    }
}

/// Who puts in an item: the elements of a set come from a few writers on each side, but counters have an item for each writer, and
/// so have values side by side.
fn actor(kind: Kind, at: usize, side: usize) -> Actor {
    let node = match kind {
        Kind::GrowSet | Kind::OrSet => side * WRITERS + at % WRITERS,
        _ => at,
    };
    Actor { node: NodeId(node as u16), life: Life::FIRST }
}

/// The `at`-th element. Neighbours lie far apart in the order of a set: what comes does not always belong at its end.
fn element(at: usize) -> Bytes {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bytes = [0; ELEMENT_BYTES];
    bytes[..8].copy_from_slice(&(at as u64).wrapping_mul(ODD).to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(history: &History) -> Payload {
        let mut tally = Tally::default();
        tally.add(history, &mut Pcg32::new(1, 2));
        tally.row(history.kind)
    }

    #[test]
    fn every_kind_converges_to_what_its_operations_say() {
        for kind in KINDS {
            let row = tally(&history(kind, 1));
            assert_eq!((row.verdict, row.deliveries, row.values), (Verdict::Converged, 4, 12), "{row:?}");
            assert!(row.operations > 150 && row.restarts > 10, "{row:?}");
        }
    }

    #[test]
    fn deltas_that_forget_their_operations_are_found_out() {
        for kind in KINDS {
            let mut history = history(kind, 1);
            // States hold what was done, but nothing of it reaches anybody else.
            history.events.iter_mut().for_each(|event| event.delta = bottom(kind));
            let row = tally(&history);
            assert!(row.verdict == Verdict::Violated && row.differing > 0 && row.wrong_values > 0, "{row:?}");
        }
    }

    #[test]
    fn a_value_that_no_operation_explains_is_found_out() {
        let mut history = history(Kind::PnCounter, 1);
        history.events[0].operation = Operation::Increment(1_000);
        let row = tally(&history);
        assert!(row.differing == 0 && row.wrong_values >= 4 && row.verdict == Verdict::Violated, "{row:?}");
    }

    #[test]
    fn states_have_their_size_and_deltas_are_small() {
        for (kind, sizes) in SIZES {
            let size = sizes[sizes.len() / 2].min(100);
            let row = cost(kind, size).unwrap();
            assert_eq!((row.verdict, row.elements), (Verdict::Converged, size as u64), "{row:?}");
            assert!(size < 100 || row.delta_bytes.p50 < row.state_bytes as f64 / 10.0, "{row:?}");
        }
    }
}
