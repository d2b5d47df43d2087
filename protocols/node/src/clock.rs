//! The one reader of monotonic time: `CLOCK_MONOTONIC`, which all processes of a host share. It stands still while the host is
//! suspended: a leader's lease does not survive that, so machines that sleep should read by ReadIndex.

use qlab_kernel::Time;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a replica is made to take for its clock: so that what clocks show can be compared with the true time, which is this
/// host's and the replica never sees. By default it is the host's clock itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oscillator {
    /// How far ahead of the host's clock it was at `since_ns`, in nanoseconds.
    pub ahead_ns: i64,
    /// How much faster than the host's clock it runs, in parts per billion; within ± 10⁸.
    pub fast_ppb: i64,
    /// When that was, by the host's clock.
    pub since_ns: u64,
}

impl Oscillator {
    /// What it shows at a time of the host's.
    pub(crate) fn read(&self, host: Time) -> Time {
        if *self == Self::default() {
            return host;
        }
        let elapsed_ns = i128::from(host.0) - i128::from(self.since_ns);
        let gained_ns = elapsed_ns * i128::from(self.fast_ppb) / 1_000_000_000;
        let shown_ns = i128::from(host.0) + i128::from(self.ahead_ns) + gained_ns;
        Time(u64::try_from(shown_ns).unwrap_or_default())
    }
}

/// The host's time.
pub(crate) fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("monotonic time is not negative");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("nanoseconds are not negative");
    Time(seconds * 1_000_000_000 + nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oscillator_runs_ahead_and_fast_as_it_is_told() {
        let second = 1_000_000_000;
        assert_eq!(Oscillator::default().read(Time(7)), Time(7));
        let fast = Oscillator { ahead_ns: 5, fast_ppb: 100_000, since_ns: second };
        assert_eq!(fast.read(Time(second)), Time(second + 5));
        assert_eq!(fast.read(Time(3 * second)), Time(3 * second + 5 + 200_000));
        let slow = Oscillator { ahead_ns: -5, fast_ppb: -100_000, since_ns: second };
        assert_eq!(slow.read(Time(3 * second)), Time(3 * second - 5 - 200_000));
    }
}
