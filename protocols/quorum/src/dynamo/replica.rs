//! The replica: telling and holding.

use bytes::Bytes;
use qlab_kernel::{Effects, Lsn, NodeId, NodeSet, Time, mutant};

use super::content::{State, is_tombstone, values_bytes};
use super::digest::Digest;
use super::message::Step;
use super::record::{Record, item_bytes};
use super::{Conflicts, Dynamo};

impl Dynamo {
    /// Who holds a key.
    pub(super) fn homes(&self, key: &[u8]) -> NodeSet {
        self.ring.homes(self.ring.place(key).range)
    }

    pub(super) fn on_ask(&mut self, from: NodeId, round: u64, key: &[u8], known: Digest) {
        let (step, lsn) = match self.store.get(key) {
            Some(entry) if entry.digest == known => (Step::Same { round }, entry.lsn),
            Some(entry) => (Step::Told { round, state: entry.state.clone() }, entry.lsn),
            None if known == Digest::default() => (Step::Same { round }, Lsn::ZERO),
            None => (Step::Told { round, state: State::default() }, Lsn::ZERO),
        };
        self.say_after(lsn, from, step);
    }

    pub(super) fn on_store(
        &mut self,
        now: Time,
        from: NodeId,
        (round, key): (u64, Bytes),
        state: &State,
        effects: &mut Effects<Self>,
    ) {
        // Without room it is as if the message had been lost. A deletion needs none where there is something to delete.
        let is_full = self.store.weight_bytes() + values_bytes(state) > self.config.store_bytes_max;
        if is_full && !(is_tombstone(state) && self.store.get(&key).is_some()) {
            return;
        }
        self.absorb(now, &key, state, effects);
        let (_, _, lsn) = self.held(&key);
        self.say_after(lsn, from, Step::Stored { round, key });
    }

    /// Takes in what another replica holds.
    pub(super) fn absorb(&mut self, now: Time, key: &Bytes, state: &State, effects: &mut Effects<Self>) {
        if state.context().is_empty() {
            return;
        }
        let (mut joined, before, _) = self.held(key);
        joined.join(state);
        self.resolve(&mut joined);
        if Digest::of(key, &joined) == before {
            return;
        }
        self.hold(now, key, joined, effects);
        self.owe(now, key);
    }

    /// Where the last writer wins, one value stays.
    pub(super) fn resolve(&self, state: &mut State) {
        if self.config.conflicts == Conflicts::LastWriterWins {
            let last = state.dotted().max_by_key(|(dot, content)| (content.written_at, *dot));
            if let Some((dot, _)) = last {
                state.keep_only(dot);
            }
        }
    }

    /// Holds exactly this from now on; the record that says so.
    pub(super) fn hold(&mut self, now: Time, key: &Bytes, state: State, effects: &mut Effects<Self>) -> Lsn {
        self.rewriting.grew(item_bytes(key, &state));
        let lsn = effects.persist(Record::Held { key: key.clone(), state: state.clone() });
        if is_tombstone(&state) {
            self.graves.push_back((now + self.config.tombstone_grace, key.clone()));
        }
        self.store.set(key, state, lsn);
        lsn
    }

    /// What is held under a key, what that comes to, and the record that says so.
    pub(super) fn held(&self, key: &[u8]) -> (State, Digest, Lsn) {
        let entry = self.store.get(key);
        entry.map_or_else(Default::default, |entry| (entry.state.clone(), entry.digest, entry.lsn))
    }

    /// What a replica says that it holds waits for the record that makes it true.
    pub(super) fn say_after(&mut self, lsn: Lsn, to: NodeId, step: Step) {
        mutant!("dynamo: a replica speaks before its disk", lsn = Lsn::ZERO);
        if lsn <= self.durable {
            // Early: it is durable.
            self.outbox.early(to, step);
        } else {
            self.outbox.gated(to, step);
        }
    }
}
