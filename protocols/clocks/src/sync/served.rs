//! The clock that is read: steered, never turned back (RFC 5905 §11.3 and §12, without its loop filter).

use std::time::Duration;

use qlab_kernel::{Time, mutant};

use super::interval::difference_ns;
use super::rate::scaled;

/// The fastest slew, 500 parts per million: what is read passes at most that much faster or slower than the time does.
pub const SLEW_PPB_MAX: i64 = 500_000;

/// A function from the oscillator's readings to the common scale: straight lines that meet, each a little faster or slower
/// than the one before.
///
/// It never goes back, and two readings at least two nanoseconds apart differ.
#[derive(Clone, Copy, Debug)]
pub struct ServedClock {
    /// Where the line begins.
    since: Time,
    reading_ns: u64,
    drift_ppb: i64,
    /// What is slewed on top of the drift, until `slew_ns` nanoseconds after `since`.
    slew_ppb: i64,
    slew_ns: u64,
}

impl ServedClock {
    /// A clock that shows the oscillator's own readings.
    #[must_use]
    pub const fn free(now: Time) -> Self {
        Self { since: now, reading_ns: now.0, drift_ppb: 0, slew_ppb: 0, slew_ns: 0 }
    }

    /// What the clock shows, in nanoseconds on the common scale. `now` must not lie before it was steered last.
    #[must_use]
    pub fn read(&self, now: Time) -> u64 {
        let elapsed_ns = now.0.saturating_sub(self.since.0);
        let slewing_ns = elapsed_ns.min(self.slew_ns);
        let straight_ns = elapsed_ns - slewing_ns;
        let gained_ns =
            scaled(slewing_ns, self.drift_ppb + self.slew_ppb) + scaled(straight_ns, self.drift_ppb);
        self.reading_ns.wrapping_add(elapsed_ns).wrapping_add(gained_ns as u64)
    }

    /// Sets the clock. For its start alone: whoever read it before may see it go back.
    pub fn step(&mut self, now: Time, target_ns: u64, drift_ppb: i64) {
        *self = Self { since: now, reading_ns: target_ns, drift_ppb, slew_ppb: 0, slew_ns: 0 };
    }

    /// Leads the clock to where `target_ns` is now, within `over` or as fast as it may be slewed.
    pub fn steer(&mut self, now: Time, target_ns: u64, drift_ppb: i64, over: Duration) {
        let reading_ns = self.read(now);
        let ahead_ns = difference_ns(target_ns, reading_ns);
        let gentle_ppb = i128::from(ahead_ns) * 1_000_000_000 / (over.as_nanos() as i128).max(1);
        let limit_ppb = i128::from(SLEW_PPB_MAX);
        let slew_ppb = gentle_ppb.clamp(-limit_ppb, limit_ppb) as i64;
        let slew_ns = lasting_ns(ahead_ns, slew_ppb);
        mutant!("served clock: stepped instead of slewed", reading_ns = target_ns);
        *self = Self { since: now, reading_ns, drift_ppb, slew_ppb, slew_ns };
    }
}

/// How long it takes to gain `ahead_ns` at `slew_ppb`; nothing if that is no rate at all.
fn lasting_ns(ahead_ns: i64, slew_ppb: i64) -> u64 {
    let gain_ns = u128::from(ahead_ns.unsigned_abs()) * 1_000_000_000;
    gain_ns.checked_div(slew_ppb.unsigned_abs().into()).map_or(0, |ns| u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_small_offset_is_led_away_within_a_poll_and_a_large_one_at_full_slew() {
        let poll = Duration::from_secs(16);
        let mut clock = ServedClock::free(Time(0));
        clock.steer(Time(0), 16_000, 0, poll);
        assert_eq!([8, 16, 32].map(|s| clock.read(Time(s * SECOND)) - s * SECOND), [8_000, 16_000, 16_000]);
        let mut clock = ServedClock::free(Time(SECOND));
        clock.steer(Time(SECOND), SECOND / 2, 0, poll);
        let behind = |s: u64| (s + 1) * SECOND - clock.read(Time((s + 1) * SECOND));
        assert_eq!([100, 1000, 2000].map(behind), [SECOND / 20, SECOND / 2, SECOND / 2]);
    }

    proptest! {
        /// T2: whatever it is led to, as often as one likes.
        #[test]
        fn it_never_goes_back_and_never_slews_faster_than_it_may(
            start in any::<u32>(),
            turns in prop::collection::vec((2_u64..20 * SECOND, any::<i64>(), 0_u32..64, -100_000_i64..100_000), 1..40),
        ) {
            let mut now = u64::from(start);
            let mut clock = ServedClock::free(Time(now));
            for (elapsed, offset, shift, drift_ppb) in turns {
                let before = clock.read(Time(now));
                clock.steer(Time(now), before.wrapping_add((offset >> shift) as u64), drift_ppb, Duration::from_secs(16));
                prop_assert_eq!(clock.read(Time(now)), before);
                now += elapsed;
                let passed = clock.read(Time(now)).wrapping_sub(before);
                let slewed = passed as i64 - elapsed as i64 - scaled(elapsed, drift_ppb);
                prop_assert!(passed > 0 && slewed.abs() <= scaled(elapsed, SLEW_PPB_MAX) + 2, "slewed {} ns", slewed);
            }
        }
    }
}
