//! The register whose last write wins.

use bytes::Bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::Crdt;
use super::canonical::{put_element, take_element};
use crate::Actor;

/// A register that keeps the write with the largest time; actors break ties, then values, so that any two writes are ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LwwRegister {
    last: Option<Write>,
}

/// The order of the fields is the order of writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Write {
    time: u64,
    actor: Actor,
    value: Bytes,
}

impl LwwRegister {
    /// The delta that writes at `time`, in any unit that all writers share; after every write that this state has seen, even
    /// if `time` is not.
    #[must_use]
    pub fn write(&self, actor: Actor, time: u64, value: Bytes) -> Self {
        let after = self.last.as_ref().map_or(0, |last| last.time.saturating_add(1));
        Self { last: Some(Write { time: time.max(after), actor, value }) }
    }

    /// The last write's value, if there was any.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.last.as_ref().map(|last| &last.value)
    }
}

impl Crdt for LwwRegister {
    fn merge(&mut self, other: &Self) {
        // Nothing is less than any write.
        if self.last < other.last {
            self.last.clone_from(&other.last);
        }
    }
}

impl Wire for Write {
    fn encode(&self, sink: &mut impl Sink) {
        self.time.encode(sink);
        self.actor.encode(sink);
        put_element(sink, &self.value);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { time: reader.u64()?, actor: Actor::decode(reader)?, value: take_element(reader)? })
    }
}

impl Wire for LwwRegister {
    fn encode(&self, sink: &mut impl Sink) {
        self.last.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { last: Option::decode(reader)? })
    }
}
