//! Whether vector clocks tell exactly what happened before what, whether Lamport's and hybrid times respect it, and what that costs.

use std::hint::black_box;

use anyhow::Context;
use qlab_clocks::VectorClock;
use qlab_kernel::Wire;
use qlab_report::study::{Asked, Causality, Findings, LogicalClocks, Quartet, Tail};
use qlab_report::{Study, Verdict};
use qlab_simulator::causality::{
    DUPLICATE_PERCENT, Execution, FLIGHT, Hybrid, LOSS_PERCENT, Lamport, SKEW_MAX, Truth,
};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::{Progress, finish};
use crate::clock::Stopwatch;
use crate::interrupt::Interrupt;

/// Processes, half a power of ten apart.
const PROCESSES: [u16; 6] = [3, 10, 32, 100, 316, 1_000];
/// Of how many processes the control is made.
const CONTROL_PROCESSES: u16 = 32;
/// Events of each process, on average: enough for everybody to have heard of everybody long before the end.
const EVENTS_EACH: usize = 64;
/// Events of an execution at least.
const EVENTS_MIN: usize = SAMPLE;
/// Events of an execution that are held against each other.
const SAMPLE: usize = 1_024;
/// Measurements of time in each execution.
const BATCHES: usize = 5;
/// Comparisons of one measurement; it has as many merges as there are clocks in the sample.
const COMPARED: usize = 4_096;

/// Makes the study, with so many executions of each size.
pub(super) fn study(worlds: u64, interrupt: &Interrupt) -> anyhow::Result<Study> {
    let progress = Progress::new(PROCESSES.len() * worlds as usize, interrupt)?;
    finish(|| {
        let mut rows = Vec::new();
        for processes in PROCESSES {
            let mut tally = Tally::default();
            for seed in 0..worlds {
                tally.add(processes, seed);
                progress.step()?;
            }
            rows.push(tally.clocks(processes, worlds)?);
            if processes == CONTROL_PROCESSES {
                rows.push(tally.control(processes, worlds));
            }
        }
        Ok(Findings::Causality(rows))
    })
}

/// What executions of one size came to.
#[derive(Debug, Default)]
struct Tally {
    events: usize,
    sampled: usize,
    pairs: u64,
    concurrent: u64,
    vector_wrong: u64,
    lamport_misordered: u64,
    hybrid_misordered: u64,
    physical_misordered: u64,
    hybrid_behind: u64,
    hybrid_ahead_ns_max: u64,
    hybrid_counter_max: u32,
    encoded_bytes: Vec<u64>,
    compare_ns: Vec<f64>,
    merge_ns: Vec<f64>,
}

impl Tally {
    /// Runs one execution, and judges what clocks say of it.
    fn add(&mut self, processes: u16, seed: u64) {
        self.events = EVENTS_MIN.max(EVENTS_EACH * usize::from(processes));
        let execution = Execution::run(processes, self.events, seed);
        let sample = execution.sample(SAMPLE, seed);
        self.sampled = sample.len();
        let truth = Truth::of(&execution, &sample);
        self.judge_vectors(&execution.clocks(VectorClock::new(), &sample), &truth, seed);
        self.judge_times(&execution, &sample, &truth);
        self.watch_hybrid(&execution);
    }

    fn judge_vectors(&mut self, clocks: &[VectorClock], truth: &Truth, seed: u64) {
        let judgement = truth.judge(|a, b| clocks[a].compare(&clocks[b]));
        self.pairs += judgement.pairs;
        self.concurrent += judgement.concurrent;
        self.vector_wrong += judgement.wrong;
        self.encoded_bytes.extend(clocks.iter().map(encoded_bytes));
        let mut chance = Pcg32::seed_from_u64(seed);
        for _ in 0..BATCHES {
            self.compare_ns.push(compare_ns(clocks, &mut chance));
            self.merge_ns.push(merge_ns(clocks, &mut chance));
        }
    }

    fn judge_times(&mut self, execution: &Execution, sample: &[usize], truth: &Truth) {
        let lamport = execution.clocks(Lamport::default(), sample);
        let hybrid = execution.clocks(Hybrid::default(), sample);
        let physical = sample.iter().map(|event| execution.events()[*event].physical_ns);
        self.lamport_misordered += truth.misordered(&lamport.iter().map(|c| c.time).collect::<Vec<_>>());
        self.hybrid_misordered += truth.misordered(&hybrid.iter().map(|c| c.time).collect::<Vec<_>>());
        self.physical_misordered += truth.misordered(&physical.collect::<Vec<_>>());
    }

    /// Holds the hybrid time of every event, not of the sample alone, against the physical one.
    fn watch_hybrid(&mut self, execution: &Execution) {
        execution.drive(Hybrid::default(), |number, clock| {
            let physical_ns = execution.events()[number].physical_ns;
            match clock.time.physical_ns.checked_sub(physical_ns) {
                Some(ahead_ns) => self.hybrid_ahead_ns_max = self.hybrid_ahead_ns_max.max(ahead_ns),
                None => self.hybrid_behind += 1,
            }
            self.hybrid_counter_max = self.hybrid_counter_max.max(clock.time.counter);
        });
    }

