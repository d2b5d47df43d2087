//! The set that only grows: the simplest of all, its merge is the union.

use std::collections::BTreeSet;

use bytes::Bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::Crdt;
use super::canonical::{put_count, put_element, take_element, take_map};

/// A set that only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrowSet {
    elements: BTreeSet<Bytes>,
}

impl GrowSet {
    /// The delta that adds an element.
    #[must_use]
    pub fn add(element: Bytes) -> Self {
        Self { elements: BTreeSet::from([element]) }
    }

    /// Whether it was ever added.
    #[must_use]
    pub fn contains(&self, element: &[u8]) -> bool {
        self.elements.contains(element)
    }

    /// Everything that was added, in order.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.elements.iter()
    }
}

impl Crdt for GrowSet {
    fn merge(&mut self, other: &Self) {
        for element in &other.elements {
            if !self.elements.contains(element) {
                self.elements.insert(element.clone());
            }
        }
    }
}

impl Wire for GrowSet {
    fn encode(&self, sink: &mut impl Sink) {
        put_count(sink, self.elements.len());
        for element in &self.elements {
            put_element(sink, element);
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let elements = take_map(reader, "order of elements", |reader| Ok((take_element(reader)?, ())))?;
        Ok(Self { elements: elements.into_keys().collect() })
    }
}
