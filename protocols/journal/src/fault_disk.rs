//! A disk that stops after so many operations, and all the images that a loss of power may then leave.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::{Disk, MemoryDisk};
use bytes::Bytes;

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Copy, Debug)]
enum Naming {
    Create(u64, usize),
    Rename(u64, u64),
    Remove(u64),
}

#[derive(Debug, Default)]
struct File {
    written: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<u64, usize>,
    durable_names: BTreeMap<u64, usize>,
    namings: Vec<Naming>,
    operations_left: Option<usize>,
    syncs_left: Option<usize>,
    capacity_bytes: Option<usize>,
}

/// Shared by its clones, so that a test can look at it from behind a journal.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk(Arc<Mutex<State>>);

impl FaultDisk {
    /// A disk that holds `image`, all of it durable.
    pub fn from_image(image: &MemoryDisk) -> Self {
        Self(Arc::new(Mutex::new(State::from_image(image))))
    }

    /// Every operation after the next `count` fails.
    pub fn stop_after(self, count: usize) -> Self {
        self.0.lock().unwrap().operations_left = Some(count);
        self
    }

    /// The data sync after the next `count` fails, once.
    pub fn fail_sync_after(&self, count: usize) {
        self.0.lock().unwrap().syncs_left = Some(count);
    }

    /// Room for this many bytes of segments.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().unwrap().capacity_bytes = bytes;
    }

    /// What readers see now: the image that the end of the process leaves.
    pub fn image(&self) -> MemoryDisk {
        let state = self.0.lock().unwrap();
        MemoryDisk {
            segments: state.names.iter().map(|(n, id)| (*n, state.files[*id].written.clone())).collect(),
        }
    }

    /// The images that a loss of power may leave: all of them if there are at most `limit`, else that many at random.
    pub fn crash_images(&self, limit: usize) -> Vec<MemoryDisk> {
        let state = self.0.lock().unwrap();
        let dirty = state.dirty_sectors();
        let bits = dirty.len() + state.namings.len();
        let all = 1_usize.checked_shl(bits as u32).filter(|all| *all <= limit);
        let mut random = 0x2545_F491_4F6C_DD1D_u64 ^ bits as u64;
        let mut mask = |index: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(index as u64 | 1);
            if all.is_some() { index as u64 } else { random ^ random >> 29 }
        };
        (0..all.unwrap_or(limit))
            .map(|index| {
                let mut bits = bits_of(mask(index));
                state.crash_image(&dirty, || bits.next().expect("it goes round"))
            })
            .collect()
    }

    /// Loses power: of everything not synced, each sector and each change of a name stays if `keeps` says so, and what is
    /// left then is durable.
    pub fn lose_power(&self, mut keeps: impl FnMut() -> bool) {
        let mut state = self.0.lock().unwrap();
        let dirty = state.dirty_sectors();
        let image = state.crash_image(&dirty, &mut keeps);
        *state = State::from_image(&image);
    }

    fn step(&self) -> io::Result<std::sync::MutexGuard<'_, State>> {
        let mut state = self.0.lock().unwrap();
        match &mut state.operations_left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

impl State {
    fn file(&mut self, segment: u64) -> io::Result<&mut File> {
        let id = *self.names.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[id])
    }

    /// Sectors whose durable content is not what was written.
    fn dirty_sectors(&self) -> Vec<(usize, usize)> {
        let sectors = |(id, file): (usize, &File)| {
            let differs = move |start: &usize| {
                let end = file.written.len().min(start + SECTOR_BYTES);
                file.durable.get(*start..end) != Some(&file.written[*start..end])
                    && (*start < file.durable.len()
                        || file.written[*start..end].iter().any(|byte| *byte != 0))
            };
            (0..file.written.len())
                .step_by(SECTOR_BYTES)
                .filter(differs)
                .map(move |start| (id, start))
                .collect()
        };
        self.files.iter().enumerate().flat_map(|file| -> Vec<_> { sectors(file) }).collect()
    }

    fn from_image(image: &MemoryDisk) -> Self {
        let mut state = Self::default();
        for (segment, content) in &image.segments {
            state.names.insert(*segment, state.files.len());
            state.files.push(File { written: content.clone(), durable: content.clone() });
        }
        state.durable_names = state.names.clone();
        state
    }

    fn crash_image(&self, dirty: &[(usize, usize)], mut keeps: impl FnMut() -> bool) -> MemoryDisk {
        let mut contents: Vec<Vec<u8>> = self.files.iter().map(|file| file.durable.clone()).collect();
        for (id, start) in dirty.iter().filter(|_| keeps()) {
            let (content, written) = (&mut contents[*id], &self.files[*id].written);
            let end = written.len().min(start + SECTOR_BYTES);
            content.resize(content.len().max(end), 0);
            content[*start..end].copy_from_slice(&written[*start..end]);
        }
        let mut names = self.durable_names.clone();
        for naming in self.namings.iter().filter(|_| keeps()) {
            apply(*naming, &mut names);
        }
        MemoryDisk { segments: names.into_iter().map(|(name, id)| (name, contents[id].clone())).collect() }
    }

    fn change_name(&mut self, naming: Naming) {
        apply(naming, &mut self.names);
        self.namings.push(naming);
    }
}

/// The bits of `mask`, over and over.
fn bits_of(mask: u64) -> impl Iterator<Item = bool> {
    (0..64).map(move |bit| mask >> bit & 1 == 1).cycle()
}

fn apply(naming: Naming, names: &mut BTreeMap<u64, usize>) {
    match naming {
        Naming::Create(segment, id) => drop(names.insert(segment, id)),
        Naming::Remove(segment) => drop(names.remove(&segment)),
        Naming::Rename(from, to) => {
            if let Some(id) = names.remove(&from) {
                names.insert(to, id);
            }
        }
    }
}

impl Disk for FaultDisk {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.step()?.names.keys().copied().collect())
    }

    fn reserve(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let mut state = self.step()?;
        let used: usize = state.names.values().map(|id| state.files[*id].written.len()).sum();
        let more = (bytes as usize).saturating_sub(state.file(segment).map_or(0, |file| file.written.len()));
        if !state.names.contains_key(&segment) {
            let id = state.files.len();
            state.files.push(File::default());
            state.change_name(Naming::Create(segment, id));
        }
        if state.capacity_bytes.is_some_and(|capacity| used + more > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = state.file(segment)?;
        file.written.resize(file.written.len() + more, 0);
        Ok(())
    }

    fn read(&mut self, segment: u64) -> io::Result<Bytes> {
        Ok(Bytes::copy_from_slice(&self.step()?.file(segment)?.written))
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?.file(segment)?.written[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&mut self, segment: u64) -> io::Result<()> {
        let mut state = self.step()?;
        match &mut state.syncs_left {
            Some(0) => {
                state.syncs_left = None;
                return Err(io::Error::other("input/output error"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let file = state.file(segment)?;
        file.durable = file.written.clone();
        Ok(())
    }

    fn rename(&mut self, from: u64, to: u64) -> io::Result<()> {
        self.step()?.change_name(Naming::Rename(from, to));
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.step()?.change_name(Naming::Remove(segment));
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut state = self.step()?;
        state.durable_names = state.names.clone();
        state.namings.clear();
        Ok(())
    }
}
