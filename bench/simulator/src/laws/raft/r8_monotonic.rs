//! R8, R9: a term never goes back, and neither vote nor entry that is durable is lost, not across restarts either; a commit index never goes back
//! while its process runs; and what was applied is committed.

use std::collections::HashMap;

use qlab_kernel::{Index, Term};
use qlab_raft::Raft;

use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, Violation, broken};
use crate::process::Done;

const LAW: &str = "R8 monotonic";
const ORDER: &str = "R9 applied is committed";

/// Where every process stood after its last burst.
#[derive(Debug, Default)]
pub(crate) struct Progress(HashMap<usize, Stand>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stand {
    pub(crate) term: Term,
    pub(crate) commit: Index,
}

impl Progress {
    /// Where it stood before this burst.
    pub(crate) fn check(&mut self, glimpse: &Glimpse<'_, Raft>, ledger: &Ledger) -> Result<Stand, Violation> {
        let raft = glimpse.core;
        let stand = Stand { term: raft.term(), commit: raft.commit_index() };
        let before = self.0.insert(glimpse.process, stand);
        if before.is_none() {
            keeps_what_is_durable(glimpse, ledger)?;
        }
        let before = before.unwrap_or_default();
        if stand.term < before.term || stand.commit < before.commit {
            broken(LAW, format!("process {} went from {before:?} back to {stand:?}", glimpse.process))?;
        }
        let (durable, _) = ledger.disk(glimpse.process).vote;
        if stand.term < durable {
            broken(
                LAW,
                format!("process {} is in term {}, its disk in {durable}", glimpse.process, stand.term),
            )?;
        }
        for done in &glimpse.harvest.done {
            if let Done::Applied { index, .. } = done
                && *index > stand.commit
            {
                broken(ORDER, format!("process {} applied {index} past {}", glimpse.process, stand.commit))?;
            }
        }
        Ok(before)
    }

    pub(crate) fn ended(&mut self, process: usize) {
        self.0.remove(&process);
    }
}

/// A replica that has just started has the vote and the log that its disk holds.
fn keeps_what_is_durable(glimpse: &Glimpse<'_, Raft>, ledger: &Ledger) -> Verdict {
    let (raft, disk, process) = (glimpse.core, ledger.disk(glimpse.process), glimpse.process);
    let (last, durable) = (raft.last().index, disk.last());
    if last != durable {
        return broken(LAW, format!("process {process} starts with {last}, its disk ends with {durable}"));
    }
    let (vote, durable) = ((raft.term(), raft.voted_for()), disk.vote);
    if vote != durable {
        return broken(
            LAW,
            format!("process {process} starts with vote {vote:?}, its disk says {durable:?}"),
        );
    }
    Ok(())
}
