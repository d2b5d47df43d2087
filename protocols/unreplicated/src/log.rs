//! Entries on their way: waiting to be packed, persisted but not durable, executed.

use std::collections::VecDeque;

use qlab_kernel::limits::BATCH_BYTES_MAX;
use qlab_kernel::{Batch, Commit, Effects, Index, Lsn};

use crate::{Config, Record, Unreplicated};

/// The log from the first entry that is not durable yet. What is durable is executed at once and forgotten.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Requests since the last flush.
    waiting: Vec<Batch>,
    /// Entries whose records are on their way to the disk, oldest first.
    persisted: VecDeque<Entry>,
    /// Bytes of both.
    window_bytes: usize,
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
        self.waiting.len() + self.persisted.len() < config.window_entries_max
            && self.window_bytes + batch.len() <= config.window_bytes_max
    }

    /// Takes a request in until the next flush.
    pub(crate) fn wait(&mut self, batch: Batch) {
        self.window_bytes += batch.len();
        self.waiting.push(batch);
    }

    /// Packs what waits into as few entries as their limit allows, and persists them.
    pub(crate) fn persist_waiting(&mut self, effects: &mut Effects<Unreplicated>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut rest = &waiting[..];
        while !rest.is_empty() {
            let (entry, later) = rest.split_at(fitting(rest));
            self.persist(Batch::concat(entry), effects);
            rest = later;
        }
        // Back with its capacity: this runs in every burst.
        waiting.clear();
        self.waiting = waiting;
    }

    /// Executes every entry whose record is durable; their bytes.
    pub(crate) fn execute_durable(&mut self, durable: Lsn, effects: &mut Effects<Unreplicated>) -> u64 {
        let mut executed_bytes = 0;
        while self.first_unexecuted().is_some_and(|lsn| lsn <= durable) {
            let Entry { index, batch, .. } = self.persisted.pop_front().expect("there is a first");
            self.window_bytes -= batch.len();
            executed_bytes += batch.len() as u64;
            self.executed = index;
            effects.commit(Commit::Apply { index, batch });
        }
        executed_bytes
    }

    /// Panics if the window is not what its parts say, or is overfull.
    pub(crate) fn check(&self, config: &Config) {
        let persisted = self.persisted.iter().map(|entry| &entry.batch);
        let bytes: usize = self.waiting.iter().chain(persisted).map(Batch::len).sum();
        assert_eq!(bytes, self.window_bytes, "the window's bytes are those of its entries");
        assert!(bytes <= config.window_bytes_max, "the window holds more bytes than it may");
        let entries = self.waiting.len() + self.persisted.len();
        assert!(entries <= config.window_entries_max, "the window holds more entries than it may");
        let mut last = (self.executed, Lsn::ZERO);
        for &Entry { index, lsn, .. } in &self.persisted {
            assert_eq!(index, last.0.next(), "entries follow each other without a gap");
            assert!(lsn > last.1, "records are in the order of their entries");
            last = (index, lsn);
        }
    }

    fn persist(&mut self, batch: Batch, effects: &mut Effects<Unreplicated>) {
        let index = self.persisted.back().map_or(self.executed, |entry| entry.index).next();
        let lsn = effects.persist(Record::Append { index, batch: batch.clone() });
        self.persisted.push_back(Entry { index, lsn, batch });
    }
}

/// How many of the first `batches` fit one entry: at least one, because each does.
fn fitting(batches: &[Batch]) -> usize {
    let mut bytes = 0;
    let fits = |batch: &&Batch| {
        bytes += batch.len();
        bytes <= BATCH_BYTES_MAX
    };
    batches.iter().take_while(fits).count()
}
