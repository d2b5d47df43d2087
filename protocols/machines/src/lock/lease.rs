//! Leases between clocks that nobody compares: how long a grantor keeps one, how long its holder may believe in it, and how the
//! time of many clocks becomes the machine's.
//!
//! Let every clock's rate lie within 1 ± ρ of true time, ρ = [`CLOCK_DRIFT_PPM_MAX`]. A tick says which tick it was measured
//! from and how much time its proposer's clock showed since it *executed* that one; the machine takes one successor of each tick
//! and no more. So what successive ticks count are disjoint stretches of true time, each between the commits of its two ticks,
//! whoever led, and however often a tick was proposed, delayed or repeated: machine time passes at most 1 + ρ times as fast as
//! true time. It may pass slower (nobody leads, a tick is lost, a tick is cut at [`TICK_NS_MAX`]): then leases last longer, which
//! costs patience and no safety.
//!
//! A renewal is committed between two ticks, and the first tick after it may count time from before it. So a lease runs from the
//! *next* tick: that one is committed after the renewal was sent. From there the machine waits [`kept_ns`] = ttl·(1 + ρ), at
//! least ttl of true time. The holder counts [`believed_ns`] = ttl·(1 − ρ) on its own clock from the moment it *sent* the
//! renewal, at most ttl of true time. Hence its belief has ended when the lease does.
//!
//! Ticks travel in [a session of the replicas' own](INTERNAL_SESSION), each under the number of its place: so it does not matter
//! who proposes them and how often, and clients, whose sessions are others, cannot make time pass.
//!
//! That rests on ρ. A process that is stopped between looking at its clock and acting, or a machine that was suspended with its
//! clock, acts on a belief that has ended; so whatever must not be damaged asks for tokens.

use std::time::Duration;

use qlab_kernel::{Batch, BatchBuilder, Outcome, Sequence, Time, mutant};

use super::{Command, RENEWED};
use crate::service::INTERNAL_SESSION;

/// How far a clock's rate may be off, in millionths: what leases rest on. Replicas and holders must agree on it.
pub const CLOCK_DRIFT_PPM_MAX: u64 = 10_000;
/// Nanoseconds of the shortest time to live.
pub const TTL_NS_MIN: u64 = 1_000_000;
/// Nanoseconds of the longest time to live: an hour.
pub const TTL_NS_MAX: u64 = 3_600_000_000_000;
/// Nanoseconds that one tick lets pass at most: a wild one does little harm.
pub const TICK_NS_MAX: u64 = 1_000_000_000;
/// How often whoever leads proposes a tick: by so much a lease may end late, and as often the log grows by 85 bytes.
pub const TICK_INTERVAL: Duration = Duration::from_millis(50);

/// How long the machine keeps a lease, in its own time, from the tick after the renewal.
#[must_use]
pub fn kept_ns(ttl_ns: u64) -> u64 {
    ttl_ns + drift_ns(ttl_ns)
}

/// How long a holder may believe in its lease, by its own clock, from when it sent the renewal.
#[must_use]
pub fn believed_ns(ttl_ns: u64) -> u64 {
    ttl_ns - drift_ns(ttl_ns)
}

/// Rounded up: both sides lean to their safe side.
fn drift_ns(ttl_ns: u64) -> u64 {
    let drift_ppm_max = mutant!(CLOCK_DRIFT_PPM_MAX, "locks: leases trust clocks", 0);
    (ttl_ns * drift_ppm_max).div_ceil(1_000_000)
}

/// A client's side of its owner's lease: whether it may still believe that it holds what it was granted.
#[derive(Clone, Debug)]
pub struct Holder {
    ttl_ns: u64,
    /// The renewal that was sent last, and when first: a retry is the same request.
    asked: Option<(Sequence, Time)>,
    /// When the last renewal that was answered had been sent.
    renewed: Option<Time>,
}

impl Holder {
    /// One that believes nothing yet. Opening an owner counts as its first renewal.
    #[must_use]
    pub const fn new(ttl_ns: u64) -> Self {
        Self { ttl_ns, asked: None, renewed: None }
    }

    /// Before a renewal is sent, for the first time or again.
    pub fn ask(&mut self, number: Sequence, now: Time) {
        if self.asked.is_none_or(|(asked, _)| asked != number) {
            self.asked = Some((number, now));
        }
    }

