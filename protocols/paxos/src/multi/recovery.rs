//! Restart from the journal: the records are replayed in order.
//!
//! The journal may have let go of early records, and pieces of an old image may be missing. That is harmless: the newest image, the
//! promise, and whatever is accepted after that image are always there (see `compaction`).

use qlab_kernel::snapshot::Assembly;
use qlab_kernel::{Commit, Effects, Images, Index, Lsn, Seat, Snapshot, Time, mutant};
use rand_pcg::Pcg32;

use super::agreement::Following;
use super::learning::Learning;
use super::record::Record;
use super::slots::Slots;
use super::{Config, MultiPaxos, Role};
use crate::Ballot;

pub(crate) fn recover(
    seat: Seat,
    config: &Config,
    now: Time,
    records: impl Iterator<Item = (Lsn, Record)>,
    effects: &mut Effects<MultiPaxos>,
) -> MultiPaxos {
    let mut found = Found::default();
    for (lsn, record) in records {
        found.replay(lsn, record);
    }
    let Found { promised, promise_lsn, slots, image, .. } = found;
    mutant!("multi-paxos: a restart forgets its promise", promised = Ballot::ZERO);
    mutant!("multi-paxos: a restart forgets what it accepted", slots = Slots::after(slots.base()));
    let start = image.as_ref().map_or(Index::ZERO, |image| image.index);
    if let Some(image) = &image {
        effects.commit(Commit::Restore { index: image.index, image: image.image.clone() });
    }
    let replicas = seat.members.len();
    // Replicas make their images at different times: while one is busy with its own, the others are a quorum.
    let head_start_bytes = config.snapshot_log_bytes / replicas * usize::from(seat.me.0);
    let mut paxos = MultiPaxos {
        seat,
        config: config.clone(),
        quorums: config.quorums(replicas).expect("a host starts no replica with quorums that need not meet"),
        chance: Pcg32::new(seat.seed, u64::from(seat.me.0)),
        promised,
        promise_lsn,
        seen: promised,
        slots,
        durable: effects.last(),
        chosen: start,
        applied: start,
        role: Role::Follower,
        leader: None,
        // As if a leader had been heard just now: an answer given before the crash may carry a lease.
        heard: now,
        election_deadline: now,
        following: Following::default(),
        learning: Learning::default(),
        images: Images::recovered(image, head_start_bytes),
    };
    paxos.draw_election_deadline(now);
    paxos
}

#[derive(Default)]
struct Found {
    promised: Ballot,
    promise_lsn: Lsn,
    slots: Slots,
    assembly: Assembly,
    image: Option<Snapshot>,
}

impl Found {
    fn replay(&mut self, lsn: Lsn, record: Record) {
        match record {
            Record::Promise { ballot } => (self.promised, self.promise_lsn) = (ballot, lsn),
            Record::Accept { ballot, index, batch } => {
                if index > self.slots.base() {
                    self.slots.accept(index, ballot, batch, lsn);
                }
            }
            Record::Image { chunk } => {
                if let Some(image) = self.assembly.add(&chunk) {
                    self.slots.forget_up_to(image.index);
                    self.image = Some(image);
                }
            }
        }
    }
}
