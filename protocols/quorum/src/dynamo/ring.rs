//! Who holds which key (DeCandia et al. 2007, §4.2, with equal ranges as in their strategy 3).
//!
//! Replicas stand on a ring in the order of their numbers, and keys are spread over as many ranges as there are replicas. The keys of
//! range r belong to replica r and those that follow it, their *homes*. Whoever comes after the homes stands in for them.

use qlab_kernel::{NodeId, NodeSet};

/// The ring of a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    replicas: usize,
    copies: usize,
}

/// A key's place: its range, and its bucket within that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) range: u16,
    pub(crate) bucket: u16,
}

/// Buckets of a range: the leaves of its tree.
pub(crate) const BUCKETS: usize = 4096;

impl Ring {
    pub(crate) const fn new(replicas: usize, copies: usize) -> Self {
        Self { replicas, copies }
    }

    /// How many ranges there are.
    pub(crate) const fn ranges(self) -> usize {
        self.replicas
    }

    /// Where a key belongs.
    pub(crate) fn place(self, key: &[u8]) -> Place {
        let hash = fnv(key);
        // The lowest bits differ first between neighbours: they choose the bucket.
        let bucket = (hash % BUCKETS as u64) as u16;
        let range = ((hash >> 32) % self.replicas as u64) as u16;
        Place { range, bucket }
    }

    /// Who holds the keys of a range.
    pub(crate) fn homes(self, range: u16) -> NodeSet {
        self.after(range, 0).take(self.copies).collect()
    }

    /// Who holds a key, the first one first.
    pub(crate) fn homes_in_order(self, key: &[u8]) -> impl Iterator<Item = NodeId> {
        self.after(self.place(key).range, 0).take(self.copies)
    }

    /// Who stands in for a key's homes, in order.
    pub(crate) fn stand_ins(self, key: &[u8]) -> impl Iterator<Item = NodeId> {
        self.after(self.place(key).range, self.copies).take(self.replicas - self.copies)
    }

    fn after(self, range: u16, skipped: usize) -> impl Iterator<Item = NodeId> {
        (skipped..).map(move |at| NodeId(((usize::from(range) + at) % self.replicas) as u16))
    }
}

/// FNV-1a: the same on every machine, so that all replicas agree where a key belongs; and its high bits stirred.
fn fnv(key: &[u8]) -> u64 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    (hash ^ hash >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_homes_and_everybody_else_stands_in() {
        let ring = Ring::new(5, 3);
        let key = (0..).map(|key: u32| key.to_le_bytes()).find(|key| ring.place(key).range == 3).unwrap();
        let numbers = |nodes: &mut dyn Iterator<Item = NodeId>| nodes.map(|node| node.0).collect::<Vec<_>>();
        assert_eq!(numbers(&mut ring.homes(3).iter()), [0, 3, 4]);
        assert_eq!(numbers(&mut ring.homes_in_order(&key)), [3, 4, 0]);
        assert_eq!(numbers(&mut ring.stand_ins(&key)), [1, 2]);
        assert_eq!(Ring::new(3, 3).stand_ins(&key).count(), 0);
    }

    #[test]
    fn keys_spread_over_ranges_and_buckets() {
        let ring = Ring::new(3, 3);
        let (mut ranges, mut buckets) = ([0; 3], std::collections::BTreeSet::new());
        for key in 0..3000_u32 {
            let place = ring.place(format!("{key:08x}").as_bytes());
            ranges[usize::from(place.range)] += 1;
            buckets.insert(place.bucket);
        }
        assert!(ranges.iter().all(|keys| (800..1200).contains(keys)), "{ranges:?}");
        assert!(buckets.len() > 1500, "{} buckets", buckets.len());
    }
}
