//! B8: from its vote for a view to that view's beginning a replica accepts and prepares nothing; it says nothing in views before the
//! one it voted for, across restarts too; and it speaks in a view once its disk knows that it is there.

use std::collections::HashMap;

use qlab_kernel::{NodeId, Term};
use qlab_pbft::message::{Message, PrePrepare};
use qlab_pbft::{Pbft, Record};

use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};

const CHANGING: &str = "B8 nothing is accepted while the view changes";
const OVER: &str = "B8 nothing is said in views that were left";
const ENTERED: &str = "B8 a view is entered durably before a word in it";

/// Who is between two views, and who has left which.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    changing: HashMap<usize, bool>,
    left: HashMap<NodeId, Term>,
}

impl Silence {
    /// A process's first burst shows how it began.
    pub(crate) fn begin(&mut self, glimpse: &Glimpse<'_, Pbft>) {
        self.changing.entry(glimpse.process).or_insert(!glimpse.core.is_active());
    }

    pub(crate) fn end(&mut self, glimpse: &Glimpse<'_, Pbft>) {
        self.changing.insert(glimpse.process, !glimpse.core.is_active());
    }

    pub(crate) fn ended(&mut self, process: usize) {
        self.changing.remove(&process);
    }

    /// Looks at what a process writes.
    pub(crate) fn check_record(&mut self, process: usize, record: &Record) -> Verdict {
        let changing = self.changing.entry(process).or_default();
        match record {
            Record::Voted(_) => *changing = true,
            Record::Entered { .. } => *changing = false,
            Record::Accepted(PrePrepare { seq, .. }) if *changing => {
                return broken(CHANGING, format!("process {process} accepts {seq} between two views"));
            }
            Record::Prepared(prepared) if *changing => {
                let what = format!("process {process} has {} prepared between two views", prepared.seq);
                return broken(CHANGING, what);
            }
            _ => {}
        }
        Ok(())
    }

    /// Looks at what a process says, in order.
    pub(crate) fn check_message(
        &mut self,
        glimpse: &Glimpse<'_, Pbft>,
        message: &Message,
        ledger: &Ledger,
    ) -> Verdict {
        let node = glimpse.node;
        let view = match message {
            Message::ViewChange(vote) if vote.voter == node => {
                let left = self.left.entry(node).or_default();
                *left = (*left).max(vote.view);
                return Ok(());
            }
            Message::PrePrepare(PrePrepare { view, .. })
            | Message::Prepare { view, .. }
            | Message::Commit { view, .. } => *view,
            _ => return Ok(()),
        };
        let left = self.left.get(&node).copied().unwrap_or_default();
        if view < left {
            return broken(OVER, format!("{node} speaks in view {view} after it voted for {left}"));
        }
        let entered = ledger.disk(glimpse.process).entered;
        if entered.is_none_or(|entered| entered < view) {
            let what = format!("{node} speaks in view {view}; its disk knows of {entered:?}");
            return broken(ENTERED, what);
        }
        Ok(())
    }
}
