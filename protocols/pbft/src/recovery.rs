//! Restart from the journal: the records are replayed in order.
//!
//! What this replica said early, in its view, may be forgotten. So it says nothing in that view about any entry that it may have
//! spoken of: those up to the last stable checkpoint and the window beyond. It goes on to learn from what others say, and holds on to
//! every certificate that it told anybody of.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use qlab_kernel::snapshot::Assembly;
use qlab_kernel::{Commit, Effects, Index, Intake, Lsn, Seat, Snapshot, Term, Time, mutant};

use crate::agreement::Burst;
use crate::checkpoint::{Checkpoints, Image};
use crate::intake::Backlog;
use crate::keys::Digest;
use crate::message::{PrePrepare, StableCheckpoint, ViewChange};
use crate::quorum::Quorum;
use crate::record::Record;
use crate::request::Requests;
use crate::slots::{Accepted, Slots};
use crate::standing::Standing;
use crate::timers::Impatience;
use crate::transfer::Transfer;
use crate::view_change::Views;
use crate::{Config, Pbft, Work};

pub(crate) fn recover(
    seat: Seat,
    config: &Config,
    now: Time,
    records: impl Iterator<Item = (Lsn, Record)>,
    effects: &mut Effects<Pbft>,
) -> Pbft {
    let mut found = Found { now, ..Found::default() };
    for (lsn, record) in records {
        found.replay(lsn, record);
    }
    let newest = found.images.last_key_value().map(|(_, image)| image.snapshot.clone());
    if let Some(Snapshot { index, image, .. }) = newest.clone() {
        effects.commit(Commit::Restore { index, image });
    }
    let quorum = Quorum::of(seat.members);
    let Found { view, view_lsn, vote, stable, slots, images, restarts, .. } = found;
    let active = vote.is_none();
    // Only what was said early can be forgotten, and that was said where the view was active.
    let silent = restarts && active;
    mutant!("pbft: a restart forgets that it must keep silent", silent = false);
    let silent_until = if silent { Index(stable.seq.0 + config.log_window as u64) } else { Index::ZERO };
    let executed = newest.map_or(Index::ZERO, |image| image.index);
    let mut pbft = Pbft {
        seat,
        quorum,
        config: config.clone(),
        work: Work::default(),
        view,
        active,
        view_lsn,
        entered: restarts,
        silent_until,
        // Who cannot propose had better say so.
        resigns: silent && quorum.primary(view) == seat.me,
        durable: effects.last(),
        next: slots.last().max(stable.seq).max(executed).next(),
        stable,
        slots,
        executed,
        burst: Burst::default(),
        writing: VecDeque::new(),
        backlog: Backlog::default(),
        packer: Intake::default(),
        standing: Standing::default(),
        checkpoints: Checkpoints::recovered(images),
        views: Views::default(),
        impatience: Impatience::starting(now),
        transfer: Transfer::default(),
        status_at: now,
    };
    pbft.views.votes.extend(vote.map(|vote| (seat.me, vote)));
    pbft.resume();
    pbft
}

impl Pbft {
    /// Counts again what is here and durable: its own certificates and images.
    fn resume(&mut self) {
        let certified: Vec<(Lsn, Index)> = self.slots.after(Index::ZERO).filter_map(certified).collect();
        self.writing = certified.into();
        self.count_own_commits();
        let images = self.checkpoints.images.iter().filter(|(seq, _)| **seq > self.stable.seq);
        for (seq, digest) in images.map(|(seq, image)| (*seq, image.digest)).collect::<Vec<_>>() {
            self.vote_for_image(seq, digest);
        }
    }
}

fn certified((seq, slot): (Index, &crate::slots::Slot)) -> Option<(Lsn, Index)> {
    slot.prepared.as_ref().map(|(_, lsn)| (*lsn, seq))
}

#[derive(Default)]
struct Found {
    now: Time,
    view: Term,
    view_lsn: Lsn,
    vote: Option<Arc<ViewChange>>,
    stable: StableCheckpoint,
    slots: Slots,
    images: BTreeMap<Index, Image>,
    assembly: Assembly,
    /// The first record of the image that is being put together.
    first_lsn: Lsn,
    restarts: bool,
}

impl Found {
    fn replay(&mut self, lsn: Lsn, record: Record) {
        self.restarts = true;
        match record {
            Record::Accepted(pre_prepare) => self.replay_accepted(lsn, pre_prepare),
            Record::Body { seq, requests } => {
                if seq > self.slots.base() {
                    self.slots.at(seq).keep_body(requests);
                    self.slots.at(seq).recorded(lsn);
                }
            }
            Record::Prepared(prepared) => {
                if prepared.seq > self.slots.base() {
                    let slot = self.slots.at(prepared.seq);
                    if prepared.digest == *Requests::null().digest() {
                        // Its requests need no record.
                        slot.keep_body(Requests::null());
                    }
                    slot.prepared = Some((prepared, lsn));
                    slot.recorded(lsn);
                }
            }
            Record::Voted(vote) => {
                self.enter(vote.view, lsn);
                self.vote = Some(vote);
            }
            Record::Entered { view } => {
                self.enter(view, lsn);
                self.vote = None;
            }
            Record::Image { chunk } => {
                if chunk.offset == 0 {
                    self.first_lsn = lsn;
                }
                if let Some(snapshot) = self.assembly.add(&chunk) {
                    let digest = Digest(blake3::hash(&snapshot.image).into());
                    self.images.insert(snapshot.index, Image { snapshot, digest, first_lsn: self.first_lsn });
                }
            }
            Record::Stable(stable) => {
                self.slots.forget_up_to(stable.seq);
                self.images = self.images.split_off(&stable.seq);
                self.stable = stable;
            }
        }
    }

    fn replay_accepted(&mut self, lsn: Lsn, pre_prepare: PrePrepare) {
        let PrePrepare { seq, requests, signature, .. } = pre_prepare;
        if seq > self.slots.base() {
            let digest = *requests.digest();
            let slot = self.slots.at(seq);
            slot.keep_body(requests);
            slot.recorded(lsn);
            slot.accepted = Some(Accepted { digest, signature, at: self.now });
        }
    }

    /// Said again behind each image, too.
    fn enter(&mut self, view: Term, lsn: Lsn) {
        if view != self.view || self.vote.is_some() {
            self.slots.leave_view();
        }
        (self.view, self.view_lsn) = (view, lsn);
    }
}
