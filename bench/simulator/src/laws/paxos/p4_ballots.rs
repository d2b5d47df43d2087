//! P4: a ballot of an instance has one proposer, in one of its lives; and one value, which that proposer named first (P2).

use std::collections::HashMap;

use bytes::Bytes;
use qlab_kernel::NodeId;
use qlab_paxos::Ballot;
use qlab_paxos::single::{Change, Record, Step, Value};

use super::{Proposal, changes};
use crate::laws::{Verdict, broken};

const UNIQUE: &str = "P4 ballots are unique";
const ONE_VALUE: &str = "P4 one value in a ballot";

/// Who used which ballot, and what was proposed in it.
#[derive(Debug, Default)]
pub(crate) struct Ballots {
    lives: HashMap<usize, u64>,
    users: HashMap<(Bytes, Ballot), (usize, u64)>,
    proposed: HashMap<(Bytes, Ballot), Value>,
}

impl Ballots {
    pub(crate) fn started(&mut self, process: usize) {
        *self.lives.entry(process).or_default() += 1;
    }

    /// A story begins with this: somebody proposed it.
    pub(crate) fn given(&mut self, record: &Record) {
        for (key, change) in changes(record) {
            if let Change::Accept { ballot, value } = change {
                self.proposed.insert((key.clone(), *ballot), value.clone());
            }
        }
    }

    /// Looks at what a process says.
    pub(crate) fn check_step(&mut self, process: usize, key: &Bytes, step: &Step) -> Verdict {
        match step {
            Step::Prepare { ballot } | Step::Accept { ballot, .. } => self.used(process, key, *ballot),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_proposal(&mut self, process: usize, proposal: &Proposal<'_>) -> Verdict {
        let Proposal { key, ballot, value } = *proposal;
        self.used(process, key, ballot)?;
        let proposed = self.proposed.entry((key.clone(), ballot)).or_insert_with(|| value.clone());
        if proposed == value {
            return Ok(());
        }
        broken(ONE_VALUE, format!("process {process} proposes two values for {key:?} in ballot {ballot}"))
    }

    /// Looks at what an acceptor writes.
    pub(crate) fn check_record(&self, node: NodeId, record: &Record) -> Verdict {
        for (key, change) in changes(record) {
            let Change::Accept { ballot, value } = change else { continue };
            let proposed = self.proposed.get(&(key.clone(), *ballot));
            // A proposer may accept its own proposal before anybody hears of that.
            let is_first = proposed.is_none() && ballot.node == node;
            if !is_first && proposed != Some(value) {
                let what =
                    format!("{node} accepts for {key:?} in ballot {ballot} what nobody proposed there");
                return broken(ONE_VALUE, what);
            }
        }
        Ok(())
    }

    fn used(&mut self, process: usize, key: &Bytes, ballot: Ballot) -> Verdict {
        let user = (process, self.lives.get(&process).copied().unwrap_or_default());
        let first = *self.users.entry((key.clone(), ballot)).or_insert(user);
        if first == user {
            return Ok(());
        }
        broken(UNIQUE, format!("ballot {ballot} of {key:?}: of (process, life) {first:?} and of {user:?}"))
    }
}
