//! P4, M4: a ballot has one proposer, in one of its lives; and one value in a slot, which that proposer wrote down first (P2).

use std::collections::HashMap;

use qlab_kernel::{Batch, Index, NodeId};
use qlab_paxos::Ballot;
use qlab_paxos::multi::{Message, Record};

use crate::laws::{Verdict, broken};

const UNIQUE: &str = "P4 ballots are unique";
const ONE_VALUE: &str = "P4 one value in a ballot";

/// Who prepared which ballot, and what was proposed in it.
#[derive(Debug, Default)]
pub(crate) struct Ballots {
    lives: HashMap<usize, u64>,
    prepared: HashMap<Ballot, (usize, u64)>,
    proposed: HashMap<(Ballot, Index), Batch>,
}

impl Ballots {
    pub(crate) fn started(&mut self, process: usize) {
        *self.lives.entry(process).or_default() += 1;
    }

    pub(crate) fn check_message(&mut self, process: usize, message: &Message) -> Verdict {
        let Message::Prepare { ballot, .. } = message else { return Ok(()) };
        let proposer = (process, self.lives.get(&process).copied().unwrap_or_default());
        let first = *self.prepared.entry(*ballot).or_insert(proposer);
        if first != proposer {
            return broken(
                UNIQUE,
                format!("ballot {ballot} of (process, life) {first:?} and of {proposer:?}"),
            );
        }
        Ok(())
    }

    /// A story begins with this: somebody proposed it.
    pub(crate) fn given(&mut self, record: &Record) {
        if let Record::Accept { ballot, index, batch } = record {
            self.proposed.insert((*ballot, *index), batch.clone());
        }
    }

    pub(crate) fn check_record(&mut self, node: NodeId, record: &Record) -> Verdict {
        let Record::Accept { ballot, index, batch } = record else { return Ok(()) };
        if ballot.node == node {
            self.proposed.entry((*ballot, *index)).or_insert_with(|| batch.clone());
        }
        match self.proposed.get(&(*ballot, *index)) {
            Some(proposed) if proposed == batch => Ok(()),
            Some(_) => {
                broken(ONE_VALUE, format!("{node} accepts another value for {index} in ballot {ballot}"))
            }
            None => broken(
                ONE_VALUE,
                format!("{node} accepts for {index} in ballot {ballot} what nobody proposed"),
            ),
        }
    }
}
