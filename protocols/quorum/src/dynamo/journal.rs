//! What is written: what changes as it does, and from time to time everything anew, so that the journal can let go of what made it
//! so.

use qlab_kernel::{Effects, Event, Index, Lsn};

use super::Dynamo;
use super::record::{Record, item_bytes};
use crate::rewriting::{RECORD_BYTES, Task};

impl Dynamo {
    /// This life is written down before anything else is.
    pub(super) fn begin_life(&mut self, effects: &mut Effects<Self>) {
        if self.life_lsn == Lsn::ZERO {
            self.life_lsn = effects.persist(self.life());
        }
    }

    const fn life(&self) -> Record {
        Record::Life { incarnation: self.incarnation, named: self.named }
    }

    /// Writes some keys anew, if it is time. Nothing that is said in this burst waits for that.
    pub(super) fn rewrite(&mut self, effects: &mut Effects<Self>) {
        let due_bytes = self.config.rewrite_log_bytes.max(self.store.weight_bytes());
        match self.rewriting.task(due_bytes, self.durable) {
            None => {}
            Some(Task::Begin) => {
                let from = effects.persist(self.life());
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

    fn rewrite_from(&mut self, from: usize, effects: &mut Effects<Self>) {
        let (mut bytes, mut next, mut images) = (0, from, Vec::new());
        for entry in self.store.from(from) {
            if bytes >= RECORD_BYTES {
                break;
            }
            next += 1;
            if let Some(entry) = entry {
                bytes += item_bytes(&entry.key, &entry.state);
                images.push((entry.key.clone(), entry.state.clone()));
            }
        }
        if !images.is_empty() {
            effects.persist(Record::Images { images });
        }
        self.rewriting.wrote(next, self.store.len(), effects.last());
    }
}
