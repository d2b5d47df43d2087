//! What was written beside what is durable: the durable content of a sector is kept from its first change until it is synced.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::MemoryDisk;

/// The unit that a disk writes whole, unless it is told to tear one.
pub const SECTOR_BYTES: usize = 512;

/// What becomes of an unsynced sector, or of an unsynced change of a name, when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as if it had not been.
    Lost,
    /// It is there.
    Kept,
    /// The first bytes of the sector are the new ones, the others the old ones. A change of a name is lost.
    Torn {
        /// How many are new.
        bytes: usize,
    },
}

impl From<bool> for Fate {
    fn from(kept: bool) -> Self {
        if kept { Self::Kept } else { Self::Lost }
    }
}

/// Files and their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Medium {
    /// By a number of their own, for names change.
    files: BTreeMap<usize, File>,
    names: BTreeMap<u64, usize>,
    durable_names: BTreeMap<u64, usize>,
    /// What leads from the durable names to the names.
    namings: Vec<Naming>,
    next_file: usize,
}

#[derive(Clone, Copy, Debug)]
enum Naming {
    Create(u64, usize),
    Rename(u64, u64),
    Remove(u64),
}

impl Medium {
    pub(super) fn from_image(image: &MemoryDisk) -> Self {
        let mut medium = Self::default();
        for (segment, content) in &image.segments {
            let file = medium.file_or_new(*segment);
            file.written.clone_from(content);
            file.sync();
        }
        medium.sync_names();
        medium
    }

    pub(super) fn into_image(mut self) -> MemoryDisk {
        let mut take = |id| self.files.remove(&id).expect("a name has a file of its own").written;
        MemoryDisk { segments: self.names.into_iter().map(|(name, id)| (name, take(id))).collect() }
    }

    /// Each segment and its bytes.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u64, u64)> {
        self.names.iter().map(|(name, id)| (*name, self.files[id].bytes() as u64))
    }

    pub(super) fn file(&mut self, segment: u64) -> io::Result<&mut File> {
        let id = self.names.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.files.get_mut(id).expect("a name has a file"))
    }

    pub(super) fn file_or_new(&mut self, segment: u64) -> &mut File {
        let id = self.names.get(&segment).copied().unwrap_or_else(|| {
            self.next_file += 1;
            self.change_name(Naming::Create(segment, self.next_file));
            self.next_file
        });
        self.files.entry(id).or_default()
    }

    pub(super) fn rename(&mut self, from: u64, to: u64) -> io::Result<()> {
        self.file(from)?;
        self.change_name(Naming::Rename(from, to));
        Ok(())
    }

    pub(super) fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.file(segment)?;
        self.change_name(Naming::Remove(segment));
        Ok(())
    }

    fn change_name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.namings.push(naming);
    }

    /// Makes the names durable and forgets the files that have none.
    pub(super) fn sync_names(&mut self) {
        if self.namings.is_empty() {
            return;
        }
        self.namings.clear();
        self.durable_names.clone_from(&self.names);
        let named: Vec<_> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
    }

    /// How many fates a loss of power asks for.
    pub(super) fn undecided(&self) -> usize {
        self.files.values().map(File::undecided).sum::<usize>() + self.namings.len()
    }

    pub(super) fn lose_power<F: Into<Fate>>(&mut self, mut fates: impl FnMut() -> F) {
        for file in self.files.values_mut() {
            file.lose_power(|| fates().into());
        }
        let mut names = self.durable_names.clone();
        for naming in &self.namings {
            if fates().into() == Fate::Kept {
                naming.apply(&mut names);
            }
        }
        self.names = names;
        self.sync_names();
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<u64, usize>) {
        match self {
            Self::Create(segment, file) => drop(names.insert(segment, file)),
            Self::Remove(segment) => drop(names.remove(&segment)),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }
}

/// One file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What readers see.
    written: Vec<u8>,
    /// The sectors whose durable content may be another one, by number.
    unsynced: BTreeMap<usize, Unsynced>,
    /// Bytes that were there at the last sync. Growth since then is lost but for the sectors that are kept.
    durable_bytes: usize,
}

#[derive(Clone, Debug)]
struct Unsynced {
    durable: Box<[u8]>,
    /// Whether the next sync will see to it. A sync that failed has given it up.
    queued: bool,
}

