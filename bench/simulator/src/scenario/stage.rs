//! The stage: replicas with their clocks and disks, and messages between them. What each method does, the script asked for.

mod disks;
mod traffic;
mod view;

use std::time::Duration;

use qlab_checker::Model;
use qlab_journal::FaultDisk;
use qlab_kernel::client::answers;
use qlab_kernel::{Effects, Event, Input, Lsn, NodeId, NodeSet, Outgoing, Seat, Ticket, Time};
use qlab_machines::MachineKind;

use rand::SeedableRng;
use rand_pcg::Pcg32;

use super::actor::Actor;
use super::clients::Clients;
use super::command::{Answered, GivenLog};
use super::flight::Flight;
use crate::byzantine::Byzantine;
use crate::laws::common::Common;
use crate::laws::{Glimpse, Laws, Verdict, Violation, broken, g1_linearizability};
use crate::process::{Harvest, Running, furnish};

const JOURNAL: &str = "W the journal works";

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// As things are, it cannot be.
    Impossible(String),
    /// Something is not as it should be.
    Unexpected { expected: String, found: String },
    /// It broke a law.
    Broken(Violation),
}

impl From<Violation> for Trouble {
    fn from(violation: Violation) -> Self {
        Self::Broken(violation)
    }
}

/// Everything that acts.
pub(crate) struct Stage<S: Actor> {
    config: S::Config,
    replicas: Vec<Replica<S>>,
    flight: Flight<S::Message>,
    clients: Clients,
    /// How the last request was answered, or the last restart.
    answered: Answered,
    common: Common,
    laws: S::Laws,
    /// For lies that need some.
    chance: Pcg32,
    /// What the present command has printed.
    pub(crate) printed: Vec<String>,
}

struct Replica<S: Actor> {
    /// While its process is there.
    running: Option<Running<S>>,
    disk: FaultDisk,
    clock: Time,
    starts: u64,
    is_paused: bool,
    /// How it lies, if it does.
    lie: Option<Box<dyn Byzantine<S>>>,
}

impl<S: Actor> Stage<S> {
    /// Starts `nodes` replicas, from what is given.
    pub(crate) fn open(nodes: usize, config: S::Config, given: &[GivenLog]) -> Result<Self, Trouble> {
        let replica = || Replica {
            running: None,
            disk: FaultDisk::default(),
            clock: Time(0) + Duration::from_secs(1),
            starts: 0,
            is_paused: false,
            lie: None,
        };
        let mut stage = Self {
            laws: S::laws(nodes, &config),
            config,
            replicas: (0..nodes).map(|_| replica()).collect(),
            flight: Flight::default(),
            clients: Clients::new(nodes, S::matching(nodes)),
            answered: Answered::Not,
            common: Common::new(S::MODEL == Model::Kv),
            chance: Pcg32::seed_from_u64(1),
            printed: Vec::new(),
        };
        for log in given {
            stage.give(log)?;
        }
        for node in 0..nodes {
            if stage.replicas[node].running.is_none() {
                stage.start(id(node), Vec::new())?;
            }
        }
        Ok(stage)
    }

    fn give(&mut self, log: &GivenLog) -> Result<(), Trouble> {
        let node = self.place(log.node)?;
        let records = S::records(log).map_err(Trouble::Impossible)?;
        let records: Vec<_> = (1..).map(Lsn).zip(records).collect();
        furnish(log.node, self.replicas[node].disk.clone(), &records).map_err(|error| journal(&error))?;
        self.clients.expect_given(log);
        self.start(log.node, records)
    }

