//! The laws of Paxos, each in a file of its own, over one memory of what everybody's disk ever held.
//!
//! What is chosen is not what anybody says: it is recomputed here from durable accepts of a quorum in one ballot. P2 (only what was
//! proposed) is part of P4; P7 (quorums meet) of what a majority is; that a value was somebody's request is for G1.

mod ledger;
mod p1_agreement;
mod p3_promises;
mod p4_ballots;
mod p5_proposals;
mod p6_learning;

use bytes::Bytes;
use qlab_kernel::{Lsn, NodeId};
use qlab_paxos::single::{Change, Config, FirstBallot, Record, Step, Value};
use qlab_paxos::{Ballot, Paxos};

use super::{Glimpse, Laws, Verdict};

/// All of them.
#[derive(Debug)]
pub struct PaxosLaws {
    ledger: ledger::Ledger,
    /// What was found while records became durable, to be told after the next burst.
    found: Verdict,
    promises: p3_promises::Promises,
    ballots: p4_ballots::Ballots,
    proposals: p5_proposals::Proposals,
    learning: p6_learning::Learning,
}

/// What a proposer was heard to propose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proposal<'a> {
    pub(crate) key: &'a Bytes,
    pub(crate) ballot: Ballot,
    pub(crate) value: &'a Value,
}

impl PaxosLaws {
    /// The laws of a cluster of `nodes`.
    #[must_use]
    pub fn new(nodes: usize, config: &Config) -> Self {
        let quorum = nodes / 2 + 1;
        let promised_before = config.first_ballot == FirstBallot::Promised;
        Self {
            ledger: ledger::Ledger::new(nodes, quorum),
            found: Ok(()),
            promises: p3_promises::Promises::default(),
            ballots: p4_ballots::Ballots::default(),
            proposals: p5_proposals::Proposals::new(quorum, promised_before),
            learning: p6_learning::Learning::default(),
        }
    }

    fn note(&mut self, verdict: Verdict) {
        if self.found.is_ok() {
            self.found = verdict;
        }
    }

    /// What is proposed is known before anybody accepts it.
    fn check_proposals(&mut self, glimpse: &Glimpse<'_, Paxos>) -> Verdict {
        for proposal in proposals(glimpse) {
            self.ballots.check_proposal(glimpse.process, &proposal)?;
            self.proposals.check(glimpse.node, &proposal, &self.ledger)?;
        }
        Ok(())
    }
}

impl Laws<Paxos> for PaxosLaws {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, Paxos>) -> Verdict {
        self.found.clone()?;
        self.check_proposals(glimpse)?;
        for (lsn, record) in &glimpse.harvest.records {
            self.ballots.check_record(glimpse.node, record)?;
            self.promises.check_record(glimpse.process, record)?;
            self.proposals.note_record(glimpse.node, glimpse.process, record, &self.promises);
            self.ledger.write(glimpse.process, *lsn, record);
        }
        for outgoing in &glimpse.harvest.released {
            for (key, step) in &outgoing.message.steps {
                self.ballots.check_step(glimpse.process, key, step)?;
                self.promises.check_step(glimpse.process, key, step, &self.ledger)?;
                self.proposals.note_step(glimpse.node, key, step);
            }
        }
        self.learning.check(glimpse, &self.ledger)
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
}

/// What this burst proposed. What waits for the disk is not proposed yet: a crash may still undo it.
fn proposals<'a>(glimpse: &Glimpse<'a, Paxos>) -> impl Iterator<Item = Proposal<'a>> + use<'a> {
    let steps = glimpse.harvest.released.iter().flat_map(|outgoing| &outgoing.message.steps);
    steps.filter_map(|(key, step)| match step {
        Step::Accept { ballot, value } => Some(Proposal { key, ballot: *ballot, value }),
        _ => None,
    })
}

/// What a record says that the acceptor did.
fn changes(record: &Record) -> &[(Bytes, Change)] {
    match record {
        Record::Changes { changes } => changes,
        Record::Life { .. } | Record::Images { .. } => &[],
    }
}
