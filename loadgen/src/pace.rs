//! Waiting for a moment of the monotonic clock, to the microsecond.
//!
//! The runtime's own timers round to a millisecond, which at 20,000 arrivals per second would be what is measured. A
//! `timerfd` with absolute expirations has the kernel's precision and wakes the runtime like any socket.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use rustix::thread::set_current_timer_slack;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::clock::monotonic_ns;

/// What the kernel may add to a sleep of this thread to save wake-ups; its default is 50 µs.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::MIN;

/// A timer that wakes its task at moments of the monotonic clock.
#[derive(Debug)]
pub struct Pacer {
    timer: AsyncFd<OwnedFd>,
    armed_ns: Option<u64>,
}

impl Pacer {
    /// A timer of the current runtime; also lowers the calling thread's timer slack.
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of types that close or change their descriptor; an OwnedFd does neither"
    )]
    pub fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        set_current_timer_slack(Some(TIMER_SLACK_NS))?;
        Ok(Self { timer: AsyncFd::with_interest(timer, Interest::READABLE)?, armed_ns: None })
    }

    /// Waits until the monotonic clock shows `at_ns`; if it has passed, only lets other tasks run and sockets be polled.
    /// Dropping the wait loses nothing.
    pub async fn wait_until(&mut self, at_ns: u64) -> io::Result<()> {
        if at_ns <= monotonic_ns() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        if self.armed_ns != Some(at_ns) {
            self.arm(at_ns)?;
        }
        // The clock decides, not the readiness: that may be left over from an expiration nobody waited for. Setting the
        // timer anew takes an expiration back, so none is ever read.
        while monotonic_ns() < at_ns {
            self.timer.readable().await?.clear_ready();
        }
        self.armed_ns = None;
        Ok(())
    }

    fn arm(&mut self, at_ns: u64) -> io::Result<()> {
        let expiration = Itimerspec { it_interval: timespec(0), it_value: timespec(at_ns) };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &expiration)?;
        self.armed_ns = Some(at_ns);
        Ok(())
    }
}

fn timespec(ns: u64) -> Timespec {
    let part = |value: u64| i64::try_from(value).expect("64 bits of nanoseconds are fewer seconds than that");
    Timespec { tv_sec: part(ns / 1_000_000_000), tv_nsec: part(ns % 1_000_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(work)
    }

    #[test]
    fn it_never_wakes_early() {
        block_on(async {
            let mut pacer = Pacer::new().unwrap();
            for gap_ns in [0, 50_000, 300_000, 50_000, 2_000_000] {
                let at_ns = monotonic_ns() + gap_ns;
                pacer.wait_until(at_ns).await.unwrap();
                assert!(monotonic_ns() >= at_ns);
            }
        });
    }

    #[test]
    fn a_dropped_wait_and_a_passed_moment_do_not_confuse_it() {
        block_on(async {
            let mut pacer = Pacer::new().unwrap();
            let far_ns = monotonic_ns() + 3_600_000_000_000;
            tokio::select! {
                biased;
                _ = pacer.wait_until(far_ns) => panic!("an hour has not passed"),
                () = tokio::task::yield_now() => {}
            }
            pacer.wait_until(1).await.unwrap();
            let at_ns = monotonic_ns() + 200_000;
            pacer.wait_until(at_ns).await.unwrap();
            assert!(monotonic_ns() >= at_ns);
        });
    }
}
