//! R11 (Raft §5.2): a replica votes once in a term, across restarts, and a vote is durable before anybody hears of it.

use std::collections::HashMap;

use qlab_kernel::{NodeId, Term};
use qlab_raft::{Message, Raft};

use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};

const LAW: &str = "R11 vote once, durably";

/// For whom each replica voted.
#[derive(Debug, Default)]
pub(crate) struct Votes(HashMap<(NodeId, Term), NodeId>);

impl Votes {
    /// Looks at the votes that leave a process.
    pub(crate) fn check(&mut self, glimpse: &Glimpse<'_, Raft>, ledger: &Ledger) -> Verdict {
        for outgoing in &glimpse.harvest.released {
            let Message::VoteReply { term, pre: false, granted: true } = outgoing.message else { continue };
            let voter = glimpse.node;
            let first = *self.0.entry((voter, term)).or_insert(outgoing.to);
            if first != outgoing.to {
                let what = format!("{voter} voted for {first} and for {} in term {term}", outgoing.to);
                return broken(LAW, what);
            }
            let (durable_term, durable_vote) = ledger.disk(glimpse.process).vote;
            let durable = durable_term > term || durable_term == term && durable_vote == Some(outgoing.to);
            if !durable {
                let what =
                    format!("{voter} tells {} of a vote in term {term} that is not durable", outgoing.to);
                return broken(LAW, what);
            }
        }
        Ok(())
    }
}