    fn clocks(&self, processes: u16, worlds: u64) -> anyhow::Result<Causality> {
        let none = "there is at least one execution";
        let clocks = LogicalClocks {
            vector_wrong: self.vector_wrong,
            lamport_misordered: self.lamport_misordered,
            hybrid_misordered: self.hybrid_misordered,
            hybrid_behind: self.hybrid_behind,
            hybrid_ahead_ns_max: self.hybrid_ahead_ns_max,
            hybrid_counter_max: self.hybrid_counter_max.into(),
            encoded_bytes: Tail::of(self.encoded_bytes.clone()).context(none)?,
            plain_bytes: 8 * u64::from(processes),
            compare_ns: Quartet::of(self.compare_ns.clone()).context(none)?,
            merge_ns: Quartet::of(self.merge_ns.clone()).context(none)?,
        };
        let asked = Asked::Logical(Box::new(clocks));
        Ok(self.row("clocks", processes, worlds, asked, Verdict::Causal))
    }

    /// The same executions, as if physical time told the order.
    fn control(&self, processes: u16, worlds: u64) -> Causality {
        let asked = Asked::Physical { misordered: self.physical_misordered };
        self.row("control-physical-time", processes, worlds, asked, Verdict::Violated)
    }

    fn row(&self, cell: &str, processes: u16, worlds: u64, asked: Asked, expected: Verdict) -> Causality {
        let mut row = Causality {
            cell: cell.to_owned(),
            processes: processes.into(),
            worlds,
            events: self.events as u64,
            sampled: self.sampled as u64,
            pairs: self.pairs,
            concurrent: self.concurrent,
            loss_percent: LOSS_PERCENT.into(),
            duplicate_percent: DUPLICATE_PERCENT.into(),
            flight_us: FLIGHT.map(|flight| flight.as_micros() as u64),
            skew_us: SKEW_MAX.as_micros() as u64,
            asked,
            expected,
            verdict: Verdict::Unchecked,
        };
        row.verdict = row.judged();
        row
    }
}

fn encoded_bytes(clock: &VectorClock) -> u64 {
    let mut bytes = Vec::new();
    clock.encode(&mut bytes);
    bytes.len() as u64
}

/// What one comparison takes, of pairs all over the sample.
fn compare_ns(clocks: &[VectorClock], chance: &mut Pcg32) -> f64 {
    let pairs: Vec<[usize; 2]> =
        (0..COMPARED).map(|_| [0; 2].map(|_| chance.random_range(0..clocks.len()))).collect();
    let watch = Stopwatch::start();
    for &[a, b] in &pairs {
        black_box(clocks[a].compare(&clocks[b]));
    }
    watch.elapsed().as_nanos() as f64 / COMPARED as f64
}

/// What one merge takes, of a clock all over the sample into a copy of another: into each copy one, since it is changed by that.
fn merge_ns(clocks: &[VectorClock], chance: &mut Pcg32) -> f64 {
    let mut copies = clocks.to_vec();
    let mut order: Vec<usize> = (0..clocks.len()).collect();
    order.shuffle(chance);
    let pairs: Vec<(usize, usize)> =
        order.into_iter().map(|into| (into, chance.random_range(0..clocks.len()))).collect();
    let watch = Stopwatch::start();
    for &(into, from) in &pairs {
        copies[into].merge(&clocks[from]);
    }
    let elapsed = watch.elapsed();
    black_box(copies);
    elapsed.as_nanos() as f64 / pairs.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_right_where_physical_time_is_not() {
        let mut tally = Tally::default();
        (0..2).for_each(|seed| tally.add(10, seed));
        let clocks = tally.clocks(10, 2).unwrap();
        assert_eq!((clocks.verdict, clocks.expected), (Verdict::Causal, Verdict::Causal), "{clocks:?}");
        assert_eq!((clocks.events, clocks.pairs), (1_024, 2 * 1_024 * 1_024));
        let Asked::Logical(found) = &clocks.asked else { panic!("{clocks:?}") };
        assert!(found.encoded_bytes.p50 < found.plain_bytes && found.compare_ns.p50 > 0.0, "{found:?}");
        assert!(found.hybrid_ahead_ns_max > 0 && found.hybrid_counter_max > 0, "{found:?}");
        let control = tally.control(10, 2);
        assert_eq!((control.verdict, control.expected), (Verdict::Violated, Verdict::Violated));
    }

    #[test]
    fn clocks_that_are_not_of_these_events_are_found_out() {
        let execution = Execution::run(10, 1_024, 1);
        let sample = execution.sample(100, 1);
        let mut clocks = execution.clocks(VectorClock::new(), &sample);
        clocks.swap(3, 60);
        let mut tally = Tally::default();
        tally.judge_vectors(&clocks, &Truth::of(&execution, &sample), 1);
        assert!(tally.vector_wrong > 0);
    }
}
