//! The hostile world: virtual time, one heap of what happens next, and a cluster in the middle of it.
//!
//! A world has two phases. Under fire, everything that its [`Schedule`] says goes wrong, and every law must hold after every burst.
//! Then all is healed, and within [`Subject::patience`] every request must be answered, every replica must have applied the same,
//! and one more read of every key must fit what the clients saw before.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use qlab_journal::{FaultDisk, JournalError};
use qlab_kernel::client::answers;
use qlab_kernel::{
    Effects, Event, Input, Message as _, NodeId, NodeSet, Outgoing, Request, Seat, Ticket, Time, Wire,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::agenda::Agenda;
use crate::byzantine::Byzantine;
use crate::clients::{Client, Clientele, Wish};
use crate::clock::Clock;
use crate::desk::ClientNumber;
use crate::faults::{Fault, Tally};
use crate::laws::common::Common;
use crate::laws::{Glimpse, Laws, Violation, broken, g1_linearizability};
use crate::marks::Marks;
use crate::network::{Network, below, percent};
use crate::process::{Harvest, Running};
use crate::schedule::Schedule;
use crate::story::Story;
use crate::subject::Subject;

/// Old messages that a network may send again.
const REMEMBERED_MAX: usize = 256;
/// How often a replica that cannot start is started again.
pub(crate) const RESTART_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked whether a healed world has come right.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const LIVENESS: &str = "L liveness after healing";
const JOURNAL: &str = "W the journal works";

/// What is different from an honest world of honest replicas: for wrappers that lie and for worlds that must fail.
pub struct Setup<S: Subject> {
    /// Another configuration than the seed's.
    pub config: Option<S::Config>,
    /// So many replicas run twice, under the same identity, each on a disk of its own.
    pub twins: usize,
    /// A replica whose disk was replaced by an empty one comes back as itself.
    pub rejoins_empty: bool,
    /// Clocks run this many times further apart than the configuration allows.
    pub drift_factor: u32,
    /// What replica so-and-so does to its own effects.
    pub byzantine: fn(NodeId) -> Option<Box<dyn Byzantine<S>>>,
    /// Whether the story is told.
    pub tells_story: bool,
}

impl<S: Subject> Default for Setup<S> {
    fn default() -> Self {
        Self {
            config: None,
            twins: 0,
            rejoins_empty: false,
            drift_factor: 1,
            byzantine: |_| None,
            tells_story: false,
        }
    }
}

/// How a world went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Events that happened.
    pub events: u64,
    /// Messages between replicas that were delivered.
    pub messages: u64,
    /// How long it lasted in its own time.
    pub simulated: Duration,
    /// Operations that clients completed or gave up.
    pub operations: u64,
    /// Faults that took effect.
    pub tally: Tally,
    /// Remarkable things that happened.
    pub marks: Marks,
    /// Stands for everything that happened: equal for equal worlds.
    pub digest: u64,
    /// Which law was broken, if one was.
    pub violation: Option<Violation>,
    /// What happened, if it was to be told.
    pub story: Vec<String>,
}

/// A world and everything in it.
pub(crate) struct World<'a, S: Subject> {
    pub(crate) schedule: &'a Schedule,
    pub(crate) setup: &'a Setup<S>,
    pub(crate) config: S::Config,
    pub(crate) chance: Pcg32,
    pub(crate) now: Time,
    agenda: Agenda<Happening<S::Message>>,
    pub(crate) processes: Vec<Process<S>>,
    pub(crate) network: Network,
    /// Messages of the past, sent again now and then.
    remembered: Vec<(NodeId, NodeId, S::Message)>,
    through_codec: bool,
    clients: Vec<Client>,
    clientele: Clientele,
    asking: bool,
    common: Common,
    laws: S::Laws,
    harvest: Harvest<S>,
    pub(crate) outcome: Outcome,
    pub(crate) story: Story,
}

