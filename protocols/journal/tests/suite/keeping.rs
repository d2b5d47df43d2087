//! What is put in comes out again, in groups, over segments, on real files.

use proptest::prelude::*;
use qlab_journal::{Durability, FileDisk, Journal, JournalError, JournalOptions, MemoryDisk, inspect};
use qlab_kernel::Lsn;
use qlab_kernel::limits::RECORD_BYTES_MAX;

use crate::{BLOCK, Blob, append, content, expected, fill, options};
use qlab_journal::FaultDisk;

#[test]
fn a_new_journal_is_empty_and_a_group_is_one_commit() {
    let disk = FaultDisk::default();
    let (mut journal, records) = Journal::open(disk.clone(), options(16)).unwrap();
    assert!(records.is_empty());
    assert_eq!(journal.commit().unwrap(), Lsn::ZERO, "nothing to do");
    for lsn in 1..=50 {
        append(&mut journal, lsn, 30).unwrap();
    }
    assert_eq!(journal.durable(), Lsn::ZERO, "not before the commit");
    assert_eq!(journal.commit().unwrap(), Lsn(50));
    let statistics = journal.statistics();
    assert_eq!((statistics.commits, statistics.syncs, statistics.records), (1, 1, 50));
    assert_eq!(statistics.bytes, BLOCK, "50 records share a block");
    let frames = inspect(&mut disk.image()).unwrap().remove(0).frames;
    assert_eq!((frames.len(), frames[0].records), (1, 50));
    assert_eq!(Journal::open(disk.image(), options(16)).unwrap().1, expected(1..=50, 30));
}

#[test]
fn what_was_not_committed_is_not_there() {
    let disk = FaultDisk::default();
    let (mut journal, _) = Journal::open(disk.clone(), options(16)).unwrap();
    fill(&mut journal, 1..=3, 30);
    append(&mut journal, 4, 30).unwrap();
    assert_eq!(Journal::open(disk.image(), options(16)).unwrap().1, expected(1..=3, 30));
}

#[test]
fn released_segments_are_used_again_or_removed_and_their_records_do_not_return() {
    let disk = FaultDisk::default();
    let (mut journal, _) = Journal::open(disk.clone(), options(4)).unwrap();
    fill(&mut journal, 1..=30, 100);
    assert_eq!(disk.image().segments.len(), 10);
    journal.release_below(Lsn(26));
    fill(&mut journal, 31..=31, 100);
    assert_eq!(journal.statistics().segments_recycled, 0);
    assert_eq!(disk.image().segments.len(), 5, "two spare ones, two with records, one active");
    fill(&mut journal, 32..=36, 100);
    assert_eq!(journal.statistics().segments_recycled, 1);
    assert_eq!(disk.image().segments.len(), 5, "no new space was taken");
    drop(journal);
    assert_eq!(Journal::open(disk.image(), options(4)).unwrap().1, expected(26..=36, 100));
}

#[test]
fn numbering_survives_the_release_of_everything() {
    let disk = FaultDisk::default();
    for round in 0..20 {
        let (mut journal, records) = Journal::open(disk.clone(), options(4)).unwrap();
        assert!(records.is_empty());
        assert_eq!(journal.durable(), Lsn(round * 5));
        fill(&mut journal, round * 5 + 1..=round * 5 + 4, 100);
        append(&mut journal, round * 5 + 5, 100).unwrap();
        journal.release_below(Lsn(round * 5 + 6));
        journal.commit().unwrap();
    }
    assert!(disk.image().segments.len() <= 5);
}

#[test]
fn opening_again_and_again_takes_no_more_space() {
    let disk = FaultDisk::default();
    fill(&mut Journal::open(disk.clone(), options(4)).unwrap().0, 1..=2, 100);
    for _ in 0..5 {
        assert_eq!(Journal::open(disk.clone(), options(4)).unwrap().1, expected(1..=2, 100));
    }
    let reports = inspect(&mut disk.image()).unwrap();
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[1].header.as_ref().unwrap().incarnation, 6, "every opening counts");
}

