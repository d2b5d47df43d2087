//! Is it a measurement? The doubts that a row may come with.
//!
//! In a cell with faults, what the faults did is what is measured. There, steadiness and errors are looked at before the first
//! fault, and the generator's lag at its median, as its tail is the operations that waited for a system that was gone.

use std::time::Duration;

use qlab_loadgen::recorder::{Recorder, Slice};
use qlab_report::{FaultEffect, Reason, Validity, Verdict};

use crate::effects::calm_slices;
use crate::measure::Measurement;
use crate::row::failures;

/// Share of one processor above which the generator's thread counts as the bottleneck.
const GENERATOR_CPU_SHARE_MAX: f64 = 0.9;
/// Errors and unknown outcomes per operation above which a row is suspect …
const ERROR_SHARE_SUSPECT: f64 = 0.001;
/// … and above which it is none.
const ERROR_SHARE_INVALID: f64 = 0.01;
/// Operations below which the 99th percentile rests on fewer than ten.
const SAMPLES_MIN: u64 = 1000;
/// Difference between the first and the last third of the window above which it was not steady.
const DRIFT_MAX: f64 = 0.2;
/// Share of the offered operations that must be answered in the window of an open loop.
const GOODPUT_MIN: f64 = 0.98;
/// Share of processor time that others took above which the machine counts as busy.
const STEAL_SHARE_MAX: f64 = 0.05;
/// By how much a fault may strike late.
const FAULT_LATE_NS_MAX: u64 = 100_000_000;

/// What is known of a row when it is judged.
pub struct Facts<'a> {
    /// The measurement.
    pub measured: &'a Measurement,
    /// What its faults did; empty if none was asked for.
    pub faults: &'a [FaultEffect],
    /// How long it was to be measured.
    pub measure: Duration,
    /// Whether arrivals have times of their own.
    pub is_open_loop: bool,
    /// Share of processor time that others took, if the kernel tells.
    pub steal: Option<f64>,
}

/// Whether it is a measurement, and why it is not or may not be.
pub fn validity(facts: &Facts<'_>) -> (Validity, Vec<Reason>) {
    let outcome = &facts.measured.outcome;
    let total = outcome.recorder.total();
    let failed = facts.failed_share();
    let generator_share = outcome.cpu_ns as f64 / facts.measure.as_nanos() as f64;
    let verdict = facts.measured.judgement.verdict;
    let doubts = [
        (generator_share > GENERATOR_CPU_SHARE_MAX, Reason::GeneratorBound),
        (facts.is_late(), Reason::LateSend),
        (!facts.is_steady(), Reason::NotSteady),
        (failed > ERROR_SHARE_SUSPECT, Reason::Errors),
        (total.answered < SAMPLES_MIN, Reason::LowSamples),
        (facts.steal.is_some_and(|share| share > STEAL_SHARE_MAX), Reason::MachineBusy),
        (facts.faults.iter().any(is_missed), Reason::FaultMissed),
        (matches!(verdict, Verdict::Unknown | Verdict::Unchecked), Reason::Unchecked),
    ];
    let reasons: Vec<Reason> =
        doubts.into_iter().filter_map(|(doubt, reason)| doubt.then_some(reason)).collect();
    let no_measurement = failed > ERROR_SHARE_INVALID || outcome.stopped;
    let validity = match reasons.is_empty() {
        _ if no_measurement || reasons.contains(&Reason::Unchecked) => Validity::Invalid,
        true => Validity::Valid,
        false => Validity::Suspect,
    };
    (validity, reasons)
}

impl Facts<'_> {
    fn recorder(&self) -> &Recorder {
        &self.measured.outcome.recorder
    }

    /// The slices in which nothing was to go wrong.
    fn calm(&self) -> &[Slice] {
        let slices = self.recorder().slices();
        &slices[..calm_slices(&self.measured.strikes, self.recorder()).min(slices.len())]
    }

    /// Operations without a good end per operation.
    fn failed_share(&self) -> f64 {
        let (failed, offered) = if self.faults.is_empty() {
            let total = self.recorder().total();
            (total.errors + total.unknown + total.unsent, total.offered())
        } else {
            let calm = self.calm();
            let failures = failures(&self.measured.outcome);
            let failed = failures.iter().take(calm.len()).map(|slice| slice.errors + slice.unknown).sum();
            (failed, calm.iter().map(|slice| slice.offered).sum())
        };
        failed as f64 / offered.max(1) as f64
    }

    /// Whether requests left later than they were due, through the generator's own doing.
    fn is_late(&self) -> bool {
        let total = self.recorder().total();
        let quantile = if self.faults.is_empty() { 0.99 } else { 0.5 };
        self.is_open_loop
            && total.lag.value_at_quantile(quantile) * 2 > total.response.value_at_quantile(quantile)
    }

    /// Whether throughput stayed where it was and kept up with what was offered.
    fn is_steady(&self) -> bool {
        let (completed, offered) = if self.faults.is_empty() {
            let total = self.recorder().total();
            (total.completed, total.offered())
        } else {
            let sum = |of: fn(&Slice) -> u64| self.calm().iter().map(of).sum::<u64>();
            (sum(|slice| slice.completed), sum(|slice| slice.offered))
        };
        let keeps_up = !self.is_open_loop || completed as f64 >= GOODPUT_MIN * offered as f64;
        keeps_up && drift(self.calm()) <= DRIFT_MAX
    }
}

/// By how much the last third's throughput differs from the first's, as a share of the larger.
fn drift(slices: &[Slice]) -> f64 {
    let third = slices.len() / 3;
    if third == 0 {
        return 0.0;
    }
    let sum = |slices: &[Slice]| slices.iter().map(|slice| slice.completed).sum::<u64>() as f64;
    let (first, last) = (sum(&slices[..third]), sum(&slices[slices.len() - third..]));
    (first - last).abs() / first.max(last).max(1.0)
}

fn is_missed(fault: &FaultEffect) -> bool {
    fault.at_ns.is_none_or(|at_ns| at_ns > fault.due_ns + FAULT_LATE_NS_MAX)
}
