//! The synchronous core: append, commit, release.

use std::collections::VecDeque;

use bytes::Bytes;
use qlab_kernel::{Lsn, Wire};

use crate::frame::{BLOCK_BYTES, Frame, frame_bytes};
use crate::group::Group;
use crate::options::{Durability, JournalOptions};
use crate::recovery::{Chain, FIRST_SEGMENT, Recovered, Sealed, recover};
use crate::{Disk, JournalError};

/// Released segments that are kept to be used again rather than removed.
pub const SPARE_SEGMENTS_MAX: usize = 2;
/// How far a write into a fresh segment runs ahead of its frame with zeros. The file system turns reserved blocks into
/// written ones here, so that the commits that follow change no metadata.
pub const ZERO_AHEAD_BYTES: u64 = 512 << 10;
/// Frames from this size on run ahead of nothing: writing their bytes twice costs more than the metadata does.
pub const ZERO_AHEAD_FRAME_BYTES: u64 = 32 << 10;

/// What a journal has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Commits that succeeded and wrote something.
    pub commits: u64,
    /// Syncs of data that commits waited for; one each, unless the journal is not synced at all.
    pub syncs: u64,
    /// Records committed.
    pub records: u64,
    /// Bytes of frames written, padding included, zeros ahead not.
    pub bytes: u64,
    /// Segments begun in the space of released ones.
    pub segments_recycled: u64,
}

/// An append-only log of numbered records.
#[derive(Debug)]
pub struct Journal<D> {
    disk: D,
    options: JournalOptions,
    incarnation: u64,
    pending: Group,
    active: Active,
    sealed: VecDeque<Sealed>,
    /// The frames written.
    chain: Chain,
    /// The last record known to be on stable storage.
    durable: Lsn,
    /// What the last commit let go of.
    needed_from: Lsn,
    poison: Option<String>,
    statistics: Statistics,
}

/// The segment that takes frames.
#[derive(Clone, Copy, Debug, Default)]
struct Active {
    number: u64,
    first: Lsn,
    /// Where the next frame goes.
    end: u64,
    /// Everything before this has been written at some time.
    written: u64,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal on `disk`, a new one if it is empty, and returns the records that a recovery needs, in order: all
    /// that were acknowledged and not released, then perhaps some that were on their way. They are durable from here on.
    pub fn open(mut disk: D, options: JournalOptions) -> Result<(Self, Vec<(Lsn, Bytes)>), JournalError> {
        options.check()?;
        if options.durability == Durability::Memory {
            return Ok((Self::new(disk, options, Recovered::nothing(FIRST_SEGMENT)), Vec::new()));
        }
        let mut recovered = recover(&mut disk, options.identity)?;
        let records = std::mem::take(&mut recovered.records);
        let next_segment = recovered.next_segment;
        let mut journal = Self::new(disk, options, recovered);
        journal.begin_segment(next_segment)?;
        Ok((journal, records))
    }

    fn new(disk: D, options: JournalOptions, recovered: Recovered) -> Self {
        let Recovered { sealed, chain, incarnation, needed_from, .. } = recovered;
        Self {
            disk,
            options,
            incarnation: incarnation + 1,
            pending: Group::new(chain.next, needed_from, options.group_bytes_max()),
            active: Active::default(),
            sealed,
            chain,
            durable: chain.next.previous(),
            needed_from,
            poison: None,
            statistics: Statistics::default(),
        }
    }

    /// Adds a record to the next commit. Panics unless `lsn` follows the last record's number. After
    /// [`JournalError::Full`], commit and append it again.
    pub fn append(&mut self, lsn: Lsn, record: &impl Wire) -> Result<(), JournalError> {
        self.check_poison()?;
        if self.options.durability == Durability::Memory {
            self.pending.skip(lsn);
            self.durable = lsn;
            return Ok(());
        }
        self.pending.push(lsn, record)
    }

    /// Makes everything appended durable, with one write and one sync, and returns the last durable record's number. An
    /// error is final: nothing is known about the records appended, the journal takes no more, and it must be opened anew.
    pub fn commit(&mut self) -> Result<Lsn, JournalError> {
        self.check_poison()?;
        if let Err(error) = self.commit_pending() {
            self.poison = Some(error.to_string());
            return Err(error);
        }
        Ok(self.durable)
    }

    /// Lets go of all records below `lsn`, as of the next commit that writes something: no recovery returns them after
    /// that, and segments that hold no others are used again or removed.
    pub fn release_below(&mut self, lsn: Lsn) {
        self.pending.release_below(lsn);
    }

    /// The last durable record; zero if there has never been one.
    pub const fn durable(&self) -> Lsn {
        self.durable
    }

    /// The settings it was opened with.
    pub const fn options(&self) -> &JournalOptions {
        &self.options
    }

    /// What it has done so far.
    pub const fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Takes over a group that was filled elsewhere; the next commit writes it.
    pub(crate) fn take(&mut self, group: &mut Group) {
        group.hand_over(&mut self.pending);
    }

    /// An empty group that continues this journal.
    pub(crate) fn group(&self) -> Group {
        Group::new(self.pending.next(), self.pending.needed_from(), self.options.group_bytes_max())
    }

    fn check_poison(&self) -> Result<(), JournalError> {
        self.poison.clone().map_or(Ok(()), |because| Err(JournalError::Poisoned { because }))
    }

