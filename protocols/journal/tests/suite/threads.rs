//! The journal on its own thread.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use qlab_journal::{Durability, Journal, JournalError, JournalOptions, JournalThread, MemoryDisk, Pressure};
use qlab_kernel::Lsn;

use crate::{Blob, content, expected, options};
use qlab_journal::FaultDisk;

/// A journal on a thread, what it reports, and its disk.
fn spawn(disk: &FaultDisk, blocks: u64) -> (JournalThread, mpsc::Receiver<Result<Lsn, JournalError>>) {
    let (journal, _) = Journal::open(disk.clone(), options(blocks)).unwrap();
    let (durable, heard) = mpsc::channel();
    let failed = durable.clone();
    let thread = JournalThread::spawn(
        journal,
        move |lsn| durable.send(Ok(lsn)).unwrap(),
        move |error| failed.send(Err(error)).unwrap(),
    );
    (thread.unwrap(), heard)
}

fn submit(journal: &mut JournalThread, lsn: u64, bytes: usize) -> Result<Pressure, JournalError> {
    journal.submit([(Lsn(lsn), &Blob(content(lsn, bytes)))], Lsn::ZERO, Lsn(lsn))
}

#[test]
fn durable_numbers_come_in_order_and_shutdown_loses_nothing() {
    let disk = FaultDisk::default();
    let (mut journal, heard) = spawn(&disk, 64);
    let counters = journal.counters();
    for lsn in 1..=2000 {
        // Waits when a group is full: with 64 blocks that is several times.
        let _ = submit(&mut journal, lsn, 500).unwrap();
    }
    journal.shutdown();
    let numbers: Vec<_> = heard.iter().map(Result::unwrap).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "each commit reports once, in order");
    assert_eq!(numbers.last(), Some(&Lsn(2000)));
    assert_eq!(counters.records.load(Ordering::Relaxed), 2000);
    assert_eq!(counters.commits.load(Ordering::Relaxed), numbers.len() as u64);
    assert!(counters.commit_ns_max.load(Ordering::Relaxed) > 0);
    assert_eq!(Journal::open(disk.image(), options(64)).unwrap().1, expected(1..=2000, 500));
}

#[test]
fn what_is_submitted_during_a_commit_shares_the_next_one() {
    let disk = FaultDisk::default();
    let (mut journal, heard) = spawn(&disk, 64);
    journal.set_sync_delay(Duration::from_millis(200));
    let _ = submit(&mut journal, 1, 10).unwrap();
    for lsn in 2..=40 {
        let _ = submit(&mut journal, lsn, 10).unwrap();
    }
    let counters = journal.counters();
    journal.shutdown();
    assert_eq!(heard.iter().last().unwrap().unwrap(), Lsn(40));
    assert!(counters.commits.load(Ordering::Relaxed) <= 20, "forty records, few commits");
    assert!(counters.commit_ns_max.load(Ordering::Relaxed) >= 200_000_000, "as slow as asked for");
}

#[test]
fn what_is_reported_durable_survives_the_loss_of_power_at_that_very_moment() {
    let disk = FaultDisk::default();
    let (journal, _) = Journal::open(disk.clone(), options(8)).unwrap();
    let on_durable = move |lsn: Lsn| {
        let image = disk.crash_image(|| false);
        let (survived, _) = Journal::open(image, options(8)).unwrap();
        assert_eq!(survived.durable(), lsn, "everything unsynced was lost");
    };
    let mut journal = JournalThread::spawn(journal, on_durable, |error| panic!("{error}")).unwrap();
    for lsn in 1..=200 {
        let _ = submit(&mut journal, lsn, 2000).unwrap();
    }
    journal.shutdown();
}

