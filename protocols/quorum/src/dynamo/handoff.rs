//! Hinted handoff (DeCandia et al. 2007, §4.6): whoever could not be told is owed it, until it says that it holds it.
//!
//! A home owes what it coordinated; it forgets that when it ends, and trees find what was not told. Whoever stands in for a home, or
//! coordinates for others' keys, holds what it was given until every home holds it, across restarts, and only then forgets it.

use bytes::Bytes;
use qlab_kernel::{Effects, Time, mutant};

use super::Dynamo;
use super::message::Step;
use super::record::Record;

/// Keys that are told again at a time.
const TOLD_MAX: usize = 64;
/// Times in a retry interval that some are told.
const TIMES_PER_INTERVAL: u32 = 4;

impl Dynamo {
    /// A key changed here, and not by a coordinator's doing: a stand-in owes it to the homes from now on.
    pub(super) fn owe(&mut self, now: Time, key: &Bytes) {
        let (homes, me) = (self.homes(key), self.seat.me);
        let round = self.next_round();
        let Some(entry) = self.store.get_mut(key) else { return };
        if !homes.contains(me) {
            entry.owed = homes;
        }
        if !entry.owed.is_empty() {
            entry.round = round;
            self.lend(now, key);
        }
    }

    /// Who is owed a key will be told in a while.
    pub(super) fn lend(&mut self, now: Time, key: &Bytes) {
        let Some(entry) = self.store.get_mut(key) else { return };
        if !entry.owed.is_empty() && !entry.is_lent {
            entry.is_lent = true;
            self.debts.push_back((now + self.config.retry_interval, key.clone()));
        }
    }

    /// Tells some of those that are owed something.
    pub(super) fn tell_again(&mut self, now: Time, effects: &mut Effects<Self>) {
        if now < self.debts_at {
            return;
        }
        for _ in 0..TOLD_MAX {
            let Some((_, key)) = self.debts.pop_front_if(|(at, _)| *at <= now) else { break };
            self.tell(now, &key, effects);
        }
        self.debts_at = now + self.config.retry_interval / TIMES_PER_INTERVAL;
    }

    fn tell(&mut self, now: Time, key: &Bytes, effects: &mut Effects<Self>) {
        let Some(entry) = self.store.get_mut(key) else { return };
        entry.is_lent = false;
        let (round, state, lsn, owed) = (entry.round, entry.state.clone(), entry.lsn, entry.owed);
        for peer in owed.iter() {
            self.counts.handoffs += 1;
            self.say_after(lsn, peer, Step::Store { round, key: key.clone(), state: state.clone() });
        }
        mutant!("dynamo: hints are dropped once they were told", {
            if let Some(entry) = self.store.get_mut(key) {
                entry.owed = qlab_kernel::NodeSet::EMPTY;
            }
        });
        self.lend(now, key);
        self.hand_over(key, effects);
    }

    /// Forgets a key that belongs to others, once they all hold it. Not while somebody here learns it: what was asked before may come
    /// to less than what was forgotten since.
    pub(super) fn hand_over(&mut self, key: &[u8], effects: &mut Effects<Self>) {
        let is_home = self.homes(key).contains(self.seat.me);
        let Some(entry) = self.store.get(key) else { return };
        if !is_home && entry.owed.is_empty() && !self.learning.contains_key(key) {
            self.forget(key, effects);
        }
    }

    /// Forgets all that is known of a key.
    pub(super) fn forget(&mut self, key: &[u8], effects: &mut Effects<Self>) {
        let Some(entry) = self.store.get(key) else { return };
        self.named = self.named.max(entry.state.context().get(self.seat.me));
        let key = entry.key.clone();
        self.rewriting.grew(key.len());
        effects.persist(Record::Forgotten { key: key.clone(), named: self.named });
        self.store.remove(&key);
    }
}
