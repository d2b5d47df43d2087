//! The one place in the laboratory's own process that reads monotonic time.

use std::time::{Duration, Instant};

/// A running stopwatch.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    start: Instant,
}

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "the laboratory reads its clock here and nowhere else")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Waits that long; for the few places that must ask again and again.
#[expect(
    clippy::disallowed_methods,
    reason = "polls a process that has no other way to say that it has ended"
)]
pub fn wait(duration: Duration) {
    std::thread::sleep(duration);
}
