//! Dotted version vectors: which of several written values are still current (Preguiça, Baquero, Almeida, Fonte and
//! Gonçalves, "Dotted Version Vectors", 2010; Almeida et al., "Scalable and Accurate Causality Tracking for Eventually
//! Consistent Stores", 2014).
//!
//! A write has a *dot*: the replica that took it and a number there. A replica keeps, for each key, the values that no known
//! write has replaced, each with its dot, and one version vector that covers every dot ever known. A dot that is covered and
//! has no value has been replaced; that is all the memory a replaced value needs. Version vectors alone cannot tell two
//! clients' writes through one replica apart from a write that follows another; dots can.

use qlab_kernel::{NodeId, Reader, Sink, Wire, WireError, mutant};

use crate::varint;
use crate::vector::VectorClock;

/// Values that may stand side by side where a write is taken. Clients that write without reading pile them up.
pub const SIBLINGS_MAX: usize = 256;

/// A write's name: the `count`th one that `node` took for its key, from 1. Never given twice: a replica that lost its disk
/// comes back under another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The replica that took the write.
    pub node: NodeId,
    /// Which of its writes.
    pub count: u64,
}

/// A write that is not taken: read, and write with what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{SIBLINGS_MAX} values of this key are waiting to be reconciled: read it, and write with what was read"
)]
pub struct TooManySiblings;

/// Every current value of one key, and what is known of all others. A deletion is a value, too: its store decides which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siblings<V> {
    /// Covers the dot of every write known.
    context: VectorClock,
    /// In the order of their dots, each of which `context` covers.
    values: Vec<(Dot, V)>,
}

impl<V> Default for Siblings<V> {
    fn default() -> Self {
        Self { context: VectorClock::new(), values: Vec::new() }
    }
}

impl<V> Siblings<V> {
    /// What a reader must hand back when it writes: everything it has seen.
    #[must_use]
    pub const fn context(&self) -> &VectorClock {
        &self.context
    }

    /// The current values: several if they were written without knowledge of each other.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.values.iter().map(|(_, value)| value)
    }

    /// The same with their names, in the order of those.
    pub fn dotted(&self) -> impl ExactSizeIterator<Item = (Dot, &V)> {
        self.values.iter().map(|(dot, value)| (*dot, value))
    }

    /// Whether a write is known, be its value current or replaced.
    #[must_use]
    pub fn knows(&self, dot: Dot) -> bool {
        covers(&self.context, dot)
    }

    /// Gives no write of `node` a number up to `count`: whoever forgets keys, and all that it knew of them, must not name two writes
    /// alike. None of those numbers may belong to a value that is current anywhere and not held here.
    pub fn skip(&mut self, node: NodeId, count: u64) {
        self.context.raise(node, count);
    }

    /// Replaces every value but the one with this name, as if whoever wrote that had seen them all: for stores that resolve
    /// conflicts by themselves.
    pub fn keep_only(&mut self, dot: Dot) {
        self.values.retain(|(held, _)| *held == dot);
    }

    /// A write at `node` by someone who has seen `read`: it replaces all of that and nothing else.
    pub fn write(&mut self, node: NodeId, read: &VectorClock, value: V) -> Result<Dot, TooManySiblings> {
        let unread = self.values.iter().filter(|(dot, _)| !covers(read, *dot)).count();
        if unread >= SIBLINGS_MAX {
            return Err(TooManySiblings);
        }
        mutant!("dotted version vectors: a write replaces nothing", {
            return Ok(self.add(node, value));
        });
        self.values.retain(|(dot, _)| !covers(read, *dot));
        self.context.merge(read);
        Ok(self.add(node, value))
    }

    /// Takes in everything that `other` knows: commutative, associative, idempotent. A value goes only if the other side knew
    /// its dot and has replaced it.
    pub fn join(&mut self, other: &Self)
    where
        V: Clone,
    {
        self.values.retain(|(dot, _)| !covers(&other.context, *dot) || other.holds(*dot));
        for (dot, value) in &other.values {
            let is_news = !covers(&self.context, *dot);
            mutant!(
                "dotted version vectors: replaced values come back",
                is_news = self.values.iter().all(|(held, _)| held != dot)
            );
            if is_news {
                self.values.push((*dot, value.clone()));
            }
        }
        self.values.sort_unstable_by_key(|(dot, _)| *dot);
        self.context.merge(&other.context);
    }

    fn add(&mut self, node: NodeId, value: V) -> Dot {
        let dot = Dot { node, count: self.context.tick(node) };
        let at = self.values.partition_point(|(before, _)| *before < dot);
        self.values.insert(at, (dot, value));
        dot
    }

    fn holds(&self, dot: Dot) -> bool {
        self.values.binary_search_by_key(&dot, |(held, _)| *held).is_ok()
    }
}

