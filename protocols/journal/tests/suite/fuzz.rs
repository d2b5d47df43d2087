//! Segments that nobody wrote, and segments that something happened to: the reader takes them as they come.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use qlab_journal::{FaultDisk, Journal, JournalError, inspect};
use qlab_kernel::Lsn;

use crate::shelf::Shelf;
use crate::{BLOCK_BYTES, append, content, options};

const SEGMENT_BLOCKS: u64 = 6;
/// An empty record takes no more than its length.
const RECORD_BYTES_MIN: usize = 4;

fn size(lsn: u64) -> usize {
    [100, 0, 5000, 4012, 700][lsn as usize % 5]
}

/// A journal of fourteen records in several segments and two incarnations.
fn written() -> Vec<Vec<u8>> {
    let disk = FaultDisk::default();
    for life in [1..=7, 8..=14] {
        let (mut journal, _) = Journal::open(disk.clone(), options(SEGMENT_BLOCKS)).unwrap();
        for lsn in life {
            append(&mut journal, lsn, size(lsn)).unwrap();
            if lsn % 3 != 0 {
                journal.commit().unwrap();
            }
        }
        journal.commit().unwrap();
    }
    disk.image().segments.into_values().collect()
}

/// Something that happens to the bytes of segments.
#[derive(Clone, Debug)]
enum Accident {
    Overwrite(Index, Index, Vec<u8>),
    CopyBlock { from: (Index, Index), to: (Index, Index) },
    CutOff(Index, Index),
    Extend(Index, Vec<u8>),
    Repeat(Index),
    Swap(Index, Index),
    Lose(Index),
}

fn accident() -> impl Strategy<Value = Accident> {
    let (index, block) = (any::<Index>, any::<(Index, Index)>);
    let bytes = |limit: usize| prop::collection::vec(any::<u8>(), 1..limit);
    prop_oneof![
        4 => (index(), index(), bytes(600)).prop_map(|(s, at, bytes)| Accident::Overwrite(s, at, bytes)),
        4 => (block(), block()).prop_map(|(from, to)| Accident::CopyBlock { from, to }),
        1 => (index(), index()).prop_map(|(s, at)| Accident::CutOff(s, at)),
        1 => (index(), bytes(5000)).prop_map(|(s, bytes)| Accident::Extend(s, bytes)),
        1 => index().prop_map(Accident::Repeat),
        1 => (index(), index()).prop_map(|(a, b)| Accident::Swap(a, b)),
        1 => index().prop_map(Accident::Lose),
    ]
}

impl Accident {
    fn happen(self, segments: &mut Vec<Vec<u8>>) {
        let count = segments.len();
        match self {
            _ if count == 0 => {}
            Self::Overwrite(segment, at, bytes) => {
                let segment = &mut segments[segment.index(count)];
                let at = at.index(segment.len() + 1);
                segment.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = new);
            }
            Self::CopyBlock { from, to } => {
                let block = nth_block(&mut segments[from.0.index(count)], from.1).to_vec();
                let to = nth_block(&mut segments[to.0.index(count)], to.1);
                to.iter_mut().zip(block).for_each(|(byte, new)| *byte = new);
            }
            Self::CutOff(segment, at) => {
                let segment = &mut segments[segment.index(count)];
                segment.truncate(at.index(segment.len() + 1));
            }
            Self::Extend(segment, bytes) => segments[segment.index(count)].extend(bytes),
            Self::Repeat(segment) => segments.push(segments[segment.index(count)].clone()),
            Self::Swap(a, b) => segments.swap(a.index(count), b.index(count)),
            Self::Lose(segment) => drop(segments.remove(segment.index(count))),
        }
    }
}

fn nth_block(segment: &mut [u8], block: Index) -> &mut [u8] {
    let block = block.index(segment.len() / BLOCK_BYTES + 1) * BLOCK_BYTES;
    let end = segment.len().min(block + BLOCK_BYTES);
    &mut segment[block..end]
}

/// Opens and inspects; whatever comes of it, it takes no more memory than a constant times the input: records share the
/// input's memory, and there are no more of them, nor of frames, than fit into it.
fn open(segments: Vec<Vec<u8>>) -> Result<Vec<(Lsn, Bytes)>, JournalError> {
    let input_bytes: usize = segments.iter().map(Vec::len).sum();
    let mut shelf = Shelf((1..).zip(segments).map(|(number, bytes)| (number, bytes.into())).collect());
    let frames: usize = inspect(&mut shelf).unwrap().iter().map(|segment| segment.frames.len()).sum();
    assert!(frames <= input_bytes / BLOCK_BYTES);
    let (_, records) = Journal::open(shelf.clone(), options(SEGMENT_BLOCKS))?;
    assert!(records.len() <= input_bytes / RECORD_BYTES_MIN);
    for (lsn, record) in &records {
        let lies_in = |segment: &Bytes| segment.as_ptr_range().contains(&record.as_ptr());
        assert!(record.is_empty() || shelf.0.values().any(lies_in), "record {lsn} was copied");
    }
    Ok(records)
}

/// Arbitrary bytes, or some that begin like a frame.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let frame = (prop::collection::vec(any::<u8>(), 100..2 * BLOCK_BYTES), 0_u16..3);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3 * BLOCK_BYTES),
        frame.prop_map(|(mut bytes, version)| {
            bytes[..4].copy_from_slice(b"qlwf");
            bytes[4..6].copy_from_slice(&version.to_le_bytes());
            let checksum = crc32c::crc32c(&bytes[..76]);
            bytes[76..80].copy_from_slice(&checksum.to_le_bytes());
            bytes
        }),
    ]
}

proptest! {
    #[test]
    fn bytes_that_nobody_wrote_are_no_records(segments in prop::collection::vec(bytes(), 1..4)) {
        if let Ok(records) = open(segments) {
            prop_assert!(records.is_empty());
        }
    }

    #[test]
    fn whatever_happens_to_segments_no_wrong_record_comes_out(accidents in prop::collection::vec(accident(), 1..6)) {
        let mut segments = written();
        accidents.into_iter().for_each(|accident| accident.happen(&mut segments));
        // Nothing was released, so what comes out begins with the first record and has no gap.
        for (at, (lsn, bytes)) in (1..).zip(open(segments).unwrap_or_default()) {
            prop_assert_eq!(lsn, Lsn(at));
            prop_assert!(bytes == content(at, size(at)), "record {}", at);
        }
    }
}
