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

#[cfg(test)]
mod tests {
    use qlab_loadgen::driver::Counters;
    use qlab_loadgen::history::{End, History, Kind, Operation};
    use qlab_loadgen::mix::Class;
    use qlab_loadgen::recorder::{Times, Window};
    use qlab_loadgen::run::Outcome;
    use qlab_report::Freshness;

    use super::*;
    use crate::effects::effects;
    use crate::nemesis::Strike;
    use crate::plan::Schedule;
    use crate::verdict::Judgement;

    const SLICE_NS: u64 = 100_000_000;

    /// Operations that were meant to start in each slice, and how many of them were answered there at once; the rest were answered
    /// at the end. A fault strikes after the sixth slice, this late, or never.
    fn measured(slices: &[(u64, u64)], strike_late_ns: Option<Option<u64>>) -> Measurement {
        let window = Window { start_ns: 0, end_ns: slices.len() as u64 * SLICE_NS };
        let mut recorder = Recorder::new(window, SLICE_NS);
        for (slice, (offered, answered)) in (0..).zip(slices) {
            for number in 0..*offered {
                let intended_ns = slice * SLICE_NS + number * SLICE_NS / offered;
                let completed_ns = if number < *answered { intended_ns + 1_000 } else { window.end_ns - 1 };
                let times = Times { intended_ns, sent_ns: intended_ns + 10, completed_ns };
                recorder.answered(Class::Write, times, false);
            }
        }
        let schedule: Schedule = "kill-leader@600ms/100ms".parse().unwrap();
        let strike = |late_ns: Option<u64>| Strike {
            fault: schedule.faults()[0],
            node: late_ns.map(|_| 0),
            at_ns: late_ns.map(|late_ns| 6 * SLICE_NS + late_ns),
            until_ns: None,
        };
        Measurement {
            outcome: Outcome {
                recorder,
                history: History::default(),
                sightings: None,
                counters: Counters::default(),
                cpu_ns: 0,
                verified: true,
                stopped: false,
                next_value_id: 1,
            },
            used: Vec::new(),
            strikes: strike_late_ns.map(strike).into_iter().collect(),
            judgement: Judgement {
                witness: None,
                verdict: Verdict::Linearizable,
                judged_ops: 1,
                explanation: String::new(),
            },
            freshness: Freshness::default(),
            remarks: Vec::new(),
        }
    }

    fn reasons(measured: &Measurement) -> Vec<Reason> {
        let outcome = &measured.outcome;
        let faults = effects(&measured.strikes, &outcome.recorder, &outcome.history);
        let measure = Duration::from_nanos(outcome.recorder.window().len_ns());
        let facts = Facts { measured, faults: &faults, measure, is_open_loop: true, steal: None };
        validity(&facts).1
    }

    /// A time in which nothing is answered from the sixth slice to the end.
    fn outage() -> Vec<(u64, u64)> {
        let mut slices = vec![(200, 200); 6];
        slices.extend([(200, 0); 6]);
        slices
    }

    #[test]
    fn what_a_fault_does_is_no_doubt_about_the_measurement() {
        assert_eq!(reasons(&measured(&outage(), Some(Some(0)))), []);
        assert_eq!(reasons(&measured(&outage(), None)), [Reason::NotSteady], "without a fault it is one");
    }

    #[test]
    fn a_fault_needs_a_steady_state_that_it_can_disturb() {
        let mut slices = outage();
        (slices[0], slices[1]) = ((200, 100), (200, 100));
        assert_eq!(reasons(&measured(&slices, Some(Some(0)))), [Reason::NotSteady]);
    }

    #[test]
    fn a_fault_that_struck_late_or_never_is_told() {
        let calm = [(200, 200); 12];
        assert_eq!(reasons(&measured(&calm, Some(Some(FAULT_LATE_NS_MAX)))), []);
        assert_eq!(reasons(&measured(&calm, Some(Some(FAULT_LATE_NS_MAX + 1)))), [Reason::FaultMissed]);
        assert_eq!(reasons(&measured(&calm, Some(None))), [Reason::FaultMissed]);
    }

    #[test]
    fn errors_count_before_the_first_fault_and_not_after_it() {
        let failed_at = |slice: u64| {
            let mut measured = measured(&[(200, 200); 12], Some(Some(0)));
            for key in 0..20 {
                let sent_ns = slice * SLICE_NS;
                measured.outcome.history.push(Operation {
                    sent_ns,
                    completed_ns: sent_ns + 1,
                    value: 1,
                    expected: 0,
                    key,
                    process: key,
                    kind: Kind::Put,
                    end: End::Failed,
                });
            }
            measured.outcome.counters.errors = 20;
            reasons(&measured)
        };
        assert_eq!(failed_at(2), [Reason::Errors]);
        assert_eq!(failed_at(6), []);
    }
}