/// A process: what of it survives its end, and the replica while it runs.
pub(crate) struct Process<S: Subject> {
    pub(crate) node: NodeId,
    pub(crate) running: Option<Running<S>>,
    pub(crate) disk: FaultDisk,
    pub(crate) clock: Clock,
    /// It may never come back as itself: its disk was replaced, or holds damage that it refuses.
    pub(crate) lost: bool,
    starts: u64,
    inbox: Vec<Input<S::Message>>,
    /// It stands still until then.
    pub(crate) paused_until: Time,
    /// It takes a hundred times as long until then.
    pub(crate) slow_until: Time,
    /// Its disk answers no sync until then.
    pub(crate) stalled_until: Time,
    wakes: bool,
    syncs: bool,
    alarm_at: Option<Time>,
    byzantine: Option<Box<dyn Byzantine<S>>>,
}

/// What happens at a moment.
pub(crate) enum Happening<M> {
    Arrive { process: usize, from: NodeId, message: M },
    Request { process: usize, client: ClientNumber, request: Request },
    Answer { client: ClientNumber, frame: Bytes },
    Wake { process: usize },
    Alarm { process: usize, starts: u64 },
    Sync { process: usize, starts: u64 },
    Start { process: usize },
    Ask { client: ClientNumber },
    Patience { client: ClientNumber, attempt_number: u64 },
    Strike { number: usize },
    Relent { number: usize },
}

/// Runs the world of a schedule to its end, or until a law is broken.
pub fn run<S: Subject>(schedule: &Schedule, setup: &Setup<S>) -> Outcome {
    let mut world = World::new(schedule, setup);
    let verdict = world.live();
    world.finish(verdict)
}

impl<'a, S: Subject> World<'a, S> {
    fn new(schedule: &'a Schedule, setup: &'a Setup<S>) -> Self {
        let mut chance = Pcg32::seed_from_u64(schedule.seed);
        let drawn = S::config(&mut chance);
        let config = setup.config.clone().unwrap_or(drawn);
        let nodes = schedule.nodes;
        let mut clientele = Clientele::new(schedule.keys);
        let clients =
            (0..schedule.clients as u64).map(|number| Client::new(number, nodes, &mut clientele)).collect();
        let mut world = Self {
            schedule,
            setup,
            network: Network::new(nodes, schedule.weather.clone()),
            laws: S::laws(nodes, &config),
            config,
            now: Time(1),
            agenda: Agenda::default(),
            processes: Vec::new(),
            remembered: Vec::new(),
            through_codec: chance.random_bool(0.1),
            clients,
            clientele,
            asking: true,
            common: Common::default(),
            harvest: Harvest::default(),
            outcome: Outcome::default(),
            story: Story::new(setup.tells_story),
            chance,
        };
        for process in 0..nodes + setup.twins {
            world.add_process(NodeId((process % nodes) as u16));
        }
        world
    }

    fn add_process(&mut self, node: NodeId) {
        let mut clock = Clock::starting_at(Time(self.chance.random_range(1 << 39..1 << 40)));
        if self.schedule.faults.contains(Fault::ClockDrift) {
            let half_ppm = i64::from(S::clock_drift_ppm(&self.config) / 2 * self.setup.drift_factor);
            clock.set_drift(self.now, self.chance.random_range(-half_ppm..=half_ppm));
            self.outcome.tally.count(Fault::ClockDrift);
        }
        self.processes.push(Process {
            node,
            running: None,
            disk: FaultDisk::default(),
            clock,
            lost: false,
            starts: 0,
            inbox: Vec::new(),
            paused_until: Time(0),
            slow_until: Time(0),
            stalled_until: Time(0),
            wakes: false,
            syncs: false,
            alarm_at: None,
            byzantine: (self.setup.byzantine)(node),
        });
    }

    fn live(&mut self) -> Result<(), Violation> {
        for process in 0..self.processes.len() {
            self.start(process)?;
        }
        for client in 0..self.clients.len() as u64 {
            let after = below(&mut self.chance, Duration::from_millis(20));
            self.schedule_in(after, Happening::Ask { client });
        }
        for (number, strike) in self.schedule.strikes.iter().enumerate() {
            self.schedule_at(strike.at, Happening::Strike { number });
        }
        let healing = Time(1) + self.schedule.fire;
        self.pass_until(healing)?;
        self.heal();
        self.come_right(healing + S::patience(&self.config))?;
        self.read_everything()?;
        for client in &mut self.clients {
            client.finish(&mut self.clientele);
        }
        g1_linearizability::judge(&self.clientele.history)
    }