#[test]
fn records_that_are_too_long_and_groups_that_are_full_are_refused_without_harm() {
    let disk = FaultDisk::default();
    let (mut journal, _) = Journal::open(disk.clone(), options(3)).unwrap();
    let most = 2 * BLOCK as usize - 84;
    let refused = append(&mut journal, 1, most + 1);
    assert!(matches!(refused, Err(JournalError::RecordTooLong { limit_bytes, .. }) if limit_bytes == most));
    append(&mut journal, 1, most).unwrap();
    assert!(matches!(append(&mut journal, 2, 0), Err(JournalError::Full { lsn: Lsn(2) })));
    journal.commit().unwrap();
    append(&mut journal, 2, most).unwrap();
    journal.commit().unwrap();
    assert_eq!(Journal::open(disk.image(), options(3)).unwrap().1, expected(1..=2, most));
}

#[test]
fn no_record_exceeds_the_limit_of_the_kernel() {
    let (mut journal, _) = Journal::open(MemoryDisk::default(), JournalOptions::new(crate::ME)).unwrap();
    assert!(journal.append(Lsn(1), &Blob(vec![1; RECORD_BYTES_MAX])).is_ok());
    let refused = journal.append(Lsn(2), &Blob(vec![1; RECORD_BYTES_MAX + 1]));
    assert!(matches!(refused, Err(JournalError::RecordTooLong { .. })));
}

#[test]
fn segment_sizes_that_cannot_work_are_refused() {
    for segment_bytes in [0, BLOCK, 2 * BLOCK + 1, u64::MAX] {
        let refused = Journal::open(MemoryDisk::default(), JournalOptions { segment_bytes, ..options(4) });
        assert!(matches!(refused, Err(JournalError::SegmentBytes { .. })));
    }
}

#[test]
#[should_panic(expected = "records are appended in order, once")]
fn a_gap_in_the_numbers_is_a_mistake_of_the_caller() {
    let (mut journal, _) = Journal::open(MemoryDisk::default(), options(4)).unwrap();
    append(&mut journal, 2, 1).unwrap();
}

#[test]
fn in_memory_everything_is_durable_at_once_and_no_disk_is_touched() {
    let options = JournalOptions { durability: Durability::Memory, ..options(4) };
    let disk = FaultDisk::default().stop_after(0);
    let (mut journal, _) = Journal::open(disk, options).unwrap();
    fill(&mut journal, 1..=100, 10_000);
    assert_eq!(journal.statistics(), qlab_journal::Statistics::default());
}

#[test]
fn a_journal_of_files_survives_and_damage_to_a_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: 1 << 20, ..options(4) };
    for round in 0..3 {
        let (mut journal, records) = Journal::open(FileDisk::open(folder.path()).unwrap(), options).unwrap();
        assert_eq!(records, expected(1..=round * 40, 50_000));
        fill(&mut journal, round * 40 + 1..=round * 40 + 40, 50_000);
    }
    let reports = inspect(&mut FileDisk::open_to_read(folder.path()).unwrap()).unwrap();
    assert_eq!(reports.iter().map(|segment| segment.frames.len()).sum::<usize>(), 120);
    let file = folder.path().join("00000000000000000001.segment");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100_000] ^= 8;
    std::fs::write(&file, bytes).unwrap();
    let refused = Journal::open(FileDisk::open(folder.path()).unwrap(), options);
    assert!(matches!(refused, Err(JournalError::Damaged { segment: 1, .. })));
}

proptest! {
    #[test]
    fn whatever_is_committed_is_recovered(
        commits in prop::collection::vec((prop::collection::vec(0_usize..6000, 1..4), any::<bool>()), 1..30),
    ) {
        let disk = FaultDisk::default();
        let (mut journal, _) = Journal::open(disk.clone(), options(6)).unwrap();
        let mut sizes = Vec::new();
        for (records, reopen) in commits {
            for bytes in records {
                sizes.push(bytes);
                append(&mut journal, sizes.len() as u64, bytes).unwrap();
            }
            prop_assert_eq!(journal.commit().unwrap(), Lsn(sizes.len() as u64));
            if reopen {
                journal = Journal::open(disk.clone(), options(6)).unwrap().0;
            }
        }
        let records = Journal::open(disk, options(6)).unwrap().1;
        prop_assert_eq!(records.len(), sizes.len());
        for ((lsn, bytes), size) in records.into_iter().zip(sizes) {
            prop_assert_eq!(bytes, content(lsn.0, size));
        }
    }
}
