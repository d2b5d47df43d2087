//! R4, Leader Completeness (Raft §5.4): whatever was ever committed is in the log of every leader of a later term.

use qlab_kernel::Term;
use qlab_raft::Raft;

use super::r7_committed_immutable::Committed;
use crate::laws::{Glimpse, Verdict, broken};

const LAW: &str = "R4 leader completeness";

/// Looks at a leader that was just elected in `elected`.
pub(crate) fn check(glimpse: &Glimpse<'_, Raft>, elected: Term, committed: &Committed) -> Verdict {
    let raft = glimpse.core;
    for (index, place) in committed.iter() {
        // Late votes may elect somebody whose time is over: he need not hold what a later term committed.
        if place.committed_in >= elected {
            continue;
        }
        match raft.term_at(index) {
            Some(term) if term == place.term => {}
            Some(term) => {
                let what = format!(
                    "the leader of term {elected} has an entry of term {term} at {index}, not {}",
                    place.term
                );
                return broken(LAW, what);
            }
            // Before its log: then it is in its image.
            None if index <= raft.commit_index() => {}
            None => return broken(LAW, format!("the leader of term {elected} lacks {index}")),
        }
    }
    Ok(())
}
