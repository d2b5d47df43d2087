//! Simulated clients: each asks one thing after the other, retries with the same number wherever it likes, and writes down what it
//! saw. Unknown outcomes stay in the history for ever.
//!
//! Where replicas are not believed alone, a client asks the one that enough of them named as the leader, and all of them after it
//! waited in vain, until enough name one again.

use std::time::Duration;

use bytes::Bytes;
use qlab_checker::{ABSENT, History, Model, Operation};
use qlab_kernel::client::{Answer, AnswerBody};
use qlab_kernel::command::TAKEN;
use qlab_kernel::{Batch, BatchBuilder, NodeId, Outcome, Refusal, Request, Sequence, SessionId, Time, Votes};
use qlab_machines::{Command, kv};
use qlab_quorum::dynamo::envelope::{Reading, Update};
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::desk::ClientNumber;
use crate::network::percent;
use crate::subject::Subject;

/// Without an answer for so long, a client asks elsewhere.
const PATIENCE: Duration = Duration::from_millis(120);
/// After that many attempts under fire, a client gives up and does something else.
const ATTEMPTS_MAX: u32 = 12;
/// Clients that ask before they open their session, in a hundred.
const FORGETFUL_PERCENT: u32 = 5;
/// Requests asked of anybody rather than of whoever is believed to lead, in a hundred: they find those who only believe so.
const WANDERING_PERCENT: u32 = 25;
/// How long clients ask for the same registers, where each takes one value for ever: then there are new ones to contend for.
const GENERATION: Duration = Duration::from_millis(100);
/// A value that no client wrote.
const FOREIGN: u64 = qlab_checker::PLAIN_NUMBER_MAX;

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    number: ClientNumber,
    nodes: usize,
    session: SessionId,
    is_open: bool,
    next: Sequence,
    asked: Option<Asked>,
    /// Whom it asks.
    turns_to: NodeId,
    /// What replicas said that are not believed alone.
    votes: Option<Votes>,
    /// Nobody knows who leads: it asks all of them.
    asks_everyone: bool,
    /// Who opened its session.
    home: NodeId,
    /// Its number in the history: a new one after each unknown outcome.
    process: u32,
    /// The value it last saw under each key, for comparisons that succeed now and then.
    seen: Vec<u64>,
    /// What it was told that stands for what it last read under each key.
    contexts: Vec<Bytes>,
}

#[derive(Debug)]
struct Asked {
    sequence: Sequence,
    request: Request,
    /// `None` while a session is being opened.
    operation: Option<Operation>,
    invoked: Time,
    attempts: u32,
    /// Changes with every attempt, so that only the newest one's patience counts.
    attempt_number: u64,
}

/// What a client wants done.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Send this to whom it is for, and call [`Client::on_patience`] with the number if that takes too long.
    Ask { to: Receivers, request: Request, patience: Duration, attempt_number: u64 },
    /// The answer came: think, then call [`Client::ask`].
    Think,
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Receivers {
    One(NodeId),
    Everyone,
}

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Clientele {
    pub(crate) history: History,
    /// Queries answered, by session and number: when each was first asked is kept for the laws of reads.
    pub(crate) retries: u64,
    pub(crate) expired: u64,
    keys: u64,
    service: Service,
    /// Keys below this one were asked for.
    keys_asked: u64,
    values: u64,
    sessions: u64,
    processes: u32,
    attempts: u64,
    /// Under fire clients give up; afterwards they insist.
    pub(crate) may_give_up: bool,
}

/// What clients must know of whom they ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// What is behind each key.
    pub(crate) model: Model,
    /// Whether it can compare before it writes.
    pub(crate) compares: bool,
    /// Whether a session belongs to the replica that opened it.
    pub(crate) sessions_stay: bool,
    /// Whether writes say what was read.
    pub(crate) contexts: bool,
}

impl Service {
    pub(crate) const fn of<S: Subject>() -> Self {
        Self {
            model: S::MODEL,
            compares: S::COMPARES && !S::CONTEXTS,
            sessions_stay: S::SESSIONS_STAY,
            contexts: S::CONTEXTS,
        }
    }
}

impl Clientele {
    pub(crate) fn new(keys: u64, service: Service) -> Self {
        Self {
            history: History::default(),
            retries: 0,
            expired: 0,
            keys,
            service,
            keys_asked: keys,
            values: 0,
            sessions: 0,
            processes: 0,
            attempts: 0,
            may_give_up: true,
        }
    }

    /// Keys that were or may have been asked for, from 0.
    pub(crate) const fn keys_asked(&self) -> u64 {
        self.keys_asked
    }

