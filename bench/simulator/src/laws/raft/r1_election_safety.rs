//! R1, Election Safety (Raft §5.2): at most one leader is elected in a term, ever.

use std::collections::HashMap;

use qlab_kernel::{Event, Term};

use crate::laws::{Violation, broken};

const LAW: &str = "R1 election safety";

#[derive(Debug, Default)]
pub(crate) struct Elected(HashMap<Term, usize>);

impl Elected {
    /// The term that the process was just elected in, if this is what the event says.
    pub(crate) fn check(&mut self, process: usize, event: &Event) -> Result<Option<Term>, Violation> {
        let Event::Elected(term) = event else { return Ok(None) };
        if let Some(other) = self.0.insert(*term, process) {
            broken(LAW, format!("term {term} has two leaders, processes {other} and {process}"))?;
        }
        Ok(Some(*term))
    }
}
