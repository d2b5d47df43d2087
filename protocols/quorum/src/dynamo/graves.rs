//! Forgetting deletions: not before their grace is over, and everybody who holds the key has said that it holds the deletion, too, and
//! nothing else, or nothing at all.

use bytes::Bytes;
use qlab_kernel::{Effects, NodeId, NodeSet, Time, mutant};

use super::Dynamo;
use super::content::{State, is_tombstone};
use super::operation::{Operation, Task};

/// Deletions that are looked at in a burst.
const BURIALS_MAX: usize = 256;

impl Dynamo {
    /// Looks at deletions whose grace is over.
    pub(super) fn look_at_graves(&mut self, now: Time, effects: &mut Effects<Self>) {
        for _ in 0..BURIALS_MAX {
            let Some((_, key)) = self.graves.pop_front_if(|(at, _)| *at <= now) else { break };
            self.bury(now, &key, effects);
        }
    }

    fn bury(&mut self, now: Time, key: &Bytes, effects: &mut Effects<Self>) {
        let homes = self.homes(key);
        let Some(entry) = self.store.get(key) else { return };
        let is_here = is_tombstone(&entry.state) && homes.contains(self.seat.me);
        if !is_here {
            return;
        }
        let task = Task::Bury { deletion: entry.digest, agreeing: NodeSet::EMPTY };
        let round = self.begin(now, Operation { key: key.clone(), homes, client: None, task });
        let others = homes.without(self.seat.me);
        others.iter().for_each(|peer| self.ask(peer, round, key));
        mutant!("dynamo: deletions are forgotten when their grace is over", {
            for peer in others.iter() {
                self.agreed(now, peer, round, effects);
            }
        });
        if others.is_empty() {
            self.agreed(now, self.seat.me, round, effects);
        }
    }

    /// A home holds the deletion, too, or nothing.
    pub(super) fn agreed(&mut self, now: Time, from: NodeId, round: u64, effects: &mut Effects<Self>) {
        let me = self.seat.me;
        let Some(Operation { key, homes, task: Task::Bury { deletion, agreeing }, .. }) =
            self.operations.get_mut(&round)
        else {
            return;
        };
        agreeing.insert(from);
        if !homes.without(me).iter().all(|home| agreeing.contains(home)) {
            return;
        }
        let (key, deletion) = (key.clone(), *deletion);
        let is_unchanged =
            self.store.get(&key).is_some_and(|entry| entry.digest == deletion && entry.lsn <= self.durable);
        if is_unchanged {
            self.operations.remove(&round);
            self.counts.buried += 1;
            self.forget(&key, effects);
        } else {
            self.stay(now, round);
        }
    }

    /// A home holds something else. Both come to hold the same, as whoever knows less takes it in when it asks: deletions are in no
    /// tree, and nothing else would tell either of them.
    pub(super) fn disagreed(&mut self, now: Time, round: u64, state: &State, effects: &mut Effects<Self>) {
        let Some(operation) = self.operations.get(&round) else { return };
        let (key, before) = (operation.key.clone(), self.held(&operation.key).1);
        self.absorb(now, &key, state, effects);
        if self.held(&key).1 == before {
            self.stay(now, round);
        } else {
            // A deletion that was written down now waits for a grace of its own.
            self.operations.remove(&round);
        }
    }

    /// Somebody still knows less, or does not say: later.
    pub(super) fn stay(&mut self, now: Time, round: u64) {
        if let Some(operation) = self.operations.remove(&round) {
            self.graves.push_back((now + self.config.tombstone_grace, operation.key));
        }
    }
}
