//! Asking whether another is alive: directly, then through others (SWIM §3.1), one node in each period, everybody in turn (§4.3).

use std::time::Duration;

use qlab_kernel::{NodeId, Time};
use rand_pcg::Pcg32;

use super::{Health, Membership};
use crate::Config;
use crate::message::Body;
use crate::roster::Laps;

/// The probe of this period, and when the next one begins.
#[derive(Debug)]
pub(super) struct Probe {
    interval: Duration,
    timeout: Duration,
    proxies: usize,
    laps: Laps,
    sequence: u64,
    /// Whom the probe waits for.
    target: Option<NodeId>,
    /// When others are asked to ask; `None` once they are.
    ask_others: Option<Time>,
    next: Time,
}

impl Probe {
    pub(super) fn new(config: &Config, first: Time) -> Self {
        Self {
            interval: config.probe_interval,
            timeout: config.probe_timeout,
            proxies: config.proxies,
            laps: Laps::default(),
            sequence: 0,
            target: None,
            ask_others: None,
            next: first,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.ask_others.map_or(self.next, |time| time.min(self.next))
    }
}

impl Membership {
    pub(super) fn tick_probe(&mut self, now: Time, chance: &mut Pcg32) -> Vec<(NodeId, Body)> {
        if self.probe.next <= now {
            self.end_probe(now);
            self.begin_probe(now, chance)
        } else if self.probe.ask_others.is_some_and(|time| time <= now) {
            self.ask_others(chance)
        } else {
            Vec::new()
        }
    }

    /// A probe's question: answered, whoever asks.
    pub(crate) const fn answer_ping(&self, sequence: u64, asker: NodeId) -> Body {
        Body::Ack { sequence, asker, target: self.me }
    }

    /// A question to ask for another.
    pub(crate) fn relay_ping(&self, from: NodeId, sequence: u64, target: NodeId) -> Option<(NodeId, Body)> {
        let known = self.roster.contains(target) && target != self.me;
        known.then_some((target, Body::Ping { sequence, asker: from }))
    }

    /// An answer: this node's own, or to pass on.
    pub(crate) fn hear_ack(
        &mut self,
        sequence: u64,
        asker: NodeId,
        target: NodeId,
    ) -> Option<(NodeId, Body)> {
        if asker != self.me {
            let known = self.roster.contains(asker);
            return known.then_some((asker, Body::Ack { sequence, asker, target }));
        }
        // Late answers name an earlier probe.
        if sequence == self.probe.sequence && self.probe.target == Some(target) {
            self.probe.target = None;
            self.probe.ask_others = None;
        }
        None
    }

    fn end_probe(&mut self, now: Time) {
        if let Some(target) = self.probe.target.take() {
            self.verdicts.unanswered += 1;
            self.suspect(now, target);
        }
    }

    fn begin_probe(&mut self, now: Time, chance: &mut Pcg32) -> Vec<(NodeId, Body)> {
        self.probe.next = now + self.probe.interval;
        self.probe.ask_others = None;
        let Some(target) = self.next_target(chance) else { return Vec::new() };
        self.verdicts.probes += 1;
        self.probe.sequence += 1;
        self.probe.target = Some(target);
        self.probe.ask_others = Some(now + self.probe.timeout);
        vec![(target, Body::Ping { sequence: self.probe.sequence, asker: self.me })]
    }

    /// The next in turn who is not dead. At most a lap is walked.
    fn next_target(&mut self, chance: &mut Pcg32) -> Option<NodeId> {
        for _ in 0..self.roster.len() {
            let node = self.probe.laps.next(&self.roster, chance);
            if node != self.me && self.belief(node).health != Health::Dead {
                return Some(node);
            }
        }
        None
    }

    fn ask_others(&mut self, chance: &mut Pcg32) -> Vec<(NodeId, Body)> {
        self.probe.ask_others = None;
        let Some(target) = self.probe.target else { return Vec::new() };
        let sequence = self.probe.sequence;
        let proxies = self.roster.choose(self.probe.proxies, &[self.me, target], chance);
        proxies.into_iter().map(|proxy| (proxy, Body::PingRequest { sequence, target })).collect()
    }
}
