//! The stage: replicas with their clocks and disks, and messages between them. What each method does, the script asked for.

use std::time::Duration;

use qlab_journal::FaultDisk;
use qlab_journal::fault_disk::{Fate, SECTOR_BYTES};
use qlab_kernel::client::answers;
use qlab_kernel::{Event, Input, Lsn, NodeId, NodeSet, Outgoing, Seat, Ticket, Time};

use super::actor::{Actor, Stand};
use super::clients::Clients;
use super::command::{Answered, Crash, GivenLog, Links, Motion};
use super::flight::{Flight, Letter, MESSAGES_MAX};
use crate::laws::common::Common;
use crate::laws::{Glimpse, Laws, Verdict, Violation, broken, g1_linearizability};
use crate::process::{Harvest, Running, furnish};

/// Rounds of deliveries and syncs after which what has not come to rest never will.
const SETTLE_ROUNDS_MAX: usize = 1000;
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
        };
        let mut stage = Self {
            laws: S::laws(nodes, &config),
            config,
            replicas: (0..nodes).map(|_| replica()).collect(),
            flight: Flight::default(),
            clients: Clients::default(),
            answered: Answered::Not,
            common: Common::default(),
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
        let records: Vec<_> = (1..).map(Lsn).zip(S::records(log)).collect();
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
        match Running::start(seat, &self.config, disk, replica.clock, &mut harvest) {
            Ok(running) => {
                let last = running.durable();
                replica.running = Some(running);
                self.laws.started(process, last)?;
                harvest.records.extend(records);
                self.carry_out(node, harvest)?;
                self.laws.synced(process, last);
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
        self.burst(node, vec![Input::Request { ticket: Ticket(client), request }])
    }

    /// Tells a replica to hand leadership over.
    pub(crate) fn yield_to(&mut self, node: NodeId, to: Option<NodeId>) -> Result<(), Trouble> {
        self.awake(node)?;
        self.burst(node, vec![Input::Yield { to }])
    }

    // Messages.

    /// Does something with the messages on these links, of this kind if it is given.
    pub(crate) fn move_messages(
        &mut self,
        motion: Motion,
        links: &Links,
        kind: Option<&str>,
    ) -> Result<(), Trouble> {
        if let Some(kind) = kind.filter(|kind| !S::KINDS.contains(kind)) {
            return Err(Trouble::Impossible(format!(
                "no message is a {kind:?}; there are {}",
                S::KINDS.join(", ")
            )));
        }
        let fits = |letter: &Letter<S::Message>| {
            links.contain(letter.from, letter.to) && kind.is_none_or(|kind| S::kind(&letter.message) == kind)
        };
        let replicas = &self.replicas;
        let count = match motion {
            Motion::Deliver => {
                let letters = self.flight.take(|letter| fits(letter) && may_arrive(replicas, letter));
                let count = letters.len();
                self.deliver(letters, true)?;
                count
            }
            Motion::Drop => self.flight.take(fits).len(),
            Motion::Duplicate => self.flight.duplicate(fits),
            Motion::Hold => self.flight.hold(true, fits),
            Motion::Release => self.flight.hold(false, fits),
        };
        if count == 0 {
            return Err(Trouble::Impossible("there is no such message in flight".to_owned()));
        }
        self.check_flight()
    }

    /// Messages arrive: what comes to one replica is one burst.
    fn deliver(&mut self, letters: Vec<Letter<S::Message>>, is_told: bool) -> Result<(), Trouble> {
        let mut inboxes: Vec<Vec<Input<S::Message>>> = self.replicas.iter().map(|_| Vec::new()).collect();
        for Letter { from, to, message, .. } in letters {
            let is_there = self.replicas[usize::from(to.0)].running.is_some();
            if is_told {
                let fate = if is_there { "" } else { " (nobody is there)" };
                self.print(format!("{from} -> {to} {}{fate}", S::describe(&message)));
            }
            if is_there {
                inboxes[usize::from(to.0)].push(Input::Message { from, message });
            }
        }
        for (process, inbox) in inboxes.into_iter().enumerate().filter(|(_, inbox)| !inbox.is_empty()) {
            self.burst(id(process), inbox)?;
        }
        Ok(())
    }

    /// Groups that hear only themselves. Whoever is named nowhere is a group, together.
    pub(crate) fn partition(&mut self, groups: &[Vec<NodeId>]) -> Result<(), Trouble> {
        for node in groups.iter().flatten() {
            self.place(*node)?;
        }
        let group = |node: NodeId| groups.iter().position(|group| group.contains(&node));
        self.flight.cut(self.nodes(), |from, to| group(from) != group(to));
        Ok(())
    }

    /// These links lose everything.
    pub(crate) fn cut(&mut self, links: &Links) {
        self.flight.cut(self.nodes(), |from, to| links.contain(from, to));
    }

    /// They do not any more.
    pub(crate) fn mend(&mut self, links: &Links) {
        self.flight.mend(links);
    }

    /// No link does.
    pub(crate) fn heal(&mut self) {
        self.flight.heal();
    }

    /// Delivers and syncs until there is nothing left to do.
    pub(crate) fn settle(&mut self) -> Result<(), Trouble> {
        for _ in 0..SETTLE_ROUNDS_MAX {
            let replicas = &self.replicas;
            let letters = self.flight.take(|letter| may_arrive(replicas, letter));
            let mut is_calm = letters.is_empty();
            self.deliver(letters, false)?;
            for process in 0..self.replicas.len() {
                is_calm &= self.is_idle(process)?;
            }
            self.check_flight()?;
            if is_calm {
                return Ok(());
            }
        }
        Err(Trouble::Impossible(format!("it does not come to rest in {SETTLE_ROUNDS_MAX} rounds")))
    }

    /// Lets a replica finish what waits, if anything does; whether nothing did.
    fn is_idle(&mut self, process: usize) -> Result<bool, Trouble> {
        let replica = &self.replicas[process];
        let Some(running) = replica.running.as_ref().filter(|_| !replica.is_paused) else { return Ok(true) };
        if running.wants_commit() {
            self.sync(id(process))?;
        } else if running.is_restless() {
            self.burst(id(process), Vec::new())?;
        } else {
            return Ok(true);
        }
        Ok(false)
    }

    fn check_flight(&self) -> Result<(), Trouble> {
        if self.flight.is_too_much() {
            return Err(Trouble::Impossible(format!("more than {MESSAGES_MAX} messages are in flight")));
        }
        Ok(())
    }

    // Processes and disks.

    /// A replica's disk finishes.
    pub(crate) fn sync(&mut self, node: NodeId) -> Result<(), Trouble> {
        let process = self.awake(node)?;
        let running = self.replicas[process].running.as_mut().expect("it is awake");
        running.commit().map_err(|error| journal(&error))?;
        self.laws.synced(process, running.durable());
        self.burst(node, Vec::new())
    }

    /// A process ends.
    pub(crate) fn crash(&mut self, node: NodeId, crash: Crash) -> Result<(), Trouble> {
        let process = self.place(node)?;
        let replica = &mut self.replicas[process];
        let Some(mut running) = replica.running.take() else {
            return Err(Trouble::Impossible(format!("{node} is down already")));
        };
        if crash != Crash::Idle {
            // The write, but not the sync.
            replica.disk = std::mem::take(&mut replica.disk).stop_after(1);
            if !running.wants_commit() || running.commit().is_ok() {
                return Err(Trouble::Impossible(format!("{node} has nothing to write")));
            }
        }
        let mut kept_bytes = if let Crash::Torn { bytes } = crash { bytes } else { usize::MAX };
        replica.disk.lose_power(|| torn(&mut kept_bytes));
        replica.is_paused = false;
        self.laws.ended(process);
        Laws::<S>::ended(&mut self.common, process);
        Ok(())
    }

    /// It starts again; from an empty disk only if `anyway`.
    pub(crate) fn restart(&mut self, node: NodeId, anyway: bool) -> Result<(), Trouble> {
        let process = self.down(node)?;
        self.answered = Answered::Not;
        if self.replicas[process].disk.segments().is_empty() && !anyway {
            self.refuse(format!("{node} does not start: it has run before, but its disk is empty"));
            return Ok(());
        }
        self.start(node, Vec::new())
    }

    /// Its disk is replaced by an empty one.
    pub(crate) fn wipe(&mut self, node: NodeId) -> Result<(), Trouble> {
        let process = self.down(node)?;
        self.replicas[process].disk = FaultDisk::default();
        Ok(())
    }

    /// A process stands still, or goes on.
    pub(crate) fn set_paused(&mut self, node: NodeId, is_paused: bool) -> Result<(), Trouble> {
        let process = self.place(node)?;
        let replica = &mut self.replicas[process];
        if replica.running.is_none() || replica.is_paused == is_paused {
            let state = if replica.running.is_none() {
                "down"
            } else if is_paused {
                "paused"
            } else {
                "not paused"
            };
            return Err(Trouble::Impossible(format!("{node} is {state}")));
        }
        replica.is_paused = is_paused;
        Ok(())
    }

    // A burst, and what it brings about.

    fn burst(&mut self, node: NodeId, inputs: Vec<Input<S::Message>>) -> Result<(), Trouble> {
        let replica = &mut self.replicas[usize::from(node.0)];
        let running = replica.running.as_mut().expect("whoever asks has looked");
        let mut harvest = Harvest::default();
        running
            .burst_without_timer(replica.clock, inputs.into_iter(), &mut harvest)
            .map_err(|error| journal(&error))?;
        self.carry_out(node, harvest)
    }

    /// Checks what a burst brought about, and lets it out.
    fn carry_out(&mut self, node: NodeId, harvest: Harvest<S>) -> Result<(), Trouble> {
        harvest.events.iter().for_each(|event| self.printed.push(told(node, event)));
        self.judge(node, &harvest)?;
        for Outgoing { to, message, .. } in harvest.released {
            self.flight.send(node, to, message);
        }
        for (client, frame) in &harvest.answers {
            for answer in answers(frame) {
                let answer = answer.expect("replicas send what can be read");
                let says = self.clients.hear(*client, &answer);
                self.printed.extend(says);
            }
        }
        if !harvest.answers.is_empty() {
            self.answered = self.clients.last();
            g1_linearizability::judge(&self.clients.history())?;
        }
        Ok(())
    }

    fn judge(&mut self, node: NodeId, harvest: &Harvest<S>) -> Verdict {
        let process = usize::from(node.0);
        let replica = &self.replicas[process];
        let core = &replica.running.as_ref().expect("it just had a burst").core;
        if harvest.events.iter().any(|event| matches!(event, Event::Misbehaved(_))) {
            broken("L nobody breaks the rules", format!("{node} says that somebody does"))?;
        }
        let glimpse = Glimpse { now: replica.clock, process, node, core, harvest };
        self.common.after_burst(&glimpse)?;
        self.laws.after_burst(&glimpse)
    }

    // What there is to see.

    /// Where a replica stands, and how far it has applied; `None` if it is down.
    pub(crate) fn stand(&self, node: NodeId) -> Result<Option<(Stand, u64)>, Trouble> {
        let running = self.replicas[self.place(node)?].running.as_ref();
        Ok(running.map(|running| (running.core.stand(), running.chain().index.0)))
    }

    /// What its state machine holds under a key.
    pub(crate) fn value(&self, node: NodeId, key: &str) -> Result<Option<String>, Trouble> {
        let running = self.replicas[self.place(node)?].running.as_ref();
        let value = running.and_then(|running| running.value(key.as_bytes()));
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// How the last request was answered, or the last restart.
    pub(crate) const fn answered(&self) -> &Answered {
        &self.answered
    }

    /// Prints a replica in a line.
    pub(crate) fn show(&mut self, node: NodeId) -> Result<(), Trouble> {
        let line = match self.stand(node)? {
            Some((Stand { role, term, commit, log }, applied)) => {
                format!("{node} {role} in term {term}, commit {commit}, applied {applied}, log {log}")
            }
            None => format!("{node} down"),
        };
        self.print(line);
        Ok(())
    }

    /// Prints everybody's log.
    pub(crate) fn show_logs(&mut self) -> Result<(), Trouble> {
        for process in 0..self.replicas.len() {
            let log = self.stand(id(process))?.map_or("down".to_owned(), |(stand, _)| stand.log);
            self.print(format!("{process}: {log}").trim_end().to_owned());
        }
        Ok(())
    }

    /// Prints what is in flight.
    pub(crate) fn show_messages(&mut self) {
        for Letter { from, to, is_held, message } in self.flight.iter() {
            let held = if *is_held { " (held)" } else { "" };
            self.printed.push(format!("{from} -> {to} {}{held}", S::describe(message)));
        }
    }

    fn print(&mut self, line: String) {
        self.printed.push(line);
    }

    fn refuse(&mut self, line: String) {
        self.answered = Answered::Refused;
        self.print(line);
    }

    fn nodes(&self) -> u16 {
        u16::try_from(self.replicas.len()).expect("a story has few replicas")
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

/// Whether nobody keeps a message back, and its receiver is not standing still.
fn may_arrive<S: Actor>(replicas: &[Replica<S>], letter: &Letter<S::Message>) -> bool {
    !letter.is_held && !replicas[usize::from(letter.to.0)].is_paused
}

/// The fate of the next sector of a write of which the first bytes are kept.
fn torn(kept_bytes: &mut usize) -> Fate {
    let bytes = (*kept_bytes).min(SECTOR_BYTES);
    *kept_bytes -= bytes;
    match bytes {
        0 => Fate::Lost,
        SECTOR_BYTES => Fate::Kept,
        bytes => Fate::Torn { bytes },
    }
}

fn journal(error: &qlab_journal::JournalError) -> Trouble {
    Trouble::Broken(Violation { law: JOURNAL, what: error.to_string() })
}

fn told(node: NodeId, event: &Event) -> String {
    match event {
        Event::Elected(term) => format!("{node} leads in term {term}"),
        Event::Deposed(term) => format!("{node} leads no longer in term {term}"),
        Event::Campaigned(term) => format!("{node} campaigns in term {term}"),
        Event::Truncated(index) => format!("{node} drops its log from {index} on"),
        Event::Compacted(index) => format!("{node} has an image up to {index}"),
        Event::Installed(index) => format!("{node} takes over an image up to {index}"),
        Event::Misbehaved(peer) => format!("{node} says that {peer} breaks the rules"),
    }
}
