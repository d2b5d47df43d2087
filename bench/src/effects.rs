//! What clients noticed of each fault: how long nothing was answered, how long little was, and when all was as before.
//!
//! A fault answers for the time from its strike to the next one's, or to the end of the window. The definitions, with their
//! formulas, are in `results/METHODOLOGY.md`.

use qlab_loadgen::history::{End, History};
use qlab_loadgen::recorder::{Recorder, Window};
use qlab_report::FaultEffect;

use crate::nemesis::Strike;

/// Share of the throughput before the first fault below which a slice counts as degraded.
const DEGRADED_SHARE: f64 = 0.5;
/// Share that counts as recovered …
const RECOVERED_SHARE: f64 = 0.95;
/// … in so many slices in a row.
const RECOVERED_SLICES: usize = 3;

/// What each fault did.
pub fn effects(strikes: &[Strike], recorder: &Recorder, history: &History) -> Vec<FaultEffect> {
    if strikes.is_empty() {
        return Vec::new();
    }
    let trace = Trace {
        window: recorder.window(),
        slice_ns: recorder.slice_ns(),
        completed: recorder.slices().iter().map(|slice| slice.completed).collect(),
        answers_ns: answers_ns(recorder.window(), history),
    };
    trace.effects(strikes)
}

/// Whole slices before the first strike; all of them if there is none.
pub fn calm_slices(strikes: &[Strike], recorder: &Recorder) -> usize {
    let window = recorder.window();
    let first_ns = strikes.iter().find_map(|strike| strike.at_ns).unwrap_or(window.end_ns);
    whole_slices(window, recorder.slice_ns(), first_ns)
}

/// Whole slices of a window before a moment.
fn whole_slices(window: Window, slice_ns: u64, before_ns: u64) -> usize {
    let before_ns = before_ns.min(window.end_ns);
    usize::try_from(before_ns.saturating_sub(window.start_ns) / slice_ns).expect("slices are bounded")
}

/// When operations were answered in the window, in order.
fn answers_ns(window: Window, history: &History) -> Vec<u64> {
    let answered = history.iter().filter(|operation| matches!(operation.end, End::Ok | End::Mismatch));
    let mut answers_ns: Vec<u64> =
        answered.map(|operation| operation.completed_ns).filter(|at_ns| window.contains(*at_ns)).collect();
    answers_ns.sort_unstable();
    answers_ns
}

/// What the load saw.
struct Trace {
    window: Window,
    slice_ns: u64,
    /// Operations answered in each slice.
    completed: Vec<u64>,
    /// When each was answered, in order.
    answers_ns: Vec<u64>,
}

impl Trace {
    fn effects(&self, strikes: &[Strike]) -> Vec<FaultEffect> {
        let struck: Vec<u64> = strikes.iter().filter_map(|strike| strike.at_ns).collect();
        let usual = struck.first().and_then(|first_ns| self.usual(*first_ns));
        let horizon_ns = |at_ns: u64| {
            struck.iter().copied().find(|next_ns| *next_ns > at_ns).unwrap_or(self.window.end_ns)
        };
        strikes.iter().map(|strike| self.effect(strike, usual, horizon_ns)).collect()
    }

    fn effect(&self, strike: &Strike, usual: Option<f64>, horizon_ns: impl Fn(u64) -> u64) -> FaultEffect {
        let since_start = |at_ns: u64| at_ns.saturating_sub(self.window.start_ns);
        // A window that was cut short ends before later strikes.
        let span =
            strike.at_ns.filter(|at_ns| self.window.contains(*at_ns)).map(|at_ns| (at_ns, horizon_ns(at_ns)));
        FaultEffect {
            kind: strike.fault.kind.name().to_owned(),
            due_ns: u64::try_from(strike.fault.start.as_nanos()).unwrap_or(u64::MAX),
            node: strike.node.and_then(|node| u32::try_from(node).ok()),
            at_ns: strike.at_ns.map(since_start),
            until_ns: strike.until_ns.map(since_start),
            answered: strike
                .at_ns
                .zip(strike.until_ns)
                .map(|(at_ns, until_ns)| self.answers(at_ns, until_ns).len() as u64),
            unavailable_ns: span.map(|(at_ns, until_ns)| self.longest_silence_ns(at_ns, until_ns)),
            degraded_ns: span.zip(usual).map(|(span, usual)| self.degraded_ns(span, usual)),
            recovered_ns: span.zip(usual).and_then(|(span, usual)| self.recovered_ns(span, usual)),
        }
    }

