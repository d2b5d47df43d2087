//! A disk in memory on which everything goes wrong that goes wrong with disks, when it is told to.
//!
//! It keeps what was written apart from what is durable, so that the power can be lost at any moment, with any of the unsynced
//! sectors and names lost. A write costs what it writes and a sync what was written since the last one, whatever the
//! segments hold: a simulator drives thousands of journals on such disks.

mod medium;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::{Disk, MemoryDisk};
use medium::Medium;
pub use medium::{Fate, SECTOR_BYTES};

/// Shared by its clones, so that a test can look at it from behind a journal.
///
/// A fault once arranged stays arranged until it happens or is revoked, also over a loss of power.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    medium: Medium,
    faults: Faults,
}

/// What is to go wrong. A count is of operations that still go well.
#[derive(Debug, Default)]
struct Faults {
    operations_left: Option<usize>,
    syncs_left: Option<usize>,
    writes_left: Option<usize>,
    /// Where the write that goes astray ends up; nowhere if it is lost.
    astray: Option<(u64, u64)>,
    unreadable: Option<u64>,
    capacity_bytes: Option<usize>,
}

impl FaultDisk {
    /// A disk that holds `image`, all of it durable.
    #[must_use]
    pub fn from_image(image: &MemoryDisk) -> Self {
        let state = State { medium: Medium::from_image(image), faults: Faults::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Every operation after the next `count` fails, until the power is [lost](Self::lose_power) and comes back.
    #[must_use]
    pub fn stop_after(self, count: usize) -> Self {
        self.lock().faults.operations_left = Some(count);
        self
    }

    /// The data sync after the next `count` fails, once. As on a real system, what it was to make durable is neither lost nor
    /// kept, reads as written, and no later sync does anything about it: only writing it again does.
    pub fn fail_sync_after(&self, count: usize) {
        self.lock().faults.syncs_left = Some(count);
    }

    /// The write after the next `count` is acknowledged, synced, and not there.
    pub fn lose_write_after(&self, count: usize) {
        self.stray_write_after(count, None);
    }

    /// The write after the next `count` is acknowledged, and is not where it belongs but at `offset` of `segment`, up to the
    /// end of it.
    pub fn misdirect_write_after(&self, count: usize, segment: u64, offset: u64) {
        self.stray_write_after(count, Some((segment, offset)));
    }

    /// Reads of this segment fail from now on; with `None`, no reads do.
    pub fn fail_reads(&self, segment: Option<u64>) {
        self.lock().faults.unreadable = segment;
    }

    /// Room for this many bytes of segments; with `None`, for any number.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.lock().faults.capacity_bytes = bytes;
    }

    /// Flips one bit, 0 to 7, of what lies on the disk. An error says that there is no such byte.
    pub fn flip_bit(&self, segment: u64, offset: u64, bit: u32) -> io::Result<()> {
        self.lock().medium.file(segment)?.flip_bit(offset, bit)
    }

    /// The number and the bytes of each segment.
    #[must_use]
    pub fn segments(&self) -> Vec<(u64, u64)> {
        self.lock().medium.segments().collect()
    }

    /// What readers see now: the image that the end of the process leaves.
    #[must_use]
    pub fn image(&self) -> MemoryDisk {
        self.lock().medium.clone().into_image()
    }

    /// How many sectors and changes of names are not durable: a loss of power asks for that many fates.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.lock().medium.undecided()
    }

    /// The image that a loss of power would leave now if `fates` were the fates of the undecided, sectors first, in order of
    /// their places, then names in order of their changes.
    #[must_use]
    pub fn crash_image<F: Into<Fate>>(&self, fates: impl FnMut() -> F) -> MemoryDisk {
        let mut medium = self.lock().medium.clone();
        medium.lose_power(fates);
        medium.into_image()
    }

    /// The images that a loss of power may leave now, sectors whole: all of them if there are at most `limit`, else that many
    /// at random.
    #[must_use]
    pub fn crash_images(&self, limit: usize) -> impl ExactSizeIterator<Item = MemoryDisk> + use<> {
        let medium = self.lock().medium.clone();
        let bits = medium.undecided();
        let all = u32::try_from(bits).ok().and_then(|bits| 1_usize.checked_shl(bits));
        let count = all.map_or(limit, |all| all.min(limit));
        let mut random = RANDOM_SEED ^ bits as u64;
        (0..count).map(move |index| {
            let mask = if all == Some(count) { index as u64 } else { next_random(&mut random) };
            let mut fates = bits_of(mask);
            let mut medium = medium.clone();
            medium.lose_power(|| fates.next().expect("it goes round"));
            medium.into_image()
        })
    }

