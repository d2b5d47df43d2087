//! R2, Leader Append-Only (Raft §5.3): a leader never overwrites or deletes entries of its own log.

use std::collections::HashMap;

use qlab_kernel::{Event, Index, Term};
use qlab_raft::{Raft, Record};

use crate::laws::{Glimpse, Verdict, broken};

const LAW: &str = "R2 leader append-only";

/// Who leads since an earlier burst, in which term, and where its log ended.
#[derive(Debug, Default)]
pub(crate) struct Leading(HashMap<usize, (Term, Index)>);

impl Leading {
    pub(crate) fn check(&mut self, glimpse: &Glimpse<'_, Raft>) -> Verdict {
        let raft = glimpse.core;
        let now = raft.is_leader().then(|| (raft.term(), raft.last().index));
        let before = match now {
            Some(now) => self.0.insert(glimpse.process, now),
            None => self.0.remove(&glimpse.process),
        };
        let (Some((term, last)), Some((same_term, _))) = (before, now) else { return Ok(()) };
        if term != same_term {
            return Ok(());
        }
        if glimpse.harvest.events.iter().any(|event| matches!(event, Event::Truncated(_))) {
            return broken(LAW, format!("the leader of term {term} truncated its log"));
        }
        for (_, record) in &glimpse.harvest.records {
            if let Record::Append { index, .. } = record
                && *index <= last
            {
                return broken(LAW, format!("the leader of term {term} wrote {index} again"));
            }
        }
        Ok(())
    }

    pub(crate) fn ended(&mut self, process: usize) {
        self.0.remove(&process);
    }
}
