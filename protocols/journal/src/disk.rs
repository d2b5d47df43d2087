//! What a journal asks of a disk: exactly the system calls, so that a simulator can lose, tear and flip what they wrote.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

/// A directory of numbered segments.
///
/// Nothing is promised to survive a crash but this: bytes written to a segment before a [`sync_data`](Self::sync_data) of it
/// that succeeded; and creations, renames and removals before a [`sync_directory`](Self::sync_directory) that succeeded. Until
/// then a crash may keep any subset of the 512-byte sectors written and of the changes to the directory.
pub trait Disk {
    /// The numbers of all segments, in any order.
    fn list(&mut self) -> io::Result<Vec<u64>>;

    /// Makes sure that `segment` exists with room for `bytes` bytes from its start. New bytes read as zeros; old ones stay.
    fn reserve(&mut self, segment: u64, bytes: u64) -> io::Result<()>;

    /// The whole content of a segment.
    fn read(&mut self, segment: u64) -> io::Result<Bytes>;

    /// Writes all of `bytes` at `offset`, within the room reserved. A failure may leave any part of it written.
    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Waits until everything written to `segment` is on stable storage. After a failure nothing is known.
    fn sync_data(&mut self, segment: u64) -> io::Result<()>;

    /// Renames a segment, content and all; there is none named `to`.
    fn rename(&mut self, from: u64, to: u64) -> io::Result<()>;

    /// Removes a segment.
    fn remove(&mut self, segment: u64) -> io::Result<()>;

    /// Waits until all creations, renames and removals are on stable storage.
    fn sync_directory(&mut self) -> io::Result<()>;
}

/// Segments in memory, for tests and for journals that need no disk. Never fails, never forgets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryDisk {
    /// The content of each segment, open to those who want to damage it.
    pub segments: BTreeMap<u64, Vec<u8>>,
}

impl MemoryDisk {
    fn segment(&mut self, segment: u64) -> io::Result<&mut Vec<u8>> {
        self.segments.get_mut(&segment).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.segments.keys().copied().collect())
    }

    fn reserve(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::StorageFull)?;
        let content = self.segments.entry(segment).or_default();
        content.resize(bytes.max(content.len()), 0);
        Ok(())
    }

    fn read(&mut self, segment: u64) -> io::Result<Bytes> {
        Ok(Bytes::copy_from_slice(self.segment(segment)?))
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let room = self.segment(segment)?.get_mut(start..start + bytes.len());
        room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&mut self, segment: u64) -> io::Result<()> {
        self.segment(segment).map(drop)
    }

    fn rename(&mut self, from: u64, to: u64) -> io::Result<()> {
        let content = self.segments.remove(&from).ok_or(io::ErrorKind::NotFound)?;
        self.segments.insert(to, content);
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.segments.remove(&segment).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }
}
