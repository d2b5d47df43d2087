//! Processes of a world: they start, collect inputs, have bursts, sync and end.

use std::time::Duration;

use bytes::Bytes;
use qlab_journal::JournalError;
use qlab_kernel::{Effects, Event, Input, NodeId, NodeSet, Outgoing, Request, Seat, Ticket, Time};
use rand::RngExt;

use super::{Happening, World};
use crate::desk::ClientNumber;
use crate::faults::Fault;
use crate::laws::{Glimpse, Laws, Violation, broken};
use crate::network::{below, percent};
use crate::process::{Harvest, Running};
use crate::subject::Subject;

/// How often a replica that cannot start is started again.
const RESTART_INTERVAL: Duration = Duration::from_millis(50);
const JOURNAL: &str = "W the journal works";

impl<S: Subject> World<'_, S> {
    /// Starts a process from its disk.
    pub(crate) fn start(&mut self, process: usize) -> Result<(), Violation> {
        let now = self.local(process);
        let members = NodeSet::first(self.schedule.nodes);
        let seed = self.chance.random();
        let who = &mut self.processes[process];
        if who.running.is_some() || who.lost {
            return Ok(());
        }
        who.starts += 1;
        let seat = Seat { me: who.node, members, seed };
        self.harvest.clear();
        match Running::start(seat, &self.config, self.setup.machine, who.disk.clone(), now, &mut self.harvest)
        {
            Ok(running) => {
                let last = running.durable();
                who.running = Some(running);
                self.story.tell(self.now, || format!("process {process} starts with records up to {last}"));
                self.outcome.marks.add("started from a journal", u64::from(last.0 > 0));
                if !who.is_liar {
                    self.laws.started(process, last)?;
                }
                self.carry_out(process)
            }
            // Nobody damaged it: no crash may look like this.
            Err(error @ JournalError::Damaged { .. }) => broken(JOURNAL, error.to_string()),
            Err(error) => {
                self.story.tell(self.now, || format!("process {process} cannot start: {error}"));
                self.schedule_in(RESTART_INTERVAL, Happening::Start { process });
                Ok(())
            }
        }
    }

    /// Ends a process; what its disk keeps is for the caller to say.
    pub(crate) fn end(&mut self, process: usize) {
        let who = &mut self.processes[process];
        let Some(mut running) = who.running.take() else { return };
        if running.wants_commit() && percent(&mut self.chance, 50) {
            // In the middle of a commit: some of its operations reached the disk.
            let disk = std::mem::take(&mut who.disk);
            who.disk = disk.stop_after(self.chance.random_range(0..4));
            if running.commit().is_err() {
                self.outcome.marks.add("ended within a commit", 1);
            } else if !who.is_liar {
                self.laws.synced(process, running.durable());
            }
        }
        who.inbox.clear();
        who.paused_until = Time(0);
        who.syncs = false;
        who.alarm_at = None;
        if !who.is_liar {
            self.laws.ended(process);
            Laws::<S>::ended(&mut self.common, process);
        }
    }

    pub(super) fn arrive(&mut self, process: usize, from: NodeId, message: S::Message) {
        let who = &mut self.processes[process];
        if who.running.is_none() || !self.network.delivers(usize::from(from.0), usize::from(who.node.0)) {
            return;
        }
        self.outcome.messages += 1;
        let node = who.node;
        self.story.tell(self.now, || format!("{node} hears {from}: {message:?}"));
        who.inbox.push(Input::Message { from, message });
        self.rouse(process);
    }

    pub(super) fn request(&mut self, process: usize, client: ClientNumber, request: Request, proof: Bytes) {
        if self.processes[process].running.is_some() {
            self.outcome.messages += 1;
            self.give(process, Input::Request { ticket: Ticket(client), request, proof });
        }
    }

    /// Hands a process an input for its next burst.
    pub(crate) fn give(&mut self, process: usize, input: Input<S::Message>) {
        self.processes[process].inbox.push(input);
        self.rouse(process);
    }

    /// A process does something by itself, unless it is down or stands still.
    pub(super) fn act(&mut self, process: usize) {
        if !self.asking {
            return;
        }
        let now = self.local(process);
        let who = &mut self.processes[process];
        if let Some(running) = who.running.as_mut().filter(|_| self.now >= who.paused_until) {
            S::act(&mut running.core, now, &mut self.chance);
            self.outcome.marks.add("acted by itself", 1);
            self.rouse(process);
        }
        self.act_later(process);
    }

    pub(super) fn act_later(&mut self, process: usize) {
        let wait = below(&mut self.chance, self.network.weather.think_max);
        self.schedule_in(wait, Happening::Act { process });
    }

    /// Makes sure that a process has a burst soon.
    fn rouse(&mut self, process: usize) {
        if !std::mem::replace(&mut self.processes[process].wakes, true) {
            let mut wait = below(&mut self.chance, self.network.weather.burst_wait_max);
            if self.now < self.processes[process].slow_until {
                wait = wait * 100 + Duration::from_millis(1);
            }
            self.schedule_in(wait, Happening::Wake { process });
        }
    }

    pub(super) fn wake(&mut self, process: usize) -> Result<(), Violation> {
        let now = self.local(process);
        let who = &mut self.processes[process];
        who.wakes = false;
        let Some(running) = &mut who.running else { return Ok(()) };
        if self.now < who.paused_until {
            who.wakes = true;
            let until = who.paused_until;
            self.schedule_at(until, Happening::Wake { process });
            return Ok(());
        }
        let burst_max = self.chance.random_range(1..=self.network.weather.burst_inputs_max);
        let inputs = who.inbox.drain(..who.inbox.len().min(burst_max));
        self.harvest.clear();
        let result = match &mut who.byzantine {
            None => running.burst(now, inputs, |_| {}, &mut self.harvest),
            Some(byzantine) => {
                let heard: Vec<_> = inputs.filter_map(|input| byzantine.hear(input)).collect();
                let chance = &mut self.chance;
                let tamper = |effects: &mut Effects<S>| byzantine.rewrite(now, effects, chance);
                running.burst(now, heard.into_iter(), tamper, &mut self.harvest)
            }
        };
        match result {
            Ok(()) => self.carry_out(process),
            Err(error) => self.fail(process, &error),
        }
    }

    /// Checks what a burst brought about, and lets it out into the world.
    pub(super) fn carry_out(&mut self, process: usize) -> Result<(), Violation> {
        let mut harvest = std::mem::take(&mut self.harvest);
        let is_liar = self.processes[process].is_liar;
        let verdict = if is_liar { Ok(()) } else { self.judge(process, &harvest) };
        let node = self.processes[process].node;
        for Outgoing { to, message, .. } in harvest.released.drain(..) {
            self.send(node, to, message);
        }
        for (client, frame) in harvest.answers.drain(..) {
            let arrivals = self.network.carry_client(self.now, &mut self.chance, &mut self.outcome.tally);
            for at in arrivals.into_iter().flatten() {
                self.schedule_at(at, Happening::Answer { client, from: node, frame: frame.clone() });
            }
        }
        self.harvest = harvest;
        verdict?;
        self.look_after(process);
        // A burst that does not fit beside what waits for the disk is committed at once: the laws must hear of that, too.
        let running = self.processes[process].running.as_ref().expect("it just had a burst");
        if !is_liar {
            self.laws.synced(process, running.durable());
        }
        Ok(())
    }

    fn judge(&mut self, process: usize, harvest: &Harvest<S>) -> Result<(), Violation> {
        let who = &self.processes[process];
        let running = who.running.as_ref().expect("it just had a burst");
        let (core, node) = (&running.core, who.node);
        if let Some(locks) = running.locks() {
            self.lock_laws.after_burst(running.chain().index, locks)?;
        }
        for event in &harvest.events {
            self.outcome.marks.event(event);
            self.story.tell(self.now, || format!("{node}: {event:?}"));
            if let Event::Misbehaved(peer) = event
                && !self.may_misbehave(*peer)
            {
                broken("L nobody breaks the rules", format!("{node} says that {peer} misbehaved"))?;
            }
        }
        self.outcome.marks.done(&harvest.done);
        self.outcome.marks.add("requests refused", harvest.refused as u64);
        let clock = who.clock.local(self.now);
        let glimpse = Glimpse { now: self.now, clock, process, node, core, harvest };
        self.common.after_burst(&glimpse)?;
        self.laws.after_burst(&glimpse)
    }

    fn may_misbehave(&self, peer: NodeId) -> bool {
        let who = &self.processes[usize::from(peer.0)];
        who.is_liar || who.byzantine.is_some()
    }

    /// After a burst: the next one, the next sync, the next alarm.
    fn look_after(&mut self, process: usize) {
        let who = &mut self.processes[process];
        let running = who.running.as_ref().expect("it just had a burst");
        let (restless, starts) = (running.is_restless() || !who.inbox.is_empty(), who.starts);
        let deadline = running.deadline().map(|deadline| who.clock.global(deadline));
        let begins_sync = running.wants_commit() && !std::mem::replace(&mut who.syncs, true);
        let new_alarm = deadline.filter(|at| who.alarm_at.is_none_or(|set| *at < set));
        if begins_sync {
            let wait = below(&mut self.chance, self.network.weather.sync_max);
            self.schedule_in(wait, Happening::Sync { process, starts });
        }
        if let Some(at) = new_alarm {
            // A deadline that has passed rings at once, not before.
            let at = at.max(Time(self.now.0 + 1));
            self.processes[process].alarm_at = Some(at);
            self.schedule_at(at, Happening::Alarm { process, starts });
        }
        if restless {
            self.rouse(process);
        }
    }

    pub(super) fn alarm(&mut self, process: usize, starts: u64) {
        let now = self.local(process);
        let who = &mut self.processes[process];
        if who.starts != starts || who.alarm_at != Some(self.now) {
            return;
        }
        who.alarm_at = None;
        let Some(deadline) = who.running.as_ref().and_then(Running::deadline) else { return };
        if deadline <= now {
            self.rouse(process);
        } else {
            let at = who.clock.global(deadline).max(Time(self.now.0 + 1));
            who.alarm_at = Some(at);
            self.schedule_at(at, Happening::Alarm { process, starts });
        }
    }

    pub(super) fn sync(&mut self, process: usize, starts: u64) -> Result<(), Violation> {
        let who = &mut self.processes[process];
        let Some(running) = who.running.as_mut().filter(|_| who.starts == starts) else { return Ok(()) };
        if self.now < who.stalled_until {
            let until = who.stalled_until;
            self.schedule_at(until, Happening::Sync { process, starts });
            return Ok(());
        }
        who.syncs = false;
        match running.commit() {
            Ok(()) => {
                if !who.is_liar {
                    self.laws.synced(process, running.durable());
                }
                self.rouse(process);
                Ok(())
            }
            Err(error) => self.fail(process, &error),
        }
    }

    /// Its journal failed: it ends, and is started again later. Nobody expected this unless the disk was told to fail.
    fn fail(&mut self, process: usize, error: &JournalError) -> Result<(), Violation> {
        self.story.tell(self.now, || format!("process {process} ends: {error}"));
        let expected = [Fault::SyncError, Fault::DiskFull];
        if !expected.into_iter().any(|fault| self.schedule.faults.contains(fault)) {
            return broken(JOURNAL, error.to_string());
        }
        self.outcome.marks.add("ended by its disk", 1);
        self.end(process);
        let disk = &self.processes[process].disk;
        let chance = &mut self.chance;
        disk.lose_power(|| percent(chance, 50));
        self.schedule_in(RESTART_INTERVAL, Happening::Start { process });
        Ok(())
    }
}
