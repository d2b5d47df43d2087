//! Frames: the only thing that is ever written. See the crate's documentation for the layout.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use qlab_kernel::{Lsn, NodeId};

/// Frames begin and end at multiples of this, so that no write touches a block of an earlier frame.
pub const BLOCK_BYTES: usize = 4096;
/// The format this crate writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;

pub(crate) const HEADER_BYTES: usize = 80;
/// Bytes of a record's length before its content.
pub(crate) const LENGTH_BYTES: usize = 4;

const MAGIC: u32 = u32::from_le_bytes(*b"qlwf");
const CHECKSUM_AT: usize = HEADER_BYTES - 4;
/// No journal lives long enough to count this far. A header that does is forged, and must not make anything overflow.
const COUNT_MAX: u64 = u64::MAX / 2;

/// Whose journal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's number, the same on all its replicas.
    pub cluster: u64,
    /// The replica.
    pub node: NodeId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {:016x}", self.node, self.cluster)
    }
}

/// What is wrong at a place where a frame could be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is no header, or its checksum is wrong.
    #[error("no valid frame header")]
    NoHeader,
    /// A header in another format.
    #[error("a frame in format {0}")]
    Version(u16),
    /// A valid header that says it belongs elsewhere: a stale or misdirected write.
    #[error("a frame that belongs to segment {segment} at byte {offset}")]
    Misplaced {
        /// Its segment.
        segment: u64,
        /// Its offset.
        offset: u64,
    },
    /// The frame reaches past the end of the segment.
    #[error("a frame cut off by the end of the segment")]
    CutOff,
    /// The payload's checksum is wrong.
    #[error("a frame with a wrong payload checksum")]
    Payload,
    /// The records' lengths do not fill the payload.
    #[error("a frame whose records do not fill it")]
    Records,
    /// A valid frame that does not continue the one before it: something in between was lost.
    #[error("a valid frame that does not continue the one before it")]
    Unlinked,
    /// Nothing valid here, yet a frame of this segment follows: this one was acknowledged.
    #[error("no valid frame, though one follows at byte {0}")]
    Stranded(u64),
    /// A whole segment is gone.
    #[error("the segment is missing")]
    Missing,
}

/// A frame's header. The frame at offset 0 opens its segment and holds no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) identity: Identity,
    pub(crate) incarnation: u64,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The first record, or the next one to come if there are none.
    pub(crate) first: Lsn,
    pub(crate) needed_from: Lsn,
    /// The digest of the frame before this one, in whichever segment.
    pub(crate) previous: u64,
    pub(crate) records: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_checksum: u32,
}

impl Frame {
    /// Fills in `bytes`, a whole frame whose payload and padding are in place; returns the digest that the next frame is to
    /// name as its predecessor.
    pub(crate) fn seal(mut self, bytes: &mut [u8]) -> u64 {
        self.payload_checksum = crc32c::crc32c(&bytes[HEADER_BYTES..]);
        self.write_fields(&mut bytes[..CHECKSUM_AT]);
        let checksum = header_checksum(bytes);
        bytes[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        digest(checksum, self.payload_checksum)
    }

    /// The header at the start of `bytes`, wherever it says it belongs, and the frame's digest.
    pub(crate) fn read_header(bytes: &[u8]) -> Result<(Self, u64), Flaw> {
        let header = bytes.get(..HEADER_BYTES).ok_or(Flaw::NoHeader)?;
        let mut fields = Fields(header);
        if fields.u32() != MAGIC {
            return Err(Flaw::NoHeader);
        }
        let checksum = Fields(&header[CHECKSUM_AT..]).u32();
        if checksum != header_checksum(header) {
            return Err(Flaw::NoHeader);
        }
        let version = fields.u16();
        if version != FORMAT_VERSION {
            return Err(Flaw::Version(version));
        }
        let frame = Self::read_fields(&mut fields);
        if frame.counts().iter().any(|count| *count > COUNT_MAX) {
            return Err(Flaw::NoHeader);
        }
        Ok((frame, digest(checksum, frame.payload_checksum)))
    }

    /// The header at `offset` of a segment, if it says that it belongs there.
    pub(crate) fn read_placed(bytes: &[u8], segment: u64, offset: usize) -> Result<(Self, u64), Flaw> {
        let (frame, digest) = Self::read_header(bytes.get(offset..).unwrap_or_default())?;
        #[cfg(feature = "mutants")]
        if qlab_kernel::mutants::active("journal: place of a frame not checked") {
            return Ok((Self { segment, offset: offset as u64, ..frame }, digest));
        }
        if (frame.segment, frame.offset) == (segment, offset as u64) {
            Ok((frame, digest))
        } else {
            Err(Flaw::Misplaced { segment: frame.segment, offset: frame.offset })
        }
    }

    /// The whole frame at `offset` of a segment, checked to its last padding byte.
    pub(crate) fn read(bytes: &[u8], segment: u64, offset: usize) -> Result<(Self, u64), Flaw> {
        let (frame, digest) = Self::read_placed(bytes, segment, offset)?;
        let whole = bytes.get(offset..offset + frame.bytes()).ok_or(Flaw::CutOff)?;
        if crc32c::crc32c(&whole[HEADER_BYTES..]) != frame.payload_checksum {
            return Err(Flaw::Payload);
        }
        let payload = &whole[HEADER_BYTES..][..frame.payload_bytes as usize];
        if record_ranges(payload).try_fold(0, |count, range| range.map(|_| count + 1)) != Some(frame.records)
        {
            return Err(Flaw::Records);
        }
        Ok((frame, digest))
    }

    /// Bytes from the frame's start to the next one's.
    pub(crate) const fn bytes(&self) -> usize {
        frame_bytes(self.payload_bytes as usize)
    }

    /// Number of the record after this frame's last.
    pub(crate) fn next(&self) -> Lsn {
        Lsn(self.first.0 + u64::from(self.records))
    }

    /// The records, sharing the memory of `segment`. The frame must have been read from it.
    pub(crate) fn records(&self, segment: &Bytes) -> impl Iterator<Item = (Lsn, Bytes)> {
        let start = usize::try_from(self.offset).expect("the frame was read from memory") + HEADER_BYTES;
        let payload = segment.slice(start..start + self.payload_bytes as usize);
        let ranges: Vec<_> = record_ranges(&payload).flatten().collect();
        (self.first.0..).map(Lsn).zip(ranges.into_iter().map(move |range| payload.slice(range)))
    }

    fn counts(&self) -> [u64; 5] {
        [self.incarnation, self.segment, self.offset, self.first.0, self.needed_from.0]
    }

    fn write_fields(&self, header: &mut [u8]) {
        let (version, node) = (u64::from(FORMAT_VERSION), u64::from(self.identity.node.0));
        let words = [
            u64::from(MAGIC) | version << 32 | node << 48,
            self.identity.cluster,
            self.incarnation,
            self.segment,
            self.offset,
            self.first.0,
            self.needed_from.0,
            self.previous,
            u64::from(self.records) | u64::from(self.payload_bytes) << 32,
        ];
        for (field, word) in header.chunks_mut(8).zip(words) {
            field.copy_from_slice(&word.to_le_bytes());
        }
        header[CHECKSUM_AT - 4..].copy_from_slice(&self.payload_checksum.to_le_bytes());
    }

    fn read_fields(fields: &mut Fields<'_>) -> Self {
        let node = NodeId(fields.u16());
        Self {
            identity: Identity { cluster: fields.u64(), node },
            incarnation: fields.u64(),
            segment: fields.u64(),
            offset: fields.u64(),
            first: Lsn(fields.u64()),
            needed_from: Lsn(fields.u64()),
            previous: fields.u64(),
            records: fields.u32(),
            payload_bytes: fields.u32(),
            payload_checksum: fields.u32(),
        }
    }
}

/// Bytes of a frame with that much payload.
pub(crate) const fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(BLOCK_BYTES)
}