    fn finish(mut self, verdict: Result<(), Violation>) -> Outcome {
        self.outcome.simulated = Duration::from_nanos(self.now.0);
        self.outcome.operations = self.clientele.history.operations().len() as u64;
        self.outcome.marks.add("requests asked again", self.clientele.retries);
        self.outcome.marks.add("sessions expired", self.clientele.expired);
        if let Err(violation) = &verdict {
            self.story.tell(self.now, || format!("BROKEN: {}: {}", violation.law, violation.what));
        }
        Outcome { violation: verdict.err(), story: self.story.take(), ..self.outcome }
    }

    // Time.

    pub(crate) fn schedule_in(&mut self, after: Duration, happening: Happening<S::Message>) {
        self.schedule_at(self.now + after, happening);
    }

    pub(crate) fn schedule_at(&mut self, at: Time, happening: Happening<S::Message>) {
        self.agenda.add(at, self.chance.random(), happening);
    }

    fn pass_until(&mut self, end: Time) -> Result<(), Violation> {
        while let Some((at, number, happening)) = self.agenda.next_until(end) {
            self.now = at;
            self.outcome.events += 1;
            self.outcome.digest = mix(self.outcome.digest, at.0 ^ number << 32);
            self.happen(happening)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, happening: Happening<S::Message>) -> Result<(), Violation> {
        match happening {
            Happening::Arrive { process, from, message } => self.arrive(process, from, message),
            Happening::Request { process, client, request } => self.request(process, client, request),
            Happening::Answer { client, frame } => self.answer(client, &frame),
            Happening::Wake { process } => return self.wake(process),
            Happening::Alarm { process, starts } => self.alarm(process, starts),
            Happening::Sync { process, starts } => return self.sync(process, starts),
            Happening::Start { process } => return self.start(process),
            Happening::Ask { client } => self.ask(client),
            Happening::Patience { client, attempt_number } => self.patience(client, attempt_number),
            Happening::Strike { number } => return self.strike(number),
            Happening::Relent { number } => self.relent(number),
        }
        Ok(())
    }

    // Processes.

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
        match Running::start(seat, &self.config, who.disk.clone(), now, &mut self.harvest) {
            Ok(running) => {
                let last = running.durable();
                who.running = Some(running);
                self.story.tell(self.now, || format!("process {process} starts with records up to {last}"));
                self.outcome.marks.add("started from a journal", u64::from(last.0 > 0));
                self.laws.started(process, last)?;
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
            } else {
                self.laws.synced(process, running.durable());
            }
        }
        who.inbox.clear();
        who.paused_until = Time(0);
        who.syncs = false;
        who.alarm_at = None;
        self.laws.ended(process);
        Laws::<S>::ended(&mut self.common, process);
    }

