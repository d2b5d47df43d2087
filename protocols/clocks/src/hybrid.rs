//! Hybrid logical clocks: timestamps near the physical time that order causes before effects (Kulkarni, Demirbas, Madappa,
//! Avva and Leone, "Logical Physical Clocks", 2014, figure 5).

use std::time::Duration;

use qlab_kernel::{Reader, Sink, Wire, WireError, mutant};

/// A hybrid timestamp. If e happened before f, then that of e is less; it is never less than the physical time of its event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HybridTime {
    /// The largest physical time known (the paper's l), in nanoseconds on the processes' common scale.
    pub physical_ns: u64,
    /// Tells events with the same `physical_ns` apart (the paper's c).
    pub counter: u32,
}

impl HybridTime {
    /// The next one: the counter's, or the next nanosecond's when it is exhausted.
    #[must_use]
    fn next(self) -> Self {
        let Self { physical_ns, counter } = self;
        mutant!("hybrid clock: the counter is forgotten", {
            return self;
        });
        match counter.checked_add(1) {
            Some(counter) => Self { physical_ns, counter },
            None => Self { physical_ns: physical_ns.saturating_add(1), counter: 0 },
        }
    }
}

impl Wire for HybridTime {
    fn encode(&self, sink: &mut impl Sink) {
        self.physical_ns.encode(sink);
        self.counter.encode(sink);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { physical_ns: reader.u64()?, counter: reader.u32()? })
    }
}

/// A timestamp from further ahead than clocks may differ: leave the message, and look after the sender's clock or one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a timestamp {ahead:?} ahead of the clock, which is more than the {ahead_max:?} that clocks may differ"
)]
pub struct TooFarAhead {
    /// How far.
    pub ahead: Duration,
    /// How far it may be.
    pub ahead_max: Duration,
}

/// A process's hybrid clock. The physical clock that it is given may stand still or step back.
#[derive(Clone, Copy, Debug)]
pub struct HybridClock {
    last: HybridTime,
    ahead_max: Duration,
}

impl HybridClock {
    /// A clock in a system whose physical clocks differ by at most `ahead_max` (the paper's ε). No timestamp of it is further
    /// ahead of the physical clock, as long as that one never steps back.
    #[must_use]
    pub const fn new(ahead_max: Duration) -> Self {
        Self { last: HybridTime { physical_ns: 0, counter: 0 }, ahead_max }
    }

    /// A local event or the sending of a message at `physical_ns`; its timestamp.
    pub fn tick(&mut self, physical_ns: u64) -> HybridTime {
        self.last = self.last.next().max(HybridTime { physical_ns, counter: 0 });
        self.last
    }

    /// The receipt of a message at `physical_ns` that was sent at `sent`; its timestamp. A message refused leaves no trace:
    /// one process with a wrong clock must not drag the others along.
    pub fn receive(&mut self, physical_ns: u64, sent: HybridTime) -> Result<HybridTime, TooFarAhead> {
        let ahead = Duration::from_nanos(sent.physical_ns.saturating_sub(physical_ns));
        if ahead > self.ahead_max {
            return Err(TooFarAhead { ahead, ahead_max: self.ahead_max });
        }
        self.last = self.last.max(sent);
        Ok(self.tick(physical_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn time(physical_ns: u64, counter: u32) -> HybridTime {
        HybridTime { physical_ns, counter }
    }

    #[test]
    fn a_clock_that_stands_still_or_steps_back_still_orders_events() {
        let mut clock = HybridClock::new(Duration::ZERO);
        let times = [10, 10, 3, 11, 11].map(|physical_ns| clock.tick(physical_ns));
        assert_eq!(times, [time(10, 0), time(10, 1), time(10, 2), time(11, 0), time(11, 1)]);
    }

    #[test]
    fn a_receipt_comes_after_the_sending_and_after_what_the_receiver_did() {
        let mut clock = HybridClock::new(Duration::from_nanos(5));
        clock.tick(10);
        assert_eq!(clock.receive(10, time(12, 7)), Ok(time(12, 8)));
        assert_eq!(clock.receive(11, time(12, 3)), Ok(time(12, 9)));
        assert_eq!(clock.receive(11, time(9, 99)), Ok(time(12, 10)));
        assert_eq!(clock.receive(14, time(9, 99)), Ok(time(14, 0)));
    }

    #[test]
    fn a_timestamp_from_too_far_ahead_is_refused_without_a_trace() {
        let mut clock = HybridClock::new(Duration::from_nanos(5));
        let (ahead, ahead_max) = (Duration::from_nanos(6), Duration::from_nanos(5));
        assert_eq!(clock.receive(10, time(16, 0)), Err(TooFarAhead { ahead, ahead_max }));
        assert_eq!(clock.tick(10), time(10, 0));
    }

    #[test]
    fn an_exhausted_counter_borrows_the_next_nanosecond() {
        let mut clock = HybridClock::new(Duration::from_nanos(5));
        assert_eq!(clock.receive(10, time(10, u32::MAX)), Ok(time(11, 0)));
    }
}
