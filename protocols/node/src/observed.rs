//! What observers are told of a replica: kept until somebody asks, within a bound.

use qlab_kernel::{Event, Time};

use crate::control::{Observation, Observed, Report};

/// Observations that wait to be asked for: minutes of the busiest gossip.
const OBSERVATIONS_MAX: usize = 1 << 18;

/// Those that wait.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    waiting: Vec<Observation>,
    forgotten: u64,
}

impl Observations {
    /// Keeps an event if it is something that a replica has come to know or believe; whether it is.
    pub(crate) fn note(&mut self, event: &Event, now: Time) -> bool {
        let what = match *event {
            Event::Learned { writer, life, version } => Observed::Learned { writer: writer.0, life, version },
            Event::FoundAlive(node) => Observed::FoundAlive(node.0),
            Event::Suspected(node) => Observed::Suspected(node.0),
            Event::DeclaredDead(node) => Observed::DeclaredDead(node.0),
            _ => return false,
        };
        if self.waiting.len() < OBSERVATIONS_MAX {
            self.waiting.push(Observation { at_ns: now.0, what });
        } else {
            self.forgotten += 1;
        }
        true
    }

    /// All that wait.
    pub(crate) fn take(&mut self) -> Report {
        let Self { waiting, forgotten } = std::mem::take(self);
        Report::Observations { observations: waiting, forgotten }
    }
}
