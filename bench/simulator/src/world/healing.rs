//! The second phase: everything is healed, and must come right.

use std::time::Duration;

use qlab_kernel::{NodeId, Time};

use super::{Happening, Process, World};
use crate::laws::{Laws, Violation, broken};
use crate::process::Running;
use crate::subject::Subject;

/// How often it is looked whether a healed world has come right.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const LIVENESS: &str = "L liveness after healing";

impl<S: Subject> World<'_, S> {
    pub(super) fn heal(&mut self) {
        self.story.tell(self.now, || "everything is healed".to_owned());
        self.network.heal();
        self.asking = false;
        self.clientele.may_give_up = false;
        self.heal_lockers();
        for process in 0..self.processes.len() {
            let who = &mut self.processes[process];
            if !S::STEADY_CLOCKS {
                who.clock.set_drift(self.now, 0);
            }
            (who.paused_until, who.slow_until, who.stalled_until) = (Time(0), Time(0), Time(0));
            who.disk.set_capacity(None);
            who.disk.fail_reads(None);
            let starts = who.starts;
            if who.running.is_none() {
                self.schedule_in(Duration::from_nanos(1), Happening::Start { process });
            } else {
                // Whatever it waited for has ended.
                self.schedule_in(Duration::from_nanos(1), Happening::Sync { process, starts });
                self.schedule_in(Duration::from_nanos(1), Happening::Wake { process });
            }
        }
    }

    pub(super) fn come_right(&mut self, end: Time) -> Result<(), Violation> {
        while let Some(missing) = self.what_is_missing()? {
            if self.now >= end {
                return broken(LIVENESS, missing);
            }
            self.pass_until(self.now + LOOK_INTERVAL)?;
        }
        Ok(())
    }

    fn what_is_missing(&mut self) -> Result<Option<String>, Violation> {
        if !self.is_level() || !self.is_everything_answered() || !self.is_every_lease_over() {
            return Ok(Some(self.how_all_stand()));
        }
        self.laws.missing(&standing(&self.processes, self.now))
    }

    fn is_level(&self) -> bool {
        let mut chains = self.alive().map(|(_, running)| running.map(Running::chain));
        let first = chains.next().flatten();
        first.is_some() && chains.all(|chain| chain == first)
    }

    pub(super) fn is_everything_answered(&self) -> bool {
        let is_anybody_waiting = self.clients.iter().any(|client| client.is_waiting())
            || self.lockers.iter().any(|locker| locker.is_waiting());
        !is_anybody_waiting
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (usize, Option<&Running<S>>)> {
        let processes = self.processes.iter().enumerate().filter(|(_, who)| !who.lost && !who.is_liar);
        processes.map(|(process, who)| (process, who.running.as_ref()))
    }

    fn how_all_stand(&self) -> String {
        let waiting = self.clients.iter().filter(|client| client.is_waiting()).count()
            + self.lockers.iter().filter(|locker| locker.is_waiting()).count();
        let stands: Vec<String> = self
            .alive()
            .map(|(process, running)| match running {
                Some(running) => format!("{process}: applied {}", running.chain().index),
                None => format!("{process}: down"),
            })
            .collect();
        let leases = if self.is_every_lease_over() { "" } else { "leases do not end; " };
        format!("{waiting} requests are not answered; {leases}{}", stands.join(", "))
    }

    /// The last word: one client reads every key, so that whatever was acknowledged must be seen.
    pub(super) fn read_everything(&mut self) -> Result<(), Violation> {
        if self.clients.is_empty() {
            return Ok(());
        }
        let end = self.now + S::patience(&self.config);
        for key in 0..self.clientele.keys_asked() {
            let wish = self.clients[0].read(self.now, key, &mut self.clientele);
            self.grant(0, wish);
            while self.clients[0].is_waiting() {
                if self.now >= end {
                    return broken(LIVENESS, format!("key {key} cannot be read"));
                }
                self.pass_until(self.now + Duration::from_millis(1))?;
            }
        }
        Ok(())
    }
}

/// Who runs and is held to the laws, each with what its clock shows.
pub(super) fn standing<S: Subject>(processes: &[Process<S>], now: Time) -> Vec<(NodeId, Time, &S)> {
    let honest = processes.iter().filter(|who| !who.lost && !who.is_liar);
    honest.filter_map(|who| Some((who.node, who.clock.local(now), &who.running.as_ref()?.core))).collect()
}
