//! Who is alive: SWIM (Das, Gupta, Motivala, "SWIM: scalable weakly-consistent infection-style process group membership
//! protocol", 2002), with suspicion and incarnations (§4.2), round-robin probing (§4.3) and dissemination on the back of other
//! messages (§4.1).
//!
//! Every period a node asks one other whether it is alive, then others to ask it. Who answers neither way is suspected; who does
//! not object in time is dead. A node objects by raising its incarnation, which nobody else may do (S1).
//!
//! Two additions. Every message says its sender's incarnation, which is as good as a rumour that it is alive; and whoever is
//! believed suspect or dead is told so first in every message to it (Lifeguard's buddy system, Dadgar, Phillips, Currey, 2018),
//! so that the living object at once, also after a partition.

mod belief;
mod probe;
mod rumours;
mod suspicions;

use std::collections::BTreeMap;

use qlab_kernel::{NodeId, Time, mutant};
use rand_pcg::Pcg32;

use crate::config::log2_ceil;
use crate::message::Body;
use crate::{Config, Life, Roster};
pub use belief::{Belief, Health, Incarnation, Rumour};
use probe::Probe;
use rumours::Rumours;
use suspicions::Suspicions;

/// Rumours that travel along with one message.
pub const RUMOURS_PER_MESSAGE_MAX: usize = 8;

/// What happened since the start, for whoever measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Probes begun.
    pub probes: u64,
    /// Probes that nobody answered.
    pub unanswered: u64,
    /// Suspects that did not object in time, as this node saw it.
    pub declared_dead: u64,
    /// Suspicions that this node objected to.
    pub objections: u64,
}

/// What one node believes of all others.
#[derive(Debug)]
pub struct Membership {
    me: NodeId,
    incarnation: Incarnation,
    roster: Roster,
    /// What is believed of whom; of those not named, [`Belief::FIRST`].
    beliefs: BTreeMap<NodeId, Belief>,
    suspicions: Suspicions,
    rumours: Rumours,
    probe: Probe,
    verdicts: Verdicts,
}

impl Membership {
    /// A member in a new life that takes everybody for alive, and probes from `first_probe` on.
    #[must_use]
    pub fn new(me: NodeId, life: Life, roster: Roster, config: &Config, first_probe: Time) -> Self {
        let scale = log2_ceil(roster.len());
        let incarnation = Incarnation::of(life);
        let mut rumours = Rumours::new(config.rumour_multiplier * scale);
        rumours.spread(me, Belief::alive(incarnation));
        Self {
            me,
            incarnation,
            roster,
            beliefs: BTreeMap::new(),
            suspicions: Suspicions::new(config.probe_interval * config.suspicion_multiplier * scale),
            rumours,
            probe: Probe::new(config, first_probe),
            verdicts: Verdicts::default(),
        }
    }

    /// This node's own incarnation.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// What is believed of a node.
    #[must_use]
    pub fn belief(&self, node: NodeId) -> Belief {
        if node == self.me {
            return Belief::alive(self.incarnation);
        }
        self.beliefs.get(&node).copied().unwrap_or(Belief::FIRST)
    }

    /// What is believed of the health of everybody of whom anything was ever heard.
    pub fn healths(&self) -> impl Iterator<Item = (NodeId, Health)> {
        self.beliefs.iter().map(|(node, belief)| (*node, belief.health))
    }

    /// What happened since the start.
    #[must_use]
    pub const fn verdicts(&self) -> Verdicts {
        self.verdicts
    }

    /// When `tick` has something to do.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let probe = self.probe.deadline();
        self.suspicions.deadline().map_or(probe, |suspicion| suspicion.min(probe))
    }

    /// What to tell `to` along with a message.
    pub(crate) fn rumours_for(&mut self, to: NodeId) -> Vec<Rumour> {
        let belief = self.belief(to);
        if belief.health == Health::Alive {
            return self.rumours.take(RUMOURS_PER_MESSAGE_MAX);
        }
        let mut rumours = vec![Rumour { node: to, belief }];
        rumours.extend(self.rumours.take(RUMOURS_PER_MESSAGE_MAX - 1));
        rumours
    }

    /// Takes a belief in; it counts if it is larger than what is believed already. False if it names a stranger.
    pub(crate) fn hear(&mut self, now: Time, rumour: Rumour) -> bool {
        let Rumour { node, belief } = rumour;
        if node == self.me {
            self.object_to(belief);
            return true;
        }
        if !self.roster.contains(node) {
            return false;
        }
        if belief > self.belief(node) {
            self.believe(now, node, belief);
        }
        true
    }

    /// Somebody knows of this node in `life`, and this node does not remember it: it lost its disk. It goes on in a later one.
    pub(crate) fn outlive(&mut self, life: Life) {
        if life >= self.incarnation.life && life < Life::LAST {
            self.announce(Incarnation::of(life.next()));
        }
    }

    /// Suspects who have had their time are dead; probes go on. Answers what to send.
    pub(crate) fn tick(&mut self, now: Time, chance: &mut Pcg32) -> Vec<(NodeId, Body)> {
        while let Some(node) = self.suspicions.due(now) {
            self.verdicts.declared_dead += 1;
            let belief = Belief { health: Health::Dead, ..self.belief(node) };
            self.believe(now, node, belief);
        }
        self.tick_probe(now, chance)
    }

    fn believe(&mut self, now: Time, node: NodeId, belief: Belief) {
        assert!(belief > self.belief(node), "S1: beliefs only grow");
        self.beliefs.insert(node, belief);
        match belief.health {
            Health::Suspect => self.suspicions.begin(now, node),
            Health::Alive | Health::Dead => self.suspicions.end(node),
        }
        self.rumours.spread(node, belief);
    }

    fn suspect(&mut self, now: Time, node: NodeId) {
        let belief = self.belief(node);
        let incarnation = belief.incarnation;
        mutant!("swim: anyone raises an incarnation", incarnation = incarnation.raised());
        let suspicion = Belief { incarnation, health: Health::Suspect };
        if suspicion > belief {
            self.believe(now, node, suspicion);
        }
    }

    /// Others believe something of this node.
    fn object_to(&mut self, belief: Belief) {
        if belief.incarnation > self.incarnation {
            self.outlive(belief.incarnation.life);
        } else if belief.incarnation == self.incarnation && belief.health != Health::Alive {
            mutant!("swim: a suspect does not object", { return });
            self.verdicts.objections += 1;
            self.announce(self.incarnation.raised());
        }
    }

    fn announce(&mut self, incarnation: Incarnation) {
        assert!(incarnation > self.incarnation, "S1: an incarnation only grows");
        self.incarnation = incarnation;
        self.rumours.spread(self.me, Belief::alive(incarnation));
    }

    /// Panics if an invariant of this node alone is broken.
    pub fn check(&self) {
        for (node, belief) in &self.beliefs {
            let suspected = self.suspicions.contains(*node);
            assert_eq!(
                belief.health == Health::Suspect,
                suspected,
                "suspects, and they alone, have a deadline"
            );
        }
        assert!(self.beliefs.len() < self.roster.len(), "beliefs are of others in the roster");
        assert!(self.rumours.len() <= self.roster.len(), "one rumour of each node");
    }
}
