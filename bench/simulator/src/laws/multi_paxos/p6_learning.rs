//! P6, P8, M5: what a replica takes as chosen is, and what it executes is exactly that; what it knows only grows.

use std::collections::HashMap;

use qlab_kernel::Index;
use qlab_paxos::MultiPaxos;

use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};
use crate::process::Done;

const CHOSEN: &str = "P6 learned is chosen";
const EXECUTED: &str = "P8 executed is what is chosen";
const GROWS: &str = "M5 knowledge only grows";

/// Up to where every process knows all slots to be chosen.
#[derive(Debug, Default)]
pub(crate) struct Learning {
    known: HashMap<usize, Index>,
    furthest: Index,
}

impl Learning {
    pub(crate) fn check(&mut self, glimpse: &Glimpse<'_, MultiPaxos>, ledger: &Ledger) -> Verdict {
        let (process, chosen) = (glimpse.process, glimpse.core.chosen());
        let before = self.known.insert(process, chosen).unwrap_or_default();
        self.furthest = self.furthest.max(chosen);
        if chosen < before {
            return broken(GROWS, format!("process {process} went from {before} back to {chosen}"));
        }
        if chosen > ledger.prefix() {
            let what =
                format!("process {process} takes {chosen} as chosen; all up to {} are", ledger.prefix());
            return broken(CHOSEN, what);
        }
        for done in &glimpse.harvest.done {
            if let Done::Applied { index, hash } | Done::Restored { index, hash } = done
                && ledger.hash(*index) != Some(hash)
            {
                return broken(EXECUTED, format!("process {process} executed something else up to {index}"));
            }
        }
        Ok(())
    }

    /// Up to where anybody has ever known.
    pub(crate) fn furthest(&self) -> Index {
        self.furthest
    }

    pub(crate) fn ended(&mut self, process: usize) {
        self.known.remove(&process);
    }
}
