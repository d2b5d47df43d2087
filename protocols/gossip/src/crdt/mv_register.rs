//! The register that keeps concurrent writes.

use bytes::Bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::causal::CausalStore;
use super::{Crdt, DotContext};
use crate::Actor;

/// A register that holds every write that no other has seen: one, unless writers did not know of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MvRegister {
    writes: CausalStore,
}

impl MvRegister {
    /// The delta that replaces all values of this state.
    #[must_use]
    pub fn write(&self, actor: Actor, value: Bytes) -> Self {
        Self { writes: self.writes.write(actor, value, self.writes.dots()) }
    }

    /// The values, in order; two writers that wrote the same count once.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.writes.values()
    }

    /// Which events this state has seen.
    #[must_use]
    pub const fn context(&self) -> &DotContext {
        self.writes.context()
    }
}

impl Crdt for MvRegister {
    fn merge(&mut self, other: &Self) {
        self.writes.merge(&other.writes);
    }
}

impl Wire for MvRegister {
    fn encode(&self, sink: &mut impl Sink) {
        self.writes.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { writes: CausalStore::decode(reader)? })
    }
}
