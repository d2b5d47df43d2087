//! A server again, from its records.
//!
//! The records that a crash left are a prefix of those persisted, less those released. So they are entries in order, and
//! between them the chunks of snapshots: whole ones, torn ones that a crash cut off, and the tail of one whose beginning was
//! released. The last whole one counts, with the entries after it; these may lie before it in the journal, because entries
//! were taken in while the image was on its way.

use qlab_kernel::snapshot::Assembly;
use qlab_kernel::{Batch, Commit, Effects, Index, Lsn, Snapshot};

use crate::compaction::Compaction;
use crate::log::Log;
use crate::{Record, Unreplicated};

/// Restores the last whole snapshot, if any, and executes every entry after it: all of them are durable.
pub(crate) fn replay(
    records: impl Iterator<Item = (Lsn, Record)>,
    effects: &mut Effects<Unreplicated>,
) -> (Log, Compaction) {
    let mut found = Found::default();
    for (_, record) in records {
        found.add(record);
    }
    found.execute(effects)
}

#[derive(Default)]
struct Found {
    assembly: Assembly,
    snapshot: Option<Snapshot>,
    /// Entries that the snapshot does not hold, without a gap.
    entries: Vec<(Index, Batch)>,
}

impl Found {
    fn add(&mut self, record: Record) {
        match record {
            Record::Append { index, batch } => self.append(index, batch),
            Record::Chunk(chunk) => {
                if let Some(snapshot) = self.assembly.add(&chunk) {
                    self.entries.retain(|(index, _)| *index > snapshot.index);
                    self.snapshot = Some(snapshot);
                }
            }
        }
    }

    fn append(&mut self, index: Index, batch: Batch) {
        if let Some((last, _)) = self.entries.last() {
            assert_eq!(index, last.next(), "the journal lost entries after {last}: restore it from a copy");
        }
        self.entries.push((index, batch));
    }

    fn execute(self, effects: &mut Effects<Unreplicated>) -> (Log, Compaction) {
        let mut executed = Index::ZERO;
        let mut log_bytes = 0;
        if let Some(Snapshot { index, image, .. }) = self.snapshot {
            executed = index;
            effects.commit(Commit::Restore { index, image });
        }
        for (index, batch) in self.entries {
            assert_eq!(
                index,
                executed.next(),
                "the journal lost entries after {executed}: restore it from a copy"
            );
            executed = index;
            log_bytes += batch.len() as u64;
            effects.commit(Commit::Apply { index, batch });
        }
        (Log::after(executed), Compaction::after(log_bytes))
    }
}
