//! Rumours on their way: those told least come first, and each is told a bounded number of times (SWIM §4.1).

use std::collections::{BTreeMap, BTreeSet};

use qlab_kernel::NodeId;

use super::{Belief, Rumour};

/// At most one rumour of each node: the newest.
#[derive(Debug)]
pub(super) struct Rumours {
    beliefs: BTreeMap<NodeId, (u32, Belief)>,
    /// The same nodes by how often their rumours have been told.
    queue: BTreeSet<(u32, NodeId)>,
    tellings_max: u32,
}

impl Rumours {
    pub(super) const fn new(tellings_max: u32) -> Self {
        Self { beliefs: BTreeMap::new(), queue: BTreeSet::new(), tellings_max }
    }

    /// Spreads a belief, in place of any older one of the same node.
    pub(super) fn spread(&mut self, node: NodeId, belief: Belief) {
        if let Some((told, _)) = self.beliefs.insert(node, (0, belief)) {
            self.queue.remove(&(told, node));
        }
        self.queue.insert((0, node));
    }

    /// The next `count` rumours to tell.
    pub(super) fn take(&mut self, count: usize) -> Vec<Rumour> {
        let due: Vec<(u32, NodeId)> = self.queue.iter().take(count).copied().collect();
        due.into_iter().map(|(told, node)| self.tell(told, node)).collect()
    }

    fn tell(&mut self, told: u32, node: NodeId) -> Rumour {
        self.queue.remove(&(told, node));
        let (count, belief) = self.beliefs.get_mut(&node).expect("the queue names only rumours there are");
        *count += 1;
        let rumour = Rumour { node, belief: *belief };
        if *count < self.tellings_max {
            self.queue.insert((*count, node));
        } else {
            self.beliefs.remove(&node);
        }
        rumour
    }

    pub(super) fn len(&self) -> usize {
        self.beliefs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Health;

    #[test]
    fn those_told_least_come_first_and_none_is_told_for_ever() {
        let mut rumours = Rumours::new(2);
        rumours.spread(NodeId(1), Belief::FIRST);
        assert_eq!(rumours.take(1)[0].node, NodeId(1));
        rumours.spread(NodeId(2), Belief::FIRST);
        let told: Vec<u16> = (0..3).map(|_| rumours.take(1)[0].node.0).collect();
        assert_eq!(told, [2, 1, 2]);
        assert!(rumours.take(1).is_empty() && rumours.len() == 0);
    }

    #[test]
    fn a_newer_rumour_takes_the_place_of_the_older() {
        let mut rumours = Rumours::new(9);
        rumours.spread(NodeId(1), Belief::FIRST);
        rumours.take(1);
        let dead = Belief { health: Health::Dead, ..Belief::FIRST };
        rumours.spread(NodeId(1), dead);
        assert_eq!(rumours.take(5), [Rumour { node: NodeId(1), belief: dead }]);
    }
}
