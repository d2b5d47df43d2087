//! R12: what a leader believes to be durable on a follower is, unless the follower has left the leader's term: then another
//! leader may have had it overwrite that, and nothing this one believes counts any more.

use qlab_raft::Raft;

use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};

const LAW: &str = "R12 match index";

/// Looks at a leader's view of its followers.
pub(crate) fn check(glimpse: &Glimpse<'_, Raft>, ledger: &Ledger) -> Verdict {
    let raft = glimpse.core;
    for (follower, matched) in raft.matched() {
        let Some(term) = raft.term_at(matched) else { continue };
        let node = usize::from(follower.0);
        let (follower_term, _) = ledger.disk(node).vote;
        if matched.0 > 0 && follower_term <= raft.term() && !ledger.holds(node, matched, term) {
            let what = format!("{} believes that {follower} holds {matched} of term {term}", glimpse.node);
            return broken(LAW, what);
        }
    }
    Ok(())
}
