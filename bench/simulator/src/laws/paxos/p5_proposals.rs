//! P5 (Paxos Made Simple §2.2, P2c): what is proposed is what some quorum of promises has accepted in the highest ballot, or
//! anything if it has accepted nothing; and above the ballot in which a value was chosen, that value (P2b).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use qlab_kernel::NodeId;
use qlab_paxos::Ballot;
use qlab_paxos::single::{Accepted, Change, Record, Step};

use super::ledger::Ledger;
use super::p3_promises::Promises;
use super::{Proposal, changes};
use crate::laws::{Verdict, broken};

const CHOSEN: &str = "P5 later ballots propose what is chosen";
const HIGHEST: &str = "P5 a quorum's promises allow what is proposed";

/// Every promise of every ballot.
#[derive(Debug)]
pub(crate) struct Proposals {
    quorum: usize,
    /// Whether the first round of every instance is promised beforehand.
    promised_before: bool,
    promises: HashMap<(Bytes, Ballot), HashMap<NodeId, Option<Accepted>>>,
    checked: HashSet<(Bytes, Ballot)>,
}

impl Proposals {
    pub(crate) fn new(quorum: usize, promised_before: bool) -> Self {
        Self { quorum, promised_before, promises: HashMap::new(), checked: HashSet::new() }
    }

    /// A proposer's own promise is no message: its record tells of it.
    pub(crate) fn note_record(&mut self, node: NodeId, process: usize, record: &Record, promises: &Promises) {
        for (key, change) in changes(record) {
            if let Change::Promise { ballot } = change
                && ballot.node == node
            {
                let accepted = promises.accepted(process, key).filter(|accepted| accepted.ballot < *ballot);
                self.promised(node, key, *ballot, accepted.cloned());
            }
        }
    }

    pub(crate) fn note_step(&mut self, node: NodeId, key: &Bytes, step: &Step) {
        if let Step::Promise { ballot, accepted } = step {
            self.promised(node, key, *ballot, accepted.clone());
        }
    }

    /// Looks at what a proposer proposes, once for each ballot: P4 sees to the rest. Accepts on their way to a disk may still make
    /// something chosen in an earlier ballot; P1 notices that.
    pub(crate) fn check(&mut self, node: NodeId, proposal: &Proposal<'_>, ledger: &Ledger) -> Verdict {
        let Proposal { key, ballot, value } = *proposal;
        if !self.checked.insert((key.clone(), ballot)) {
            return Ok(());
        }
        if let Some(chosen) = ledger.chosen(key)
            && ballot > chosen.ballot
            && chosen.value != *value
        {
            let first = chosen.ballot;
            let what = format!("{node} proposes for {key:?} in {ballot} another value than {first} chose");
            return broken(CHOSEN, what);
        }
        let is_first = self.promised_before && ballot.round.0 == 1;
        if is_first || self.is_allowed(proposal) {
            return Ok(());
        }
        broken(HIGHEST, format!("{node} proposes for {key:?} in {ballot} what no quorum's promises allow"))
    }

    fn is_allowed(&self, proposal: &Proposal<'_>) -> bool {
        let place = (proposal.key.clone(), proposal.ballot);
        let Some(promises) = self.promises.get(&place) else { return false };
        let told: Vec<Option<&Accepted>> = promises.values().map(Option::as_ref).collect();
        let ballot = |accepted: &Option<&Accepted>| accepted.map_or(Ballot::ZERO, |accepted| accepted.ballot);
        // Who could be in the quorum if this was the highest that it had accepted.
        let up_to = |highest: Ballot| told.iter().filter(|accepted| ballot(accepted) <= highest).count();
        up_to(Ballot::ZERO) >= self.quorum
            || told
                .iter()
                .flatten()
                .any(|accepted| accepted.value == *proposal.value && up_to(accepted.ballot) >= self.quorum)
    }

    fn promised(&mut self, node: NodeId, key: &Bytes, ballot: Ballot, accepted: Option<Accepted>) {
        // The first time: what comes after was accepted in this very ballot.
        self.promises.entry((key.clone(), ballot)).or_default().entry(node).or_insert(accepted);
    }
}
