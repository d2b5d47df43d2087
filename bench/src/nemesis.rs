//! Makes the faults of a cell while it is measured, each at its time, and undoes them.
//!
//! It waits for nothing: whoever watches the load calls [`Nemesis::act`] again after the time that it names. Whom a fault strikes is
//! found out when it is due. If nobody leads then, it strikes as soon as somebody does; it ends at its planned time all the
//! same, so that everything is healed when the window ends, and one that found no victim until then is missed.

use std::collections::VecDeque;
use std::time::Duration;

use qlab_loadgen::clock::monotonic_ns;
use qlab_node::control::{Order, Status};

use crate::clock::{Stopwatch, wait};
use crate::fleet::{Fleet, START_TIME_MAX};
use crate::plan::{Fault, Kind, Role, Schedule};

/// What [`Kind::SlowDisk`] adds to each commit of a journal, in milliseconds.
const SLOW_DISK_MS: u64 = 50;
/// The share of datagrams that [`Kind::Loss`] takes.
const LOSS: f64 = 0.05;
/// What [`Kind::Delay`] adds to the way of each datagram, in milliseconds.
const DELAY_MS: u64 = 10;
/// How often a replica on its way back is asked, and a leader looked for that a fault is due to strike.
const ASK_INTERVAL: Duration = Duration::from_millis(5);

/// What became of one fault. Moments are of the monotonic clock that the load is recorded with.
#[derive(Clone, Debug)]
pub struct Strike {
    /// What was planned.
    pub fault: Fault,
    /// The replica that was struck; `None` if every link was, or if it was missed.
    pub node: Option<usize>,
    /// When it struck; `None` if it was missed.
    pub at_ns: Option<u64>,
    /// When it was over: for a killed replica, when it served again.
    pub until_ns: Option<u64>,
}

/// The faults of one measurement.
pub struct Nemesis {
    /// When the window began.
    begun_ns: Option<u64>,
    /// Whether somebody leads the system.
    has_leader: bool,
    /// What became of the faults, in order.
    strikes: Vec<Strike>,
    /// The faults to come, as numbers into `strikes`.
    pending: VecDeque<usize>,
    /// The one that lasts.
    lasting: Option<usize>,
    /// Those whose replica was started again and does not serve yet.
    returning: Vec<usize>,
}

impl Nemesis {
    /// Nothing happens before the window [begins](Self::begin). Whether somebody `has_leader` says how victims are chosen.
    pub fn new(schedule: &Schedule, has_leader: bool) -> Self {
        let strike = |fault: &Fault| Strike { fault: *fault, node: None, at_ns: None, until_ns: None };
        Self {
            begun_ns: None,
            has_leader,
            strikes: schedule.faults().iter().map(strike).collect(),
            pending: (0..schedule.faults().len()).collect(),
            lasting: None,
            returning: Vec::new(),
        }
    }

    /// The measured window begins: times count from here.
    pub fn begin(&mut self, now_ns: u64) {
        self.begun_ns = Some(now_ns);
    }

    /// Does what is due, and says after which time to call again; `None` if nothing is to come.
    pub fn act(&mut self, fleet: &mut Fleet) -> anyhow::Result<Option<Duration>> {
        self.welcome(fleet)?;
        if let Some(number) = self.lasting.filter(|number| self.is_due(self.strikes[*number].fault.end())) {
            self.end(number, fleet)?;
        }
        if self.lasting.is_none()
            && let Some(number) =
                self.pending.front().copied().filter(|number| self.is_due(self.strikes[*number].fault.start))
        {
            self.try_strike(number, fleet)?;
        }
        Ok(self.next())
    }

    /// Undoes what lasts, and waits until every replica serves.
    pub fn heal(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        if let Some(number) = self.lasting {
            self.end(number, fleet)?;
        }
        self.pending.clear();
        let waited = Stopwatch::start();
        while !self.returning.is_empty() {
            anyhow::ensure!(
                waited.elapsed() < START_TIME_MAX,
                "a killed replica does not serve after {START_TIME_MAX:?}"
            );
            self.welcome(fleet)?;
            wait(ASK_INTERVAL);
        }
        Ok(())
    }

