//! The set whose additions win over concurrent removals.

use bytes::Bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::causal::CausalStore;
use super::{Crdt, DotContext};
use crate::Actor;

/// A set to add to and remove from. A removal undoes the additions that it has seen, and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrSet {
    additions: CausalStore,
}

impl OrSet {
    /// The delta that adds an element, in place of its additions seen before, so that it keeps one dot.
    #[must_use]
    pub fn add(&self, actor: Actor, element: Bytes) -> Self {
        let replaced = self.additions.dots_of(&element);
        Self { additions: self.additions.write(actor, element, replaced) }
    }

    /// The delta that removes an element; bottom if it is not there.
    #[must_use]
    pub fn remove(&self, element: &[u8]) -> Self {
        Self { additions: CausalStore::end(self.additions.dots_of(element)) }
    }

    /// Whether it is in the set.
    #[must_use]
    pub fn contains(&self, element: &[u8]) -> bool {
        self.additions.contains(element)
    }

    /// The elements, in order.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.additions.values()
    }

    /// Which events this state has seen.
    #[must_use]
    pub const fn context(&self) -> &DotContext {
        self.additions.context()
    }
}

impl Crdt for OrSet {
    fn merge(&mut self, other: &Self) {
        self.additions.merge(&other.additions);
    }
}

impl Wire for OrSet {
    fn encode(&self, sink: &mut impl Sink) {
        self.additions.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { additions: CausalStore::decode(reader)? })
    }
}
