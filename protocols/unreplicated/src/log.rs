//! Entries on their way: waiting to be packed, persisted but not durable, executed.

use std::collections::VecDeque;

use qlab_kernel::limits::BATCH_BYTES_MAX;
use qlab_kernel::{Batch, Commit, Effects, Index, Intake, Lsn, Ticket};

use crate::{Config, Record, Unreplicated};

/// The log from the first entry that is not durable yet. What is durable is executed at once and forgotten.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Requests since the last flush, and how many.
    waiting: Intake,
    requests: usize,
    /// Entries whose records are on their way to the disk, oldest first.
    persisted: VecDeque<Entry>,
    /// Bytes of these entries.
    persisted_bytes: usize,
    /// The last entry executed.
    executed: Index,
}

#[derive(Debug)]
struct Entry {
    index: Index,
    lsn: Lsn,
    batch: Batch,
}

impl Log {
    /// A log whose entries up to `executed` are durable and executed.
    pub(crate) fn after(executed: Index) -> Self {
        Self { executed, ..Self::default() }
    }

    /// The last entry executed.
    pub(crate) const fn executed(&self) -> Index {
        self.executed
    }

    /// The record of the first entry that is not executed, if it has one.
    pub(crate) fn first_unexecuted(&self) -> Option<Lsn> {
        self.persisted.front().map(|entry| entry.lsn)
    }

    /// Whether the window has room for another request.
    pub(crate) fn has_room(&self, batch: &Batch, config: &Config) -> bool {
        self.entries() < config.window_entries_max && self.bytes() + batch.len() <= config.window_bytes_max
    }

    /// Takes a request in until the next flush.
    pub(crate) fn wait(&mut self, ticket: Ticket, batch: Batch) {
        self.requests += 1;
        self.waiting.push(ticket, batch);
    }

    /// Packs what waits into as few entries as their limit allows, and persists them.
    pub(crate) fn persist_waiting(&mut self, effects: &mut Effects<Unreplicated>) {
        self.requests = 0;
        while let Some(batch) = self.waiting.pack(BATCH_BYTES_MAX) {
            self.persist(batch, effects);
        }
    }

    /// Executes every entry whose record is durable; their bytes.
    pub(crate) fn execute_durable(&mut self, durable: Lsn, effects: &mut Effects<Unreplicated>) -> u64 {
        let mut executed_bytes = 0;
        while self.first_unexecuted().is_some_and(|lsn| lsn <= durable) {
            let Entry { index, batch, .. } = self.persisted.pop_front().expect("there is a first");
            self.persisted_bytes -= batch.len();
            executed_bytes += batch.len() as u64;
            self.executed = index;
            effects.commit(Commit::Apply { index, batch });
        }
        executed_bytes
    }

    /// Panics if the window is not what its parts say, or is overfull.
    pub(crate) fn check(&self, config: &Config) {
        let bytes: usize = self.persisted.iter().map(|entry| entry.batch.len()).sum();
        assert_eq!(bytes, self.persisted_bytes, "the window's bytes are those of its entries");
        assert!(self.bytes() <= config.window_bytes_max, "the window holds more bytes than it may");
        assert!(self.entries() <= config.window_entries_max, "the window holds more entries than it may");
        assert_eq!(self.requests == 0, self.waiting.is_empty(), "requests are counted as long as they wait");
        let mut last = (self.executed, Lsn::ZERO);
        for &Entry { index, lsn, .. } in &self.persisted {
            assert_eq!(index, last.0.next(), "entries follow each other without a gap");
            assert!(lsn > last.1, "records are in the order of their entries");
            last = (index, lsn);
        }
    }

    fn entries(&self) -> usize {
        self.requests + self.persisted.len()
    }

    fn bytes(&self) -> usize {
        self.waiting.bytes() + self.persisted_bytes
    }

    fn persist(&mut self, batch: Batch, effects: &mut Effects<Unreplicated>) {
        let index = self.persisted.back().map_or(self.executed, |entry| entry.index).next();
        let lsn = effects.persist(Record::Append { index, batch: batch.clone() });
        self.persisted_bytes += batch.len();
        self.persisted.push_back(Entry { index, lsn, batch });
    }
}
