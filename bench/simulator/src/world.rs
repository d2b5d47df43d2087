//! The hostile world: virtual time, one heap of what happens next, and a cluster in the middle of it.
//!
//! A world has two phases. Under fire, everything that its [`Schedule`] says goes wrong, and every law must hold after every burst.
//! Then all is healed, and within [`Subject::patience`] every request must be answered, every replica must have applied the same,
//! and one more read of every key must fit what the clients saw before.

mod healing;
mod hosting;
mod locking;
mod traffic;

use std::time::Duration;

use bytes::Bytes;
use qlab_checker::Model;
use qlab_journal::FaultDisk;
use qlab_kernel::{Input, NodeId, Protocol, Request, Time};
use qlab_machines::MachineKind;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::agenda::Agenda;
use crate::byzantine::Byzantine;
use crate::clients::{Client, Clientele, Service};
use crate::clock::Clock;
use crate::desk::ClientNumber;
use crate::faults::{Fault, Tally};
use crate::hostile::Hostile;
use crate::laws::common::Common;
use crate::laws::locks::LockLaws;
use crate::laws::{Laws as _, Violation, broken, g1_linearizability};
use crate::lockers::Locker;
use crate::marks::Marks;
use crate::network::{Network, below, some_of};
use crate::process::{Harvest, Running};
use crate::schedule::Schedule;
use crate::story::Story;
use crate::subject::{Subject, TRUE_TIME_STARTS};
use healing::standing;
use traffic::Vigil;

/// How long hostile clients wait before they begin.
const HOSTILITY: Duration = Duration::from_millis(50);
/// Events of one world: hundreds of times what is usual. A world with more turns in circles.
const EVENTS_MAX: u64 = 10_000_000;

/// How a replica of so many lies, if it does.
pub type Lies<S> = fn(NodeId, usize, &<S as Protocol>::Config, &mut Pcg32) -> Option<Box<dyn Byzantine<S>>>;

/// What is different from an honest world of honest replicas: for wrappers that lie and for worlds that must fail.
pub struct Setup<S: Subject> {
    /// What is replicated, by a system that has a log.
    pub machine: MachineKind,
    /// Another configuration than the seed's.
    pub config: Option<S::Config>,
    /// So many replicas run twice, under the same identity, each on a disk of its own.
    pub twins: usize,
    /// A replica whose disk was replaced by an empty one comes back as itself.
    pub rejoins_empty: bool,
    /// Clocks run this many times further apart than the configuration allows.
    pub drift_factor: u32,
    /// What replica so-and-so does to its own effects. It is held to every law, unlike a liar.
    pub byzantine: fn(NodeId) -> Option<Box<dyn Byzantine<S>>>,
    /// How many replicas lie, of a system that survives that; as many as it survives, at most, if `None`.
    pub liars: Option<usize>,
    /// How a liar lies.
    pub lies: Lies<S>,
    /// How many clients do not play by the rules, of a system that survives that; up to two if `None`.
    pub hostiles: Option<usize>,
    /// Whether the story is told.
    pub tells_story: bool,
}

impl<S: Subject> Default for Setup<S> {
    fn default() -> Self {
        Self {
            machine: MachineKind::Kv,
            config: None,
            twins: 0,
            rejoins_empty: false,
            drift_factor: 1,
            byzantine: |_| None,
            liars: None,
            lies: S::liar,
            hostiles: None,
            tells_story: false,
        }
    }
}

/// How a world went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Events that happened.
    pub events: u64,
    /// Messages that were delivered: between replicas, from clients and to them.
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
    /// In their place where locks are replicated.
    lockers: Vec<Locker>,
    /// How long each client waits for its newest attempt.
    vigils: Vec<Vigil>,
    clientele: Clientele,
    hostiles: Vec<Hostile>,
    asking: bool,
    common: Common,
    laws: S::Laws,
    lock_laws: LockLaws,
    harvest: Harvest<S>,
    /// What a client believes of a frame.
    believed: Vec<Bytes>,
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
    /// No law holds for what it does.
    pub(crate) is_liar: bool,
}

