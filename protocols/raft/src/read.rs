//! Linearizable reads without writing: batched ReadIndex and leader leases (thesis §6.4).
//!
//! A read may be answered from the leader's state once three things hold: the leader has committed an entry of its own term,
//! so that it knows all that was committed before; everything committed is applied; and nobody else led when the read came.
//! For the last, ReadIndex waits for a majority to answer a heartbeat that was sent after the read came; a lease relies on a
//! majority that answered one recently and votes for nobody meanwhile.

use qlab_kernel::{Effects, Time, mutant};

use crate::config::Reads;
use crate::{Raft, Role};

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