    /// Starts a replica from its disk; the laws have not seen `records` on it yet.
    fn start(&mut self, node: NodeId, records: Vec<(Lsn, S::Record)>) -> Result<(), Trouble> {
        let process = self.place(node)?;
        let members = NodeSet::first(self.replicas.len());
        let replica = &mut self.replicas[process];
        replica.starts += 1;
        let seat = Seat { me: node, members, seed: replica.starts };
        let mut harvest = Harvest::default();
        let disk = replica.disk.clone();
        match Running::start(seat, &self.config, MachineKind::Kv, disk, replica.clock, &mut harvest) {
            Ok(running) => {
                let last = running.durable();
                replica.running = Some(running);
                for (lsn, record) in &records {
                    self.laws.given(node, process, *lsn, record)?;
                }
                self.laws.started(process, last)?;
                self.carry_out(node, harvest)?;
            }
            Err(error) => self.refuse(format!("{node} does not start: {error}")),
        }
        Ok(())
    }

    // Time.

    /// All clocks move on.
    pub(crate) fn wait(&mut self, time: Duration) {
        for replica in &mut self.replicas {
            replica.clock = replica.clock + time;
        }
    }

    /// One clock moves on.
    pub(crate) fn tick(&mut self, node: NodeId, time: Duration) -> Result<(), Trouble> {
        let process = self.place(node)?;
        self.replicas[process].clock = self.replicas[process].clock + time;
        Ok(())
    }

    /// A replica's deadline comes.
    pub(crate) fn timeout(&mut self, node: NodeId) -> Result<(), Trouble> {
        let process = self.awake(node)?;
        let replica = &mut self.replicas[process];
        let Some(deadline) = replica.running.as_ref().and_then(|running| running.core.deadline()) else {
            return Err(Trouble::Impossible(format!("{node} has no deadline")));
        };
        replica.clock = replica.clock.max(deadline);
        self.burst(node, vec![Input::Timeout])
    }

    // Clients.

    /// A client asks: to write, if there is a value.
    pub(crate) fn ask(&mut self, node: NodeId, key: &str, value: Option<&str>) -> Result<(), Trouble> {
        self.awake(node)?;
        let (Ticket(client), session, request) = self.clients.ask(key, value);
        if value.is_none() {
            self.laws.queried(session, 1);
        }
        self.answered = Answered::Not;
        let proof = S::proof(&self.config, session.owner(), &request);
        self.burst(node, vec![Input::Request { ticket: Ticket(client), request, proof }])
    }

    /// Tells a replica to hand leadership over.
    pub(crate) fn yield_to(&mut self, node: NodeId, to: Option<NodeId>) -> Result<(), Trouble> {
        self.awake(node)?;
        self.burst(node, vec![Input::Yield { to }])
    }

    /// From now on a replica lies.
    pub(crate) fn lie(&mut self, node: NodeId, name: &str) -> Result<(), Trouble> {
        let (process, nodes) = (self.place(node)?, self.replicas.len());
        let Some(lie) = S::lie(name, node, nodes, &self.config) else {
            return Err(Trouble::Impossible(format!("{name:?} is no lie of {}", S::NAME)));
        };
        self.laws.lies(node);
        self.replicas[process].lie = Some(lie);
        Ok(())
    }

    // A burst, and what it brings about.

    fn burst(&mut self, node: NodeId, inputs: Vec<Input<S::Message>>) -> Result<(), Trouble> {
        let replica = &mut self.replicas[usize::from(node.0)];
        let running = replica.running.as_mut().expect("whoever asks has looked");
        let mut harvest = Harvest::default();
        let (clock, chance) = (replica.clock, &mut self.chance);
        let result = match &mut replica.lie {
            None => running.burst_without_timer(clock, inputs.into_iter(), |_| {}, &mut harvest),
            Some(lie) => {
                let heard: Vec<_> = inputs.into_iter().filter_map(|input| lie.hear(input)).collect();
                let tamper = |effects: &mut Effects<S>| lie.rewrite(clock, effects, chance);
                running.burst_without_timer(clock, heard.into_iter(), tamper, &mut harvest)
            }
        };
        result.map_err(|error| journal(&error))?;
        self.carry_out(node, harvest)
    }

