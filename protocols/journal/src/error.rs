//! What can go wrong, by what the caller can do about it.

use std::io;

use qlab_kernel::Lsn;

use crate::frame::{Flaw, Identity};

/// Why the journal cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A record is larger than any frame can hold. Only this record is refused.
    #[error("record {lsn} has {bytes} bytes; the journal takes {limit_bytes} at most")]
    RecordTooLong {
        /// The record's number.
        lsn: Lsn,
        /// Its bytes.
        bytes: usize,
        /// Bytes allowed.
        limit_bytes: usize,
    },
    /// The pending group is full. Commit, then append the same record again.
    #[error("the pending group is full at record {lsn}; commit first")]
    Full {
        /// The record that did not fit.
        lsn: Lsn,
    },
    /// A segment size that cannot hold frames.
    #[error("segments of {bytes} bytes: must be a multiple of {block_bytes}, from two blocks to 1 GiB")]
    SegmentBytes {
        /// The size asked for.
        bytes: u64,
        /// The size of a block.
        block_bytes: usize,
    },
    /// The disk is full. Nothing acknowledged is lost: make space, then open the journal again.
    #[error("no space left for segment {segment}; make space, then open the journal again")]
    NoSpace {
        /// The segment that needed it.
        segment: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed. What it holds beyond the last acknowledged record is unknown: never retry, end the process.
    #[error(
        "{doing} of segment {segment} failed; the disk is not to be trusted until the journal is opened again"
    )]
    Disk {
        /// The operation.
        doing: &'static str,
        /// The segment.
        segment: u64,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier call failed for good. Open the journal again.
    #[error("the journal stopped earlier: {because}")]
    Poisoned {
        /// The first failure.
        because: String,
    },
    /// Acknowledged records are damaged or gone. Opening would forget them: restore the directory from a copy, or take
    /// the replica out of its cluster and let it join anew.
    #[error(
        "segment {segment} is damaged at byte {offset}: {flaw}; restore it, or let the replica join anew"
    )]
    Damaged {
        /// The segment.
        segment: u64,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        flaw: Flaw,
    },
    /// The directory belongs to another cluster or another replica. Give each its own.
    #[error(
        "segment {segment} was written by {found}, but this is {wanted}; give each replica its own directory"
    )]
    WrongIdentity {
        /// The segment.
        segment: u64,
        /// Who wrote it.
        found: Identity,
        /// Who reads it.
        wanted: Identity,
    },
    /// Written in a format that this program does not know. Use the program that wrote it.
    #[error("segment {segment} is in format {found}; this program reads format {supported}")]
    Version {
        /// The segment.
        segment: u64,
        /// Its format.
        found: u16,
        /// The format that is known here.
        supported: u16,
    },
}

impl JournalError {
    /// Names the operation that failed.
    pub(crate) fn disk(doing: &'static str, segment: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { segment, source },
            _ => Self::Disk { doing, segment, source },
        }
    }
}
