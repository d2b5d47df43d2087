//! Restart from the journal: what was written last about each key.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use qlab_kernel::{Effects, Lsn, Seat, Time};

use super::content::is_tombstone;
use super::record::Record;
use super::ring::Ring;
use super::store::Store;
use super::{Config, Counts, Dynamo};
use crate::outbox::Outbox;
use crate::rewriting::Rewriting;
use crate::sessions::OwnSessions;

/// The life of sessions that were found: any before this one.
const PAST: u32 = 0;

pub(crate) fn recover(
    seat: Seat,
    config: &Config,
    now: Time,
    records: impl Iterator<Item = (Lsn, Record)>,
    effects: &Effects<Dynamo>,
) -> Dynamo {
    let ring = Ring::new(seat.members.len(), config.copies(seat.members.len()));
    let mut dynamo = Dynamo {
        seat,
        config: config.clone(),
        ring,
        quorums: config.quorums(seat.members.len()),
        incarnation: PAST,
        life_lsn: Lsn::ZERO,
        named: 0,
        store: Store::new(ring, seat.me),
        durable: effects.last(),
        own: VecDeque::new(),
        outbox: Outbox::new(seat.peers()),
        rewriting: Rewriting::default(),
        sessions: OwnSessions::default(),
        waiting: HashSet::new(),
        operations: BTreeMap::new(),
        alarms: VecDeque::new(),
        rounds: 0,
        uncompared: BTreeSet::new(),
        uncompared_at: now,
        learning: HashMap::new(),
        debts: VecDeque::new(),
        debts_at: now,
        graves: VecDeque::new(),
        pairs: pairs(ring, seat),
        compared: 0,
        compare_at: now + config.anti_entropy_interval,
        counts: Counts::default(),
    };
    records.for_each(|(lsn, record)| dynamo.replay(lsn, record));
    dynamo.incarnation += 1;
    dynamo.resume(now);
    dynamo
}

/// Homes of the same ranges, with those: whom trees are compared with.
fn pairs(ring: Ring, seat: Seat) -> Vec<(qlab_kernel::NodeId, u16)> {
    let ranges = (0..ring.ranges() as u16).filter(|range| ring.homes(*range).contains(seat.me));
    let mut pairs: Vec<_> = ranges
        .flat_map(|range| ring.homes(range).without(seat.me).iter().map(move |peer| (peer, range)))
        .collect();
    // One peer after the other, in every range.
    pairs.sort_by_key(|(peer, range)| (*range, *peer));
    pairs
}

impl Dynamo {
    fn replay(&mut self, lsn: Lsn, record: Record) {
        match record {
            Record::Life { incarnation, named } => {
                self.incarnation = incarnation.max(self.incarnation);
                self.named = named.max(self.named);
            }
            Record::Opened { sessions } => {
                sessions.into_iter().for_each(|session| self.sessions.remember(session, PAST));
            }
            Record::Held { key, state } => self.store.set(&key, state, lsn),
            Record::Forgotten { key, named } => {
                self.store.remove(&key);
                self.named = named.max(self.named);
            }
            Record::Images { images } => {
                for (key, state) in images {
                    self.store.set(&key, state, lsn);
                }
            }
        }
    }

    /// What was owed for others is still owed, and deletions are forgotten some time.
    fn resume(&mut self, now: Time) {
        let keys: Vec<_> =
            self.store.iter().map(|entry| (entry.key.clone(), is_tombstone(&entry.state))).collect();
        for (key, is_tombstone) in keys {
            self.owe(now, &key);
            if is_tombstone {
                self.graves.push_back((now + self.config.tombstone_grace, key));
            }
        }
    }
}
