//! R6 (Raft §5.3, §5.4.2): when a leader commits, its last committed entry is of its own term and durable on a majority.

use qlab_raft::Raft;

use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};

const LAW: &str = "R6 committed on quorum";

/// Looks at whoever has just committed something; followers only repeat what they are told.
pub(crate) fn check(glimpse: &Glimpse<'_, Raft>, ledger: &Ledger) -> Verdict {
    let raft = glimpse.core;
    if !raft.is_leader() {
        return Ok(());
    }
    let index = raft.commit_index();
    let Some(term) = raft.term_at(index) else { return Ok(()) };
    if term != raft.term() {
        let what = format!("the leader of term {} committed {index}, an entry of term {term}", raft.term());
        return broken(LAW, what);
    }
    let holders = ledger.holders(index, term);
    if holders < ledger.majority() {
        return broken(LAW, format!("{index} is committed with {holders} durable copies"));
    }
    Ok(())
}
