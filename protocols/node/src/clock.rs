//! The one reader of monotonic time: `CLOCK_MONOTONIC`, which all processes of a host share. It stands still while the host is
//! suspended: a leader's lease does not survive that, so machines that sleep should read by ReadIndex.

use qlab_kernel::Time;
use rustix::time::{ClockId, clock_gettime};

pub(crate) fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("monotonic time is not negative");
    let nanoseconds = u64::try_from(now.tv_nsec).expect("nanoseconds are not negative");
    Time(seconds * 1_000_000_000 + nanoseconds)
}
