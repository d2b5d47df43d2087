//! Until when suspects may object.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qlab_kernel::{NodeId, Time};

/// One deadline for each suspect.
#[derive(Debug)]
pub(super) struct Suspicions {
    time: Duration,
    deadlines: BTreeMap<NodeId, Time>,
    /// The same in the order of time.
    queue: BTreeSet<(Time, NodeId)>,
}

impl Suspicions {
    pub(super) const fn new(time: Duration) -> Self {
        Self { time, deadlines: BTreeMap::new(), queue: BTreeSet::new() }
    }

    /// A suspect gets its time, anew if it had some.
    pub(super) fn begin(&mut self, now: Time, node: NodeId) {
        self.end(node);
        self.deadlines.insert(node, now + self.time);
        self.queue.insert((now + self.time, node));
    }

    pub(super) fn end(&mut self, node: NodeId) {
        if let Some(deadline) = self.deadlines.remove(&node) {
            self.queue.remove(&(deadline, node));
        }
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.deadlines.contains_key(&node)
    }

    /// The next deadline.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    /// A suspect whose time is up. It stays until its suspicion ends.
    pub(super) fn due(&self, now: Time) -> Option<NodeId> {
        self.queue.first().filter(|(deadline, _)| *deadline <= now).map(|(_, node)| *node)
    }
}
