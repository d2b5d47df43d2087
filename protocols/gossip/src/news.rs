//! What observers are told: what a node has learnt of whom, and whom it takes for alive. Nobody acts on it; whoever measures how
//! fast news spreads needs no other window into a node.

use std::collections::BTreeMap;

use qlab_kernel::{Effects, Event, NodeId};

use crate::membership::Health;
use crate::{Actor, Gossip, Node};

/// What has been told already.
#[derive(Debug, Default)]
pub(crate) struct Told {
    versions: BTreeMap<Actor, u64>,
    /// Of those not named, that they live.
    healths: BTreeMap<NodeId, Health>,
}

impl Told {
    /// Tells what is new.
    pub(crate) fn update(&mut self, node: &Node, effects: &mut Effects<Gossip>) {
        for summary in node.store().summaries() {
            let told = self.versions.entry(summary.origin).or_default();
            // It may go back, if deletions were missed; then there is nothing to tell until it has caught up.
            if summary.version > *told {
                *told = summary.version;
                let Actor { node: writer, life } = summary.origin;
                effects.event(Event::Learned { writer, life: life.0, version: summary.version });
            }
        }
        for (peer, health) in node.membership().healths() {
            let told = self.healths.entry(peer).or_insert(Health::Alive);
            if *told != health {
                *told = health;
                effects.event(match health {
                    Health::Alive => Event::FoundAlive(peer),
                    Health::Suspect => Event::Suspected(peer),
                    Health::Dead => Event::DeclaredDead(peer),
                });
            }
        }
    }
}