    fn key(&mut self, now: Time, chance: &mut Pcg32) -> u64 {
        let key = chance.random_range(0..self.keys);
        if self.service.model != Model::WriteOnce {
            return key;
        }
        let generation = now.0 / GENERATION.as_nanos() as u64;
        self.keys_asked = self.keys_asked.max((generation + 1) * self.keys);
        generation * self.keys + key
    }

    fn session(&mut self, client: ClientNumber) -> SessionId {
        self.sessions += 1;
        SessionId::owned(client as u16, self.sessions)
    }

    fn process(&mut self) -> u32 {
        self.processes += 1;
        self.processes
    }
}

impl Client {
    /// One of `nodes` replicas, which believes what `matching` of them say.
    pub(crate) fn new(
        number: ClientNumber,
        nodes: usize,
        matching: usize,
        clientele: &mut Clientele,
    ) -> Self {
        Self {
            number,
            nodes,
            session: clientele.session(number),
            is_open: false,
            next: Sequence(1),
            asked: None,
            turns_to: NodeId((number % nodes as u64) as u16),
            votes: (matching > 1).then(|| Votes::new(nodes, matching)),
            asks_everyone: false,
            home: NodeId(0),
            process: clientele.process(),
            seen: vec![ABSENT; clientele.keys as usize],
            contexts: vec![Bytes::new(); clientele.keys as usize],
        }
    }

    /// Whether it waits for an answer.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// Asks something new, or opens its session first.
    pub(crate) fn ask(&mut self, now: Time, clientele: &mut Clientele, chance: &mut Pcg32) -> Wish {
        // Now and then somebody forgets to, and must be told so.
        if !self.is_open && !percent(chance, FORGETFUL_PERCENT) {
            return self.open(now, clientele);
        }
        if percent(chance, WANDERING_PERCENT) {
            self.turns_to = NodeId(chance.random_range(0..self.nodes) as u16);
        } else if let Some(leader) = self.named_leader() {
            self.turns_to = leader;
        }
        let key = clientele.key(now, chance);
        clientele.values += 1;
        let value = clientele.values;
        let operation = match chance.random_range(0..10) {
            _ if self.only_reads() => Operation::get(self.process, key, ABSENT),
            0..4 => Operation::get(self.process, key, ABSENT),
            4..8 => Operation::put(self.process, key, value),
            _ if clientele.service.model == Model::WriteOnce => Operation::put(self.process, key, value),
            8 if !clientele.service.compares => Operation::put(self.process, key, value),
            8 => Operation::cas(self.process, key, self.seen[key as usize], value),
            _ => Operation::delete(self.process, key),
        };
        self.begin(now, operation, clientele)
    }

    /// Reads a key: the last word of a world.
    pub(crate) fn read(&mut self, now: Time, key: u64, clientele: &mut Clientele) -> Wish {
        self.begin(now, Operation::get(self.process, key, ABSENT), clientele)
    }

    /// A third only read: nothing keeps them from staying with a leader whose time is over as long as it answers.
    const fn only_reads(&self) -> bool {
        self.number % 3 == 1
    }

    fn open(&mut self, now: Time, clientele: &mut Clientele) -> Wish {
        self.asked = Some(Asked {
            sequence: Sequence::ZERO,
            request: opening(self.session),
            operation: None,
            invoked: now,
            attempts: 0,
            attempt_number: 0,
        });
        self.attempt(clientele)
    }

    fn begin(&mut self, now: Time, operation: Operation, clientele: &mut Clientele) -> Wish {
        let sequence = self.next;
        self.next = sequence.next();
        let batch = self.batch(sequence, &operation, clientele.service);
        let reads = operation.function == qlab_checker::Function::Get;
        let request = if reads { Request::Read(batch) } else { Request::Write(batch) };
        if !reads && self.is_open && clientele.service.sessions_stay {
            self.turns_to = self.home;
        }
        self.asked = Some(Asked {
            sequence,
            request,
            operation: Some(operation),
            invoked: now,
            attempts: 0,
            attempt_number: 0,
        });
        self.attempt(clientele)
    }

