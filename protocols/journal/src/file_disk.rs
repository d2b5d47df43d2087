//! The real disk: one file for each segment in one directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use crate::Disk;

const SUFFIX: &str = ".segment";

/// A directory that one process at a time may write to.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    directory: File,
    /// The segment used last: a journal writes to one at a time.
    open: Option<(u64, File)>,
    writable: bool,
}

impl FileDisk {
    /// Opens the directory for writing, made if need be. Fails if another process has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        // A directory that was just made is only durable once its parent is.
        let parent = path.canonicalize()?.parent().map(Path::to_owned);
        parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        let directory = File::open(path)?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| in_use(path, error))?;
        Ok(Self { path: path.to_owned(), directory, open: None, writable: true })
    }

    /// Opens an existing directory to look at, even while its owner writes. Every change fails.
    pub fn open_to_read(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), directory: File::open(path)?, open: None, writable: false })
    }

    fn name(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:020}{SUFFIX}"))
    }

    fn file(&mut self, segment: u64) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != segment) {
            let file = OpenOptions::new().read(true).write(self.writable).open(self.name(segment))?;
            self.open = Some((segment, file));
        }
        Ok(&self.open.as_ref().expect("just opened").1)
    }

    /// Fails unless opened for writing; forgets the open file, whose name may change.
    fn change(&mut self) -> io::Result<()> {
        self.open = None;
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl Disk for FileDisk {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).map(str::parse::<u64>);
            segments.extend(number.and_then(Result::ok));
        }
        Ok(segments)
    }

    fn reserve(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        self.change()?;
        let name = self.name(segment);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(name)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Without reservation the space is found as it is written, or not; the journal lives with both.
            Err(Errno::OPNOTSUPP) => file.set_len(bytes.max(file.metadata()?.len()))?,
            outcome => outcome?,
        }
        self.open = Some((segment, file));
        Ok(())
    }

    fn read(&mut self, segment: u64) -> io::Result<Bytes> {
        // By name: the position of the open file is nobody's business.
        let mut content = Vec::new();
        File::open(self.name(segment))?.read_to_end(&mut content)?;
        Ok(content.into())
    }

    fn write_at(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(segment)?.write_all_at(bytes, offset)
    }

    fn sync_data(&mut self, segment: u64) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(self.file(segment)?)?)
    }

    fn rename(&mut self, from: u64, to: u64) -> io::Result<()> {
        self.change()?;
        fs::rename(self.name(from), self.name(to))
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.change()?;
        fs::remove_file(self.name(segment))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }
}

fn in_use(path: &Path, error: Errno) -> io::Error {
    if error != Errno::WOULDBLOCK {
        return error.into();
    }
    let message =
        format!("{} is in use by another process; stop it or choose another directory", path.display());
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_live_in_files_and_changes_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = FileDisk::open(&folder.path().join("journal")).unwrap();
        disk.reserve(7, 8192).unwrap();
        disk.write_at(7, 4096, b"here").unwrap();
        disk.sync_data(7).unwrap();
        disk.rename(7, 9).unwrap();
        disk.sync_directory().unwrap();
        assert_eq!(disk.list().unwrap(), [9]);
        let content = disk.read(9).unwrap();
        assert_eq!((content.len(), &content[4096..4100]), (8192, &b"here"[..]));
        assert!(disk.write_at(7, 0, b"gone").is_err());
        disk.remove(9).unwrap();
        assert!(disk.list().unwrap().is_empty());
    }

    #[test]
    fn a_directory_has_one_writer_and_any_number_of_readers() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = FileDisk::open(folder.path()).unwrap();
        disk.reserve(1, 4096).unwrap();
        assert_eq!(FileDisk::open(folder.path()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        let mut reader = FileDisk::open_to_read(folder.path()).unwrap();
        assert_eq!(reader.read(1).unwrap().len(), 4096);
        assert!(
            reader.write_at(1, 0, b"no").is_err()
                && reader.remove(1).is_err()
                && reader.reserve(2, 1).is_err()
        );
    }
}