    /// Who has lied, and is not to be asked what it holds.
    pub fn liars(&self) -> Vec<usize> {
        let lied = self.strikes.iter().filter(|strike| matches!(strike.fault.kind, Kind::Lie(_)));
        lied.filter_map(|strike| strike.node).collect()
    }

    /// What became of the faults, in the order of their times.
    pub fn into_strikes(self) -> Vec<Strike> {
        self.strikes
    }

    fn try_strike(&mut self, number: usize, fleet: &mut Fleet) -> anyhow::Result<()> {
        let fault = self.strikes[number].fault;
        if self.is_due(fault.end()) {
            self.pending.pop_front();
            return Ok(());
        }
        let node = match fault.kind.role() {
            None => None,
            Some(role) => {
                let serving = fleet.statuses()?;
                let found =
                    if self.has_leader { victim(role, &serving, fleet.replicas()) } else { last(&serving) };
                if found.is_none() {
                    return Ok(());
                }
                found
            }
        };
        self.pending.pop_front();
        let at_ns = monotonic_ns();
        strike(fault.kind, node, fleet)?;
        let strike = &mut self.strikes[number];
        (strike.node, strike.at_ns) = (node, Some(at_ns));
        self.lasting = Some(number);
        Ok(())
    }

    fn end(&mut self, number: usize, fleet: &mut Fleet) -> anyhow::Result<()> {
        let Strike { fault, node, .. } = self.strikes[number];
        self.lasting = None;
        undo(fault.kind, node, fleet)?;
        if matches!(fault.kind, Kind::Kill(_)) {
            self.returning.push(number);
        } else {
            self.strikes[number].until_ns = Some(monotonic_ns());
        }
        Ok(())
    }

    /// Notes who is back.
    fn welcome(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let mut absent = Vec::new();
        for number in std::mem::take(&mut self.returning) {
            let strike = &mut self.strikes[number];
            if fleet.restarted(struck(strike.node))? {
                strike.until_ns = Some(monotonic_ns());
            } else {
                absent.push(number);
            }
        }
        self.returning = absent;
        Ok(())
    }

    fn is_due(&self, at: Duration) -> bool {
        self.time_to(at).is_some_and(|left| left.is_zero())
    }

    /// Time to a moment of the window; zero if it is past, `None` before the window.
    fn time_to(&self, at: Duration) -> Option<Duration> {
        let begun = Duration::from_nanos(self.begun_ns?);
        Some((begun + at).saturating_sub(Duration::from_nanos(monotonic_ns())))
    }

    fn next(&self) -> Option<Duration> {
        let lasting = self.lasting.map(|number| self.strikes[number].fault.end());
        let pending = self.pending.front().map(|number| self.strikes[*number].fault.start);
        // A fault that is due and has not struck waits for a leader.
        let planned =
            self.time_to(lasting.or(pending)?).map(|left| if left.is_zero() { ASK_INTERVAL } else { left });
        let asking = (!self.returning.is_empty()).then_some(ASK_INTERVAL);
        planned.into_iter().chain(asking).min()
    }
}

/// Whom a fault strikes: the replica that most take for the leader, itself among them, or the first one after it that serves.
fn victim(role: Role, serving: &[Status], replicas: usize) -> Option<usize> {
    let followers = |seat: u16| serving.iter().filter(move |status| status.leader == Some(seat)).count();
    let leads =
        |status: &&Status| status.leader == Some(status.node) && 2 * followers(status.node) > replicas;
    let leader = usize::from(serving.iter().find(leads)?.node);
    match role {
        Role::Leader => Some(leader),
        Role::Follower => {
            let others = serving.iter().map(|status| usize::from(status.node)).filter(|node| *node != leader);
            others.min_by_key(|node| (node + replicas - leader) % replicas)
        }
    }
}

