//! Every world of one instance, up to a bound: three acceptors, two of which propose values of their own.
//!
//! A breadth-first search over real replicas. The network is a set of messages that only grows, and any of them may arrive at any
//! time, again and again: so they are lost, late, repeated and reordered in every possible way. Disks answer at once or, where a
//! crash may come between, only when the search says so. In every state: one value is chosen at most (P1), it is one of those that
//! were proposed (P2), and whoever takes a value for decided takes that one (P6, P8).

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{
    Batch, BatchBuilder, Command, Effects, Input, Lsn, NodeId, NodeSet, Protocol, ReplyBody, Request, Seat,
    Sequence, SessionId, Ticket, Time, command,
};
use qlab_paxos::single::{Change, Config, FirstBallot, Message, Record, Step, Value};
use qlab_paxos::{Ballot, Paxos};

const REPLICAS: usize = 3;
const KEY: &[u8] = b"key";
const NOW: Time = Time(1 << 40);

/// What may happen in a search.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    first_ballot: FirstBallot,
    /// How often each proposer tries again after it was rejected.
    retries: u32,
    /// How often a replica may lose everything but its durable records.
    crashes: u32,
    /// Whether a third client reads, through the replica that proposes nothing.
    reads: bool,
}

/// A replica and what its disk holds.
#[derive(Clone)]
struct Node {
    core: Paxos,
    journal: Vec<(Lsn, Record)>,
    durable: Lsn,
    /// What it would say once its disk has answered.
    gated: Vec<(Lsn, Envelope)>,
    retries: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Envelope {
    to: u16,
    from: u16,
    /// Steps have no order of their own; their encoding has.
    bytes: Vec<u8>,
}

#[derive(Clone)]
struct World {
    nodes: Vec<Node>,
    /// Messages ever sent, by number in the search's table.
    sent: Vec<u32>,
    crashes: u32,
    replies: Vec<(u64, u8)>,
}

/// What all states of one search share.
struct Search {
    bounds: Bounds,
    envelopes: Vec<(Envelope, Message)>,
    numbers: BTreeMap<Envelope, u32>,
    seen: HashSet<u64>,
    frontier: VecDeque<World>,
    decisions: HashSet<u64>,
}

impl Search {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            envelopes: Vec::new(),
            numbers: BTreeMap::new(),
            seen: HashSet::new(),
            frontier: VecDeque::new(),
            decisions: HashSet::new(),
        }
    }

    /// Visits every state; how many there are.
    fn run(&mut self) -> usize {
        let start = self.start();
        self.add(start);
        while let Some(world) = self.frontier.pop_front() {
            self.expand(&world);
        }
        self.seen.len()
    }

    fn start(&mut self) -> World {
        let nodes = (0..REPLICAS).map(|node| Node::start(node, &self.config(), Vec::new())).collect();
        let mut world = World { nodes, sent: Vec::new(), crashes: 0, replies: Vec::new() };
        self.give(&mut world, 0, request(1, Command::Put { key: KEY, value: b"zero" }));
        self.give(&mut world, 1, request(2, Command::Put { key: KEY, value: b"one" }));
        if self.bounds.reads {
            self.give(&mut world, 2, request(3, Command::Get { key: KEY }));
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
            if world.nodes[node].retries < self.bounds.retries && world.nodes[node].core.is_backing_off() {
                let mut next = world.clone();
                next.nodes[node].retries += 1;
                self.give_at(&mut next, node, NOW + Duration::from_secs(1), Input::Timeout);
                self.add(next);
            }
            if self.bounds.crashes > 0 && world.nodes[node].last() > world.nodes[node].durable {
                let mut next = world.clone();
                self.sync(&mut next, node);
                self.add(next);
            }
            if world.crashes < self.bounds.crashes {
                let mut next = world.clone();
                next.crashes += 1;
                next.nodes[node].crash(node, &self.config());
                self.add(next);
            }
        }
    }

    /// A state that may be new.
    fn add(&mut self, world: World) {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher, &self.envelopes);
        if self.seen.insert(hasher.finish()) {
            self.check(&world);
            self.frontier.push_back(world);
        }
    }

    fn give(&mut self, world: &mut World, node: usize, input: Input<Message>) {
        self.give_at(world, node, NOW, input);
    }

    fn give_at(&mut self, world: &mut World, node: usize, now: Time, input: Input<Message>) {
        self.burst(world, node, now, input);
        if self.bounds.crashes == 0 {
            while world.nodes[node].last() > world.nodes[node].durable {
                self.sync(world, node);
            }
        }
    }

    /// The disk holds everything that was written so far.
    fn sync(&mut self, world: &mut World, node: usize) {
        let replica = &mut world.nodes[node];
        replica.durable = replica.last();
        let durable = replica.durable;
        let (released, gated): (Vec<_>, Vec<_>) =
            std::mem::take(&mut replica.gated).into_iter().partition(|(after, _)| *after <= durable);
        replica.gated = gated;
        for (_, envelope) in released {
            self.send(world, envelope);
        }
        self.burst(world, node, NOW, Input::Durable(durable));
    }

    fn burst(&mut self, world: &mut World, node: usize, now: Time, input: Input<Message>) {
        let replica = &mut world.nodes[node];
        let mut effects = Effects::new(replica.last());
        replica.core.step(now, input, &mut effects);
        replica.core.flush(now, &mut effects);
        replica.core.check();
        replica.journal.extend(effects.records().map(|(lsn, record)| (lsn, record.clone())));
        let durable = replica.durable;
        for outgoing in effects.take_sends().collect::<Vec<_>>() {
            let envelope = Envelope::new(outgoing.to, NodeId(node as u16), &outgoing.message);
            if outgoing.after <= durable {
                self.send(world, envelope);
            } else {
                world.nodes[node].gated.push((outgoing.after, envelope));
            }
        }
        for reply in effects.take_replies() {
            let status = match reply.body {
                ReplyBody::Written(outcome) => outcome.status,
                ReplyBody::Found { status, .. } => status,
            };
            world.replies.push((reply.session.0, status));
        }
    }

    fn send(&mut self, world: &mut World, envelope: Envelope) {
        let next = self.envelopes.len() as u32;
        let number = *self.numbers.entry(envelope.clone()).or_insert(next);
        if number == next {
            let message =
                qlab_kernel::Wire::decode_all(envelope.bytes.clone().into()).expect("what was encoded");
            self.envelopes.push((envelope, message));
        }
        if !world.sent.contains(&number) {
            world.sent.push(number);
        }
    }

    fn check(&mut self, world: &World) {
        let chosen = world.chosen();
        assert!(chosen.len() <= 1, "P1: two values are chosen: {chosen:?}");
        for value in &chosen {
            let proposed = [(1, &b"zero"[..]), (2, &b"one"[..])];
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
    fn hash(&self, hasher: &mut impl Hasher, envelopes: &[(Envelope, Message)]) {
        for node in &self.nodes {
            node.core.hash_state(hasher);
            (node.durable, node.last(), &node.gated, node.retries).hash(hasher);
        }
        let mut sent: Vec<&Envelope> =
            self.sent.iter().map(|number| &envelopes[*number as usize].0).collect();
        sent.sort_unstable();
        let mut replies = self.replies.clone();
        replies.sort_unstable();
        replies.dedup();
        (sent, self.crashes, replies).hash(hasher);
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
        let quorums = accepted.into_values().filter(|(nodes, _)| nodes.len() >= REPLICAS / 2 + 1);
        quorums.flat_map(|(_, values)| values).collect()
    }
}

impl Node {
    fn start(node: usize, config: &Config, journal: Vec<(Lsn, Record)>) -> Self {
        let durable = journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
        let seat = Seat { me: NodeId(node as u16), members: NodeSet::first(REPLICAS), seed: 7 };
        let mut effects = Effects::new(durable);
        let core = Paxos::recover(seat, config, NOW, journal.clone().into_iter(), &mut effects);
        Self { core, journal, durable, gated: Vec::new(), retries: 0 }
    }

    fn last(&self) -> Lsn {
        self.journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn)
    }

    fn crash(&mut self, node: usize, config: &Config) {
        let durable = self.durable;
        self.journal.retain(|(lsn, _)| *lsn <= durable);
        let journal = std::mem::take(&mut self.journal);
        *self = Self { retries: self.retries, ..Self::start(node, config, journal) };
    }
}

impl Envelope {
    fn new(to: NodeId, from: NodeId, message: &Message) -> Self {
        let mut bytes = Vec::new();
        qlab_kernel::Wire::encode(message, &mut bytes);
        Self { to: to.0, from: from.0, bytes }
    }
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
    assert!(search.decisions.contains(&1) && search.decisions.contains(&2), "either value may win");
    search
}

const PLAIN: Bounds = Bounds { first_ballot: FirstBallot::Prepare, retries: 0, crashes: 0, reads: false };

#[test]
fn two_proposers_and_three_acceptors_agree_in_every_order_of_messages() {
    let search = explore("two proposers", PLAIN);
    let accepts = search.envelopes.iter().flat_map(|(_, message)| &message.steps);
    assert!(
        accepts.clone().any(|(_, step)| matches!(step, Step::Rejected { .. })),
        "they are in each other's way"
    );
    assert!(accepts.clone().any(|(_, step)| matches!(step, Step::Decided { .. })), "who asks late is told");
}