/// What happens at a moment.
pub(crate) enum Happening<M> {
    Arrive { process: usize, from: NodeId, message: M },
    Request { process: usize, client: ClientNumber, request: Request, proof: Bytes },
    Answer { client: ClientNumber, from: NodeId, frame: Bytes },
    Wake { process: usize },
    Alarm { process: usize, starts: u64 },
    Sync { process: usize, starts: u64 },
    Start { process: usize },
    Ask { client: ClientNumber },
    Act { process: usize },
    Shoot { hostile: usize },
    Patience { client: ClientNumber },
    Strike { number: usize },
    Relent { number: usize },
    Strobe { process: usize, until: Time, is_fast: bool },
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
        let mut clientele = Clientele::new(schedule.keys, Service::of::<S>());
        let askers = if setup.machine == MachineKind::Kv { schedule.clients as u64 } else { 0 };
        let clients = (0..askers)
            .map(|number| Client::new(number, nodes, S::matching(nodes), &mut clientele))
            .collect();
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
            vigils: vec![Vigil::default(); schedule.clients],
            clients,
            lockers: Vec::new(),
            clientele,
            hostiles: Vec::new(),
            asking: true,
            common: Common::new(S::MODEL == Model::Kv),
            lock_laws: LockLaws::default(),
            harvest: Harvest::default(),
            believed: Vec::new(),
            outcome: Outcome::default(),
            story: Story::new(setup.tells_story),
            chance,
        };
        let liars = world.draw_liars();
        for process in 0..nodes + setup.twins {
            let node = process % nodes;
            world.add_process(NodeId(node as u16), liars.contains(&node));
        }
        world.draw_hostiles();
        world.draw_lockers();
        world
    }

    /// Clients that do not play by the rules, in half of the worlds of systems that survive them.
    fn draw_hostiles(&mut self) {
        if !S::SURVIVES_LIARS {
            return;
        }
        let count = self.setup.hostiles.unwrap_or_else(|| [0, 0, 1, 2][self.chance.random_range(0..4)]);
        for number in (self.schedule.clients as u64..).take(count) {
            self.hostiles.push(Hostile::drawn(number, self.schedule.nodes, &mut self.chance));
        }
    }

    /// Who lies. Those that run twice are liars, too, where there may be any.
    fn draw_liars(&mut self) -> Vec<usize> {
        if !S::SURVIVES_LIARS {
            return Vec::new();
        }
        let nodes = self.schedule.nodes;
        let most = S::faulty_max(nodes).saturating_sub(self.setup.twins);
        let count = self.setup.liars.unwrap_or_else(|| self.chance.random_range(0..=most));
        let liars = some_of(&mut self.chance, nodes, count).into_iter();
        liars.chain(0..self.setup.twins).collect()
    }

    fn add_process(&mut self, node: NodeId, is_liar: bool) {
        let has_true_time = S::has_true_time(node, &self.config);
        let mut clock = Clock::starting_at(Time(self.chance.random_range(1 << 39..1 << 40)));
        if has_true_time {
            clock = Clock::starting_at(TRUE_TIME_STARTS);
        } else if self.schedule.faults.contains(Fault::ClockDrift) {
            let half_ppm = i64::from(self.clock_drift_ppm() / 2 * self.setup.drift_factor);
            clock.set_drift(self.now, self.chance.random_range(-half_ppm..=half_ppm));
            self.outcome.tally.count(Fault::ClockDrift);
        }
        let is_twin = usize::from(node.0) < self.setup.twins;
        let byzantine = if is_liar && !is_twin {
            (self.setup.lies)(node, self.schedule.nodes, &self.config, &mut self.chance)
        } else {
            (self.setup.byzantine)(node)
        };
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
            byzantine,
            is_liar,
        });
    }

    fn live(&mut self) -> Result<(), Violation> {
        for process in 0..self.processes.len() {
            self.start(process)?;
        }
        for client in 0..(self.clients.len() + self.lockers.len()) as u64 {
            let after = below(&mut self.chance, Duration::from_millis(20));
            self.schedule_in(after, Happening::Ask { client });
        }
        for process in (0..self.processes.len()).filter(|_| S::ACTS) {
            self.act_later(process);
        }
        for hostile in 0..self.hostiles.len() {
            self.schedule_in(HOSTILITY, Happening::Shoot { hostile });
        }
        for (number, strike) in self.schedule.strikes.iter().enumerate() {
            self.schedule_at(strike.at, Happening::Strike { number });
        }
        let healing = Time(1) + self.schedule.fire;
        self.pass_until(healing)?;
        self.heal();
        self.come_right(healing + S::patience(&self.config))?;
        self.read_everything()?;
        // Messages of those who are gone may still have been on their way.
        self.come_right(self.now + S::patience(&self.config))?;
        for client in &mut self.clients {
            client.finish(&mut self.clientele);
        }
        self.laws.concluded(&standing(&self.processes, self.now))?;
        if S::LINEARIZABLE { g1_linearizability::judge(&self.clientele.history, S::MODEL) } else { Ok(()) }
    }

    fn finish(mut self, verdict: Result<(), Violation>) -> Outcome {
        self.outcome.simulated = Duration::from_nanos(self.now.0);
        self.outcome.operations = self.clientele.history.operations().len() as u64 + self.lock_laws.answers();
        self.outcome.marks.add("requests asked again", self.clientele.retries);
        self.outcome.marks.add("sessions expired", self.clientele.expired);
        if let Err(violation) = &verdict {
            self.story.tell(self.now, || format!("BROKEN: {}: {}", violation.law, violation.what));
        }
        Outcome { violation: verdict.err(), story: self.story.take(), ..self.outcome }
    }

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
            if self.outcome.events > EVENTS_MAX {
                return broken("L the world goes on", format!("{EVENTS_MAX} events, and no end"));
            }
            self.outcome.digest = mix(self.outcome.digest, at.0 ^ number << 32);
            self.happen(happening)?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, happening: Happening<S::Message>) -> Result<(), Violation> {
        match happening {
            Happening::Arrive { process, from, message } => self.arrive(process, from, message),
            Happening::Request { process, client, request, proof } => {
                self.request(process, client, request, proof);
            }
            Happening::Answer { client, from, frame } => return self.answer(client, from, frame),
            Happening::Wake { process } => return self.wake(process),
            Happening::Alarm { process, starts } => self.alarm(process, starts),
            Happening::Sync { process, starts } => return self.sync(process, starts),
            Happening::Start { process } => return self.start(process),
            Happening::Ask { client } => self.ask(client),
            Happening::Act { process } => self.act(process),
            Happening::Shoot { hostile } => self.shoot(hostile),
            Happening::Patience { client } => self.patience(client),
            Happening::Strike { number } => return self.strike(number),
            Happening::Relent { number } => self.relent(number),
            Happening::Strobe { process, until, is_fast } => self.strobe(process, until, is_fast),
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

const fn mix(digest: u64, word: u64) -> u64 {
    (digest ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
}
