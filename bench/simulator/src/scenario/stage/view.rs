//! What there is to see.

use qlab_kernel::NodeId;

use super::{Stage, Trouble, id};
use crate::scenario::actor::{Actor, Stand};
use crate::scenario::command::Answered;
use crate::scenario::flight::Letter;

impl<S: Actor> Stage<S> {
    /// Where a replica stands, and how far it has applied; `None` if it is down.
    pub(crate) fn stand(&self, node: NodeId) -> Result<Option<(Stand, u64)>, Trouble> {
        let running = self.replicas[self.place(node)?].running.as_ref();
        Ok(running.map(|running| (running.core.stand(), running.chain().index.0)))
    }

    /// What it holds under a key.
    pub(crate) fn value(&self, node: NodeId, key: &str) -> Result<Option<String>, Trouble> {
        let running = self.replicas[self.place(node)?].running.as_ref();
        let value = running.and_then(|running| {
            let key = key.as_bytes();
            running.value(key).or_else(|| running.core.value(key))
        });
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// How the last request was answered, or the last restart.
    pub(crate) const fn answered(&self) -> &Answered {
        &self.answered
    }

    /// Prints a replica in a line.
    pub(crate) fn show(&mut self, node: NodeId) -> Result<(), Trouble> {
        let line = match self.stand(node)? {
            Some((Stand { role, term, commit, log }, applied)) => {
                format!("{node} {role} in term {term}, commit {commit}, applied {applied}, log {log}")
                    .trim_end()
                    .to_owned()
            }
            None => format!("{node} down"),
        };
        self.print(line);
        Ok(())
    }

    /// Prints everybody's log.
    pub(crate) fn show_logs(&mut self) -> Result<(), Trouble> {
        for process in 0..self.replicas.len() {
            let log = self.stand(id(process))?.map_or("down".to_owned(), |(stand, _)| stand.log);
            self.print(format!("{process}: {log}").trim_end().to_owned());
        }
        Ok(())
    }

    /// Prints what is in flight.
    pub(crate) fn show_messages(&mut self) {
        for Letter { from, to, is_held, message } in self.flight.iter() {
            let held = if *is_held { " (held)" } else { "" };
            self.printed.push(format!("{from} -> {to} {}{held}", S::describe(message)));
        }
    }
}
