//! The laws of Multi-Paxos, each in a file of its own, over one memory of what everybody's disk ever held.
//!
//! What is chosen is not what anybody says: it is recomputed here from durable accepts of a quorum in one ballot. P2 (only what was
//! proposed) is part of P4, P7 (quorums meet) of the configuration, P8 (learners do not change their minds) and M1 of P6 and P1, M2
//! (executed without gaps) of G5, M3 (phase 1 covers everything) of P5, M4 of P4, M6 (nothing is forgotten too early) of P3: a promise
//! tells everything that the disk ever held. M7 is about changes of the configuration, which are not here. M8 (reads) is `fresh_reads`.

mod ledger;
mod p1_agreement;
mod p3_promises;
mod p4_ballots;
mod p5_proposals;
mod p6_learning;

use qlab_kernel::{Lsn, NodeId, SessionId};
use qlab_paxos::multi::Record;
use qlab_paxos::{MultiPaxos, multi};

use super::fresh_reads::FreshReads;
use super::{Glimpse, Laws, Verdict};

/// All of them.
#[derive(Debug)]
pub struct MultiPaxosLaws {
    ledger: ledger::Ledger,
    /// What was found while records became durable, to be told after the next burst.
    found: Verdict,
    promises: p3_promises::Promises,
    ballots: p4_ballots::Ballots,
    learning: p6_learning::Learning,
    reads: FreshReads,
}

impl MultiPaxosLaws {
    /// The laws of a cluster of `nodes`.
    #[must_use]
    pub fn new(nodes: usize, config: &multi::Config) -> Self {
        let quorums = config.quorums(nodes).expect("worlds are drawn with quorums that meet");
        Self {
            ledger: ledger::Ledger::new(nodes, quorums.phase_2),
            found: Ok(()),
            promises: p3_promises::Promises::default(),
            ballots: p4_ballots::Ballots::default(),
            learning: p6_learning::Learning::default(),
            reads: FreshReads::new("M8 reads"),
        }
    }

    fn note(&mut self, verdict: Verdict) {
        if self.found.is_ok() {
            self.found = verdict;
        }
    }
}

impl Laws<MultiPaxos> for MultiPaxosLaws {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, MultiPaxos>) -> Verdict {
        self.found.clone()?;
        for (lsn, record) in &glimpse.harvest.records {
            self.promises.check_record(glimpse.process, record)?;
            self.ballots.check_record(glimpse.node, record)?;
            p5_proposals::check(glimpse.node, record, &self.ledger)?;
            self.ledger.write(glimpse.process, *lsn, record);
        }
        for outgoing in &glimpse.harvest.released {
            self.ballots.check_message(glimpse.process, &outgoing.message)?;
            self.promises.check_message(glimpse.process, &outgoing.message, &self.ledger)?;
        }
        self.promises.check_state(glimpse, &self.ledger)?;
        self.learning.check(glimpse, &self.ledger)?;
        self.reads.check(glimpse)
    }

    fn synced(&mut self, process: usize, durable: Lsn) {
        let verdict = self.ledger.synced(process, durable);
        self.note(verdict);
    }

    fn ended(&mut self, process: usize) {
        self.learning.ended(process);
    }

    fn given(&mut self, _: NodeId, process: usize, lsn: Lsn, record: &Record) -> Verdict {
        self.ballots.given(record);
        self.ledger.write(process, lsn, record);
        Ok(())
    }

    fn started(&mut self, process: usize, last: Lsn) -> Verdict {
        let verdict = self.ledger.recovered(process, last);
        self.note(verdict);
        self.promises.started(process, &self.ledger);
        self.ballots.started(process);
        self.found.clone()
    }

    fn queried(&mut self, session: SessionId, sequence: u64) {
        self.reads.asked(session, sequence, self.learning.furthest());
    }
}
