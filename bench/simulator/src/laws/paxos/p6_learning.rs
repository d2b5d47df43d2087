//! P6, P8: what a replica takes as decided is chosen, by a quorum of accepts in one ballot; and it never changes its mind.

use std::collections::HashMap;

use bytes::Bytes;
use qlab_paxos::Paxos;
use qlab_paxos::single::Value;

use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};

const CHOSEN: &str = "P6 learned is chosen";
const STAYS: &str = "P8 a learner never changes its mind";

/// How many registers every process knows to be decided.
#[derive(Debug, Default)]
pub(crate) struct Learning(HashMap<usize, usize>);

impl Learning {
    pub(crate) fn check(&mut self, glimpse: &Glimpse<'_, Paxos>, ledger: &Ledger) -> Verdict {
        let (process, count) = (glimpse.process, glimpse.core.decided_count());
        let before = self.0.insert(process, count).unwrap_or_default();
        if count < before {
            return broken(STAYS, format!("process {process} knew {before} decisions and knows {count}"));
        }
        if count == before {
            return Ok(());
        }
        let who = format!("process {process}");
        glimpse.core.decided().try_for_each(|(key, value)| is_chosen(&who, key, value, ledger))
    }

    /// The process ended: it begins to learn anew.
    pub(crate) fn ended(&mut self, process: usize) {
        self.0.remove(&process);
    }
}

/// A decision must be what the ledger finds chosen: that never changes (P1), so neither does what is learned.
pub(crate) fn is_chosen(who: &str, key: &Bytes, value: &Value, ledger: &Ledger) -> Verdict {
    match ledger.chosen(key) {
        Some(chosen) if chosen.value == *value => Ok(()),
        Some(_) => broken(CHOSEN, format!("{who} takes another value of {key:?} for decided than is chosen")),
        None => broken(CHOSEN, format!("{who} takes {key:?} for decided; nothing is chosen there")),
    }
}
