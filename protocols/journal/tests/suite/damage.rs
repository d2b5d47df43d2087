//! Torn tails are cut off; everything else that is wrong is refused; nothing wrong is ever returned.

use std::collections::BTreeSet;

use proptest::prelude::*;
use qlab_journal::{FaultDisk, Flaw, Identity, Journal, JournalError, JournalOptions, MemoryDisk, inspect};
use qlab_kernel::{Lsn, NodeId};

use crate::{BLOCK, BLOCK_BYTES, expected, fill, options};

/// A journal of `records` commits of 100 bytes in segments of three frames each.
fn written(records: u64) -> MemoryDisk {
    written_in(records, 100)
}

fn written_in(records: u64, bytes: usize) -> MemoryDisk {
    let disk = FaultDisk::default();
    let (mut journal, _) = Journal::open(disk.clone(), options(4)).unwrap();
    fill(&mut journal, 1..=records, bytes);
    disk.image()
}

fn open(disk: MemoryDisk) -> Result<Vec<(Lsn, bytes::Bytes)>, JournalError> {
    Journal::open(disk, options(4)).map(|(_, records)| records)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off() {
    let whole = written(5);
    let last = 2 * BLOCK_BYTES;
    // Header, length and content; what follows is padding, zeros whether written or not.
    for torn in 0..80 + 4 + 100 {
        let mut image = whole.clone();
        image.segments.get_mut(&2).unwrap()[last + torn..].fill(0);
        assert_eq!(open(image).unwrap(), expected(1..=4, 100), "torn at {torn}");
    }
}

#[test]
fn a_cut_off_tail_never_comes_back_and_its_number_is_given_again() {
    let mut image = written(5);
    image.segments.get_mut(&2).unwrap()[2 * BLOCK_BYTES + 100] ^= 1;
    let disk = FaultDisk::from_image(&image);
    let (mut journal, records) = Journal::open(disk.clone(), options(4)).unwrap();
    assert_eq!(records, expected(1..=4, 100));
    for image in disk.crash_images(1) {
        assert!(
            image.segments[&2][2 * BLOCK_BYTES..3 * BLOCK_BYTES].iter().all(|byte| *byte == 0),
            "blank for good"
        );
    }
    fill(&mut journal, 5..=6, 77);
    drop(journal);
    let records = open(disk.image()).unwrap();
    assert_eq!(records[..4], expected(1..=4, 100));
    assert_eq!(records[4..], expected(5..=6, 77));
}

#[test]
fn a_lost_write_in_the_middle_is_damage_even_if_what_follows_is_sound() {
    let mut image = written(6);
    image.segments.get_mut(&2).unwrap()[2 * BLOCK_BYTES..3 * BLOCK_BYTES].fill(0);
    let stranded = Flaw::Stranded(3 * BLOCK);
    assert!(matches!(open(image), Err(JournalError::Damaged { segment: 2, offset, flaw })
        if offset == 2 * BLOCK && flaw == stranded));
}

#[test]
fn a_frame_of_another_history_at_the_right_place_is_damage() {
    let (mut image, other) = (written(5), written_in(6, 101));
    let frame = 2 * BLOCK_BYTES..3 * BLOCK_BYTES;
    image.segments.get_mut(&1).unwrap()[frame.clone()].copy_from_slice(&other.segments[&1][frame]);
    assert!(matches!(open(image), Err(JournalError::Damaged { segment: 1, flaw: Flaw::Unlinked, .. })));
}

#[test]
fn stale_frames_of_another_segment_are_no_frames() {
    let mut image = written(4);
    let stale = image.segments[&1][3 * BLOCK_BYTES..].to_vec();
    image.segments.get_mut(&2).unwrap()[3 * BLOCK_BYTES..].copy_from_slice(&stale);
    assert_eq!(open(image).unwrap(), expected(1..=4, 100));
}

#[test]
fn a_missing_segment_is_damage() {
    for gone in [1, 2] {
        let mut image = written(8);
        image.segments.remove(&gone);
        assert!(matches!(open(image), Err(JournalError::Damaged { segment, .. }) if segment == gone));
    }
}

#[test]
fn another_cluster_or_node_is_refused_by_name() {
    for identity in [Identity { cluster: 0xC2, node: NodeId(1) }, Identity { cluster: 0xC1, node: NodeId(2) }]
    {
        let options = JournalOptions { identity, ..options(4) };
        let refused = Journal::open(written(2), options);
        assert!(
            matches!(refused, Err(JournalError::WrongIdentity { found: crate::ME, wanted, .. }) if wanted == identity)
        );
    }
}

#[test]
fn an_inspection_lists_every_frame_and_names_what_is_wrong() {
    let mut image = written(5);
    let sound = inspect(&mut image).unwrap();
    assert_eq!(sound.iter().map(|segment| segment.frames.len()).collect::<Vec<_>>(), [3, 2]);
    assert!(sound.iter().all(|segment| segment.header.is_ok()));
    assert!(sound.iter().flat_map(|segment| &segment.frames).all(|frame| frame.flaw.is_none()));
    assert_eq!(sound[1].frames[1].first, Some(Lsn(5)));
    image.segments.get_mut(&1).unwrap()[2 * BLOCK_BYTES + 90] ^= 4;
    image.segments.get_mut(&2).unwrap()[BLOCK_BYTES] ^= 4;
    let before = image.clone();
    let hurt = inspect(&mut image).unwrap();
    assert_eq!(hurt[0].frames[1].flaw, Some(Flaw::Payload));
    assert_eq!(hurt[1].frames[0].flaw, Some(Flaw::Stranded(2 * BLOCK)));
    assert_eq!(image, before, "nothing was changed");
}

proptest! {
    #[test]
    fn arbitrary_damage_never_makes_a_wrong_record(
        hits in prop::collection::vec((1_u64..=2, 0_usize..4 * BLOCK_BYTES, any::<u8>()), 1..8),
    ) {
        let mut image = written(5);
        let blocks: BTreeSet<_> = hits.iter().map(|(segment, at, _)| (*segment, at / BLOCK_BYTES)).collect();
        for (segment, at, value) in hits {
            image.segments.get_mut(&segment).unwrap()[at] = value;
        }
        inspect(&mut image.clone()).unwrap();
        if let Ok(records) = open(image) {
            let all = expected(1..=5, 100);
            prop_assert_eq!(&records[..], &all[..records.len()]);
            // Frames that are all damaged up to the end may have been one torn frame. No more is lost than was hit.
            prop_assert!(records.len() + blocks.len() >= 5);
        }
    }
}