    fn batch(&self, sequence: Sequence, operation: &Operation, service: Service) -> Batch {
        let (key, value, expected) =
            (operation.key.to_le_bytes(), operation.value.to_le_bytes(), operation.expected.to_le_bytes());
        let (key, value) = (&key[..], &value[..]);
        let update = || self.update(operation).encoded();
        let expected = (operation.expected != ABSENT).then_some(&expected[..]);
        let command = match operation.function {
            qlab_checker::Function::Get => Command::Get { key },
            _ if service.contexts => Command::Put { key, value: &update() },
            qlab_checker::Function::Delete => Command::Delete { key },
            qlab_checker::Function::Cas => Command::CompareAndSet { key, expected, value },
            _ => Command::Put { key, value },
        };
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        let mut builder = BatchBuilder::new();
        // One at a time: whatever came before this one is answered or given up.
        builder.begin(self.session, sequence, sequence);
        builder.push_bytes(&bytes);
        builder.finish()
    }

    /// What it writes, with what it last read.
    fn update(&self, operation: &Operation) -> Update {
        let is_put = operation.function == qlab_checker::Function::Put;
        let value = is_put.then(|| Bytes::copy_from_slice(&operation.value.to_le_bytes()));
        Update { context: self.contexts[operation.key as usize].clone(), value }
    }

    fn attempt(&mut self, clientele: &mut Clientele) -> Wish {
        let asked = self.asked.as_mut().expect("somebody asks");
        clientele.attempts += 1;
        asked.attempts += 1;
        asked.attempt_number = clientele.attempts;
        clientele.retries += u64::from(asked.attempts > 1);
        if let Some(votes) = &mut self.votes {
            votes.asked(&asked.request);
        }
        Wish::Ask {
            to: if self.asks_everyone { Receivers::Everyone } else { Receivers::One(self.turns_to) },
            request: asked.request.clone(),
            patience: PATIENCE,
            attempt_number: clientele.attempts,
        }
    }

    /// An attempt took too long: elsewhere, or never mind.
    pub(crate) fn on_patience(&mut self, attempt_number: u64, clientele: &mut Clientele) -> Option<Wish> {
        let asked = self.asked.as_ref().filter(|asked| asked.attempt_number == attempt_number)?;
        if asked.attempts >= ATTEMPTS_MAX && clientele.may_give_up {
            self.give_up(clientele);
            return Some(Wish::Think);
        }
        match &mut self.votes {
            Some(votes) => {
                votes.forget_leader();
                self.asks_everyone = true;
            }
            None => self.look_elsewhere(clientele),
        }
        Some(self.attempt(clientele))
    }

    /// Appends what it believes of a replica's frame to `believed`. If that says who leads, it may ask there at once.
    pub(crate) fn hear(
        &mut self,
        from: NodeId,
        frame: Bytes,
        clientele: &mut Clientele,
        believed: &mut Vec<Bytes>,
    ) -> Option<Wish> {
        let Some(votes) = &mut self.votes else {
            believed.push(frame);
            return None;
        };
        let before = votes.leader();
        // One that lies may send what cannot be read: so much the worse for what it has to say.
        let _ = votes.take(from, &frame, believed);
        let leader = self.named_leader().filter(|leader| before != Some(*leader))?;
        if std::mem::take(&mut self.asks_everyone) {
            // It was asked already.
            self.turns_to = leader;
        }
        self.turn_to(Some(leader), clientele)
    }

    /// Whom enough replicas name as the leader; unknown where each is believed alone.
    fn named_leader(&self) -> Option<NodeId> {
        let leader = self.votes.as_ref()?.leader()?;
        (usize::from(leader.0) < self.nodes).then_some(leader)
    }

    /// Nobody answered. Where a session belongs to the replica that opened it, every other attempt to write goes there; and an
    /// opening that is asked of another replica is that of another session.
    fn look_elsewhere(&mut self, clientele: &mut Clientele) {
        let asked = self.asked.as_mut().expect("somebody asks");
        let is_write = matches!(asked.request, Request::Write(_));
        if clientele.service.sessions_stay && asked.operation.is_none() {
            self.session = clientele.session(self.number);
            asked.request = opening(self.session);
        } else if clientele.service.sessions_stay && is_write && self.is_open {
            let further = if asked.attempts % 2 == 1 { 0 } else { asked.attempts / 2 };
            self.turns_to = self.after_home(further);
            return;
        }
        self.turns_to = self.neighbour();
    }

    /// The replica so many places after the one that opened the session.
    fn after_home(&self, further: u32) -> NodeId {
        NodeId(((u64::from(self.home.0) + u64::from(further)) % self.nodes as u64) as u16)
    }