    /// Loses power and gets it back: of everything not durable, each sector and each change of a name meets the fate that
    /// `fates` gives it (a `bool` says whether it is kept), and what is left then is durable. `fates` must not use the disk.
    pub fn lose_power<F: Into<Fate>>(&self, fates: impl FnMut() -> F) {
        let mut state = self.lock();
        state.medium.lose_power(fates);
        state.faults.operations_left = None;
    }

    fn stray_write_after(&self, count: usize, astray: Option<(u64, u64)>) {
        let faults = &mut self.lock().faults;
        (faults.writes_left, faults.astray) = (Some(count), astray);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("only a caller's fates can panic while it is held")
    }

    /// Begins an operation, unless the power is gone.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match &mut state.faults.operations_left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

const RANDOM_SEED: u64 = 0x2545_F491_4F6C_DD1D;

/// Knuth's linear congruential generator; the low bits of its state are poor, hence the shift.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state ^ *state >> 29
}

/// The bits of `mask`, over and over.
fn bits_of(mask: u64) -> impl Iterator<Item = bool> {
    (0..u64::BITS).map(move |bit| mask >> bit & 1 == 1).cycle()
}

/// Counts down to a fault that happens once; true when it is due.
fn is_due(left: &mut Option<usize>) -> bool {
    let due = *left == Some(0);
    *left = left.and_then(|left| left.checked_sub(1));
    due
}

impl Disk for FaultDisk {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.step()?.medium.segments().map(|(number, _)| number).collect())
    }

    fn reserve(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let State { medium, faults } = &mut *self.step()?;
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::StorageFull)?;
        let used: usize = medium.segments().map(|(_, bytes)| bytes as usize).sum();
        let file = medium.file_or_new(segment);
        let more = bytes.saturating_sub(file.bytes());
        if faults.capacity_bytes.is_some_and(|capacity| more > 0 && used + more > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.grow(more);
        Ok(())
    }

    fn read(&mut self, segment: u64) -> io::Result<Bytes> {
        let State { medium, faults } = &mut *self.step()?;
        if faults.unreadable == Some(segment) {
            return Err(input_output_error());
        }
        Ok(Bytes::copy_from_slice(medium.file(segment)?.content()))
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let State { medium, faults } = &mut *self.step()?;
        if !is_due(&mut faults.writes_left) {
            return medium.file(segment)?.write(offset, bytes);
        }
        match faults.astray {
            Some((segment, offset)) => medium.file(segment)?.overwrite_at_rest(offset, bytes),
            None => Ok(()),
        }
    }

    fn sync_data(&mut self, segment: u64) -> io::Result<()> {
        let State { medium, faults } = &mut *self.step()?;
        let file = medium.file(segment)?;
        if is_due(&mut faults.syncs_left) {
            file.fail_sync();
            return Err(input_output_error());
        }
        file.sync();
        Ok(())
    }

    fn rename(&mut self, from: u64, to: u64) -> io::Result<()> {
        self.step()?.medium.rename(from, to)
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.step()?.medium.remove(segment)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.step()?.medium.sync_names();
        Ok(())
    }
}

