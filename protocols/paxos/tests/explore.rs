//! Every world of one instance, up to a bound: three acceptors, two of which propose values of their own.
//!
//! A search over real replicas, state by state, each visited once. The network is a set of messages that only grows, and any of them may arrive at any
//! time, again and again: so they are lost, late, repeated and reordered in every possible way. Disks answer at once, but for
//! one whose owner may crash: that one answers when the search says so. In every state: one value is chosen at most (P1), it is one of those that
//! were proposed (P2), and whoever takes a value for decided takes that one (P6, P8).

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{
    Batch, BatchBuilder, Command, Effects, Input, Lsn, NodeId, NodeSet, Protocol, Reply, ReplyBody, Request,
    Seat, Sequence, SessionId, Ticket, Time, Wire, command,
};
use qlab_paxos::single::{Change, Config, FirstBallot, Message, Record, Step, Value};
use qlab_paxos::{Ballot, Paxos};

const REPLICAS: usize = 3;
const KEY: &[u8] = b"key";
const NOW: Time = Time(1 << 40);
/// A search that finds more is not worth its time.
const STATES_MAX: usize = 1_000_000;

/// What may happen in a search.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    first_ballot: FirstBallot,
    /// Whose clients ask: the first two replicas' put, the third one's reads.
    asked: &'static [usize],
    /// How often somebody tries again after it was rejected.
    retries: u32,
    /// Who has a slow disk.
    slow: Option<usize>,
    /// Who may once lose everything that is not on its disk.
    crashes: Option<usize>,
}

/// A replica and what its disk holds.
#[derive(Clone)]
struct Node {
    core: Paxos,
    journal: Vec<(Lsn, Record)>,
    durable: Lsn,
    /// What it would say once its disk has answered.
    gated: Vec<(Lsn, u32)>,
    /// Stands for all of it.
    hash: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Envelope {
    to: u16,
    from: u16,
    bytes: Vec<u8>,
}

#[derive(Clone)]
struct World {
    nodes: [Arc<Node>; REPLICAS],
    /// Messages ever sent, by number in the search's table, in order.
    sent: Vec<u32>,
    retries: u32,
    has_crashed: bool,
    /// Who was told what, in order.
    replies: Vec<(u64, u8)>,
}

/// What all states of one search share.
struct Search {
    bounds: Bounds,
    envelopes: Vec<(Envelope, Message)>,
    numbers: BTreeMap<Envelope, u32>,
    seen: HashSet<u64>,
    /// States whose successors are not visited yet: the newest first, so that they are few.
    frontier: Vec<World>,
    decisions: HashSet<u64>,
}

impl Search {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            envelopes: Vec::new(),
            numbers: BTreeMap::new(),
            seen: HashSet::new(),
            frontier: Vec::new(),
            decisions: HashSet::new(),
        }
    }

    /// Visits every state; how many there are.
    fn run(&mut self) -> usize {
        let start = self.start();
        self.add(start);
        while let Some(world) = self.frontier.pop() {
            self.expand(&world);
        }
        self.seen.len()
    }

    fn start(&mut self) -> World {
        let nodes = std::array::from_fn(|node| Arc::new(Node::start(node, &self.config(), Vec::new())));
        let mut world =
            World { nodes, sent: Vec::new(), retries: 0, has_crashed: false, replies: Vec::new() };
        for &node in self.bounds.asked {
            let command = match node {
                0 => Command::Put { key: KEY, value: b"zero" },
                1 => Command::Put { key: KEY, value: b"one" },
                _ => Command::Get { key: KEY },
            };
            self.give(&mut world, node, request(node as u64, command));
        }
        world
    }

    fn config(&self) -> Config {
        Config {
            first_ballot: self.bounds.first_ballot,
            // Nobody rewrites, nobody is told without asking: the search has no time for either.
            tell_interval: Duration::from_secs(60),
            ..Config::default()
        }
    }

    fn expand(&mut self, world: &World) {
        for number in world.sent.clone() {
            let (envelope, message) = self.envelopes[number as usize].clone();
            let mut next = world.clone();
            let input = Input::Message { from: NodeId(envelope.from), message };
            self.give(&mut next, usize::from(envelope.to), input);
            self.add(next);
        }
        for node in 0..REPLICAS {
            if world.retries < self.bounds.retries && world.nodes[node].core.is_backing_off() {
                let mut next = World { retries: world.retries + 1, ..world.clone() };
                self.give_at(&mut next, node, NOW + Duration::from_secs(1), Input::Timeout);
                self.add(next);
            }
            if self.bounds.slow == Some(node) && world.nodes[node].last() > world.nodes[node].durable {
                let mut next = world.clone();
                self.sync(&mut next, node);
                self.add(next);
            }
            if self.bounds.crashes == Some(node) && !world.has_crashed {
                let mut next = World { has_crashed: true, ..world.clone() };
                next.nodes[node] = Arc::new(world.nodes[node].crash(node, &self.config()));
                self.add(next);
            }
        }
    }

    /// A state that may be new.
    fn add(&mut self, world: World) {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        if self.seen.insert(hasher.finish()) {
            assert!(self.seen.len() < STATES_MAX, "{:?} is too large a world", self.bounds);
            self.check(&world);
            self.frontier.push(world);
        }
    }

    fn give(&mut self, world: &mut World, node: usize, input: Input<Message>) {
        self.give_at(world, node, NOW, input);
    }

    fn give_at(&mut self, world: &mut World, node: usize, now: Time, input: Input<Message>) {
        self.burst(world, node, now, input);
        if self.bounds.slow != Some(node) {
            while world.nodes[node].last() > world.nodes[node].durable {
                self.sync(world, node);
            }
        }
    }

    /// The disk holds everything that was written so far.
    fn sync(&mut self, world: &mut World, node: usize) {
        let replica = Arc::make_mut(&mut world.nodes[node]);
        replica.durable = replica.last();
        let durable = replica.durable;
        let released: Vec<_> = replica.gated.extract_if(.., |(after, _)| *after <= durable).collect();
        released.into_iter().for_each(|(_, number)| world.send(number));
        self.burst(world, node, NOW, Input::Durable(durable));
    }

    fn burst(&mut self, world: &mut World, node: usize, now: Time, input: Input<Message>) {
        let replica = Arc::make_mut(&mut world.nodes[node]);
        let mut effects = Effects::new(replica.last());
        replica.core.step(now, input, &mut effects);
        replica.core.flush(now, &mut effects);
        replica.core.check();
        replica.journal.extend(effects.records().map(|(lsn, record)| (lsn, record.clone())));
        let mut released = Vec::new();
        for outgoing in effects.take_sends() {
            let number = self.number(outgoing.to, NodeId(node as u16), outgoing.message);
            if outgoing.after <= replica.durable {
                released.push(number);
            } else if replica.gated.iter().all(|(_, waits)| *waits != number) {
                // Once is enough: what was ever said may arrive again and again.
                replica.gated.push((outgoing.after, number));
            }
        }
        replica.hash = replica.hashed();
        released.into_iter().for_each(|number| world.send(number));
        effects.take_replies().for_each(|reply| world.note(&reply));
    }

    /// The number of a message: the same for the same one.
    fn number(&mut self, to: NodeId, from: NodeId, message: Message) -> u32 {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let envelope = Envelope { to: to.0, from: from.0, bytes };
        let next = self.envelopes.len() as u32;
        let number = *self.numbers.entry(envelope.clone()).or_insert(next);
        if number == next {
            self.envelopes.push((envelope, message));
        }
        number
    }

    fn check(&mut self, world: &World) {
        let chosen = world.chosen();
        assert!(chosen.len() <= 1, "P1: two values are chosen: {chosen:?}");
        for value in &chosen {
            let proposed = [(0, &b"zero"[..]), (1, &b"one"[..])];
            assert!(proposed.contains(&(value.session.0, &value.bytes)), "P2: nobody proposed {value:?}");
        }
        for node in &world.nodes {
            for (_, decided) in node.core.decided() {
                assert!(chosen.contains(decided), "P6: {decided:?} is taken for decided; chosen: {chosen:?}");
                self.decisions.insert(decided.session.0);
            }
        }
        let stored = world.replies.iter().filter(|(_, status)| *status == command::STORED);
        let winners: HashSet<u64> = stored.map(|(session, _)| *session).collect();
        assert!(winners.len() <= 1, "two puts were told that they are stored");
    }
}

