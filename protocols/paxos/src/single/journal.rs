//! What is written: each burst's changes in one record, and from time to time all registers anew, so that the journal can let go of
//! what made them so.

use bytes::Bytes;
use qlab_kernel::{Effects, Event, Index, Lsn};

use super::Paxos;
use super::record::{Change, ITEM_BYTES, Record};
use super::registers::Place;

/// Bytes of one record, or one item.
const RECORD_BYTES: usize = 256 << 10;

/// How far the registers have been written anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewriting {
    /// Bytes of records since the last time.
    log_bytes: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// From this record on, and up to this register.
    UnderWay { from: Lsn, next: Place },
    /// All are written, from one record to another.
    Written { from: Lsn, last: Lsn },
}

impl Paxos {
    /// Writes down what the acceptor did since the last time, and what is told of that to the proposer here waits for it.
    pub(super) fn write(&mut self, effects: &mut Effects<Self>) {
        if self.life_lsn == Lsn::ZERO {
            self.life_lsn = effects.persist(Record::Life { incarnation: self.incarnation });
        }
        let mut bytes = 0;
        let mut changes = Vec::new();
        for (key, change) in self.changes.drain(..) {
            bytes += change_bytes(&key, &change);
            changes.push((key, change));
            if bytes >= RECORD_BYTES {
                self.rewriting.log_bytes += std::mem::take(&mut bytes);
                effects.persist(Record::Changes { changes: std::mem::take(&mut changes) });
            }
        }
        if !changes.is_empty() {
            self.rewriting.log_bytes += bytes;
            effects.persist(Record::Changes { changes });
        }
        let last = effects.last();
        self.own.extend(self.own_new.drain(..).map(|(place, step)| (last, place, step)));
    }

    /// Writes some registers anew, if it is time. Nothing that is said in this burst waits for that.
    pub(super) fn rewrite(&mut self, effects: &mut Effects<Self>) {
        match self.rewriting.stage {
            Stage::Idle => {
                // What is written anew is in proportion to what was written since.
                let due_bytes = self.config.rewrite_log_bytes.max(self.registers.weight_bytes());
                if self.rewriting.log_bytes >= due_bytes {
                    self.rewriting.log_bytes = 0;
                    let from = effects.persist(Record::Life { incarnation: self.incarnation });
                    self.rewriting.stage = Stage::UnderWay { from, next: 0 };
                }
            }
            Stage::UnderWay { from, next } => self.rewrite_some(from, next, effects),
            Stage::Written { from, last } if last <= self.durable => {
                effects.release_below(from);
                effects.event(Event::Compacted(Index::ZERO));
                self.rewriting.stage = Stage::Idle;
            }
            Stage::Written { .. } => {}
        }
    }

    fn rewrite_some(&mut self, from: Lsn, mut next: Place, effects: &mut Effects<Self>) {
        let (mut bytes, mut images) = (0, Vec::new());
        while next < self.registers.len() && bytes < RECORD_BYTES {
            let register = self.registers.get(next);
            if !register.is_untouched() {
                bytes += image_bytes(
                    register.key.len(),
                    register.accepted.as_ref().map_or(0, |a| a.value.bytes.len()),
                );
                images.push((register.key.clone(), register.image()));
            }
            next += 1;
        }
        if !images.is_empty() {
            effects.persist(Record::Images { images });
        }
        self.rewriting.stage = if next < self.registers.len() {
            Stage::UnderWay { from, next }
        } else {
            // Registers made since are written down after `from` as they change.
            Stage::Written { from, last: effects.last() }
        };
    }
}

const fn image_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    ITEM_BYTES + key_bytes + value_bytes
}

fn change_bytes(key: &Bytes, change: &Change) -> usize {
    let value_bytes = match change {
        Change::Promise { .. } => 0,
        Change::Accept { value, .. } => value.bytes.len(),
    };
    image_bytes(key.len(), value_bytes)
}