    /// When an answer has come; whether it may believe now. Answers to other requests than the last renewal change nothing.
    pub fn hear(&mut self, number: Sequence, outcome: Outcome, now: Time) -> bool {
        if let Some((_, sent)) = self.asked.take_if(|(asked, _)| *asked == number) {
            mutant!("locks: a lease counts from its answer", sent = now);
            let granted = matches!(outcome.status, RENEWED | super::OPENED);
            self.renewed = granted.then_some(sent);
        }
        self.may_believe(now)
    }

    /// Whether the lease has not ended, as far as it can know. Ask before each use of what is held, and ask for it soon after.
    #[must_use]
    pub fn may_believe(&self, now: Time) -> bool {
        self.renewed.is_some_and(|sent| now.0.saturating_sub(sent.0) < believed_ns(self.ttl_ns))
    }
}

/// A replica's side of machine time: what a tick may count if this replica proposes it.
#[derive(Clone, Debug, Default)]
pub struct Metronome {
    /// The last tick executed here, and when that was known.
    heard: Option<(u64, Time)>,
    /// When it was last asked for a tick to propose.
    proposed: Option<Time>,
}

impl Metronome {
    /// After entries were executed or an image was taken over: the machine's [`ticks`](super::Locks::ticks), and a reading of
    /// the clock that was taken *afterwards*.
    pub fn hear(&mut self, ticks: u64, now: Time) {
        if self.heard.is_none_or(|(heard, _)| heard != ticks) {
            self.heard = Some((ticks, now));
        }
    }

    /// The tick to propose now, by whoever leads; `None` before anything was heard.
    #[must_use]
    pub fn tick(&self, now: Time) -> Option<Command<'static>> {
        let (after, since) = self.heard?;
        Some(Command::Tick { after, elapsed_ns: now.0.saturating_sub(since.0) })
    }

    /// When the next tick is to be proposed: one that is lost is proposed again after the same time.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        let (_, heard) = self.heard?;
        Some(self.proposed.map_or(heard, |proposed| heard.max(proposed)) + TICK_INTERVAL)
    }

    /// The tick to propose now as a request, if it is due.
    pub fn propose(&mut self, now: Time) -> Option<Batch> {
        let Command::Tick { after, elapsed_ns } = self.tick(now).filter(|_| self.due() <= Some(now))? else {
            return None;
        };
        self.proposed = Some(now);
        let number = Sequence(after + 1);
        let mut builder = BatchBuilder::new();
        // Whoever gives ticks knows nothing of those who did before: to open a session twice does no harm.
        builder.begin(INTERNAL_SESSION, Sequence::ZERO, Sequence::ZERO);
        builder.begin(INTERNAL_SESSION, number, number);
        builder.push_bytes(&Command::Tick { after, elapsed_ns }.to_bytes());
        Some(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grantor_keeps_longer_than_a_holder_believes() {
        assert_eq!((kept_ns(1_000_000), believed_ns(1_000_000)), (1_010_000, 990_000));
        assert_eq!((kept_ns(1_000_001), believed_ns(1_000_001)), (1_010_002, 990_000));
        assert_eq!(kept_ns(TTL_NS_MAX), 3_636_000_000_000);
    }

    #[test]
    fn a_belief_counts_from_when_the_answered_renewal_was_first_sent() {
        let renewed = Outcome::of(RENEWED);
        let mut holder = Holder::new(1_000_000);
        assert!(!holder.may_believe(Time(0)));
        holder.ask(Sequence(1), Time(100));
        holder.ask(Sequence(1), Time(500_000));
        assert!(holder.hear(Sequence(1), renewed, Time(600_000)));
        assert!(holder.may_believe(Time(990_099)) && !holder.may_believe(Time(990_100)));
        holder.ask(Sequence(2), Time(900_000));
        assert!(holder.hear(Sequence(1), renewed, Time(950_000)), "an answer that was heard before");
        assert!(!holder.may_believe(Time(990_100)), "and says nothing about the second renewal");
        assert!(holder.hear(Sequence(2), renewed, Time(1_000_000)));
        holder.ask(Sequence(3), Time(1_100_000));
        assert!(!holder.hear(Sequence(3), Outcome::of(super::super::NO_OWNER), Time(1_100_001)));
    }

    #[test]
    fn a_tick_counts_from_the_execution_of_the_one_before() {
        let mut metronome = Metronome::default();
        assert_eq!(metronome.tick(Time(5)), None);
        metronome.hear(7, Time(10));
        metronome.hear(7, Time(30));
        assert_eq!(metronome.tick(Time(50)), Some(Command::Tick { after: 7, elapsed_ns: 40 }));
        metronome.hear(8, Time(60));
        assert_eq!(metronome.tick(Time(61)), Some(Command::Tick { after: 8, elapsed_ns: 1 }));
    }
}