impl World {
    /// Everything that decides what may happen next.
    fn hash(&self, hasher: &mut impl Hasher) {
        self.nodes.iter().for_each(|node| node.hash.hash(hasher));
        (&self.sent, self.retries, self.has_crashed, &self.replies).hash(hasher);
    }

    fn send(&mut self, number: u32) {
        if let Err(place) = self.sent.binary_search(&number) {
            self.sent.insert(place, number);
        }
    }

    fn note(&mut self, reply: &Reply) {
        let status = match &reply.body {
            ReplyBody::Written(outcome) => outcome.status,
            ReplyBody::Found { status, .. } => *status,
        };
        let told = (reply.session.0, status);
        if let Err(place) = self.replies.binary_search(&told) {
            self.replies.insert(place, told);
        }
    }

    /// What is chosen: accepted by a quorum's disks in one ballot, at any time.
    fn chosen(&self) -> HashSet<Value> {
        let mut accepted: BTreeMap<Ballot, (NodeSet, HashSet<Value>)> = BTreeMap::new();
        for (number, node) in (0..).zip(&self.nodes) {
            for (_, record) in node.journal.iter().filter(|(lsn, _)| *lsn <= node.durable) {
                let Record::Changes { changes } = record else { continue };
                for (_, change) in changes {
                    if let Change::Accept { ballot, value } = change {
                        let (nodes, values) = accepted.entry(*ballot).or_default();
                        nodes.insert(NodeId(number));
                        values.insert(value.clone());
                    }
                }
            }
        }
        assert!(accepted.values().all(|(_, values)| values.len() == 1), "P4: two values in one ballot");
        let quorums = accepted.into_values().filter(|(nodes, _)| nodes.len() > REPLICAS / 2);
        quorums.flat_map(|(_, values)| values).collect()
    }
}