    /// Operations of a mean slice before the first fault.
    fn usual(&self, first_ns: u64) -> Option<f64> {
        let calm =
            &self.completed[..whole_slices(self.window, self.slice_ns, first_ns).min(self.completed.len())];
        let mean = calm.iter().sum::<u64>() as f64 / calm.len() as f64;
        (mean > 0.0).then_some(mean)
    }

    /// The longest time between two moments in which nothing was answered.
    fn longest_silence_ns(&self, at_ns: u64, until_ns: u64) -> u64 {
        let ends = self.answers(at_ns, until_ns).iter().copied().chain([until_ns]);
        ends.scan(at_ns, |before_ns, ns| Some(ns - std::mem::replace(before_ns, ns))).max().unwrap_or(0)
    }

    /// The moments of answers from one moment to before another.
    fn answers(&self, from_ns: u64, to_ns: u64) -> &[u64] {
        let index = |ns: u64| self.answers_ns.partition_point(|answer_ns| *answer_ns < ns);
        &self.answers_ns[index(from_ns)..index(to_ns)]
    }

    fn degraded_ns(&self, span: (u64, u64), usual: f64) -> u64 {
        let degraded = self.slices(span).filter(|slice| self.is_degraded(*slice, usual));
        degraded.count() as u64 * self.slice_ns
    }

    /// Time to the first usual slices that no degraded one follows.
    fn recovered_ns(&self, span: (u64, u64), usual: f64) -> Option<u64> {
        let slices = self.slices(span);
        let last_degraded = slices.clone().rev().find(|slice| self.is_degraded(*slice, usual));
        let from = last_degraded.map_or(slices.start, |slice| slice + 1);
        let is_usual = |slice: usize| self.completed[slice] as f64 >= RECOVERED_SHARE * usual;
        let run_begins = |first: &usize| (*first..first + RECOVERED_SLICES).all(is_usual);
        let first = (from..(slices.end + 1).saturating_sub(RECOVERED_SLICES)).find(run_begins)?;
        Some((self.window.start_ns + first as u64 * self.slice_ns).saturating_sub(span.0))
    }

    fn is_degraded(&self, slice: usize, usual: f64) -> bool {
        (self.completed[slice] as f64) < DEGRADED_SHARE * usual
    }