fn covers(context: &VectorClock, dot: Dot) -> bool {
    dot.count <= context.get(dot.node)
}

/// `context, count, (node, number, value)*` in the order of dots: equal knowledge has equal bytes.
impl<V: Wire> Wire for Siblings<V> {
    fn encode(&self, sink: &mut impl Sink) {
        self.context.encode(sink);
        varint::put(sink, self.values.len() as u64);
        for (dot, value) in &self.values {
            dot.node.encode(sink);
            varint::put(sink, dot.count);
            value.encode(sink);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let context = VectorClock::decode(reader)?;
        let mut values = Vec::new();
        let mut before = None;
        // Nothing is reserved: each value takes bytes that must be there, whatever their number claims to be.
        for _ in 0..varint::take(reader, "number of siblings")? {
            let dot = Dot { node: NodeId::decode(reader)?, count: varint::take(reader, "dot")? };
            if dot.count == 0 || Some(dot) <= before || !covers(&context, dot) {
                return Err(WireError::Invalid { what: "dot", value: dot.count });
            }
            before = Some(dot);
            values.push((dot, V::decode(reader)?));
        }
        Ok(Self { context, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn values(siblings: &Siblings<u64>) -> Vec<u64> {
        siblings.values().copied().collect()
    }

    #[test]
    fn two_clients_of_one_replica_who_read_the_same_write_siblings() {
        let mut at_a = Siblings::default();
        at_a.write(A, &VectorClock::new(), 1).unwrap();
        let read = at_a.context().clone();
        at_a.write(A, &read, 2).unwrap();
        at_a.write(A, &read, 3).unwrap();
        assert_eq!(values(&at_a), [2, 3], "what both had read is replaced, neither replaces the other");
    }

    #[test]
    fn a_write_replaces_what_was_read_elsewhere_even_where_it_comes_late() {
        let (mut at_a, mut at_b) = (Siblings::default(), Siblings::default());
        at_a.write(A, &VectorClock::new(), 1).unwrap();
        at_b.write(B, at_a.context(), 2).unwrap();
        at_b.join(&at_a);
        assert_eq!(values(&at_b), [2]);
        at_a.join(&at_b);
        assert_eq!(at_a, at_b);
    }

    #[test]
    fn blind_writes_are_refused_when_too_many_wait_and_taken_again_after_a_read() {
        let mut at_a = Siblings::default();
        let blind = VectorClock::new();
        for value in 0..SIBLINGS_MAX as u64 {
            at_a.write(A, &blind, value).unwrap();
        }
        assert_eq!(at_a.write(A, &blind, 0), Err(TooManySiblings));
        let read = at_a.context().clone();
        at_a.write(A, &read, 7).unwrap();
        assert_eq!(values(&at_a), [7]);
    }

    #[test]
    fn what_is_encoded_is_decoded_and_disorder_is_refused() {
        let mut at_a = Siblings::default();
        at_a.write(A, &VectorClock::new(), 1_u64).unwrap();
        at_a.write(B, &VectorClock::new(), 2).unwrap();
        let mut bytes = Vec::new();
        at_a.encode(&mut bytes);
        assert_eq!(Siblings::decode_all(bytes.clone().into()), Ok(at_a.clone()));
        let mut disordered = at_a.clone();
        disordered.values.swap(0, 1);
        let mut uncovered = at_a;
        uncovered.values[1].0.count = 2;
        for wrong in [disordered, uncovered] {
            bytes.clear();
            wrong.encode(&mut bytes);
            assert!(Siblings::<u64>::decode_all(bytes.clone().into()).is_err(), "{wrong:?}");
        }
    }
}