impl Node {
    fn start(node: usize, config: &Config, journal: Vec<(Lsn, Record)>) -> Self {
        let durable = journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
        let seat = Seat { me: NodeId(node as u16), members: NodeSet::first(REPLICAS), seed: 7 };
        let mut effects = Effects::new(durable);
        let core = Paxos::recover(seat, config, NOW, journal.clone().into_iter(), &mut effects);
        let mut node = Self { core, journal, durable, gated: Vec::new(), hash: 0 };
        node.hash = node.hashed();
        node
    }

    fn last(&self) -> Lsn {
        self.journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn)
    }

    fn hashed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.core.hash_state(&mut hasher);
        for (after, number) in &self.gated {
            (after.0 - self.durable.0, number).hash(&mut hasher);
        }
        // What a crash would leave, and what is on its way to the disk; not how many records that took.
        let durable = self.journal.iter().take_while(|(lsn, _)| *lsn <= self.durable);
        let mut left = BTreeMap::new();
        durable.for_each(|(_, record)| keep(record, &mut left));
        left.hash(&mut hasher);
        let lag = self.journal.iter().skip_while(|(lsn, _)| *lsn <= self.durable);
        lag.for_each(|(_, record)| encoded(record).hash(&mut hasher));
        hasher.finish()
    }

    /// The replica after it ended at once and was started again.
    fn crash(&self, node: usize, config: &Config) -> Self {
        let durable = self.journal.iter().filter(|(lsn, _)| *lsn <= self.durable).cloned();
        Self::start(node, config, durable.collect())
    }
}

/// What a disk holds, as far as it counts: the life, the promise, and what is accepted.
fn keep(record: &Record, held: &mut BTreeMap<&'static str, Vec<u8>>) {
    match record {
        Record::Life { .. } => _ = held.insert("life", encoded(record)),
        Record::Changes { changes } => {
            for (_, change) in changes {
                let (kind, ballot) = match change {
                    Change::Promise { ballot } => ("promise", ballot),
                    Change::Accept { ballot, .. } => {
                        held.insert("accept", encoded(change));
                        ("promise", ballot)
                    }
                };
                held.insert(kind, encoded(ballot));
            }
        }
        Record::Images { .. } => panic!("nobody rewrites anything so soon"),
    }
}

fn encoded(value: &impl Wire) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

fn request(session: u64, command: Command<'_>) -> Input<Message> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    let mut builder = BatchBuilder::new();
    builder.begin(SessionId(session), Sequence(1), Sequence(1));
    builder.push_bytes(&bytes);
    let batch: Batch = builder.finish();
    let request = match command {
        Command::Get { .. } => Request::Read(batch),
        _ => Request::Write(batch),
    };
    Input::Request { ticket: Ticket(session), request, proof: Bytes::new() }
}

#[expect(clippy::print_stdout, reason = "how many states there are is what the search is for")]
fn explore(what: &str, bounds: Bounds) -> Search {
    let mut search = Search::new(bounds);
    let states = search.run();
    println!("{what}: {states} states, {} messages", search.envelopes.len());
    for proposer in bounds.asked.iter().filter(|node| **node < 2) {
        assert!(search.decisions.contains(&(*proposer as u64)), "each proposer may win");
    }
    search
}

const PLAIN: Bounds =
    Bounds { first_ballot: FirstBallot::Prepare, asked: &[0, 1], retries: 0, slow: None, crashes: None };

#[test]
fn two_proposers_and_three_acceptors_agree_in_every_order_of_messages() {
    let search = explore("two proposers", PLAIN);
    let steps = search.envelopes.iter().flat_map(|(_, message)| &message.steps);
    assert!(steps.clone().any(|(_, step)| matches!(step, Step::Rejected { .. })), "they meet");
    assert!(steps.clone().any(|(_, step)| matches!(step, Step::Decided { .. })), "who asks late is told");
}

#[test]
fn they_agree_when_one_of_them_skips_phase_1() {
    explore("first ballot promised", Bounds { first_ballot: FirstBallot::Promised, ..PLAIN });
}

#[test]
fn a_reader_and_a_proposer_agree() {
    explore("a reader", Bounds { asked: &[0, 2], ..PLAIN });
}

#[test]
fn they_agree_when_an_acceptor_crashes() {
    explore("an acceptor crashes", Bounds { crashes: Some(2), ..PLAIN });
}

#[test]
fn they_agree_when_an_acceptor_has_a_slow_disk() {
    explore("an acceptor has a slow disk", Bounds { slow: Some(2), ..PLAIN });
}

#[test]
fn a_proposer_with_a_slow_disk_crashes_while_somebody_reads() {
    explore("a proposer crashes", Bounds { asked: &[0, 2], slow: Some(0), crashes: Some(0), ..PLAIN });
}
