//! A process's clock: begun at another time than the others', running at its own rate.

use std::time::Duration;

use qlab_kernel::Time;

/// What a process sees of time. It never runs backwards: hosts give cores a monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What it showed at `since`.
    shown: Time,
    since: Time,
    /// How much faster than the world's it runs, in parts per million; negative: slower.
    drift_ppm: i64,
}

impl Clock {
    /// A clock that shows `shown` when the world begins.
    pub(crate) const fn starting_at(shown: Time) -> Self {
        Self { shown, since: Time(0), drift_ppm: 0 }
    }

    /// What it shows at `now`.
    pub(crate) fn local(self, now: Time) -> Time {
        let elapsed = u128::from(now.0.saturating_sub(self.since.0));
        Time(self.shown.0 + u64::try_from(elapsed * self.rate() / 1_000_000).expect("worlds are short"))
    }

    /// The first moment at which it shows `local`.
    pub(crate) fn global(self, local: Time) -> Time {
        let ahead = u128::from(local.0.saturating_sub(self.shown.0)) * 1_000_000;
        let ahead = u64::try_from(ahead.div_ceil(self.rate())).unwrap_or(u64::MAX);
        Time(self.since.0.saturating_add(ahead))
    }

    /// From `now` on it runs at this rate.
    pub(crate) fn set_drift(&mut self, now: Time, drift_ppm: i64) {
        *self = Self { shown: self.local(now), since: now, drift_ppm };
    }

    /// Jumps ahead.
    pub(crate) fn jump(&mut self, now: Time, by: Duration) {
        *self = Self { shown: self.local(now) + by, since: now, ..*self };
    }

    fn rate(self) -> u128 {
        u128::try_from(1_000_000 + self.drift_ppm).expect("clocks run forward")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_keeps_its_reading_when_its_rate_changes_and_never_runs_backwards() {
        let mut clock = Clock::starting_at(Time(1_000));
        clock.set_drift(Time(500), 100_000);
        assert_eq!(clock.local(Time(500)), Time(1_500));
        assert_eq!(clock.local(Time(1_500)), Time(2_600));
        assert_eq!(clock.global(Time(2_600)), Time(1_500));
        clock.jump(Time(1_500), Duration::from_nanos(400));
        assert_eq!(clock.local(Time(1_500)), Time(3_000));
        assert_eq!(clock.global(Time(10)), Time(1_500), "what has been shown is not shown again");
    }
}
