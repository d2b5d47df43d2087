//! Linearizable reads without writing: batched ReadIndex and leader leases (thesis §6.4).
//!
//! A read may be answered from the leader's state once three things hold: the leader has committed an entry of its own term,
//! so that it knows all that was committed before; everything committed is applied; and nobody else led when the read came.
//! For the last, ReadIndex waits for a majority to answer a heartbeat that was sent after the read came; a lease relies on a
//! majority that answered one recently and votes for nobody meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use qlab_kernel::{Batch, Commit, Effects, Refusal, Ticket, Time, mutant};

use crate::config::{Config, Reads};
use crate::{Raft, Role};

/// Heartbeats whose times are remembered; forgetting older ones only makes the lease look shorter.
const OPEN_ROUNDS_MAX: usize = 64;

/// Reads that wait for the leader to be sure of itself, and the heartbeats that make it so.
#[derive(Debug, Default)]
pub(crate) struct WaitingReads {
    queue: VecDeque<Waiting>,
    /// Bytes of the queries in it.
    bytes: usize,
    /// The last heartbeat sent.
    round: u64,
    /// Heartbeats that no majority has answered yet, with the times they were sent.
    open_rounds: VecDeque<(u64, Time)>,
    /// The last heartbeat that a majority answered, and when it was sent.
    confirmed: Option<(u64, Time)>,
    /// Leadership is being, or was to be, handed over: a successor need not wait for a lease to end.
    lease_given_up: bool,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    batch: Batch,
    /// The first heartbeat sent after this read came.
    round: u64,
}

impl Raft {
    /// Answers what may be answered now. Comes after `apply` in a flush: everything committed is applied.
    pub(crate) fn answer_reads(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        // A leader alone in its cluster needs nobody's answer.
        let answered = leader.majority_of(u64::MAX, self.seat.members, |peer| peer.round);
        leader.reads.confirm(answered);
        // Until the term's first entry is committed, the leader may not know of all that is (thesis §6.4, step 1).
        let is_open = leader.opening().is_some_and(|opening| self.commit >= opening);
        if !mutant!(is_open, "raft: reads come before the term's first entry", true) {
            return;
        }
        assert_eq!(self.applied, self.commit, "reads come after everything committed is applied");
        let by_lease = self.config.reads == Reads::Lease && leader.reads.has_lease(now, self.config.lease());
        let sure_up_to = if by_lease { u64::MAX } else { answered };
        mutant!("raft: reads are not confirmed", sure_up_to = u64::MAX);
        leader.reads.answer(sure_up_to, effects);
    }
}

impl WaitingReads {
    pub(crate) fn push(&mut self, ticket: Ticket, batch: Batch) {
        self.bytes += batch.len();
        let round = mutant!(self.round + 1, "raft: an earlier heartbeat confirms a read", self.round);
        self.queue.push_back(Waiting { ticket, batch, round });
    }

    /// Whether a read of that many bytes may come in.
    pub(crate) fn has_room(&self, config: &Config, bytes: usize) -> bool {
        self.queue.len() < config.waiting_reads_max && self.bytes + bytes <= config.intake_bytes_max
    }

    /// Whether a read waits for a heartbeat that is not sent yet. One is on its way at a time: reads that come meanwhile
    /// share the next.
    pub(crate) fn want_round(&self) -> bool {
        self.open_rounds.is_empty() && self.queue.back().is_some_and(|read| read.round > self.round)
    }

    /// Numbers a heartbeat that is sent now.
    pub(crate) fn begin_round(&mut self, now: Time) -> u64 {
        self.round += 1;
        if self.open_rounds.len() == OPEN_ROUNDS_MAX {
            self.open_rounds.pop_front();
        }
        self.open_rounds.push_back((self.round, now));
        self.round
    }

    /// The last heartbeat sent.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// From now on, only ReadIndex.
    pub(crate) fn give_up_lease(&mut self) {
        self.lease_given_up = mutant!(true, "raft: a lease outlives the handover", false);
    }

    pub(crate) fn refuse_all(&mut self, effects: &mut Effects<Raft>) {
        self.bytes = 0;
        for read in self.queue.drain(..) {
            effects.refuse(read.ticket, read.batch, Refusal::NotLeader(None));
        }
    }

    fn confirm(&mut self, answered: u64) {
        while let Some(round) = self.open_rounds.front().copied()
            && round.0 <= answered
        {
            self.confirmed = Some(round);
            self.open_rounds.pop_front();
        }
    }

    /// Counted from when the heartbeat was *sent*: followers heard it later, and wait at least as long from then.
    fn has_lease(&self, now: Time, lease: Duration) -> bool {
        let runs = |sent| mutant!(now < sent + lease, "raft: a lease never ends", true);
        !self.lease_given_up && self.confirmed.is_some_and(|(_, sent)| runs(sent))
    }

    fn answer(&mut self, sure_up_to: u64, effects: &mut Effects<Raft>) {
        while self.queue.front().is_some_and(|read| read.round <= sure_up_to) {
            let read = self.queue.pop_front().expect("looked at it");
            self.bytes -= read.batch.len();
            effects.commit(Commit::Query { ticket: read.ticket, batch: read.batch });
        }
    }
}
