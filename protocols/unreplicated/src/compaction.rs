//! The snapshot on its way, and what it sets free.
//!
//! The order is what makes it safe at every crash: ask for an image; write its chunks; when the last one is durable, release
//! the records it replaces. A crash before that leaves the old records and at most a torn snapshot, which recovery passes
//! over; a crash after it leaves a whole one.

use bytes::Bytes;
use qlab_kernel::limits::SNAPSHOT_BYTES_MAX;
use qlab_kernel::{Commit, Effects, Event, Index, Lsn, Snapshot, Term};

use crate::log::Log;
use crate::{Config, Record, Unreplicated};

#[derive(Debug, Default)]
pub(crate) struct Compaction {
    stage: Stage,
    /// Bytes of entries executed since the last snapshot was asked for.
    log_bytes: u64,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// The state machine has been asked for an image of the state after `index`.
    Asked {
        index: Index,
        /// The first record that is still needed once the image is durable: the first entry's that is not in it, or
        /// whatever comes next. Every record below holds an entry of the image, or an older snapshot.
        needed_from: Lsn,
    },
    /// The image's chunks are on their way to the disk, the last one as `last`.
    Written { index: Index, needed_from: Lsn, last: Lsn },
}

impl Compaction {
    /// Nothing on its way, and `log_bytes` of entries that the last snapshot does not hold.
    pub(crate) fn after(log_bytes: u64) -> Self {
        Self { log_bytes, ..Self::default() }
    }

    /// Counts what was executed; enough of it makes a snapshot worth its while. One at a time.
    pub(crate) fn executed(
        &mut self,
        bytes: u64,
        log: &Log,
        config: &Config,
        effects: &mut Effects<Unreplicated>,
    ) {
        self.log_bytes += bytes;
        if self.log_bytes >= config.snapshot_log_bytes && matches!(self.stage, Stage::Idle) {
            let needed_from = log.first_unexecuted().unwrap_or(effects.last().next());
            self.stage = Stage::Asked { index: log.executed(), needed_from };
            self.log_bytes = 0;
            effects.commit(Commit::Capture);
        }
    }

    /// Writes the image down, if it is the one asked for.
    pub(crate) fn captured(&mut self, index: Index, image: Bytes, effects: &mut Effects<Unreplicated>) {
        let Stage::Asked { index: asked, needed_from } = self.stage else {
            panic!("an image of entry {index} came that was not asked for");
        };
        assert_eq!(index, asked, "the image is of the moment it was asked for");
        let bytes = image.len();
        assert!(bytes <= SNAPSHOT_BYTES_MAX, "an image of {bytes} bytes could not be read back");
        for chunk in (Snapshot { index, term: Term::ZERO, image }).chunks() {
            effects.persist(Record::Chunk(chunk));
        }
        self.stage = Stage::Written { index, needed_from, last: effects.last() };
    }

    /// Releases what a snapshot replaces once that is durable.
    pub(crate) fn durable(&mut self, durable: Lsn, effects: &mut Effects<Unreplicated>) {
        if let Stage::Written { index, needed_from, last } = self.stage
            && last <= durable
        {
            effects.release_below(needed_from);
            effects.event(Event::Compacted(index));
            self.stage = Stage::Idle;
        }
    }

    /// Panics if the snapshot on its way is ahead of what is executed.
    pub(crate) fn check(&self, executed: Index) {
        if let Stage::Asked { index, .. } | Stage::Written { index, .. } = self.stage {
            assert!(index <= executed, "an image holds what is executed");
        }
        if let Stage::Written { needed_from, last, .. } = self.stage {
            assert!(needed_from <= last, "a snapshot does not release its own last record");
        }
    }
}