impl File {
    pub(super) fn bytes(&self) -> usize {
        self.written.len()
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.written
    }

    /// Adds that many zeros.
    pub(super) fn grow(&mut self, bytes: usize) {
        self.written.resize(self.written.len() + bytes, 0);
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        for (sector, range) in sectors(self.range(offset, bytes.len())?) {
            let part = rest.split_off(..range.len()).expect("the sectors cover the bytes");
            self.queue(sector, self.written[range.clone()] != *part);
            self.written[range].copy_from_slice(part);
        }
        Ok(())
    }

    /// Writes past all caches, up to the end of the file: durable at once.
    pub(super) fn overwrite_at_rest(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = self.range(offset, 0)?.start;
        let bytes = &bytes[..bytes.len().min(self.written.len() - start)];
        self.write(offset, bytes)?;
        for (sector, _) in sectors(start..start + bytes.len()) {
            self.unsynced.remove(&sector);
        }
        Ok(())
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u32) -> io::Result<()> {
        let at = self.range(offset, 1)?.start;
        self.written[at] ^= 1 << bit;
        let durable = self.unsynced.get_mut(&(at / SECTOR_BYTES)).map(|unsynced| &mut unsynced.durable);
        if let Some(byte) = durable.and_then(|durable| durable.get_mut(at % SECTOR_BYTES)) {
            *byte ^= 1 << bit;
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.retain(|_, sector| !sector.queued);
        self.durable_bytes = self.written.len();
    }

    pub(super) fn fail_sync(&mut self) {
        self.unsynced.values_mut().for_each(|sector| sector.queued = false);
    }

    /// Notes that a sector is written. One that stays as it is needs no note, unless a failed sync has given it up.
    fn queue(&mut self, sector: usize, changes: bool) {
        if let Some(unsynced) = self.unsynced.get_mut(&sector) {
            unsynced.queued = true;
        } else if changes {
            let durable = self.written[self.sector(sector)].into();
            self.unsynced.insert(sector, Unsynced { durable, queued: true });
        }
    }

    fn undecided(&self) -> usize {
        self.unsynced.iter().filter(|(sector, unsynced)| self.differs(**sector, unsynced)).count()
    }

    fn lose_power(&mut self, mut fates: impl FnMut() -> Fate) {
        let mut end = self.durable_bytes;
        for (sector, unsynced) in std::mem::take(&mut self.unsynced) {
            if !self.differs(sector, &unsynced) {
                continue;
            }
            let range = self.sector(sector);
            let kept = match fates() {
                Fate::Lost => 0,
                Fate::Kept => range.len(),
                Fate::Torn { bytes } => bytes.min(range.len()),
            };
            end = if kept > 0 { end.max(range.end) } else { end };
            let durable = unsynced.durable.iter().copied().chain(std::iter::repeat(0));
            self.written[range]
                .iter_mut()
                .zip(durable)
                .skip(kept)
                .for_each(|(byte, durable)| *byte = durable);
        }
        self.written.truncate(end);
        self.durable_bytes = end;
    }

    /// Whether a sector's durable content is another one. Bytes that it lacks are those of a file that grew: zeros.
    fn differs(&self, sector: usize, unsynced: &Unsynced) -> bool {
        let (common, grown) = self.written[self.sector(sector)].split_at(unsynced.durable.len());
        *common != *unsynced.durable || grown.iter().any(|byte| *byte != 0)
    }

    fn sector(&self, sector: usize) -> Range<usize> {
        let start = sector * SECTOR_BYTES;
        start..self.written.len().min(start + SECTOR_BYTES)
    }

    fn range(&self, offset: u64, bytes: usize) -> io::Result<Range<usize>> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = start.checked_add(bytes).filter(|end| *end <= self.written.len());
        Ok(start..end.ok_or(io::ErrorKind::InvalidInput)?)
    }
}

/// The sectors that a range touches, each with its part of the range.
fn sectors(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let numbers = range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES);
    numbers.map(move |sector| {
        let start = sector * SECTOR_BYTES;
        (sector, range.start.max(start)..range.end.min(start + SECTOR_BYTES))
    })
}
