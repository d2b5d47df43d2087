//! A disk to read from only, for those who open a journal half a million times.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use qlab_journal::Disk;

/// Segments that are never copied and never change: whatever is written goes well and goes nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(pub(crate) BTreeMap<u64, Bytes>);

impl Disk for Shelf {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.0.keys().copied().collect())
    }
    fn reserve(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn read(&mut self, segment: u64) -> io::Result<Bytes> {
        Ok(self.0[&segment].clone())
    }
    fn write_at(&mut self, _: u64, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn sync_data(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn rename(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn remove(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(())
    }
}
