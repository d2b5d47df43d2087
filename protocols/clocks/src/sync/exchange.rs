//! One question and its answer: four timestamps, and what they prove (RFC 5905 §8).

use qlab_kernel::{Time, mutant};

use super::interval::{Interval, difference_ns};
use super::rate::{Rate, scaled};

/// The four timestamps of an exchange.
///
/// A round trip is all that is needed to bound an error: the answer was written after the question was sent and before it
/// came back, wherever in between. So every claim here stands however unequal the two ways are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// T1: when the question was sent, by the asker's oscillator.
    pub sent: Time,
    /// T2: when the source received it, in nanoseconds by the source's clock.
    pub received_ns: u64,
    /// T3: when the source answered, by the source's clock.
    pub answered_ns: u64,
    /// T4: when the answer came, by the asker's oscillator.
    pub returned: Time,
}

/// What an exchange proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the answer came (T4), by the asker's oscillator.
    pub at: Time,
    /// What time it was then, on the source's word.
    pub interval: Interval,
}

/// Timestamps that no exchange can have: the source is broken or lies, or a clock ran backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer took {answering_ns} ns by its source, but only {round_trip_ns} ns passed: leave it")]
pub struct Impossible {
    /// T3 − T2.
    pub answering_ns: i64,
    /// T4 − T1.
    pub round_trip_ns: i64,
}

impl Exchange {
    /// θ = ((T2 − T1) + (T3 − T4)) / 2: how far the source's clock is ahead of the asker's oscillator. Exact wherever either of
    /// them wraps.
    #[must_use]
    pub fn offset_ns(&self) -> i64 {
        let there = difference_ns(self.received_ns, self.sent.0);
        let back = difference_ns(self.answered_ns, self.returned.0);
        mutant!("exchange: wrong sign on T3 − T4", back = back.wrapping_neg());
        // The two may lie on either side of ±2⁶³, their sum beyond it: what is halved is their difference, −δ.
        there.wrapping_add(back.wrapping_sub(there) / 2)
    }

    /// δ = (T4 − T1) − (T3 − T2): how long both ways took together.
    #[must_use]
    pub const fn delay_ns(&self) -> i64 {
        let round_trip_ns = difference_ns(self.returned.0, self.sent.0);
        round_trip_ns.wrapping_sub(difference_ns(self.answered_ns, self.received_ns))
    }

    /// The time at T4, if the source's clock was right within `error_ns` and the oscillator within `frequency_error_ppb`: the
    /// offset errs by at most δ/2 + ρ·(T4 − T1), however the delay was shared between the two ways.
    pub fn sample(&self, error_ns: u64, frequency_error_ppb: u64) -> Result<Sample, Impossible> {
        let round_trip_ns = difference_ns(self.returned.0, self.sent.0);
        let answering_ns = difference_ns(self.answered_ns, self.received_ns);
        let delay_ns = self.delay_ns();
        if round_trip_ns < 0 || answering_ns < 0 || delay_ns < 0 {
            return Err(Impossible { answering_ns, round_trip_ns });
        }
        let drift_ns = scaled(round_trip_ns as u64, frequency_error_ppb as i64) as u64;
        // One nanosecond for the halving, one for the scaling.
        let half_ns = (delay_ns as u64 / 2 + 2).saturating_add(drift_ns).saturating_add(error_ns);
        let time_ns = self.returned.0.wrapping_add(self.offset_ns() as u64);
        Ok(Sample { at: self.returned, interval: Interval::around(time_ns, half_ns) })
    }
}

impl Sample {
    /// The same claim at a later reading of the oscillator.
    #[must_use]
    pub fn interval_at(&self, now: Time, rate: Rate) -> Interval {
        rate.advance(self.interval, now.since(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// T3 and T4: whatever the clocks show, the error is at most half the delay.
        #[test]
        fn half_the_delay_bounds_the_error_wherever_the_clocks_wrap(
            sent in any::<u64>(),
            offset in any::<u64>(),
            ways in prop::array::uniform3(0_u64..1 << 40),
        ) {
            let [there, answering, back] = ways;
            let exchange = Exchange {
                sent: Time(sent),
                received_ns: sent.wrapping_add(there).wrapping_add(offset),
                answered_ns: sent.wrapping_add(there + answering).wrapping_add(offset),
                returned: Time(sent.wrapping_add(there + answering + back)),
            };
            prop_assert_eq!(exchange.delay_ns(), (there + back) as i64);
            let error_ns = exchange.offset_ns().wrapping_sub(offset as i64);
            prop_assert!((2 * error_ns).abs_diff(there as i64 - back as i64) <= 1);
            prop_assert!(error_ns.unsigned_abs() <= (there + back).div_ceil(2));
            let sample = exchange.sample(0, 0).unwrap();
            prop_assert!(sample.interval.contains(exchange.returned.0.wrapping_add(offset)));
        }
    }

    #[test]
    fn answers_that_took_longer_than_they_were_away_are_impossible() {
        let exchange = Exchange { sent: Time(100), received_ns: 7, answered_ns: 19, returned: Time(110) };
        assert_eq!(exchange.sample(0, 0), Err(Impossible { answering_ns: 12, round_trip_ns: 10 }));
        let backwards = Exchange { answered_ns: 6, ..exchange };
        assert_eq!(backwards.sample(0, 0), Err(Impossible { answering_ns: -1, round_trip_ns: 10 }));
    }
}
