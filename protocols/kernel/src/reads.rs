//! Reads that wait until their leader is sure of itself, and the rounds of heartbeats that make it so.
//!
//! A leader may answer a read from its own state once nobody else can have led when the read came. It knows by either of two
//! things: enough replicas have answered a round of heartbeats that began after the read came (Raft thesis §6.4: ReadIndex), or
//! they answered one so recently that none of them helps another leader up yet (§6.4.1: a lease, which rests on clocks). How many
//! are enough, and what else must hold, is each protocol's to say; what is counted and remembered for it is here.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Batch, Commit, Effects, Protocol, Refusal, Ticket, Time, mutant};

/// Rounds whose times are remembered; forgetting older ones only makes the lease look shorter.
const OPEN_ROUNDS_MAX: usize = 64;

/// A leader's reads and its rounds.
#[derive(Debug, Default)]
pub struct WaitingReads {
    queue: VecDeque<Waiting>,
    /// Bytes of the queries in it.
    bytes: usize,
    /// The last round begun.
    round: u64,
    /// Rounds that were not answered by enough replicas yet, with the times they began.
    open_rounds: VecDeque<(u64, Time)>,
    /// The last round that was, and when it began.
    confirmed: Option<(u64, Time)>,
    /// Leadership is being, or was to be, handed over: a successor need not wait for a lease to end.
    lease_given_up: bool,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    batch: Batch,
    /// The first round begun after this read came.
    round: u64,
}

impl WaitingReads {
    /// Adds a read at the end.
    pub fn push(&mut self, ticket: Ticket, batch: Batch) {
        self.bytes += batch.len();
        let round = mutant!(self.round + 1, "reads: an earlier round confirms a read", self.round);
        self.queue.push_back(Waiting { ticket, batch, round });
    }

    /// Reads that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of the reads that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a read waits for a round that has not begun. One is on its way at a time: reads that come meanwhile share the
    /// next.
    #[must_use]
    pub fn want_round(&self) -> bool {
        self.open_rounds.is_empty() && self.queue.back().is_some_and(|read| read.round > self.round)
    }

    /// Numbers a round that begins now.
    pub fn begin_round(&mut self, now: Time) -> u64 {
        self.round += 1;
        if self.open_rounds.len() == OPEN_ROUNDS_MAX {
            self.open_rounds.pop_front();
        }
        self.open_rounds.push_back((self.round, now));
        self.round
    }

    /// The last round begun.
    #[must_use]
    pub const fn round(&self) -> u64 {
        self.round
    }

    /// Learns that enough replicas have answered every round up to `answered`.
    pub fn confirm(&mut self, answered: u64) {
        while let Some(round) = self.open_rounds.front().copied()
            && round.0 <= answered
        {
            self.confirmed = Some(round);
            self.open_rounds.pop_front();
        }
    }

    /// From now on, only rounds make sure.
    pub fn give_up_lease(&mut self) {
        self.lease_given_up = mutant!(true, "reads: a lease outlives the handover", false);
    }

    /// Whether no other leader can have been helped up yet. Counted from when the round *began*: others heard of it later, and
    /// wait at least as long from then.
    #[must_use]
    pub fn has_lease(&self, now: Time, lease: Duration) -> bool {
        let runs = |began| mutant!(now < began + lease, "reads: a lease never ends", true);
        !self.lease_given_up && self.confirmed.is_some_and(|(_, began)| runs(began))
    }

    /// Answers every read whose round is at most `sure_up_to`.
    pub fn answer<P: Protocol>(&mut self, sure_up_to: u64, effects: &mut Effects<P>) {
        while let Some(read) = self.queue.pop_front_if(|read| read.round <= sure_up_to) {
            self.bytes -= read.batch.len();
            effects.commit(Commit::Query { ticket: read.ticket, batch: read.batch });
        }
    }

    /// Hands everything back to whoever asked: somebody else leads.
    pub fn refuse_all<P: Protocol>(&mut self, effects: &mut Effects<P>) {
        self.bytes = 0;
        for read in self.queue.drain(..) {
            effects.refuse(read.ticket, read.batch, Refusal::NotLeader(None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_nanos(100);

    #[test]
    fn reads_that_come_while_a_round_is_on_its_way_share_the_next() {
        let mut reads = WaitingReads::default();
        reads.push(Ticket(1), Batch::default());
        assert!(reads.want_round());
        let first = reads.begin_round(Time(5));
        reads.push(Ticket(2), Batch::default());
        assert!(!reads.want_round(), "one is on its way");
        reads.confirm(first);
        assert!(reads.want_round(), "the second read came after the first round began");
    }

    #[test]
    fn a_lease_counts_from_the_beginning_of_the_last_round_answered() {
        let mut reads = WaitingReads::default();
        assert!(!reads.has_lease(Time(0), LEASE));
        reads.begin_round(Time(1000));
        let second = reads.begin_round(Time(1050));
        reads.begin_round(Time(1090));
        reads.confirm(second);
        assert!(reads.has_lease(Time(1149), LEASE) && !reads.has_lease(Time(1150), LEASE));
        reads.give_up_lease();
        assert!(!reads.has_lease(Time(1051), LEASE));
    }
}