    /// Takes one answer of a frame.
    pub(crate) fn on_answer(
        &mut self,
        now: Time,
        answer: &Answer<'_>,
        clientele: &mut Clientele,
    ) -> Option<Wish> {
        if let AnswerBody::Moved(leader) = answer.body {
            return self.turn_to(leader, clientele);
        }
        let asked = self.asked.as_ref()?;
        if answer.session != self.session || answer.first != asked.sequence {
            return None;
        }
        match answer.body {
            // Its patience runs on: whoever is busy now is asked again when that ends.
            AnswerBody::Refused(Refusal::Busy) => None,
            AnswerBody::Refused(Refusal::NotLeader(leader)) => self.turn_to(leader, clientele),
            AnswerBody::Written(outcomes) => {
                let outcome = outcomes.iter().next()?;
                Some(self.written(now, outcome, clientele))
            }
            AnswerBody::Values(values) => {
                let (status, value) = values.iter().next()?;
                Some(self.found(now, status, value, clientele))
            }
            AnswerBody::Moved(_) => None,
        }
    }

    /// Somebody else leads, if it is known who. Asking at once, but not for ever: two may each believe in the other.
    fn turn_to(&mut self, leader: Option<NodeId>, clientele: &mut Clientele) -> Option<Wish> {
        let asked = self.asked.as_ref()?;
        let leader = leader.filter(|leader| *leader != self.turns_to && asked.attempts < ATTEMPTS_MAX)?;
        self.turns_to = leader;
        Some(self.attempt(clientele))
    }

    fn written(&mut self, now: Time, outcome: Outcome, clientele: &mut Clientele) -> Wish {
        let asked = self.asked.take().expect("looked at it");
        let Some(operation) = asked.operation else {
            self.is_open = outcome.status == Outcome::OPENED;
            self.home = self.turns_to;
            if !self.is_open {
                self.renew(clientele);
            }
            return Wish::Think;
        };
        match outcome.status {
            kv::STORED | kv::DELETED | kv::SWAPPED => {
                self.note_seen(operation.key, operation.value);
                clientele.history.push(operation.during(asked.invoked.0, now.0));
            }
            // There was nothing to delete: the key is absent either way.
            kv::ABSENT => clientele.history.push(operation.during(asked.invoked.0, now.0)),
            kv::MISMATCH | TAKEN => clientele.history.push(operation.failed_during(asked.invoked.0, now.0)),
            // Whether it was ever executed is not known.
            _ => {
                self.asked = Some(Asked { operation: Some(operation), ..asked });
                self.give_up(clientele);
                clientele.expired += 1;
                self.renew(clientele);
            }
        }
        Wish::Think
    }

    fn found(&mut self, now: Time, status: u8, value: &[u8], clientele: &mut Clientele) -> Wish {
        let asked = self.asked.take().expect("looked at it");
        if let Some(operation) = asked.operation {
            let read = match (status, value.try_into()) {
                _ if clientele.service.contexts => self.read_siblings(operation.key, value),
                (kv::ABSENT, _) => ABSENT,
                (kv::FOUND, Ok(bytes)) => u64::from_le_bytes(bytes),
                _ => FOREIGN,
            };
            self.note_seen(operation.key, read);
            clientele.history.push(Operation { value: read, ..operation }.during(asked.invoked.0, now.0));
        }
        Wish::Think
    }

    /// Keeps what stands for what was read; one of the values stands for all in the history, which nobody judges.
    fn read_siblings(&mut self, key: u64, bytes: &[u8]) -> u64 {
        let Ok(Reading { context, values }) = Reading::decode(Bytes::copy_from_slice(bytes)) else {
            return FOREIGN;
        };
        self.contexts[key as usize] = context;
        let number = |value: &Bytes| value[..].try_into().map_or(FOREIGN, u64::from_le_bytes);
        values.iter().map(number).max().unwrap_or(ABSENT)
    }

    fn note_seen(&mut self, key: u64, value: u64) {
        // Registers that are written once are not compared with: theirs are not kept.
        if let Some(seen) = self.seen.get_mut(key as usize) {
            *seen = value;
        }
    }

    /// Whether it took effect will never be known.
    fn give_up(&mut self, clientele: &mut Clientele) {
        let Some(asked) = self.asked.take() else { return };
        if let Some(operation) = asked.operation
            && operation.function != qlab_checker::Function::Get
        {
            clientele.history.push(operation.unknown_since(asked.invoked.0));
            self.process = clientele.process();
        }
        // Half of them go on in the same session, where the request may still be executed late; but nobody opens a session
        // after asking in it.
        if !self.is_open || self.number.is_multiple_of(2) {
            self.renew(clientele);
        }
        self.turns_to = self.neighbour();
    }