/// Whom a fault strikes where all are equal.
fn last(serving: &[Status]) -> Option<usize> {
    serving.iter().map(|status| usize::from(status.node)).max()
}

fn strike(kind: Kind, node: Option<usize>, fleet: &mut Fleet) -> anyhow::Result<()> {
    match kind {
        Kind::Kill(_) => fleet.kill(struck(node)),
        Kind::Pause(_) => fleet.pause(struck(node)),
        Kind::Partition(_) => {
            let node = struck(node);
            let others = (0..fleet.replicas()).filter(|other| *other != node);
            let from = others.map(|other| fleet.address(other)).collect();
            fleet.order(node, &Order::Partition { from })
        }
        Kind::SlowDisk(_) => fleet.order(struck(node), &Order::SyncDelay { ms: SLOW_DISK_MS }),
        Kind::Loss => disturb_links(fleet, 0, LOSS),
        Kind::Delay => disturb_links(fleet, DELAY_MS, 0.0),
        Kind::Lie(lie) => fleet.lie(struck(node), Some(lie)),
    }
}

fn undo(kind: Kind, node: Option<usize>, fleet: &mut Fleet) -> anyhow::Result<()> {
    match kind {
        Kind::Kill(_) => fleet.begin_restart(struck(node)),
        Kind::Pause(_) => fleet.resume(struck(node)),
        Kind::Partition(_) => fleet.order(struck(node), &Order::Partition { from: Vec::new() }),
        Kind::SlowDisk(_) => fleet.order(struck(node), &Order::SyncDelay { ms: 0 }),
        Kind::Loss | Kind::Delay => disturb_links(fleet, 0, 0.0),
        Kind::Lie(_) => fleet.lie(struck(node), None),
    }
}

fn disturb_links(fleet: &mut Fleet, delay_ms: u64, loss: f64) -> anyhow::Result<()> {
    fleet
        .serving()
        .into_iter()
        .try_for_each(|node| fleet.order(node, &Order::Link { delay_ms, jitter_ms: 0, loss }))
}

fn struck(node: Option<usize>) -> usize {
    node.expect("a fault with a role strikes only once it has found a victim")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: u16, leader: Option<u16>) -> Status {
        Status { node, leader, ..Status::default() }
    }

    #[test]
    fn the_leader_is_whom_most_take_for_it() {
        let all_agree = [status(0, Some(1)), status(1, Some(1)), status(2, Some(1))];
        assert_eq!(victim(Role::Leader, &all_agree, 3), Some(1));
        assert_eq!(victim(Role::Follower, &all_agree, 3), Some(2));
        let one_is_down = [status(0, Some(1)), status(1, Some(1))];
        assert_eq!(victim(Role::Follower, &one_is_down, 3), Some(0), "one that is down is not struck again");
    }

    #[test]
    fn a_deposed_leader_that_does_not_know_it_is_not_struck() {
        let deposed = [status(0, Some(0)), status(1, Some(1)), status(2, Some(1))];
        assert_eq!(victim(Role::Leader, &deposed, 3), Some(1));
        let election = [status(0, Some(0)), status(1, None), status(2, Some(1))];
        assert_eq!(victim(Role::Leader, &election, 3), None);
        assert_eq!(victim(Role::Follower, &[], 3), None);
    }

    #[test]
    fn where_nobody_leads_the_last_one_that_serves_is_struck() {
        assert_eq!(last(&[status(0, None), status(1, None)]), Some(1));
        assert_eq!(last(&[]), None);
    }

    #[test]
    fn nothing_is_to_come_before_the_window_and_without_faults() {
        assert_eq!(Nemesis::new(&Schedule::default(), true).next(), None);
        let mut nemesis = Nemesis::new(&"loss@2s".parse().unwrap(), true);
        assert_eq!(nemesis.next(), None);
        nemesis.begin(monotonic_ns());
        let left = nemesis.next().unwrap();
        assert!(left <= Duration::from_secs(2) && left > Duration::from_secs(1), "{left:?}");
    }
}
