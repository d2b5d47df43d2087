//! Restart from the journal: the records are replayed in order.
//!
//! The journal may have let go of early records, so the first entry seen can lie anywhere, and pieces of an old image may be
//! missing. That is harmless: the newest image and every entry after it are always there (see `snapshot`), and whatever was
//! put together from older pieces is replaced when they come by.

use qlab_kernel::snapshot::Assembly;
use qlab_kernel::{Commit, Effects, Images, Index, Lsn, NodeId, Seat, Snapshot, Term, Time, mutant};
use rand_pcg::Pcg32;

use crate::log::Log;
use crate::message::Place;
use crate::record::Record;
use crate::replication::Owed;
use crate::{Config, Raft, Role};

pub(crate) fn recover(
    seat: Seat,
    config: &Config,
    now: Time,
    records: impl Iterator<Item = (Lsn, Record)>,
    effects: &mut Effects<Raft>,
) -> Raft {
    let mut found = Found::default();
    for (lsn, record) in records {
        found.replay(lsn, record);
    }
    let Found { term, voted_for, vote_lsn, mut log, image, .. } = found;
    log.mark_durable(effects.last());
    let start = image.as_ref().map_or(Index::ZERO, |image| image.index);
    assert!(log.base().index <= start, "the journal lacks entries {} to {}", start.next(), log.base().index);
    if let Some(image) = &image {
        effects.commit(Commit::Restore { index: image.index, image: image.image.clone() });
    }
    // Replicas make their images at different times: while one is busy with its own, the others are a majority.
    let head_start_bytes = config.snapshot_log_bytes / seat.members.len() * usize::from(seat.me.0);
    mutant!("raft: a restart forgets its vote", voted_for = None);
    let commit = mutant!(start, "raft: a restart takes its whole log for committed", log.last_index());
    let mut raft = Raft {
        seat,
        config: config.clone(),
        chance: Pcg32::new(seat.seed, u64::from(seat.me.0)),
        term,
        voted_for,
        vote_lsn,
        log,
        durable: effects.last(),
        commit,
        applied: start,
        role: Role::Follower,
        leader: None,
        // As if a leader had been heard just now: an answer given before the crash may carry a lease.
        heard: now,
        election_deadline: now,
        owed: Owed::default(),
        received: Index::ZERO,
        images: Images::recovered(image, head_start_bytes),
    };
    raft.draw_election_deadline(now);
    raft
}

#[derive(Default)]
struct Found {
    term: Term,
    voted_for: Option<NodeId>,
    vote_lsn: Lsn,
    log: Log,
    assembly: Assembly,
    image: Option<Snapshot>,
}

impl Found {
    fn replay(&mut self, lsn: Lsn, record: Record) {
        match record {
            Record::Vote { term, voted_for } => {
                (self.term, self.voted_for, self.vote_lsn) = (term, voted_for, lsn)
            }
            Record::Append { index, entry } => {
                if index <= self.log.base().index || index > self.log.last_index().next() {
                    self.log = Log::starting_at(index);
                }
                self.log.put(index, entry, lsn);
            }
            Record::Snapshot { chunk, replaces_log } => {
                let Some(snapshot) = self.assembly.add(&chunk) else { return };
                let place = Place { index: snapshot.index, term: snapshot.term };
                if replaces_log {
                    self.log = Log::after(place);
                } else {
                    self.log.forget_up_to(place);
                }
                self.image = Some(snapshot);
            }
        }
    }
}