#[test]
fn pressure_shows_when_half_a_group_is_waiting() {
    let disk = FaultDisk::default();
    let (mut journal, heard) = spawn(&disk, 9);
    let records: Vec<_> = (1..=4).map(|lsn| (Lsn(lsn), Blob(content(lsn, 6000)))).collect();
    let submission =
        |range: std::ops::Range<usize>| records[range].iter().map(|(lsn, record)| (*lsn, record));
    assert_eq!(journal.submit(submission(0..1), Lsn::ZERO, Lsn(1)).unwrap(), Pressure::Room);
    assert_eq!(journal.submit(submission(1..4), Lsn::ZERO, Lsn(4)).unwrap(), Pressure::High);
    journal.shutdown();
    assert_eq!(heard.iter().last().unwrap().unwrap(), Lsn(4));
}

#[test]
fn what_nobody_waits_for_is_committed_with_what_somebody_waits_for() {
    let disk = FaultDisk::default();
    let (mut journal, heard) = spawn(&disk, 8);
    for lsn in 1..=3 {
        let _ = journal.submit([(Lsn(lsn), &Blob(content(lsn, 10)))], Lsn::ZERO, Lsn::ZERO).unwrap();
    }
    assert!(heard.recv_timeout(Duration::from_millis(50)).is_err(), "nobody waits");
    // A message that waits for the second record comes later than the record.
    let none: [(Lsn, &Blob); 0] = [];
    let _ = journal.submit(none, Lsn::ZERO, Lsn(2)).unwrap();
    assert_eq!(heard.recv().unwrap().unwrap(), Lsn(3));
    let _ = journal.submit([(Lsn(4), &Blob(content(4, 10)))], Lsn::ZERO, Lsn(3)).unwrap();
    journal.shutdown();
    assert_eq!(heard.iter().last().unwrap().unwrap(), Lsn(4), "a shutdown leaves nothing behind");
}

#[test]
fn releases_travel_with_the_records() {
    let disk = FaultDisk::default();
    let (mut journal, _heard) = spawn(&disk, 8);
    let _ = submit(&mut journal, 1, 10).unwrap();
    let _ = journal.submit([(Lsn(2), &Blob(content(2, 10)))], Lsn(2), Lsn(2)).unwrap();
    journal.shutdown();
    assert_eq!(Journal::open(disk.image(), options(8)).unwrap().1, expected(2..=2, 10));
}

#[test]
fn a_failure_is_reported_once_and_ends_everything() {
    let disk = FaultDisk::default();
    let (mut journal, heard) = spawn(&disk, 8);
    disk.fail_sync_after(0);
    let _ = submit(&mut journal, 1, 10).unwrap();
    assert!(matches!(heard.recv().unwrap(), Err(JournalError::Disk { .. })));
    assert!(matches!(submit(&mut journal, 2, 10), Err(JournalError::Poisoned { .. })));
    journal.shutdown();
    assert!(heard.recv().is_err(), "nothing more is heard");
}

#[test]
fn a_panic_in_a_callback_is_passed_on_and_nobody_waits_for_its_thread() {
    let (journal, _) = Journal::open(MemoryDisk::default(), options(3)).unwrap();
    let mut journal =
        JournalThread::spawn(journal, |_| panic!("a bug of the host"), |error| panic!("{error}")).unwrap();
    let refused = (1..).find_map(|lsn| submit(&mut journal, lsn, 3000).err()).unwrap();
    assert!(matches!(refused, JournalError::Poisoned { .. }));
    let passed_on = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| journal.shutdown()));
    assert_eq!(passed_on.unwrap_err().downcast_ref(), Some(&"a bug of the host"));
}

#[test]
fn in_memory_submitting_is_enough() {
    let options = JournalOptions { durability: Durability::Memory, ..options(8) };
    let (journal, _) = Journal::open(MemoryDisk::default(), options).unwrap();
    let (durable, heard) = mpsc::channel();
    let mut journal =
        JournalThread::spawn(journal, move |lsn| durable.send(lsn).unwrap(), |error| panic!("{error}"))
            .unwrap();
    assert_eq!(submit(&mut journal, 1, 10).unwrap(), Pressure::Room);
    assert_eq!(heard.try_recv(), Ok(Lsn(1)));
    journal.shutdown();
}
