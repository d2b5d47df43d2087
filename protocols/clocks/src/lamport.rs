//! Lamport's clock: one number, enough to order events, not to tell whether they knew of each other (Lamport, "Time, Clocks,
//! and the Ordering of Events in a Distributed System", 1978).

/// A process's clock. If e happened before f, then the time of e is less than that of f; the converse does not hold.
///
/// Ties of different processes are broken by their numbers where a total order is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LamportClock {
    last: u64,
}

impl LamportClock {
    /// A local event or the sending of a message; its time (IR1).
    pub const fn tick(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    /// The receipt of a message that was sent at `sent`; its time (IR2).
    pub const fn receive(&mut self, sent: u64) -> u64 {
        if sent > self.last {
            self.last = sent;
        }
        self.tick()
    }
}
