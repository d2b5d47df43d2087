//! Clients that read and write one key through any of several replicas, against the definition: a value is current where it is
//! known, unless a write is known whose author had seen it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use qlab_clocks::{Siblings, VectorClock};
use qlab_kernel::{NodeId, Wire};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

const REPLICAS: usize = 3;
const STEPS: usize = 60;

/// Writes by their numbers, which are the values written.
type Writes = BTreeSet<u64>;

#[derive(Clone, Default)]
struct Replica {
    siblings: Siblings<u64>,
    known: Writes,
}

/// What a client read: the context it will hand back, and which writes that stands for.
#[derive(Clone, Default)]
struct Read {
    context: VectorClock,
    seen: Writes,
}

#[derive(Default)]
struct Store {
    replicas: [Replica; REPLICAS],
    /// What the author of each write had seen.
    seen_by: BTreeMap<u64, Writes>,
}

impl Store {
    fn read(&self, at: usize) -> Read {
        let Replica { siblings, known } = &self.replicas[at];
        Read { context: siblings.context().clone(), seen: known.clone() }
    }

    fn write(&mut self, at: usize, read: &Read) {
        let value = self.seen_by.len() as u64;
        let replica = &mut self.replicas[at];
        let node = NodeId(at as u16);
        replica.siblings.write(node, &read.context, value).expect("fewer writes than siblings are allowed");
        replica.known.insert(value);
        replica.known.extend(&read.seen);
        self.seen_by.insert(value, read.seen.clone());
    }

    fn join(&mut self, from: usize, to: usize) {
        let other = self.replicas[from].clone();
        let replica = &mut self.replicas[to];
        replica.siblings.join(&other.siblings);
        replica.known.extend(&other.known);
        let once = replica.siblings.clone();
        replica.siblings.join(&other.siblings);
        assert_eq!(replica.siblings, once, "joining twice is joining once");
        let mut swapped = other.siblings.clone();
        swapped.join(&once);
        assert_eq!(
            swapped, once,
            "joining is commutative, and taking back what was taken in changes nothing"
        );
    }

    /// V2 and V3, by the definition.
    fn check(&self, at: usize) {
        let Replica { siblings, known } = &self.replicas[at];
        let replaced: Writes = known.iter().flat_map(|write| &self.seen_by[write]).copied().collect();
        let current: Writes = known.difference(&replaced).copied().collect();
        assert_eq!(
            siblings.values().copied().collect::<Writes>(),
            current,
            "what is current at replica {at}"
        );
        let mut bytes = Vec::new();
        siblings.encode(&mut bytes);
        assert_eq!(Siblings::decode_all(Bytes::from(bytes)).as_ref(), Ok(siblings));
    }
}

/// V1, V2 and V3: joining is a join; a value disappears only if a write replaced it that had seen it; a write replaces what its
/// author had read, at once and everywhere.
pub(crate) fn values_disappear_only_if_replaced(seed: u64) {
    let mut chance = Pcg32::seed_from_u64(seed);
    let mut store = Store::default();
    let mut reads = vec![Read::default()];
    for _ in 0..STEPS {
        let (at, other) = (chance.random_range(0..REPLICAS), chance.random_range(0..REPLICAS));
        match chance.random_range(0..3) {
            0 => reads.push(store.read(at)),
            1 => store.write(at, &reads[chance.random_range(reads.len().saturating_sub(3)..reads.len())]),
            _ => store.join(other, at),
        }
        store.check(at);
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
        store.join(from, to);
    }
    let [a, b, c] = &store.replicas;
    assert!(a.siblings == b.siblings && b.siblings == c.siblings, "equal knowledge is equal state");
}