    /// The slices from the one that holds the strike to the last whole one before the horizon.
    fn slices(&self, (at_ns, until_ns): (u64, u64)) -> std::ops::Range<usize> {
        let index = |ns| whole_slices(self.window, self.slice_ns, ns).min(self.completed.len());
        index(at_ns)..index(until_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;
    use crate::plan::Schedule;

    const MS: u64 = 1_000_000;
    const START_NS: u64 = 5_000 * MS;

    /// Slices of 100 ms, whose operations are answered at equal distances.
    fn trace(completed: &[u64]) -> Trace {
        let slices = (0..).zip(completed);
        let answers = slices.flat_map(|(slice, count)| {
            (0..*count).map(move |number| START_NS + slice * 100 * MS + number * 100 * MS / count)
        });
        Trace {
            window: Window { start_ns: START_NS, end_ns: START_NS + completed.len() as u64 * 100 * MS },
            slice_ns: 100 * MS,
            completed: completed.to_vec(),
            answers_ns: answers.collect(),
        }
    }

    /// Strikes at these milliseconds of the window; `None` was missed.
    fn strikes(at_ms: &[Option<u64>]) -> Vec<Strike> {
        let schedule: Schedule = "pause-leader@500ms/10ms".parse().unwrap();
        let strike = |at_ms: &Option<u64>| Strike {
            fault: schedule.faults()[0],
            node: at_ms.map(|_| 2),
            at_ns: at_ms.map(|ms| START_NS + ms * MS),
            until_ns: at_ms.map(|ms| START_NS + (ms + 10) * MS),
        };
        at_ms.iter().map(strike).collect()
    }

    fn effects_ms(completed: &[u64], at_ms: u64) -> (u64, u64, Option<u64>) {
        let effect = trace(completed).effects(&strikes(&[Some(at_ms)])).remove(0);
        let ms = |ns: Option<u64>| ns.map(|ns| ns / MS);
        (ms(effect.unavailable_ns).unwrap(), ms(effect.degraded_ns).unwrap(), ms(effect.recovered_ns))
    }

    #[test]
    fn a_dip_is_timed_from_the_strike_to_the_first_of_three_usual_slices() {
        let completed = [100, 100, 100, 0, 0, 40, 94, 200, 95, 96, 100];
        // The first answer after the silence comes at 500 ms.
        assert_eq!(effects_ms(&completed, 300), (200, 300, Some(400)));
        assert_eq!(effects_ms(&completed, 310), (190, 300, Some(390)));
    }

    #[test]
    fn a_fault_that_nobody_notices_has_recovered_at_once() {
        assert_eq!(effects_ms(&[100; 8], 350), (1, 0, Some(0)));
    }

    #[test]
    fn a_fault_that_is_felt_later_recovers_later() {
        assert_eq!(effects_ms(&[100, 100, 100, 100, 100, 100, 0, 100, 100, 100], 200), (101, 100, Some(500)));
        // What is less than half a dip is none.
        assert_eq!(effects_ms(&[100, 100, 100, 100, 100, 60, 100, 100, 100], 200).2, Some(0));
    }

    #[test]
    fn a_short_return_is_no_recovery() {
        assert_eq!(effects_ms(&[100, 100, 0, 100, 100, 0, 100, 100], 200), (101, 200, None));
        assert_eq!(effects_ms(&[100, 100, 0, 0], 200), (200, 200, None), "silence to the very end");
    }

    #[test]
    fn a_fault_answers_for_the_time_until_the_next() {
        let completed = [100, 100, 0, 0, 100, 100, 100, 0, 100, 100, 100];
        let effects = trace(&completed).effects(&strikes(&[Some(200), Some(700)]));
        assert_eq!((effects[0].unavailable_ns, effects[0].recovered_ns), (Some(200 * MS), Some(200 * MS)));
        assert_eq!((effects[1].unavailable_ns, effects[1].recovered_ns), (Some(100 * MS), Some(100 * MS)));
        let second_too_early = trace(&completed).effects(&strikes(&[Some(200), Some(600)]));
        assert_eq!(second_too_early[0].recovered_ns, None, "two slices show no recovery");
        assert_eq!(
            (effects[1].node, effects[1].at_ns, effects[1].until_ns),
            (Some(2), Some(700 * MS), Some(710 * MS))
        );
    }

    #[test]
    fn what_is_answered_while_a_fault_lasts_is_counted() {
        // It lasts for a tenth of a slice.
        let effects = trace(&[100, 100, 60, 100]).effects(&strikes(&[Some(100), Some(200), None]));
        let answered: Vec<_> = effects.iter().map(|effect| effect.answered).collect();
        assert_eq!(answered, [Some(10), Some(6), None]);
    }

    #[test]
    fn what_never_struck_did_nothing() {
        let effects = trace(&[100; 8]).effects(&strikes(&[None, Some(300)]));
        let missed = &effects[0];
        assert_eq!(
            (missed.node, missed.at_ns, missed.until_ns, missed.unavailable_ns),
            (None, None, None, None)
        );
        assert_eq!((missed.degraded_ns, missed.recovered_ns, missed.due_ns), (None, None, 500 * MS));
        assert_eq!(effects[1].recovered_ns, Some(0));
    }

    #[test]
    fn without_usual_throughput_there_is_nothing_to_recover_to() {
        let effect = &trace(&[0, 0, 0, 100, 100, 100]).effects(&strikes(&[Some(300)]))[0];
        assert_eq!((effect.degraded_ns, effect.recovered_ns), (None, None));
    }

    proptest! {
        #[test]
        fn silence_and_recovery_fit_into_the_time_a_fault_answers_for(
            completed in collection::vec(0..50_u64, 1..40), at_ms in 0..4_500_u64
        ) {
            let trace = trace(&completed);
            let effect = trace.effects(&strikes(&[Some(at_ms)])).remove(0);
            let span_ns = (trace.window.len_ns()).saturating_sub(at_ms * MS);
            prop_assert_eq!(effect.unavailable_ns.is_some(), span_ns > 0);
            prop_assert!(effect.unavailable_ns.unwrap_or(0) <= span_ns);
            prop_assert!(effect.recovered_ns.unwrap_or(0) <= span_ns);
            // A whole slice without an answer is as long a silence at least.
            let silent = trace.slices((trace.window.start_ns + at_ms * MS, trace.window.end_ns)).skip(1).any(|slice| completed[slice] == 0);
            prop_assert!(!silent || effect.unavailable_ns >= Some(100 * MS));
        }
    }
}
