//! Disks that fail, fill up, lie, or lose what lies on them.

use bytes::Bytes;
use qlab_journal::{Disk, FaultDisk, Flaw, Journal, JournalError, inspect};
use qlab_kernel::Lsn;

use crate::{BLOCK, append, expected, fill, options};

fn open(disk: impl Disk) -> Result<Vec<(Lsn, Bytes)>, JournalError> {
    Journal::open(disk, options(4)).map(|(_, records)| records)
}

/// Commits records of 100 bytes until the disk fails; returns the number of the last one that was acknowledged, and the
/// failure.
fn fill_until_failure<D: Disk>(journal: &mut Journal<D>) -> (u64, JournalError) {
    for lsn in 1..100 {
        append(journal, lsn, 100).unwrap();
        if let Err(error) = journal.commit() {
            assert_eq!(journal.durable(), Lsn(lsn - 1), "nothing more is acknowledged");
            assert!(matches!(journal.commit(), Err(JournalError::Poisoned { .. })), "no retry");
            assert!(matches!(append(journal, lsn + 1, 100), Err(JournalError::Poisoned { .. })));
            return (lsn - 1, error);
        }
    }
    panic!("the disk has failed, and the journal goes on");
}

#[test]
fn a_failed_sync_is_final_and_nothing_acknowledged_hangs_on_it() {
    // Each segment takes three commits and one sync for its header.
    for syncs in 0..9 {
        let disk = FaultDisk::default();
        let (mut journal, _) = Journal::open(disk.clone(), options(4)).unwrap();
        disk.fail_sync_after(syncs);
        let (acknowledged, error) = fill_until_failure(&mut journal);
        assert!(matches!(error, JournalError::Disk { doing: "syncing", .. }));
        for image in disk.crash_images(1 << 10) {
            let records = open(image).unwrap();
            assert!((acknowledged..=acknowledged + 1).contains(&(records.len() as u64)));
            assert_eq!(records, expected(1..=records.len() as u64, 100));
        }
    }
}

#[test]
fn what_recovery_returns_after_a_failed_sync_is_on_the_disk_and_not_only_in_the_cache() {
    for syncs in 0..9 {
        let disk = FaultDisk::default();
        let (mut journal, _) = Journal::open(disk.clone(), options(4)).unwrap();
        disk.fail_sync_after(syncs);
        fill_until_failure(&mut journal);
        let records = open(disk.clone()).unwrap();
        for image in disk.crash_images(1 << 10) {
            assert!(open(image).unwrap() == records);
        }
    }
}

#[test]
fn an_opening_whose_sync_fails_can_be_tried_again() {
    let disk = FaultDisk::default();
    fill(&mut Journal::open(disk.clone(), options(4)).unwrap().0, 1..=5, 100);
    for syncs in 0.. {
        disk.fail_sync_after(syncs);
        let outcome = open(disk.clone());
        disk.lose_power(|| false);
        match outcome {
            Err(JournalError::Disk { doing: "syncing", .. }) => {}
            outcome => return assert!(outcome.unwrap() == expected(1..=5, 100) && syncs > 1),
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_acknowledged_and_opens_again_once_there_is_space() {
    for segments in 1..6 {
        let disk = FaultDisk::default();
        disk.set_capacity(Some(segments * 4 * BLOCK as usize));
        let (mut journal, _) = Journal::open(disk.clone(), options(4)).unwrap();
        let (acknowledged, error) = fill_until_failure(&mut journal);
        assert_eq!(acknowledged, segments as u64 * 3);
        assert!(matches!(error, JournalError::NoSpace { segment, .. } if segment == segments as u64 + 1));
        drop(journal);
        assert!(matches!(open(disk.clone()), Err(JournalError::NoSpace { .. })), "still full");
        disk.lose_power(|| false);
        disk.set_capacity(None);
        let (mut journal, records) = Journal::open(disk.clone(), options(4)).unwrap();
        assert_eq!(records, expected(1..=acknowledged, 100));
        fill(&mut journal, acknowledged + 1..=acknowledged + 3, 100);
    }
}

#[test]
fn a_segment_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let disk = FaultDisk::default();
    fill(&mut Journal::open(disk.clone(), options(4)).unwrap().0, 1..=8, 100);
    for (number, _) in disk.segments() {
        disk.fail_reads(Some(number));
        let refused = open(disk.clone());
        assert!(
            matches!(refused, Err(JournalError::Disk { doing: "reading", segment, .. }) if segment == number)
        );
        assert!(inspect(&mut disk.clone()).is_err());
    }
    disk.fail_reads(None);
    assert_eq!(open(disk).unwrap(), expected(1..=8, 100));
}

/// Commits records 1 to 8 in three segments while `fault` has something happen to the disk; says how opening it goes after
/// that, and how many writes there were if none is to be singled out.
fn open_after(fault: impl Fn(&FaultDisk)) -> Result<Vec<(Lsn, Bytes)>, JournalError> {
    let disk = FaultDisk::default();
    fault(&disk);
    fill(&mut Journal::open(disk.clone(), options(4)).unwrap().0, 1..=8, 100);
    disk.lose_power(|| false);
    open(disk)
}

/// Three headers and eight frames.
const WRITES: usize = 11;

#[test]
fn a_lost_write_is_damage_unless_it_was_the_last() {
    for lost in 0..WRITES {
        match open_after(|disk| disk.lose_write_after(lost)) {
            Ok(records) => assert!(lost == WRITES - 1 && records == expected(1..=7, 100), "write {lost}"),
            Err(error) => assert!(matches!(error, JournalError::Damaged { .. }), "write {lost}: {error}"),
        }
    }
    assert_eq!(open_after(|_| {}).unwrap(), expected(1..=8, 100));
}

#[test]
fn a_misdirected_write_is_damage_where_it_is_missing_and_where_it_is() {
    // To another block of the segment that is active all the time, or back into the first one.
    for lost in 3..WRITES - 1 {
        for block in 0..4 {
            let outcome = open_after(|disk| disk.misdirect_write_after(lost, 1, block * BLOCK));
            let in_place = (lost, block) == (3, 3);
            match outcome {
                Ok(records) => {
                    assert!(in_place && records == expected(1..=8, 100), "write {lost} to {block}")
                }
                Err(JournalError::Damaged { flaw, .. }) => {
                    assert!(!in_place && flaw != Flaw::Missing, "write {lost} to {block}");
                }
                Err(error) => panic!("write {lost} to {block}: {error}"),
            }
        }
    }
}
