//! R1, Election Safety (Raft §5.2): at most one leader is elected in a term, ever.

use std::collections::HashMap;

use qlab_kernel::{Event, Term};
use qlab_raft::Raft;

use crate::laws::{Glimpse, Verdict, Violation, broken};

const LAW: &str = "R1 election safety";

#[derive(Debug, Default)]
pub(crate) struct Elected(HashMap<Term, usize>);

impl Elected {
    /// Whoever leads was elected, and nobody else was: a leader of an earlier term does not simply go on.
    pub(crate) fn check_leader(&self, glimpse: &Glimpse<'_, Raft>) -> Verdict {
        let (raft, process) = (glimpse.core, glimpse.process);
        if raft.is_leader() && self.0.get(&raft.term()) != Some(&process) {
            return broken(LAW, format!("process {process} leads term {} unelected", raft.term()));
        }
        Ok(())
    }

    /// The term that the process was just elected in, if this is what the event says.
    pub(crate) fn check(&mut self, process: usize, event: &Event) -> Result<Option<Term>, Violation> {
        let Event::Elected(term) = event else { return Ok(None) };
        if let Some(other) = self.0.insert(*term, process) {
            broken(LAW, format!("term {term} has two leaders, processes {other} and {process}"))?;
        }
        Ok(Some(*term))
    }
}