    fn arrive(&mut self, process: usize, from: NodeId, message: S::Message) {
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

    fn request(&mut self, process: usize, client: ClientNumber, request: Request) {
        if self.processes[process].running.is_some() {
            self.give(process, Input::Request { ticket: Ticket(client), request });
        }
    }

    /// Hands a process an input for its next burst.
    pub(crate) fn give(&mut self, process: usize, input: Input<S::Message>) {
        self.processes[process].inbox.push(input);
        self.rouse(process);
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

    fn wake(&mut self, process: usize) -> Result<(), Violation> {
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
        let (byzantine, chance) = (&mut who.byzantine, &mut self.chance);
        let tamper = |effects: &mut Effects<S>| {
            if let Some(byzantine) = byzantine {
                byzantine.rewrite(effects, chance);
            }
        };
        self.harvest.clear();
        match running.burst(now, inputs, tamper, &mut self.harvest) {
            Ok(()) => self.carry_out(process),
            Err(error) => self.fail(process, &error),
        }
    }

    /// Checks what a burst brought about, and lets it out into the world.
    fn carry_out(&mut self, process: usize) -> Result<(), Violation> {
        let mut harvest = std::mem::take(&mut self.harvest);
        let verdict = self.judge(process, &harvest);
        let node = self.processes[process].node;
        for Outgoing { to, message, .. } in harvest.released.drain(..) {
            self.send(node, to, message);
        }
        for (client, frame) in harvest.answers.drain(..) {
            let arrivals = self.network.carry_client(self.now, &mut self.chance, &mut self.outcome.tally);
            for at in arrivals.into_iter().flatten() {
                self.schedule_at(at, Happening::Answer { client, frame: frame.clone() });
            }
        }
        self.harvest = harvest;
        verdict?;
        self.look_after(process);
        Ok(())
    }

    fn judge(&mut self, process: usize, harvest: &Harvest<S>) -> Result<(), Violation> {
        let who = &self.processes[process];
        let core = &who.running.as_ref().expect("it just had a burst").core;
        let node = who.node;
        for event in &harvest.events {
            self.outcome.marks.event(event);
            self.story.tell(self.now, || format!("{node}: {event:?}"));
            if let Event::Misbehaved(peer) = event
                && (self.setup.byzantine)(*peer).is_none()
            {
                broken("L nobody breaks the rules", format!("{node} says that {peer} misbehaved"))?;
            }
        }
        self.outcome.marks.done(&harvest.done);
        self.outcome.marks.add("requests refused", harvest.refused as u64);
        let glimpse = Glimpse { now: self.now, process, node, core, harvest };
        self.common.after_burst(&glimpse)?;
        self.laws.after_burst(&glimpse)
    }

    /// After a burst: the next one, the next sync, the next alarm.
    fn look_after(&mut self, process: usize) {
        let who = &mut self.processes[process];
        let running = who.running.as_ref().expect("it just had a burst");
        let (restless, starts) = (running.is_restless() || !who.inbox.is_empty(), who.starts);
        let deadline = running.core.deadline().map(|deadline| who.clock.global(deadline));
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

    fn alarm(&mut self, process: usize, starts: u64) {
        let now = self.local(process);
        let who = &mut self.processes[process];
        if who.starts != starts || who.alarm_at != Some(self.now) {
            return;
        }
        who.alarm_at = None;
        let Some(deadline) = who.running.as_ref().and_then(|running| running.core.deadline()) else { return };
        if deadline <= now {
            self.rouse(process);
        } else {
            let at = who.clock.global(deadline).max(Time(self.now.0 + 1));
            who.alarm_at = Some(at);
            self.schedule_at(at, Happening::Alarm { process, starts });
        }
    }

    fn sync(&mut self, process: usize, starts: u64) -> Result<(), Violation> {
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
                self.laws.synced(process, running.durable());
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

    // Messages.

    fn send(&mut self, from: NodeId, to: NodeId, message: S::Message) {
        let message = if self.through_codec { through_codec(&message) } else { message };
        self.transmit(from, to, &message);
        let replay = percent(&mut self.chance, self.network.weather.replay_percent);
        if self.network.weather.replay_percent == 0 {
            return;
        }
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.push((from, to, message));
        } else {
            let place = self.chance.random_range(0..REMEMBERED_MAX);
            self.remembered[place] = (from, to, message);
        }
        if replay {
            let place = self.chance.random_range(0..self.remembered.len());
            let (from, to, message) = self.remembered[place].clone();
            self.outcome.tally.count(Fault::Replay);
            self.transmit(from, to, &message);
        }
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, message: &S::Message) {
        for process in [usize::from(to.0), usize::from(to.0) + self.schedule.nodes] {
            if process >= self.processes.len() {
                continue;
            }
            let link = (usize::from(from.0), usize::from(to.0));
            let (chance, tally) = (&mut self.chance, &mut self.outcome.tally);
            let arrivals = self.network.carry(self.now, link, message.lane(), chance, tally);
            for at in arrivals.into_iter().flatten() {
                self.schedule_at(at, Happening::Arrive { process, from, message: message.clone() });
            }
        }
    }

    // Clients.

    fn ask(&mut self, client: ClientNumber) {
        let asker = &mut self.clients[client as usize];
        if self.asking && !asker.is_waiting() {
            let wish = asker.ask(self.now, &mut self.clientele, &mut self.chance);
            self.grant(client, wish);
        }
    }

    fn patience(&mut self, client: ClientNumber, attempt_number: u64) {
        let wish = self.clients[client as usize].on_patience(attempt_number, &mut self.clientele);
        wish.into_iter().for_each(|wish| self.grant(client, wish));
    }

    fn answer(&mut self, client: ClientNumber, frame: &[u8]) {
        for answer in answers(frame) {
            let answer = answer.expect("replicas send what can be read");
            let asker = &mut self.clients[client as usize];
            if let Some(wish) = asker.on_answer(self.now, &answer, &mut self.clientele) {
                self.grant(client, wish);
            }
        }
    }

    fn grant(&mut self, client: ClientNumber, wish: Wish) {
        match wish {
            Wish::Think => {
                let wait = below(&mut self.chance, self.network.weather.think_max);
                self.schedule_in(wait, Happening::Ask { client });
            }
            Wish::Ask { to, request, patience, attempt_number } => {
                if let Request::Read(batch) = &request {
                    let query = batch.bursts().next().expect("a query has a burst");
                    self.laws.queried(query.session, query.first.0);
                }
                self.story.tell(self.now, || format!("client {client} asks {to}: {request:?}"));
                let (chance, tally) = (&mut self.chance, &mut self.outcome.tally);
                for at in self.network.carry_client(self.now, chance, tally).into_iter().flatten() {
                    let (process, request) = (usize::from(to.0), request.clone());
                    self.schedule_at(at, Happening::Request { process, client, request });
                }
                // Not all at the same moment.
                let patience = patience + below(&mut self.chance, patience);
                self.schedule_in(patience, Happening::Patience { client, attempt_number });
            }
        }
    }

    // The second phase.

    fn heal(&mut self) {
        self.story.tell(self.now, || "everything is healed".to_owned());
        self.network.heal();
        self.asking = false;
        self.clientele.may_give_up = false;
        for process in 0..self.processes.len() {
            let who = &mut self.processes[process];
            who.clock.set_drift(self.now, 0);
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

    fn come_right(&mut self, end: Time) -> Result<(), Violation> {
        while !self.is_right() {
            if self.now >= end {
                return broken(LIVENESS, self.what_is_missing());
            }
            self.pass_until(self.now + LOOK_INTERVAL)?;
        }
        Ok(())
    }

    fn is_right(&self) -> bool {
        let mut chains = self.alive().map(|(_, running)| running.map(Running::chain));
        let first = chains.next().flatten();
        first.is_some() && chains.all(|chain| chain == first) && self.is_everything_answered()
    }

    fn is_everything_answered(&self) -> bool {
        self.clients.iter().all(|client| !client.is_waiting())
    }

    fn alive(&self) -> impl Iterator<Item = (usize, Option<&Running<S>>)> {
        let processes = self.processes.iter().enumerate().filter(|(_, who)| !who.lost);
        processes.map(|(process, who)| (process, who.running.as_ref()))
    }

    fn what_is_missing(&self) -> String {
        let waiting = self.clients.iter().filter(|client| client.is_waiting()).count();
        let stands: Vec<String> = self
            .alive()
            .map(|(process, running)| match running {
                Some(running) => format!("{process}: applied {}", running.chain().index),
                None => format!("{process}: down"),
            })
            .collect();
        format!("{waiting} requests are not answered; {}", stands.join(", "))
    }

    /// The last word: one client reads every key, so that whatever was acknowledged must be seen.
    fn read_everything(&mut self) -> Result<(), Violation> {
        let end = self.now + S::patience(&self.config);
        for key in 0..self.schedule.keys {
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

    /// What a process's clock shows.
    pub(crate) fn local(&self, process: usize) -> Time {
        self.processes[process].clock.local(self.now)
    }

    /// Whoever believes to lead.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |who: &Process<S>| {
            who.running.as_ref().is_some_and(|running| running.core.leader() == Some(who.node))
        };
        self.processes.iter().position(leads)
    }
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            events: 0,
            messages: 0,
            simulated: Duration::ZERO,
            operations: 0,
            tally: Tally::default(),
            marks: Marks::default(),
            digest: 0,
            violation: None,
            story: Vec::new(),
        }
    }
}

/// What a message is after it went over a wire.
fn through_codec<M: Wire + fmt::Debug>(message: &M) -> M {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    M::decode_all(bytes.into()).expect("what was encoded is decoded")
}

const fn mix(digest: u64, word: u64) -> u64 {
    (digest ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
}
