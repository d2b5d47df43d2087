//! Every single bit of a segment, flipped.
//!
//! What is promised: a flip in any frame that has another one behind it, in this segment or the next, is refused as damage, by
//! the place of that frame. A flip behind the last frame is harmless. A flip in the very last frame of the very last segment
//! cuts it off, acknowledged or not: it looks like a write that the loss of power tore. It costs that one commit, never
//! another one and never a wrong byte.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use qlab_journal::{FaultDisk, Journal, JournalError, inspect};
use qlab_kernel::Lsn;

use crate::shelf::Shelf;
use crate::{BLOCK, append, content, options};

const SEGMENT_BLOCKS: u64 = 16;
const SEGMENT_BYTES: usize = (SEGMENT_BLOCKS * BLOCK) as usize;
/// What each commit holds: frames of one block, of several, of several records, and one that ends with its block.
const COMMITS: [&[usize]; 6] = [&[100], &[3000, 10, 0, 2000], &[4012], &[9000], &[1, 1, 1], &[4096]];

/// A journal whose first segment holds those commits, and free space; its second holds nothing but the seal of the first.
fn written() -> Shelf {
    let disk = FaultDisk::default();
    let (mut journal, _) = Journal::open(disk.clone(), options(SEGMENT_BLOCKS)).unwrap();
    let sizes =
        COMMITS.iter().flat_map(|commit| commit.iter().enumerate().map(|(at, size)| (at == 0, *size)));
    for (lsn, (first, bytes)) in (1..).zip(sizes) {
        if first {
            journal.commit().unwrap();
        }
        append(&mut journal, lsn, bytes).unwrap();
    }
    journal.commit().unwrap();
    drop(journal);
    Journal::open(disk.clone(), options(SEGMENT_BLOCKS)).unwrap();
    Shelf(disk.image().segments.into_iter().map(|(number, bytes)| (number, bytes.into())).collect())
}

/// The records of the first `commits` commits.
fn records(commits: usize) -> Vec<(Lsn, Bytes)> {
    let sizes = COMMITS[..commits].iter().copied().flatten();
    (1..).zip(sizes).map(|(lsn, size)| (Lsn(lsn), content(lsn, *size).into())).collect()
}

/// Where the first segment's frames are, its header first.
fn frames(shelf: &Shelf) -> Vec<Range<usize>> {
    let report = inspect(&mut shelf.clone()).unwrap().remove(0);
    let commits =
        report.frames.iter().map(|frame| frame.offset as usize..(frame.offset + frame.bytes) as usize);
    std::iter::once(0..BLOCK as usize).chain(commits).collect()
}

/// Opens the journal once for each bit of its first segment, that bit flipped.
fn flip_each(mut shelf: Shelf, check: impl Fn(usize, Result<Vec<(Lsn, Bytes)>, JournalError>)) {
    let mut segment = BytesMut::from(&shelf.0[&1][..]);
    assert_eq!(segment.len() * 8, 524_288);
    for at in 0..segment.len() {
        for bit in 0..8 {
            segment[at] ^= 1 << bit;
            let flipped = segment.freeze();
            shelf.0.insert(1, flipped.clone());
            check(at, Journal::open(shelf.clone(), options(SEGMENT_BLOCKS)).map(|(_, records)| records));
            shelf.0.remove(&1);
            segment = flipped.try_into_mut().expect("nobody else holds it");
            segment[at] ^= 1 << bit;
        }
    }
}

fn is_damage(outcome: &Result<Vec<(Lsn, Bytes)>, JournalError>, in_segment: u64, from: usize) -> bool {
    let Err(JournalError::Damaged { segment, offset, .. }) = outcome else { return false };
    (*segment, *offset) == (in_segment, from as u64)
}

#[test]
fn every_flipped_bit_is_damage_or_free_space_or_costs_the_last_commit_alone() {
    let mut shelf = written();
    shelf.0.remove(&2);
    let (frames, whole, cut) = (frames(&shelf), records(COMMITS.len()), records(COMMITS.len() - 1));
    let last = frames.last().expect("six commits").clone();
    assert!(last.end < SEGMENT_BYTES, "there is free space");
    flip_each(shelf, |at, outcome| match frames.iter().find(|frame| frame.contains(&at)) {
        Some(frame) if *frame == last => assert!(outcome.unwrap() == cut, "byte {at}"),
        Some(frame) => assert!(is_damage(&outcome, 1, frame.start), "byte {at}: {outcome:?}"),
        None => assert!(outcome.unwrap() == whole, "byte {at}"),
    });
}

#[test]
fn every_flipped_bit_of_a_segment_with_a_successor_is_damage_or_free_space() {
    let shelf = written();
    let (frames, whole) = (frames(&shelf), records(COMMITS.len()));
    let last = frames.last().expect("six commits").clone();
    flip_each(shelf, |at, outcome| match frames.iter().find(|frame| frame.contains(&at)) {
        // The frame itself may have been torn for all that its own segment knows; the header of the next one names it.
        Some(frame) if *frame == last => assert!(is_damage(&outcome, 2, 0), "byte {at}: {outcome:?}"),
        Some(frame) => assert!(is_damage(&outcome, 1, frame.start), "byte {at}: {outcome:?}"),
        None => assert!(outcome.unwrap() == whole, "byte {at}"),
    });
}
