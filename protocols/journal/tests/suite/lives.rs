//! A journal that lives through one loss of power after another, with whatever fates a disk can deal.

use bytes::Bytes;
use proptest::prelude::*;
use qlab_journal::fault_disk::Fate;
use qlab_journal::{FaultDisk, Journal, JournalError};
use qlab_kernel::Lsn;

use crate::{append, content, options};

const SEGMENT_BLOCKS: u64 = 5;

/// From one opening to the loss of power.
#[derive(Clone, Debug)]
struct Life {
    /// The bytes of each record of each commit.
    commits: Vec<Vec<usize>>,
    /// How many of the newest records every third commit keeps.
    keep: u64,
    /// Operations until the power goes.
    operations: usize,
    /// Data syncs until one fails, if that comes first.
    syncs: usize,
    fates: Vec<Fate>,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let fate = prop_oneof![
        4 => any::<bool>().prop_map(Fate::from),
        1 => (0_usize..512).prop_map(|bytes| Fate::Torn { bytes }),
    ];
    let commit = prop::collection::vec(prop_oneof![0_usize..200, 0_usize..6000], 1..3);
    let life = (
        prop::collection::vec(commit, 1..16),
        0_u64..12,
        0_usize..60,
        0_usize..40,
        prop::collection::vec(fate, 1..24),
    );
    let life = life.prop_map(|(commits, keep, operations, syncs, fates)| Life {
        commits,
        keep,
        operations,
        syncs,
        fates,
    });
    prop::collection::vec(life, 1..8)
}

/// What the outside world knows of the journal.
#[derive(Debug, Default)]
struct World {
    /// The bytes of all records appended, from number 1 on. A number is given again if its record was lost.
    sizes: Vec<usize>,
    acknowledged: u64,
    released_below: u64,
}

impl World {
    /// Lives until something fails.
    fn live(&mut self, disk: &FaultDisk, life: &Life) -> Option<()> {
        let disk = disk.clone().stop_after(life.operations);
        disk.fail_sync_after(life.syncs);
        let (mut journal, records) = match Journal::open(disk, options(SEGMENT_BLOCKS)) {
            Err(JournalError::Disk { .. }) => return None,
            outcome => outcome.expect("a crash is never damage"),
        };
        self.check(&records, journal.durable());
        for (commit, sizes) in life.commits.iter().enumerate() {
            for bytes in sizes {
                self.sizes.push(*bytes);
                append(&mut journal, self.sizes.len() as u64, *bytes).ok()?;
            }
            if commit % 3 == 2 {
                let kept_from = (self.sizes.len() as u64 + 1).saturating_sub(life.keep);
                self.released_below = self.released_below.max(kept_from);
                journal.release_below(Lsn(self.released_below));
            }
            self.acknowledged = journal.commit().ok()?.0;
        }
        Some(())
    }

    /// Holds what was recovered against what is known, and takes it for granted from now on.
    fn check(&mut self, records: &[(Lsn, Bytes)], durable: Lsn) {
        assert!((self.acknowledged..=self.sizes.len() as u64).contains(&durable.0), "{durable} is durable");
        let first = records.first().map_or(durable.0 + 1, |(lsn, _)| lsn.0);
        assert!(first <= self.released_below.max(1), "records from {first} on");
        assert_eq!(first + records.len() as u64, durable.0 + 1, "up to the last durable one");
        for ((lsn, bytes), number) in records.iter().zip(first..) {
            let size = self.sizes[number as usize - 1];
            assert!(lsn.0 == number && *bytes == content(number, size), "record {lsn}");
        }
        self.sizes.truncate(durable.0 as usize);
        self.acknowledged = durable.0;
        self.released_below = self.released_below.min(durable.0 + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_crashes_loses_what_was_acknowledged(lives in lives()) {
        let (disk, mut world) = (FaultDisk::default(), World::default());
        for life in &lives {
            let _ = world.live(&disk, life);
            let mut fates = life.fates.iter().cycle().copied();
            disk.lose_power(|| fates.next().expect("there is one at least"));
        }
        let (journal, records) = Journal::open(disk.image(), options(SEGMENT_BLOCKS)).expect("a crash is never damage");
        world.check(&records, journal.durable());
    }
}