    fn commit_pending(&mut self) -> Result<(), JournalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = frame_bytes(self.pending.payload_bytes()) as u64;
        if self.active.end + bytes > self.options.segment_bytes {
            self.roll()?;
        }
        self.write_frame(bytes)?;
        self.sync_active()?;
        self.durable = self.chain.next.previous();
        self.statistics.commits += 1;
        self.statistics.bytes += bytes;
        self.statistics.records += u64::from(self.pending.records());
        self.needed_from = self.pending.needed_from();
        self.pending.clear();
        self.remove_released()
    }

    /// Writes the pending group as one frame at the end of the active segment.
    fn write_frame(&mut self, bytes: u64) -> Result<(), JournalError> {
        let Active { number, end, written, .. } = self.active;
        let header = Frame {
            first: self.pending.first(),
            needed_from: self.pending.needed_from(),
            records: self.pending.records(),
            payload_bytes: u32::try_from(self.pending.payload_bytes()).expect("groups are far below 4 GiB"),
            ..self.blank_frame()
        };
        let ahead = self.zeros_ahead(bytes);
        let whole = self.pending.frame(usize::try_from(ahead).expect("below 1 MiB"));
        let digest = header.seal(&mut whole[..header.bytes()]);
        self.disk.write_at(number, end, whole).map_err(JournalError::disk("writing", number))?;
        self.active.end = end + bytes;
        self.active.written = written.max(end + bytes + ahead);
        self.chain = Chain::after(&header, digest);
        Ok(())
    }

    /// Bytes of zeros to write behind a frame of `bytes` bytes.
    fn zeros_ahead(&self, bytes: u64) -> u64 {
        let end = self.active.end + bytes;
        if end <= self.active.written || bytes >= ZERO_AHEAD_FRAME_BYTES {
            return 0;
        }
        ZERO_AHEAD_BYTES.min(self.options.segment_bytes - end)
    }

    /// A frame at the end of the active segment, still without records.
    fn blank_frame(&self) -> Frame {
        Frame {
            identity: self.options.identity,
            incarnation: self.incarnation,
            segment: self.active.number,
            offset: self.active.end,
            first: self.chain.next,
            needed_from: self.needed_from,
            previous: self.chain.digest,
            records: 0,
            payload_bytes: 0,
            payload_checksum: 0,
        }
    }

    fn sync_active(&mut self) -> Result<(), JournalError> {
        if self.options.durability == Durability::Buffered {
            return Ok(());
        }
        self.statistics.syncs += 1;
        let number = self.active.number;
        #[cfg(feature = "mutants")]
        if qlab_kernel::mutants::active("journal: failed sync retried")
            && self.disk.sync_data(number).is_err()
        {
            return self.disk.sync_data(number).map_err(JournalError::disk("syncing", number));
        }
        self.disk.sync_data(number).map_err(JournalError::disk("syncing", number))
    }

    /// Closes the active segment and begins the next, in the space of a released one if there is one.
    fn roll(&mut self) -> Result<(), JournalError> {
        let next = self.active.number + 1;
        self.sealed.push_back(Sealed { number: self.active.number, first: self.active.first });
        // The newest segment with records is never given away: it alone knows their numbers until the next one has some.
        let recycle = self.sealed.len() > 1 && self.released() > 0;
        if recycle {
            let oldest = self.sealed.pop_front().expect("there is more than one").number;
            self.disk.rename(oldest, next).map_err(JournalError::disk("recycling", oldest))?;
        }
        self.begin_segment(next)?;
        if recycle {
            self.active.written = self.options.segment_bytes;
            self.statistics.segments_recycled += 1;
        }
        Ok(())
    }

    /// Makes `number` the active segment: its name durable first, then its header, then frames. In that order a crash never
    /// leaves a header under a name that still belongs to another segment.
    fn begin_segment(&mut self, number: u64) -> Result<(), JournalError> {
        let room = self.disk.reserve(number, self.options.segment_bytes);
        room.map_err(JournalError::disk("reserving", number))?;
        self.sync_names("naming", number)?;
        self.active = Active { number, first: self.chain.next, end: 0, written: BLOCK_BYTES as u64 };
        let header = self.blank_frame();
        let mut bytes = [0; BLOCK_BYTES];
        let digest = header.seal(&mut bytes);
        self.disk.write_at(number, 0, &bytes).map_err(JournalError::disk("writing", number))?;
        self.disk.sync_data(number).map_err(JournalError::disk("syncing", number))?;
        self.active.end = BLOCK_BYTES as u64;
        self.chain = Chain::after(&header, digest);
        Ok(())
    }

    fn sync_names(&mut self, doing: &'static str, number: u64) -> Result<(), JournalError> {
        #[cfg(feature = "mutants")]
        if qlab_kernel::mutants::active("journal: no directory sync") {
            return Ok(());
        }
        self.disk.sync_directory().map_err(JournalError::disk(doing, number))
    }

    /// Sealed segments, from the oldest, all of whose records have been let go of.
    fn released(&self) -> usize {
        let ends = self.sealed.iter().skip(1).map(|sealed| sealed.first).chain([self.active.first]);
        #[cfg(feature = "mutants")]
        if qlab_kernel::mutants::active("journal: released before the commit that says so") {
            return ends.take_while(|next| *next <= self.pending.needed_from()).count();
        }
        ends.take_while(|next| *next <= self.needed_from).count()
    }

    /// Removes released segments beyond the spare ones, oldest first and one at a time, so that a crash leaves no gap.
    fn remove_released(&mut self) -> Result<(), JournalError> {
        while self.released() > SPARE_SEGMENTS_MAX {
            let oldest = self.sealed.pop_front().expect("released segments are sealed").number;
            self.disk.remove(oldest).map_err(JournalError::disk("removing", oldest))?;
            #[cfg(feature = "mutants")]
            if qlab_kernel::mutants::active("journal: removals in any order") {
                continue;
            }
            self.sync_names("removing", oldest)?;
        }
        Ok(())
    }
}
