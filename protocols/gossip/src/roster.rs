//! Who belongs to the cluster, and how some of them are chosen.

use std::sync::Arc;

use qlab_kernel::NodeId;
use rand::RngExt;
use rand_pcg::Pcg32;

/// Everybody, in order. It is fixed, as the transport lets nobody else in; who is alive is another question.
#[derive(Clone, Debug)]
pub struct Roster {
    nodes: Arc<[NodeId]>,
}

impl Roster {
    /// These nodes. Panics if one is named twice.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let mut nodes: Vec<NodeId> = nodes.into_iter().collect();
        nodes.sort_unstable();
        assert!(nodes.windows(2).all(|pair| pair[0] < pair[1]), "a roster names a node twice");
        Self { nodes: nodes.into() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether `node` belongs to the cluster.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.binary_search(&node).is_ok()
    }

    /// Everybody, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().copied()
    }

    /// Up to `count` different nodes, each as likely as any other, but not those in `except`.
    pub fn choose(&self, count: usize, except: &[NodeId], chance: &mut Pcg32) -> Vec<NodeId> {
        let mut chosen: Vec<NodeId> = Vec::with_capacity(count);
        let count = count.min(self.len().saturating_sub(except.len()));
        // Draws are repeated until they hit: few are needed unless most nodes are wanted.
        while chosen.len() < count {
            let node = self.nodes[chance.random_range(0..self.nodes.len())];
            if !chosen.contains(&node) && !except.contains(&node) {
                chosen.push(node);
            }
        }
        chosen
    }
}

/// A walk that visits everybody once, in an order drawn for each lap, and needs no memory for the order: from a random start in
/// steps of a random size that shares no divisor with the number of nodes.
#[derive(Debug, Default)]
pub(crate) struct Laps {
    at: usize,
    stride: usize,
    left: usize,
}

impl Laps {
    pub(crate) fn next(&mut self, roster: &Roster, chance: &mut Pcg32) -> NodeId {
        let nodes = roster.len();
        if self.left == 0 {
            self.left = nodes;
            self.at = chance.random_range(0..nodes);
            self.stride = chance.random_range(1..=nodes);
            while greatest_common_divisor(self.stride, nodes) != 1 {
                self.stride = self.stride % nodes + 1;
            }
        }
        self.left -= 1;
        self.at = (self.at + self.stride) % nodes;
        roster.nodes[self.at]
    }
}

const fn greatest_common_divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_lap_visits_everybody_once(nodes in 1_u16..200, seed in any::<u64>()) {
            let roster = Roster::new((0..nodes).map(NodeId));
            let (mut laps, mut chance) = (Laps::default(), Pcg32::new(seed, 0));
            for _ in 0..3 {
                let mut lap: Vec<NodeId> = (0..nodes).map(|_| laps.next(&roster, &mut chance)).collect();
                lap.sort_unstable();
                prop_assert_eq!(lap, roster.iter().collect::<Vec<_>>());
            }
        }

        #[test]
        fn those_chosen_differ_and_are_not_excepted(nodes in 1_u16..20, count in 0_usize..30, seed in any::<u64>()) {
            let roster = Roster::new((0..nodes).map(NodeId));
            let mut chosen = roster.choose(count, &[NodeId(0)], &mut Pcg32::new(seed, 0));
            prop_assert_eq!(chosen.len(), count.min(usize::from(nodes) - 1));
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), count.min(usize::from(nodes) - 1));
            prop_assert!(!chosen.contains(&NodeId(0)));
        }
    }
}
