//! Records on their way to one commit: encoded straight into the bytes that will be written.

use qlab_kernel::limits::RECORD_BYTES_MAX;
use qlab_kernel::{Lsn, Wire};

use crate::JournalError;
use crate::frame::{HEADER_BYTES, LENGTH_BYTES, frame_bytes};

/// Bytes of one commit frame at most, and so of the memory that pending records take: several times what the windows of a
/// protocol let wait for the disk, so that a host is told of pressure long before it is made to wait.
pub const GROUP_BYTES_MAX: usize = 32 << 20;

/// The records appended since the last commit.
#[derive(Debug)]
pub(crate) struct Group {
    /// Room for the frame header, then the payload.
    bytes: Vec<u8>,
    records: u32,
    next: Lsn,
    needed_from: Lsn,
    limit_bytes: usize,
}

impl Group {
    /// An empty group whose first record will be `next` and whose frame is at most `limit_bytes` long.
    pub(crate) fn new(next: Lsn, needed_from: Lsn, limit_bytes: usize) -> Self {
        Self { bytes: vec![0; HEADER_BYTES], records: 0, next, needed_from, limit_bytes }
    }

    /// Adds a record. Panics unless `lsn` follows the last one; on an error nothing is added.
    pub(crate) fn push(&mut self, lsn: Lsn, record: &impl Wire) -> Result<(), JournalError> {
        assert_eq!(lsn, self.next, "records are appended in order, once");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        record.encode(&mut self.bytes);
        let bytes = self.bytes.len() - start - LENGTH_BYTES;
        if let Err(error) = self.check(lsn, bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        let length = u32::try_from(bytes).expect("below the limit of a record");
        self.bytes[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        self.records += 1;
        self.next = lsn.next();
        Ok(())
    }

    fn check(&self, lsn: Lsn, bytes: usize) -> Result<(), JournalError> {
        let limit_bytes = RECORD_BYTES_MAX.min(self.limit_bytes - HEADER_BYTES - LENGTH_BYTES);
        if bytes > limit_bytes {
            Err(JournalError::RecordTooLong { lsn, bytes, limit_bytes })
        } else if frame_bytes(self.payload_bytes()) > self.limit_bytes {
            Err(JournalError::Full { lsn })
        } else {
            Ok(())
        }
    }

    /// Counts a record without keeping it.
    pub(crate) fn skip(&mut self, lsn: Lsn) {
        assert_eq!(lsn, self.next, "records are appended in order, once");
        self.next = lsn.next();
    }

    /// Lets go of records below `lsn`; never goes back.
    pub(crate) fn release_below(&mut self, lsn: Lsn) {
        assert!(lsn <= self.next, "records that do not exist yet cannot be released");
        self.needed_from = self.needed_from.max(lsn);
    }

    /// Moves everything into `to`, which must be empty and end where this group begins; takes its memory in exchange.
    pub(crate) fn hand_over(&mut self, to: &mut Self) {
        assert!(to.is_empty() && to.next == self.first(), "groups are handed over in order");
        std::mem::swap(&mut self.bytes, &mut to.bytes);
        to.records = std::mem::take(&mut self.records);
        to.next = self.next;
        to.needed_from = self.needed_from;
    }

    /// Pads the frame with zeros to its end and `ahead` bytes beyond, for the header to be filled in.
    pub(crate) fn frame(&mut self, ahead: usize) -> &mut [u8] {
        let whole = frame_bytes(self.payload_bytes()) + ahead;
        self.bytes.resize(whole, 0);
        &mut self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(HEADER_BYTES);
        self.records = 0;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether more than half of the room is taken.
    pub(crate) const fn is_half_full(&self) -> bool {
        self.bytes.len() > self.limit_bytes / 2
    }

    pub(crate) const fn payload_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    pub(crate) const fn records(&self) -> u32 {
        self.records
    }

    pub(crate) fn first(&self) -> Lsn {
        Lsn(self.next.0 - u64::from(self.records))
    }

    pub(crate) const fn next(&self) -> Lsn {
        self.next
    }

    pub(crate) const fn needed_from(&self) -> Lsn {
        self.needed_from
    }
}