    /// At the end of the world, what was not answered never will be.
    pub(crate) fn finish(&mut self, clientele: &mut Clientele) {
        self.give_up(clientele);
    }

    fn renew(&mut self, clientele: &mut Clientele) {
        self.session = clientele.session(self.number);
        self.is_open = false;
        self.next = Sequence(1);
    }

    fn neighbour(&self) -> NodeId {
        NodeId(((usize::from(self.turns_to.0) + 1) % self.nodes) as u16)
    }
}

fn opening(session: SessionId) -> Request {
    let mut builder = BatchBuilder::new();
    builder.begin(session, Sequence::ZERO, Sequence::ZERO);
    Request::Write(builder.finish())
}

#[cfg(test)]
mod tests {
    use qlab_kernel::Index;
    use qlab_kernel::client::{AnswerBuilder, answers};
    use rand::SeedableRng;

    use super::*;

    struct Scene {
        client: Client,
        clientele: Clientele,
    }

    impl Scene {
        /// A client of four replicas, which believes two of them and has just asked to open its session.
        fn open() -> (Self, Wish) {
            let mut clientele = Clientele::new(1, Service::of::<qlab_pbft::Pbft>());
            let mut client = Client::new(3, 4, 2, &mut clientele);
            let wish = client.open(Time(1), &mut clientele);
            (Self { client, clientele }, wish)
        }

        fn hear(&mut self, from: u16, frame: Bytes) -> Vec<Wish> {
            let mut believed = Vec::new();
            let moved = self.client.hear(NodeId(from), frame, &mut self.clientele, &mut believed);
            let mut wishes = Vec::from_iter(moved);
            for answer in believed.iter().flat_map(|frame| answers(frame)) {
                wishes.extend(self.client.on_answer(Time(2), &answer.unwrap(), &mut self.clientele));
            }
            wishes
        }
    }

    fn opened(client: &Client, status: u8) -> Bytes {
        let mut answer = AnswerBuilder::new();
        answer.begin_written(client.session, Sequence::ZERO, Index(1));
        answer.push_outcome(Outcome::of(status));
        answer.finish()
    }

    fn names(leader: u16) -> Bytes {
        let mut answer = AnswerBuilder::new();
        answer.moved(Some(NodeId(leader)));
        answer.finish()
    }

    fn receivers(wishes: &[Wish]) -> Vec<String> {
        wishes
            .iter()
            .map(|wish| match wish {
                Wish::Ask { to, .. } => format!("{to:?}"),
                Wish::Think => "answered".to_owned(),
            })
            .collect()
    }

    #[test]
    fn two_replicas_that_say_the_same_are_believed_and_one_is_not() {
        let (mut scene, _) = Scene::open();
        assert_eq!(scene.client.session.owner(), 3);
        let (lie, truth) = (opened(&scene.client, Outcome::EXPIRED), opened(&scene.client, Outcome::OPENED));
        assert!(scene.hear(0, lie.clone()).is_empty());
        assert!(scene.hear(1, truth.clone()).is_empty());
        assert!(scene.hear(0, lie).is_empty());
        assert!(scene.hear(9, truth.clone()).is_empty());
        assert!(scene.hear(0, Bytes::from_static(b"nonsense")).is_empty());
        assert_eq!(receivers(&scene.hear(2, truth)), ["answered"]);
        assert!(scene.client.is_open);
    }

    #[test]
    fn after_waiting_in_vain_everyone_is_asked_until_two_name_the_same_leader() {
        let (mut scene, first) = Scene::open();
        assert_eq!(receivers(&[first]), ["One(NodeId(3))"]);
        assert!(scene.hear(1, names(2)).is_empty());
        let moved = scene.hear(0, names(2));
        assert_eq!(receivers(&moved), ["One(NodeId(2))"], "it asks there at once");
        let Wish::Ask { attempt_number, .. } = moved[0] else { unreachable!() };
        let again = scene.client.on_patience(attempt_number, &mut scene.clientele).unwrap();
        assert_eq!(receivers(&[again]), ["Everyone"]);
        assert!(scene.hear(0, names(2)).is_empty(), "what was said before does not count");
        assert!(scene.hear(3, names(2)).is_empty(), "it was asked with all the others");
        let truth = opened(&scene.client, Outcome::OPENED);
        scene.hear(1, truth.clone());
        scene.hear(2, truth);
        let mut chance = Pcg32::seed_from_u64(7);
        let asks = scene.client.ask(Time(3), &mut scene.clientele, &mut chance);
        assert!(matches!(asks, Wish::Ask { to: Receivers::One(_), .. }));
    }
}
