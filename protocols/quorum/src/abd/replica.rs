//! The replica: telling and storing what is held.

use bytes::Bytes;
use qlab_kernel::{Effects, Lsn, NodeId, mutant};

use super::Abd;
use super::message::Step;
use super::record::{Record, item_bytes};
use super::tag::Version;

impl Abd {
    pub(super) fn on_ask_tag(&mut self, from: NodeId, round: u64, key: &[u8]) {
        // Early: should this tag be forgotten, the writer has gone above it all the same.
        self.outbox.early(from, Step::ToldTag { round, tag: self.registers.tag(key) });
    }

    pub(super) fn on_ask(&mut self, from: NodeId, round: u64, key: &[u8]) {
        let (version, lsn) = self.held(key);
        self.say_after(from, lsn, Step::Told { round, version });
    }

    pub(super) fn on_store(
        &mut self,
        from: NodeId,
        round: u64,
        key: &Bytes,
        version: &Version,
        effects: &mut Effects<Self>,
    ) {
        // Without room it is as if the message had been lost. A deletion needs none where there is something to delete.
        let is_full = self.registers.weight_bytes() + version.value_bytes() > self.config.registers_bytes_max;
        if is_full && (version.value.is_some() || self.registers.get(key).is_none()) {
            return;
        }
        let lsn = self.hold(key, version, effects);
        self.say_after(from, lsn, Step::Stored { round, tag: version.tag });
    }

    /// Holds a version unless a later one is held; the record that says which.
    pub(super) fn hold(&mut self, key: &Bytes, version: &Version, effects: &mut Effects<Self>) -> Lsn {
        if self.registers.hold(key, version) {
            self.rewriting.grew(item_bytes(key, version));
            let lsn = effects.persist(Record::Stored { key: key.clone(), version: version.clone() });
            self.registers.set_lsn(key, lsn);
        }
        self.held_since(key)
    }

    /// What is held under a key, and the record that says so.
    pub(super) fn held(&self, key: &[u8]) -> (Version, Lsn) {
        let register = self.registers.get(key);
        register.map_or_else(Default::default, |register| (register.version.clone(), register.lsn))
    }

    fn held_since(&self, key: &[u8]) -> Lsn {
        self.registers.get(key).map_or(Lsn::ZERO, |register| register.lsn)
    }

    /// What a replica says that it holds waits for the record that makes it true.
    fn say_after(&mut self, to: NodeId, lsn: Lsn, step: Step) {
        mutant!("abd: a replica speaks before its disk", lsn = Lsn::ZERO);
        if lsn <= self.durable {
            // Early: it is durable.
            self.outbox.early(to, step);
        } else {
            self.outbox.gated(to, step);
        }
    }
}
