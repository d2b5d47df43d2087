//! What is written: what changes as it does, and from time to time everything anew, so that the journal can let go of what made it
//! so.

use qlab_kernel::{Effects, Event, Index, Lsn};

use super::Abd;
use super::record::{Record, item_bytes};
use crate::rewriting::{RECORD_BYTES, Task};

impl Abd {
    /// This life is written down before anything else is.
    pub(super) fn begin_life(&mut self, effects: &mut Effects<Self>) {
        if self.life_lsn == Lsn::ZERO {
            self.life_lsn = effects.persist(Record::Life { incarnation: self.incarnation });
        }
    }

    /// Writes some registers anew, if it is time. Nothing that is said in this burst waits for that.
    pub(super) fn rewrite(&mut self, effects: &mut Effects<Self>) {
        let due_bytes = self.config.rewrite_log_bytes.max(self.registers.weight_bytes());
        match self.rewriting.task(due_bytes, self.durable) {
            None => {}
            Some(Task::Begin) => {
                let from = effects.persist(Record::Life { incarnation: self.incarnation });
                effects.persist(Record::Opened { sessions: self.sessions.all() });
                self.rewriting.begun(from);
            }
            Some(Task::Write { next }) => self.rewrite_from(next, effects),
            Some(Task::Release { from }) => {
                effects.release_below(from);
                effects.event(Event::Compacted(Index::ZERO));
            }
        }
    }

    fn rewrite_from(&mut self, next: usize, effects: &mut Effects<Self>) {
        let (mut bytes, mut images) = (0, Vec::new());
        for register in self.registers.from(next) {
            if bytes >= RECORD_BYTES {
                break;
            }
            bytes += item_bytes(&register.key, &register.version);
            images.push((register.key.clone(), register.version.clone()));
        }
        let next = next + images.len();
        if !images.is_empty() {
            effects.persist(Record::Images { images });
        }
        self.rewriting.wrote(next, self.registers.len(), effects.last());
    }
}