fn header_checksum(frame: &[u8]) -> u32 {
    #[cfg(feature = "mutants")]
    if qlab_kernel::mutants::active("journal: checksum not over length") {
        return crc32c::crc32c(&frame[..CHECKSUM_AT - 8]);
    }
    crc32c::crc32c(&frame[..CHECKSUM_AT])
}

/// Both checksums of a frame in one word. A header's checksum covers the digest before it, which makes the chain.
fn digest(header_checksum: u32, payload_checksum: u32) -> u64 {
    u64::from(header_checksum) << 32 | u64::from(payload_checksum)
}

/// Where the records lie in a payload; the last item is `None` if their lengths do not fill it.
fn record_ranges(payload: &[u8]) -> impl Iterator<Item = Option<Range<usize>>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = payload.get(at..).filter(|rest| !rest.is_empty())?;
        let range = rest.get(..LENGTH_BYTES).map(|length| {
            let start = at + LENGTH_BYTES;
            start..start + Fields(length).u32() as usize
        });
        let range = range.filter(|range| range.end <= payload.len());
        at = range.as_ref().map_or(payload.len(), |range| range.end);
        Some(range)
    })
}

/// Takes little-endian fields off the front of a header that is long enough.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("callers hold a whole header");
        self.0 = rest;
        *field
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Frame {
        Frame {
            identity: Identity { cluster: 7, node: NodeId(2) },
            incarnation: 3,
            segment: 4,
            offset: 0,
            first: Lsn(9),
            needed_from: Lsn(5),
            previous: 6,
            records: 1,
            payload_bytes: 8,
            payload_checksum: 0,
        }
    }

    fn sealed(frame: Frame, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; frame.bytes()];
        bytes[HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
        frame.seal(&mut bytes);
        bytes
    }

    #[test]
    fn a_frame_reads_back_and_only_at_its_own_place() {
        let bytes = Bytes::from(sealed(sample(), &[4, 0, 0, 0, 1, 2, 3, 4]));
        let (frame, _) = Frame::read(&bytes, 4, 0).unwrap();
        assert_eq!(Frame { payload_checksum: 0, ..frame }, sample());
        let records: Vec<_> = frame.records(&bytes).collect();
        assert_eq!(records, [(Lsn(9), Bytes::from_static(&[1, 2, 3, 4]))]);
        assert_eq!(Frame::read(&bytes, 5, 0), Err(Flaw::Misplaced { segment: 4, offset: 0 }));
    }

    #[test]
    fn zeros_lengths_that_lie_and_cut_off_frames_are_no_frames() {
        assert_eq!(Frame::read(&[0; BLOCK_BYTES], 0, 0), Err(Flaw::NoHeader));
        for payload in [[5, 0, 0, 0, 1, 2, 3, 4], [0; 8], [255; 8]] {
            assert_eq!(Frame::read(&sealed(sample(), &payload), 4, 0), Err(Flaw::Records));
        }
        let whole = sealed(sample(), &[4, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(Frame::read(&whole[..BLOCK_BYTES - 1], 4, 0), Err(Flaw::CutOff));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), offset in 0_usize..250) {
            prop_assert!(Frame::read(&bytes, 0, offset).is_err());
            prop_assert!(record_ranges(&bytes).count() <= bytes.len());
        }
    }
}
