//! Loss of power at every operation, and every image it may leave.

use bytes::Bytes;
use qlab_journal::fault_disk::Fate;
use qlab_journal::{Disk, Durability, FaultDisk, Journal, JournalError, JournalOptions, MemoryDisk};
use qlab_kernel::Lsn;

use crate::{append, content, expected, fill, options};

/// What the runs below leave undecided at any moment: few enough sectors and names for all their subsets.
const UNDECIDED_MAX: usize = 12;
const IMAGES_MAX: usize = 1 << UNDECIDED_MAX;
/// Where a torn sector tears: in the header's numbers, its payload's length, either checksum, a record's length, the records.
const TEARS: [usize; 7] = [5, 63, 70, 75, 78, 82, 300];
const SEGMENT_BLOCKS: u64 = 4;

/// What a run had done when it ended.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    appended: u64,
    acknowledged: u64,
    released_below: u64,
}

fn size(lsn: u64) -> usize {
    [10, 600, 1100, 300, 3400][lsn as usize % 5]
}

/// Opens a journal twice, and each time commits groups of one to three records, releases, rolls, recycles and removes,
/// until the end or the first error.
fn run(disk: &FaultDisk, commits: u64) -> (Progress, Result<(), JournalError>) {
    let mut progress = Progress::default();
    let mut lives = [commits, 3].into_iter();
    let outcome = lives.try_for_each(|commits| live(disk, commits, &mut progress));
    (progress, outcome)
}

fn live(disk: &FaultDisk, commits: u64, progress: &mut Progress) -> Result<(), JournalError> {
    let (mut journal, records) = Journal::open(disk.clone(), options(SEGMENT_BLOCKS))?;
    check(&records, *progress);
    for commit in 0..commits {
        for _ in 0..=commit % 3 {
            progress.appended += 1;
            append(&mut journal, progress.appended, size(progress.appended))?;
        }
        if commit % 3 == 2 {
            progress.released_below = progress.acknowledged.saturating_sub(commit / 3);
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

/// The disk after each number of operations of a run, as far as a crash there is not the same as one before.
fn interruptions(commits: u64) -> impl Iterator<Item = (FaultDisk, Progress)> {
    let mut before = None;
    (0..)
        .map(move |count| {
            let disk = FaultDisk::default().stop_after(count);
            let (progress, outcome) = run(&disk, commits);
            (disk, progress, outcome.is_ok())
        })
        .take_while(|(_, _, complete)| !complete)
        .filter(move |(disk, progress, _)| {
            let now = (disk.image(), disk.undecided(), progress.appended, progress.acknowledged);
            before.replace(now.clone()) != Some(now)
        })
        .map(|(disk, progress, _)| (disk, progress))
}

/// For each undecided sector, the images in which it is torn, with every subset of the others.
fn torn_images(disk: &FaultDisk) -> impl Iterator<Item = MemoryDisk> {
    let undecided = disk.undecided();
    let tears = (0..undecided).flat_map(move |torn| (0..1_u64 << undecided).map(move |kept| (torn, kept)));
    tears.filter(|(torn, kept)| kept >> torn & 1 == 0).map(|(torn, kept)| {
        let bytes = TEARS[(kept.count_ones() as usize + torn) % TEARS.len()];
        let mut fates =
            (0..).map(|at| if at == torn { Fate::Torn { bytes } } else { (kept >> at & 1 == 1).into() });
        disk.crash_image(|| fates.next().expect("it never ends"))
    })
}

#[test]
fn whatever_sectors_and_names_a_crash_loses_the_acknowledged_records_stay() {
    for (disk, progress) in interruptions(14) {
        assert!(disk.undecided() <= UNDECIDED_MAX, "these would not be all images");
        check(&recover(disk.image()), progress);
        for image in disk.crash_images(IMAGES_MAX) {
            check(&recover(image), progress);
        }
    }
}

#[test]
fn whichever_sector_a_crash_tears_the_acknowledged_records_stay() {
    for (disk, progress) in interruptions(14) {
        for image in torn_images(&disk) {
            check(&recover(image), progress);
        }
    }
}

#[test]
fn the_run_above_recycles_and_removes_segments() {
    let disk = FaultDisk::default();
    run(&disk, 14).1.unwrap();
    assert!(!disk.image().segments.contains_key(&1));
    assert!(disk.image().segments.len() < 6, "{:?}", disk.image().segments.keys());
}

#[test]
fn a_crash_during_recovery_forgets_nothing_and_one_after_it_changes_nothing() {
    for (disk, progress) in interruptions(9) {
        for image in disk.crash_images(64) {
            let records = recover(image.clone());
            crash_recovery(&image, &records, progress);
        }
    }
}

/// Interrupts the recovery of `image` after each number of operations. As long as it has not returned, another one may
/// return one commit more: cutting a torn frame off may happen to complete it, if what it lacked were zeros.
fn crash_recovery(image: &MemoryDisk, records: &[(Lsn, Bytes)], progress: Progress) {
    for count in 0.. {
        let disk = FaultDisk::from_image(image).stop_after(count);
        let opened = Journal::open(disk.clone(), options(SEGMENT_BLOCKS)).is_ok();
        for again in disk.crash_images(16) {
            let found = recover(again);
            check(&found, progress);
            let last = |records: &[(Lsn, Bytes)]| records.last().map(|(lsn, _)| *lsn);
            assert!(last(&found) >= last(records), "recovery stopped after {count} operations");
            assert!(!opened || found == records, "what recovery returned is final");
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
    // Record 16 begins a segment, record 17 does not.
    for release_from in [1, 16, 17] {
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
        assert!(recover(image) == records);
    }
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
