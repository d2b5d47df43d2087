//! How fast the oscillator runs, and how well that is known.
//!
//! Two times that hold the truth at two readings of the oscillator bound its mean rate in between. What makes that a bound on
//! its rate *now* is the one assumption about oscillators here: whatever the rate is, it stays within
//! [`FREQUENCY_TOLERANCE_PPB`] of its mean over any stretch between two of the last [`NOTES_MAX`] polls that were answered.

use std::collections::VecDeque;
use std::time::Duration;

use qlab_kernel::{Time, mutant};

use super::interval::{Interval, difference_ns};

/// Φ: by how much an oscillator's rate wanders, 15 parts per million (PHI in RFC 5905 appendix A.1.1).
pub const FREQUENCY_TOLERANCE_PPB: u64 = 15_000;

/// Times remembered, one for each poll: the longer the baseline, the better the rate.
pub const NOTES_MAX: usize = 32;

const BILLION: i128 = 1_000_000_000;

/// The true time's speed by the oscillator: it gains `drift_ppb` ± `error_ppb` nanoseconds each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Parts per billion that the oscillator is slow.
    pub drift_ppb: i64,
    /// By how much that may be wrong, the oscillator's wander included.
    pub error_ppb: u64,
}

impl Rate {
    /// Where the true time is when the oscillator has gone on by `elapsed`: later, and less certain.
    #[must_use]
    pub fn advance(self, interval: Interval, elapsed: Duration) -> Interval {
        let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let error_ppb = self.error_ppb as i64;
        let moved_ns = |ppb| elapsed_ns.wrapping_add(scaled(elapsed_ns, ppb) as u64);
        Interval {
            earliest_ns: interval
                .earliest_ns
                .wrapping_add(moved_ns(self.drift_ppb - error_ppb))
                .wrapping_sub(1),
            latest_ns: interval.latest_ns.wrapping_add(moved_ns(self.drift_ppb + error_ppb)).wrapping_add(1),
        }
    }
}

/// That many parts per billion of `ns`, rounded towards zero.
pub(crate) const fn scaled(ns: u64, ppb: i64) -> i64 {
    (ns as i128 * ppb as i128 / BILLION) as i64
}

/// Learns the rate from times that hold the truth.
#[derive(Clone, Debug)]
pub struct RateEstimator {
    /// No oscillator is off by more, whatever has been learnt.
    frequency_error_ppb: u64,
    /// One note is kept for each stretch of this length.
    spacing: Duration,
    notes: VecDeque<Note>,
    rate: Rate,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    /// Where its stretch begins.
    since: Time,
    at: Time,
    interval: Interval,
}

impl RateEstimator {
    /// Knows nothing but that the oscillator is off by at most `frequency_error_ppb`; keeps one time for each `spacing`.
    #[must_use]
    pub fn new(frequency_error_ppb: u64, spacing: Duration) -> Self {
        let rate = Rate { drift_ppb: 0, error_ppb: frequency_error_ppb };
        Self { frequency_error_ppb, spacing, notes: VecDeque::with_capacity(NOTES_MAX), rate }
    }

    /// What is known.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes in that the true time was within `interval` when the oscillator showed `at`, which never goes back.
    pub fn note(&mut self, at: Time, interval: Interval) {
        match self.notes.back_mut() {
            Some(last) if at.since(last.since) < self.spacing => {
                if interval.width_ns() > self.rate.advance(last.interval, at.since(last.at)).width_ns() {
                    return;
                }
                (last.at, last.interval) = (at, interval);
            }
            _ => {
                if self.notes.len() == NOTES_MAX {
                    self.notes.pop_front();
                }
                self.notes.push_back(Note { since: at, at, interval });
            }
        }
        self.rate = self.tightest();
    }

    /// Forgets everything: something jumped.
    pub fn clear(&mut self) {
        *self = Self::new(self.frequency_error_ppb, self.spacing);
    }

    /// The tightest of what each pair of notes says; what is known of any oscillator, if that is tighter.
    fn tightest(&self) -> Rate {
        let newer = self.notes.iter().enumerate();
        let pairs = newer.flat_map(|(i, late)| self.notes.range(..i).map(move |early| between(early, late)));
        let unknown = Rate { drift_ppb: 0, error_ppb: self.frequency_error_ppb };
        let mut rate = pairs.chain([unknown]).min_by_key(|rate| rate.error_ppb).expect("one is always there");
        // No true rate lies beyond, so this one comes nearer to it.
        let limit_ppb = self.frequency_error_ppb as i64;
        rate.drift_ppb = rate.drift_ppb.clamp(-limit_ppb, limit_ppb);
        rate
    }
}

fn between(early: &Note, late: &Note) -> Rate {
    let elapsed_ns = i128::from(late.at.0 - early.at.0);
    let gained_ns =
        i128::from(difference_ns(late.interval.middle_ns(), early.interval.middle_ns())) - elapsed_ns;
    let error_ns = i128::from(late.interval.half_ns()) + i128::from(early.interval.half_ns());
    let wander_ppb = FREQUENCY_TOLERANCE_PPB;
    mutant!("rate: no drift term", wander_ppb = 0);
    // What does not fit is as good as unknown. One part for each of the two roundings.
    let error_ppb = u64::try_from(error_ns * BILLION / elapsed_ns + 2).unwrap_or(u64::MAX);
    Rate {
        drift_ppb: i64::try_from(gained_ns * BILLION / elapsed_ns).unwrap_or(0),
        error_ppb: error_ppb.saturating_add(wander_ppb),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLL: Duration = Duration::from_secs(16);
    const ANY_PPB: u64 = 500_000;

    #[test]
    fn nothing_learnt_is_the_worst_oscillator() {
        let estimator = RateEstimator::new(ANY_PPB, POLL);
        assert_eq!(estimator.rate(), Rate { drift_ppb: 0, error_ppb: ANY_PPB });
    }

    #[test]
    fn stretches_that_never_end_do_not_keep_the_window_from_growing() {
        let mut estimator = RateEstimator::new(ANY_PPB, POLL);
        for second in 0..100 {
            estimator.note(Time(second * 1_000_000_000), Interval::around(second * 1_000_000_000, 1000));
        }
        assert_eq!(estimator.notes.len(), 7);
    }

    proptest! {
        /// The bound holds wherever in their intervals the true times were, and grows by Φ at least.
        #[test]
        fn the_rate_is_known_within_its_bound(
            drift_ppb in -400_000_i64..400_000,
            notes in prop::collection::vec((1_u64..40, 1_u64..2_000_000, 0.0..1.0), 1..50),
        ) {
            let mut estimator = RateEstimator::new(ANY_PPB, POLL);
            let truth = |at: u64| at.wrapping_add(scaled(at, drift_ppb) as u64);
            let mut at = 0;
            for (seconds, width, share) in notes {
                at += seconds * 1_000_000_000;
                let earliest_ns = truth(at).wrapping_sub((width as f64 * share) as u64);
                estimator.note(Time(at), Interval { earliest_ns, latest_ns: earliest_ns.wrapping_add(width) });
                let rate = estimator.rate();
                prop_assert!(rate.drift_ppb.abs_diff(drift_ppb) <= rate.error_ppb);
                prop_assert!((FREQUENCY_TOLERANCE_PPB..=ANY_PPB).contains(&rate.error_ppb));
                let later = rate.advance(Interval::around(truth(at), 0), POLL);
                prop_assert!(later.contains(truth(at + 16_000_000_000)));
                prop_assert!(later.half_ns() >= 16 * FREQUENCY_TOLERANCE_PPB);
            }
        }
    }
}
