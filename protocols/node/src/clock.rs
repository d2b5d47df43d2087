//! The one reader of monotonic time: `CLOCK_MONOTONIC`, which all processes of a host share.

use qlab_kernel::Time;
use rustix::time::{ClockId, clock_gettime};

pub(crate) fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("monotonic time is not negative");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("nanoseconds are not negative");
    Time(seconds * 1_000_000_000 + nanoseconds)
}
