//! Loss of power at every operation, and every image it may leave.

use bytes::Bytes;
use qlab_journal::{Disk, Durability, Journal, JournalError, JournalOptions, MemoryDisk};
use qlab_kernel::Lsn;

use crate::{append, content, expected, fill, options};
use qlab_journal::FaultDisk;

const IMAGES_MAX: usize = 1 << 10;
const SEGMENT_BLOCKS: u64 = 4;

/// What a run had done when it ended.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    appended: u64,
    acknowledged: u64,
    released_below: u64,
}

fn size(lsn: u64) -> usize {
    [10, 700, 1500, 4200][lsn as usize % 4]
}

/// Commits groups of one to three records, releases, rolls, recycles and removes, until the end or the first error.
fn run(disk: FaultDisk, commits: u64) -> (Progress, Result<(), JournalError>) {
    let mut progress = Progress::default();
    let outcome = drive(disk, commits, &mut progress);
    (progress, outcome)
}

fn drive(disk: FaultDisk, commits: u64, progress: &mut Progress) -> Result<(), JournalError> {
    let (mut journal, records) = Journal::open(disk, options(SEGMENT_BLOCKS))?;
    assert!(records.is_empty());
    for commit in 0..commits {
        for _ in 0..=commit % 2 {
            progress.appended += 1;
            append(&mut journal, progress.appended, size(progress.appended))?;
        }
        if commit % 3 == 2 {
            progress.released_below = progress.appended.saturating_sub(commit);
            journal.release_below(Lsn(progress.released_below));
        }
        progress.acknowledged = journal.commit()?.0;
    }
    Ok(())
}

fn recover(disk: impl Disk) -> Vec<(Lsn, Bytes)> {
    Journal::open(disk, options(SEGMENT_BLOCKS)).expect("a crash is never damage").1
}

/// Everything acknowledged and not released, then at most a contiguous rest of what was appended; never a wrong byte.
fn check(records: &[(Lsn, Bytes)], progress: Progress) {
    for (lsn, bytes) in records {
        assert_eq!(*bytes, content(lsn.0, size(lsn.0)), "record {lsn}");
    }
    assert!(records.windows(2).all(|pair| pair[0].0.next() == pair[1].0), "in order, without a gap");
    let first = records.first().map_or(progress.appended + 1, |(lsn, _)| lsn.0);
    let last = records.last().map_or(0, |(lsn, _)| lsn.0);
    assert!(
        first <= progress.released_below.max(1) || progress.acknowledged == 0,
        "{progress:?}: from {first}"
    );
    assert!((progress.acknowledged..=progress.appended).contains(&last), "{progress:?}: up to {last}");
}

fn operations_of(commits: u64) -> usize {
    let complete = |count| run(FaultDisk::default().stop_after(count), commits).1.is_ok();
    (0..).find(|count| complete(*count)).unwrap()
}

#[test]
fn whatever_sectors_a_crash_loses_the_acknowledged_records_stay() {
    let commits = 14;
    for count in 0..operations_of(commits) {
        let disk = FaultDisk::default().stop_after(count);
        let (progress, outcome) = run(disk.clone(), commits);
        assert!(outcome.is_err());
        check(&recover(disk.image()), progress);
        for image in disk.crash_images(IMAGES_MAX) {
            check(&recover(image), progress);
        }
    }
}

#[test]
fn the_run_above_recycles_and_removes_segments() {
    let disk = FaultDisk::default();
    run(disk.clone(), 14).1.unwrap();
    assert!(!disk.image().segments.contains_key(&1));
    assert!(disk.image().segments.len() < 6, "{:?}", disk.image().segments.keys());
}

#[test]
fn a_crash_during_recovery_changes_nothing_that_recovery_returns() {
    let commits = 9;
    for count in 0..operations_of(commits) {
        let disk = FaultDisk::default().stop_after(count);
        let (progress, _) = run(disk.clone(), commits);
        for image in disk.crash_images(6) {
            let records = recover(image.clone());
            check(&records, progress);
            crash_recovery(&image, &records);
        }
    }
}

fn crash_recovery(image: &MemoryDisk, records: &[(Lsn, Bytes)]) {
    for count in 0.. {
        let disk = FaultDisk::from_image(image).stop_after(count);
        let opened = Journal::open(disk.clone(), options(SEGMENT_BLOCKS)).is_ok();
        for again in disk.crash_images(16) {
            assert_eq!(recover(again), records, "recovery stopped after {count} operations");
        }
        if opened {
            return;
        }
    }
}

