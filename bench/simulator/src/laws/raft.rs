//! Raft's laws, each in a file of its own, over one memory of what everybody's disk holds.
//!
//! R5 (state machine safety) is G5; R13 and R14 (reads) are `fresh_reads`. R10 is about changes of the configuration, which this Raft does not have.

mod ledger;
mod r11_vote_once;
mod r12_match_index;
mod r16_no_committed_truncated;
mod r1_election_safety;
mod r2_leader_append_only;
mod r3_log_matching;
mod r4_leader_completeness;
mod r6_committed_on_quorum;
mod r7_committed_immutable;
mod r8_monotonic;

use qlab_kernel::{Lsn, NodeId, SessionId};
use qlab_raft::{Raft, Record};

use super::fresh_reads::FreshReads;
use super::{Glimpse, Laws, Verdict};

/// All of them.
#[derive(Debug)]
pub struct RaftLaws {
    ledger: ledger::Ledger,
    committed: r7_committed_immutable::Committed,
    elected: r1_election_safety::Elected,
    leading: r2_leader_append_only::Leading,
    entries: r3_log_matching::Entries,
    votes: r11_vote_once::Votes,
    reads: FreshReads,
    progress: r8_monotonic::Progress,
}

impl RaftLaws {
    /// The laws of a cluster of `nodes`.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            ledger: ledger::Ledger::new(nodes),
            committed: r7_committed_immutable::Committed::default(),
            elected: r1_election_safety::Elected::default(),
            leading: r2_leader_append_only::Leading::default(),
            entries: r3_log_matching::Entries::default(),
            votes: r11_vote_once::Votes::default(),
            reads: FreshReads::new("R13 read index"),
            progress: r8_monotonic::Progress::default(),
        }
    }
}

impl Laws<Raft> for RaftLaws {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, Raft>) -> Verdict {
        let before = self.progress.check(glimpse, &self.ledger)?;
        self.leading.check(glimpse)?;
        r16_no_committed_truncated::check(glimpse, before.commit)?;
        for (lsn, record) in &glimpse.harvest.records {
            self.given(glimpse.node, glimpse.process, *lsn, record)?;
        }
        let newly_committed = self.committed.check(glimpse, before.commit)?;
        if newly_committed {
            r6_committed_on_quorum::check(glimpse, &self.ledger)?;
        }
        for event in &glimpse.harvest.events {
            if let Some(term) = self.elected.check(glimpse.process, event)? {
                r4_leader_completeness::check(glimpse, term, &self.committed)?;
            }
        }
        self.elected.check_leader(glimpse)?;
        self.votes.check(glimpse, &self.ledger)?;
        r12_match_index::check(glimpse, &self.ledger)?;
        self.reads.check(glimpse)
    }

    fn synced(&mut self, process: usize, durable: Lsn) {
        self.ledger.synced(process, durable);
    }

    fn ended(&mut self, process: usize) {
        self.progress.ended(process);
        self.leading.ended(process);
    }

    fn given(&mut self, node: NodeId, process: usize, lsn: Lsn, record: &Record) -> Verdict {
        self.entries.check(node, record)?;
        self.ledger.write(process, lsn, record);
        Ok(())
    }

    fn started(&mut self, process: usize, last: Lsn) -> Verdict {
        self.ledger.recovered(process, last);
        Ok(())
    }

    fn queried(&mut self, session: SessionId, sequence: u64) {
        self.reads.asked(session, sequence, self.committed.last());
    }
}
