//! Linearizable reads without writing: confirmed by a quorum, or under a leader's lease (Paxos Made Live §5.2).
//!
//! A read may be answered from the leader's state once three things hold. The leader knows everything that was chosen before it was
//! elected: all slots that its phase 1 heard of are chosen again. Everything chosen is applied. And no later ballot had been promised
//! by a quorum of phase 1 when the read came: so many acceptors have answered a heartbeat sent since, that any such quorum has one
//! of them in it, who had not promised; or, under a lease, they have answered so recently that they promise nobody yet.

use qlab_kernel::{Effects, Time, mutant};

use super::config::Reads;
use super::{MultiPaxos, Role};

impl MultiPaxos {
    /// Answers what may be answered now. Comes after `apply` in a flush: everything chosen is applied.
    pub(super) fn answer_reads(&mut self, now: Time, effects: &mut Effects<Self>) {
        // So many meet every quorum of phase 1.
        let meets_every_quorum = self.seat.members.len() + 1 - self.quorums.phase_1;
        let Role::Leader(leader) = &mut self.role else { return };
        let answered = leader.answered_by(meets_every_quorum);
        mutant!("multi-paxos: reads are not confirmed", answered = u64::MAX);
        leader.reads.confirm(answered);
        let knows_all = self.chosen >= leader.inherited_last();
        mutant!("multi-paxos: reads come before what was inherited", knows_all = true);
        if !knows_all {
            return;
        }
        assert_eq!(self.applied, self.chosen, "reads come after everything chosen is applied");
        let by_lease = self.config.reads == Reads::Lease && leader.reads.has_lease(now, self.config.lease());
        let sure_up_to = if by_lease { u64::MAX } else { answered };
        leader.reads.answer(sure_up_to, effects);
    }
}