/// Commits records 1 to 24, each on its own, and lets go of everything from record `release_from` on.
fn release_everything(
    disk: FaultDisk,
    release_from: u64,
    acknowledged: &mut u64,
) -> Result<(), JournalError> {
    let (mut journal, _) = Journal::open(disk, options(SEGMENT_BLOCKS))?;
    for lsn in 1..=24 {
        append(&mut journal, lsn, 100)?;
        if lsn >= release_from {
            journal.release_below(Lsn(lsn + 1));
        }
        *acknowledged = journal.commit()?.0;
    }
    Ok(())
}

#[test]
fn no_crash_makes_a_journal_forget_its_numbering_or_leaves_a_gap_of_removed_segments() {
    for release_from in [1, 17] {
        for count in 0.. {
            let (disk, mut acknowledged) = (FaultDisk::default().stop_after(count), 0);
            let complete = release_everything(disk.clone(), release_from, &mut acknowledged).is_ok();
            for image in disk.crash_images(IMAGES_MAX) {
                let (journal, _) =
                    Journal::open(image, options(SEGMENT_BLOCKS)).expect("a crash is never damage");
                assert!(
                    (acknowledged..=acknowledged + 1).contains(&journal.durable().0),
                    "after {count} operations"
                );
            }
            if complete {
                break;
            }
        }
    }
}

#[test]
fn what_recovery_returns_survives_a_crash_right_after_it() {
    let disk = FaultDisk::default();
    let buffered = JournalOptions { durability: Durability::Buffered, ..options(8) };
    fill(&mut Journal::open(disk.clone(), buffered).unwrap().0, 1..=3, 100);
    assert!(disk.crash_images(IMAGES_MAX).len() > 1, "something is not synced yet");
    let (_, records) = Journal::open(disk.clone(), options(8)).unwrap();
    assert_eq!(records, expected(1..=3, 100));
    for image in disk.crash_images(IMAGES_MAX) {
        assert_eq!(recover(image), records);
    }
}

#[test]
fn a_failed_sync_is_final() {
    let disk = FaultDisk::default();
    let (mut journal, _) = Journal::open(disk.clone(), options(8)).unwrap();
    fill(&mut journal, 1..=2, 100);
    disk.fail_sync_after(0);
    append(&mut journal, 3, 100).unwrap();
    assert!(matches!(journal.commit(), Err(JournalError::Disk { doing: "syncing", .. })));
    assert!(matches!(journal.commit(), Err(JournalError::Poisoned { .. })), "no retry");
    assert!(matches!(append(&mut journal, 4, 100), Err(JournalError::Poisoned { .. })));
    assert_eq!(journal.durable(), Lsn(2), "nothing more is acknowledged");
    for image in disk.crash_images(IMAGES_MAX) {
        let records = Journal::open(image, options(8)).unwrap().1;
        assert_eq!(records[..2], expected(1..=2, 100));
    }
}

#[test]
fn a_full_disk_loses_nothing_acknowledged_and_opens_again_once_there_is_space() {
    let disk = FaultDisk::default();
    disk.set_capacity(Some(2 * 4 * 4096));
    let (mut journal, _) = Journal::open(disk.clone(), options(4)).unwrap();
    fill(&mut journal, 1..=6, 100);
    append(&mut journal, 7, 100).unwrap();
    assert!(matches!(journal.commit(), Err(JournalError::NoSpace { segment: 3, .. })));
    assert!(matches!(journal.commit(), Err(JournalError::Poisoned { .. })));
    drop(journal);
    let full = Journal::open(disk.clone(), options(4));
    assert!(matches!(full, Err(JournalError::NoSpace { .. })), "still full");
    disk.set_capacity(None);
    let (mut journal, records) = Journal::open(disk, options(4)).unwrap();
    assert_eq!(records, expected(1..=6, 100));
    fill(&mut journal, 7..=9, 100);
}

#[test]
fn an_unsynced_journal_survives_the_end_of_its_process() {
    let disk = FaultDisk::default();
    let buffered = JournalOptions { durability: Durability::Buffered, ..options(4) };
    let (mut journal, _) = Journal::open(disk.clone(), buffered).unwrap();
    fill(&mut journal, 1..=9, 300);
    assert_eq!(journal.statistics().syncs, 0);
    drop(journal);
    assert_eq!(recover(disk.image()), expected(1..=9, 300));
}