    /// Checks what a burst brought about, and lets it out.
    fn carry_out(&mut self, node: NodeId, harvest: Harvest<S>) -> Result<(), Trouble> {
        harvest.events.iter().for_each(|event| self.printed.push(told(node, event)));
        self.judge(node, &harvest)?;
        for Outgoing { to, message, .. } in harvest.released {
            assert!(S::KINDS.contains(&S::kind(&message)), "every kind of message is listed");
            self.flight.send(node, to, message);
        }
        for (client, frame) in &harvest.answers {
            for frame in self.clients.believe(*client, node, frame) {
                for answer in answers(&frame) {
                    let answer = answer.expect("replicas send what can be read");
                    let says = self.clients.hear(*client, &answer);
                    self.printed.extend(says);
                }
            }
        }
        if !harvest.answers.is_empty() {
            self.answered = self.clients.last();
            g1_linearizability::judge(&self.clients.history(), S::MODEL)?;
        }
        Ok(())
    }

    fn judge(&mut self, node: NodeId, harvest: &Harvest<S>) -> Verdict {
        let process = usize::from(node.0);
        let replica = &self.replicas[process];
        if replica.lie.is_some() {
            return Ok(());
        }
        let core = &replica.running.as_ref().expect("it just had a burst").core;
        let lies = |peer: &NodeId| self.replicas[usize::from(peer.0)].lie.is_some();
        if harvest.events.iter().any(|event| matches!(event, Event::Misbehaved(peer) if !lies(peer))) {
            broken("L nobody breaks the rules", format!("{node} says that somebody does"))?;
        }
        let glimpse = Glimpse { now: replica.clock, clock: replica.clock, process, node, core, harvest };
        self.common.after_burst(&glimpse)?;
        self.laws.after_burst(&glimpse)
    }

    fn print(&mut self, line: String) {
        self.printed.push(line);
    }

    fn refuse(&mut self, line: String) {
        self.answered = Answered::Refused;
        self.print(line);
    }

    fn place(&self, node: NodeId) -> Result<usize, Trouble> {
        let place = usize::from(node.0);
        if place < self.replicas.len() {
            return Ok(place);
        }
        let last = self.replicas.len() - 1;
        Err(Trouble::Impossible(format!("there is no replica {node}; they are 0 to {last}")))
    }

    /// A replica that can do something.
    fn awake(&self, node: NodeId) -> Result<usize, Trouble> {
        let place = self.place(node)?;
        let replica = &self.replicas[place];
        match (&replica.running, replica.is_paused) {
            (None, _) => Err(Trouble::Impossible(format!("{node} is down"))),
            (_, true) => Err(Trouble::Impossible(format!("{node} is paused"))),
            _ => Ok(place),
        }
    }

    fn down(&self, node: NodeId) -> Result<usize, Trouble> {
        let place = self.place(node)?;
        if self.replicas[place].running.is_some() {
            return Err(Trouble::Impossible(format!("{node} is running; crash it first")));
        }
        Ok(place)
    }
}

fn id(process: usize) -> NodeId {
    NodeId(u16::try_from(process).expect("a story has few replicas"))
}

fn journal(error: &qlab_journal::JournalError) -> Trouble {
    Trouble::Broken(Violation { law: JOURNAL, what: error.to_string() })
}

fn told(node: NodeId, event: &Event) -> String {
    match event {
        Event::Elected(term) => format!("{node} leads in term {term}"),
        Event::ViewEntered(view) => format!("{node} enters view {view}"),
        Event::Deposed(term) => format!("{node} leads no longer in term {term}"),
        Event::Campaigned(term) => format!("{node} campaigns in term {term}"),
        Event::Truncated(index) => format!("{node} drops its log from {index} on"),
        Event::Compacted(index) => format!("{node} has an image up to {index}"),
        Event::Installed(index) => format!("{node} takes over an image up to {index}"),
        Event::Misbehaved(peer) => format!("{node} says that {peer} breaks the rules"),
        Event::Learned { writer, version, .. } => format!("{node} knows what {writer} wrote up to {version}"),
        Event::FoundAlive(peer) => format!("{node} takes {peer} for alive"),
        Event::Suspected(peer) => format!("{node} suspects {peer}"),
        Event::DeclaredDead(peer) => format!("{node} takes {peer} for dead"),
    }
}
