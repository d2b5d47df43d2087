//! Laws of gossip: what nodes believe of each other, and what they hold when they know the same.
//!
//! S3 (what is known never goes back) and S4 (bounds) are assertions of every node; C1, C3, C4 and C5 (the objects by themselves) are
//! properties in the tests of their crate: here they show as objects that differ.

use qlab_gossip::membership::{Health, Incarnation};
use qlab_gossip::store::Entry;
use qlab_gossip::{Actor, Gossip};
use qlab_kernel::{NodeId, Time};

use super::{Glimpse, Laws, Verdict, Violation, broken};

const INCARNATION: &str = "S1 only its owner raises an incarnation";
const OBJECTS: &str = "C2 who knows the same holds the same objects";
const ENTRIES: &str = "C6 copies follow their writer";

/// All of them.
#[derive(Debug)]
pub struct GossipLaws {
    /// The highest that each node was ever in.
    incarnations: Vec<Incarnation>,
}

impl GossipLaws {
    /// The laws of a cluster of `nodes`.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self { incarnations: vec![Incarnation::FIRST; nodes] }
    }
}

impl Laws<Gossip> for GossipLaws {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, Gossip>) -> Verdict {
        let membership = glimpse.core.node().membership();
        let highest = &mut self.incarnations[usize::from(glimpse.node.0)];
        *highest = membership.incarnation().max(*highest);
        for (other, highest) in (0..).map(NodeId).zip(&self.incarnations) {
            let believed = membership.belief(other).incarnation;
            if believed > *highest {
                let who = glimpse.node;
                broken(
                    INCARNATION,
                    format!("{who} believes {other} in {believed:?}, which is in {highest:?} at most"),
                )?;
            }
        }
        Ok(())
    }

    fn missing(&mut self, replicas: &[(NodeId, Time, &Gossip)]) -> Result<Option<String>, Violation> {
        let [(first, _, reference), others @ ..] = replicas else { return Ok(None) };
        for (node, _, other) in others {
            if summaries(other) != summaries(reference) {
                return Ok(Some(format!("{first} and {node} do not know the same")));
            }
            if entries(other) != entries(reference) {
                let what = format!("{first} and {node} know the same of everybody, but hold other entries");
                broken(ENTRIES, what)?;
            }
            if objects(other) != objects(reference) {
                let what = format!("{first} and {node} know the same of everybody, but hold other objects");
                broken(OBJECTS, what)?;
            }
        }
        Ok(self.wrong_belief(replicas))
    }
}

impl GossipLaws {
    /// Whoever runs must be believed alive, everybody else dead.
    fn wrong_belief(&self, replicas: &[(NodeId, Time, &Gossip)]) -> Option<String> {
        for (node, _, core) in replicas {
            for other in (0..self.incarnations.len()).map(|other| NodeId(other as u16)) {
                let runs = replicas.iter().any(|(running, _, _)| *running == other);
                let expected = if runs { Health::Alive } else { Health::Dead };
                let belief = core.node().membership().belief(other);
                if belief.health != expected {
                    return Some(format!("{node} believes {belief:?} of {other}, which is {expected:?}"));
                }
            }
        }
        None
    }
}

fn summaries(core: &Gossip) -> Vec<qlab_gossip::digest::Summary> {
    core.node().store().digest(Actor::MIN, usize::MAX).summaries
}

fn entries(core: &Gossip) -> Vec<(Actor, &Entry)> {
    core.node().store().entries().collect()
}

fn objects(core: &Gossip) -> Vec<u8> {
    let mut bytes = Vec::new();
    core.node().encode_objects(&mut bytes);
    bytes
}
