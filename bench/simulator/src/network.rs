//! What happens to messages between replicas: how many copies arrive, and when.

use std::time::Duration;

use qlab_kernel::{Lane, Time};
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::faults::{Fault, Tally};
use crate::schedule::Weather;

/// The links of a cluster.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    pub(crate) weather: Weather,
    /// Cuts, newest last: each blocks some directions until it ends.
    cuts: Vec<Cut>,
    /// When the last message of each lane arrives, by sender, receiver and lane.
    last_arrivals: Vec<Time>,
}

/// Directions that are blocked for a while.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) id: u64,
    pub(crate) fault: Fault,
    /// By sender × nodes + receiver.
    pub(crate) blocked: Vec<bool>,
}

/// Copies of one message that arrive at the most.
pub(crate) type Arrivals = [Option<Time>; 2];

impl Network {
    pub(crate) fn new(nodes: usize, weather: Weather) -> Self {
        Self { nodes, weather, cuts: Vec::new(), last_arrivals: vec![Time(0); nodes * nodes * 2] }
    }

    pub(crate) fn cut(&mut self, cut: Cut) {
        self.cuts.push(cut);
    }

    pub(crate) fn mend(&mut self, id: u64) {
        self.cuts.retain(|cut| cut.id != id);
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.weather = self.weather.calm();
        // New connections: nothing waits behind what is still late on the old ones.
        self.last_arrivals.fill(Time(0));
    }

    /// When copies of a message arrive; none if it is lost.
    pub(crate) fn carry(
        &mut self,
        now: Time,
        (from, to): (usize, usize),
        lane: Lane,
        chance: &mut Pcg32,
        tally: &mut Tally,
    ) -> Arrivals {
        if let Some(fault) = self.blocked_by(from, to) {
            tally.count(fault);
            return [None, None];
        }
        let first =
            self.flight(now, chance, tally).map(|arrives| self.in_order(from, to, lane, arrives, tally));
        [first, self.second(now, chance, tally)]
    }

    /// The same for messages of clients: nothing is in order there, and no partition cuts them off.
    pub(crate) fn carry_client(&self, now: Time, chance: &mut Pcg32, tally: &mut Tally) -> Arrivals {
        [self.flight(now, chance, tally), self.second(now, chance, tally)]
    }

    /// Whether what was sent before a cut still arrives: only where messages are late anyway.
    pub(crate) fn delivers(&self, from: usize, to: usize) -> bool {
        self.weather.late_percent > 0 || self.blocked_by(from, to).is_none()
    }

    fn blocked_by(&self, from: usize, to: usize) -> Option<Fault> {
        let link = from * self.nodes + to;
        self.cuts.iter().find(|cut| cut.blocked[link]).map(|cut| cut.fault)
    }

    fn flight(&self, now: Time, chance: &mut Pcg32, tally: &mut Tally) -> Option<Time> {
        if percent(chance, self.weather.loss_percent) {
            tally.count(Fault::Loss);
            return None;
        }
        let mut takes = below(chance, self.weather.flight_max);
        if percent(chance, self.weather.late_percent) {
            tally.count(Fault::Delay);
            takes += below(chance, self.weather.late_max);
        }
        Some(now + takes)
    }

    fn second(&self, now: Time, chance: &mut Pcg32, tally: &mut Tally) -> Option<Time> {
        if !percent(chance, self.weather.duplicate_percent) {
            return None;
        }
        tally.count(Fault::Duplicate);
        self.flight(now, chance, tally)
    }

    fn in_order(&mut self, from: usize, to: usize, lane: Lane, arrives: Time, tally: &mut Tally) -> Time {
        if lane == Lane::Datagram {
            return arrives;
        }
        let link = (from * self.nodes + to) * 2 + usize::from(lane == Lane::Bulk);
        let last = &mut self.last_arrivals[link];
        if self.weather.reorder {
            if arrives < *last {
                tally.count(Fault::Reorder);
            }
            *last = arrives.max(*last);
            return arrives;
        }
        *last = arrives.max(Time(last.0 + 1));
        *last
    }
}

/// With so many chances in a hundred.
pub(crate) fn percent(chance: &mut Pcg32, percent: u32) -> bool {
    percent > 0 && chance.random_range(0..100) < percent
}

/// So many different numbers below `of`, in any order.
pub(crate) fn some_of(chance: &mut Pcg32, of: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..of).collect();
    (0..count).map(|_| all.swap_remove(chance.random_range(0..all.len()))).collect()
}

/// A duration up to `max`, never zero.
pub(crate) fn below(chance: &mut Pcg32, max: Duration) -> Duration {
    let max_ns = u64::try_from(max.as_nanos()).expect("worlds are short");
    Duration::from_nanos(chance.random_range(1..=max_ns.max(1)))
}
