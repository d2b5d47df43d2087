//! Sets of nodes as one word.

use crate::NodeId;

/// A set of up to [`NodeSet::CAPACITY`] nodes: one bit each, iterated in ascending order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet(u64);

impl NodeSet {
    /// The largest number of nodes a set holds: seats 0 to 63.
    pub const CAPACITY: usize = 64;
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// Seats 0 to `count - 1`. Panics if `count` exceeds [`Self::CAPACITY`].
    #[must_use]
    pub fn first(count: usize) -> Self {
        assert!(count <= Self::CAPACITY, "a node set holds {} nodes, not {count}", Self::CAPACITY);
        Self(if count == Self::CAPACITY { u64::MAX } else { (1 << count) - 1 })
    }

    /// Adds a node; true if it was not in the set before.
    pub fn insert(&mut self, node: NodeId) -> bool {
        let before = self.0;
        self.0 |= Self::bit(node);
        self.0 != before
    }

    /// Takes a node out.
    pub fn remove(&mut self, node: NodeId) {
        self.0 &= !Self::bit(node);
    }

    /// The same set without `node`.
    #[must_use]
    pub fn without(mut self, node: NodeId) -> Self {
        self.remove(node);
        self
    }

    /// Whether `node` is a member.
    #[must_use]
    pub fn contains(self, node: NodeId) -> bool {
        usize::from(node.0) < Self::CAPACITY && self.0 & Self::bit(node) != 0
    }

    /// Number of members.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The smallest number of members of which any two such groups share one: ⌊n/2⌋ + 1.
    #[must_use]
    pub const fn majority(self) -> usize {
        self.len() / 2 + 1
    }

    /// Whether `votes` contains a majority of this set. Votes of outsiders do not count.
    #[must_use]
    pub const fn has_majority_in(self, votes: Self) -> bool {
        (self.0 & votes.0).count_ones() as usize >= self.majority()
    }

    /// Members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> + use<> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let lowest = u16::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)?;
            rest &= rest - 1;
            Some(NodeId(lowest))
        })
    }

    fn bit(node: NodeId) -> u64 {
        assert!(usize::from(node.0) < Self::CAPACITY, "node {node} does not fit a node set");
        1 << node.0
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::EMPTY;
        for node in nodes {
            set.insert(node);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn majorities_of_small_clusters() {
        let majorities: Vec<usize> = (1..=7).map(|n| NodeSet::first(n).majority()).collect();
        assert_eq!(majorities, [1, 2, 2, 3, 3, 4, 4]);
    }

    proptest! {
        #[test]
        fn any_two_majorities_intersect(n in 1_usize..=64, a in any::<u64>(), b in any::<u64>()) {
            let all = NodeSet::first(n);
            if all.has_majority_in(NodeSet(a)) && all.has_majority_in(NodeSet(b)) {
                prop_assert!(all.0 & a & b != 0);
            }
        }

        #[test]
        fn iteration_yields_exactly_the_members(bits in any::<u64>()) {
            let set = NodeSet(bits);
            prop_assert_eq!(set.iter().collect::<NodeSet>(), set);
            prop_assert_eq!(set.iter().count(), set.len());
        }
    }
}