fn input_output_error() -> io::Error {
    io::Error::other("input/output error")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: u64 = SECTOR_BYTES as u64;

    /// A disk with one durable segment of four sectors of ones.
    fn disk() -> FaultDisk {
        FaultDisk::from_image(&MemoryDisk { segments: [(1, vec![1; 4 * SECTOR_BYTES])].into() })
    }

    fn first_bytes(image: &MemoryDisk) -> Vec<u8> {
        image.segments[&1].iter().step_by(SECTOR_BYTES).copied().collect()
    }

    #[test]
    fn any_subset_of_the_sectors_written_may_be_lost_until_they_are_synced() {
        let mut disk = disk();
        disk.write_at(1, SECTOR - 1, &[2; 2 + SECTOR_BYTES]).unwrap();
        disk.write_at(1, 3 * SECTOR, &[1; SECTOR_BYTES]).unwrap();
        assert_eq!(disk.undecided(), 3, "three sectors were changed, one was written as it was");
        let mut images: Vec<_> = disk.crash_images(8).map(|image| first_bytes(&image)).collect();
        images.dedup();
        assert_eq!(
            images,
            [[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 1], [1, 2, 2, 1]],
            "as seen at sectors' starts"
        );
        assert_eq!(disk.crash_images(5).len(), 5, "some at random");
        disk.sync_data(1).unwrap();
        assert_eq!(disk.undecided(), 0);
        assert_eq!(disk.crash_images(8).next(), Some(disk.image()));
    }

    #[test]
    fn a_torn_sector_begins_with_new_bytes_and_ends_with_old_ones() {
        let mut disk = disk();
        disk.write_at(1, 0, &[2; SECTOR_BYTES]).unwrap();
        disk.lose_power(|| Fate::Torn { bytes: 100 });
        let image = disk.image();
        assert_eq!(image.segments[&1][..100], [2; 100]);
        assert_eq!(image.segments[&1][100..], vec![1; 4 * SECTOR_BYTES - 100]);
        assert_eq!(disk.undecided(), 0, "what is left is durable");
    }

    #[test]
    fn a_sync_that_failed_leaves_data_that_only_another_write_makes_durable() {
        let mut disk = disk();
        disk.fail_sync_after(0);
        disk.write_at(1, 0, &[2; 10]).unwrap();
        assert!(disk.sync_data(1).is_err());
        disk.sync_data(1).expect("the system believes that nothing is left to be done");
        assert_eq!(disk.image().segments[&1][..10], [2; 10]);
        assert_eq!(first_bytes(&disk.crash_image(|| false)), [1; 4]);
        disk.write_at(1, 0, &[2; 10]).unwrap();
        disk.sync_data(1).unwrap();
        assert_eq!(first_bytes(&disk.crash_image(|| false)), [2, 1, 1, 1]);
    }

    #[test]
    fn names_are_durable_once_the_directory_is_synced_and_growth_once_the_data_is() {
        let mut disk = disk();
        disk.reserve(2, SECTOR).unwrap();
        disk.rename(1, 3).unwrap();
        assert_eq!(disk.undecided(), 2);
        let names = |image: MemoryDisk| image.segments.into_keys().collect::<Vec<_>>();
        assert_eq!(
            disk.crash_images(4).map(names).collect::<Vec<_>>(),
            [vec![1], vec![1, 2], vec![3], vec![2, 3]]
        );
        disk.sync_directory().unwrap();
        assert_eq!(disk.segments(), [(2, SECTOR), (3, 4 * SECTOR)]);
        assert_eq!(disk.crash_image(|| false).segments[&2].len(), 0);
        disk.sync_data(2).unwrap();
        assert_eq!(disk.crash_image(|| false), disk.image());
        disk.remove(2).unwrap();
        assert_eq!(disk.crash_image(|| false).segments.len(), 2);
        assert_eq!(disk.crash_image(|| true), disk.image());
    }

    #[test]
    fn writes_get_lost_and_go_astray_and_all_is_reported_well() {
        let mut disk = disk();
        disk.lose_write_after(1);
        for sector in 0..2 {
            disk.write_at(1, sector * SECTOR, &[2; SECTOR_BYTES]).unwrap();
        }
        disk.misdirect_write_after(0, 1, 3 * SECTOR);
        disk.write_at(1, 2 * SECTOR, &[3; SECTOR_BYTES]).unwrap();
        disk.sync_data(1).unwrap();
        assert_eq!(first_bytes(&disk.crash_image(|| false)), [2, 1, 1, 3]);
    }

    #[test]
    fn bits_flip_at_rest_and_reads_fail() {
        let mut disk = disk();
        disk.flip_bit(1, 0, 7).unwrap();
        assert_eq!(first_bytes(&disk.crash_image(|| false)), [129, 1, 1, 1]);
        assert!(disk.flip_bit(1, 4 * SECTOR, 0).is_err() && disk.flip_bit(2, 0, 0).is_err());
        disk.fail_reads(Some(1));
        assert!(disk.read(1).is_err());
        disk.fail_reads(None);
        assert_eq!(disk.read(1).unwrap()[0], 129);
    }

    #[test]
    fn a_stopped_disk_does_nothing_until_the_power_is_back() {
        let mut disk = disk().stop_after(1);
        disk.write_at(1, 0, &[2]).unwrap();
        assert!(disk.sync_data(1).is_err() && disk.list().is_err());
        disk.lose_power(|| true);
        assert_eq!(disk.read(1).unwrap()[0], 2);
    }

    #[test]
    fn writes_beyond_the_room_reserved_and_segments_that_are_not_there_are_errors() {
        let mut disk = disk();
        assert!(disk.write_at(1, 4 * SECTOR - 1, &[0; 2]).is_err());
        assert!(disk.write_at(1, u64::MAX, &[0; 2]).is_err());
        assert!(disk.read(2).is_err() && disk.rename(2, 3).is_err() && disk.remove(2).is_err());
        disk.set_capacity(Some(5 * SECTOR_BYTES));
        disk.reserve(2, SECTOR).unwrap();
        assert_eq!(disk.reserve(2, 2 * SECTOR).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
