//! Four replicas in one thread: messages that can be lost, disks that can lose what is not durable, clocks that stand still.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{
    Batch, BatchBuilder, Chain, Commit, Effects, Event, Index, Input, Lsn, NodeId, NodeSet, Outgoing,
    Protocol, Refused, Request, Seat, Sequence, SessionId, Ticket, Time, Wire,
};
use qlab_pbft::keys::Digest;
use qlab_pbft::message::PrePrepare;
use qlab_pbft::{Authentication, Config, Keyring, Message, Pbft, Prover, Record};

pub(crate) const REPLICAS: usize = 4;
pub(crate) const CLIENTS: usize = 4;

/// What a traitor sends in the place of what it should: to whom, and what that was.
pub(crate) type Twist = Box<dyn FnMut(NodeId, Message) -> Vec<Message>>;

/// Whether a message arrives.
pub(crate) type Network = Box<dyn FnMut(NodeId, NodeId, &Message) -> bool>;

pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) network: Network,
    pub(crate) twist: Twist,
    /// Replicas whose word the laws do not hold for.
    pub(crate) liars: Vec<NodeId>,
    /// What was executed at each index, by whomever first.
    chains: BTreeMap<Index, [u8; 32]>,
    /// What each correct replica said: kind, view and sequence number.
    said: BTreeMap<(NodeId, u8, u64, u64), Digest>,
    next_sequence: u64,
}

pub(crate) struct Node {
    pub(crate) me: NodeId,
    /// None while it is down.
    pub(crate) core: Option<Pbft>,
    effects: Effects<Pbft>,
    pub(crate) journal: Vec<(Lsn, Record)>,
    unwritten: Vec<(Lsn, Record)>,
    inbox: VecDeque<Input<Message>>,
    gated: VecDeque<Outgoing<Message>>,
    chain: Chain,
    pub(crate) applied: Vec<(Index, Batch)>,
    pub(crate) queried: Vec<Batch>,
    pub(crate) events: Vec<Event>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) sent: u64,
}

pub(crate) fn config() -> Config {
    Config::new(Keyring::simulated(REPLICAS, CLIENTS, 7))
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        config.validate(REPLICAS).unwrap();
        let mut world = Self {
            nodes: Vec::new(),
            config,
            now: Time(1_000_000_000),
            network: Box::new(|_, _, _| true),
            twist: Box::new(|_, message| vec![message]),
            liars: Vec::new(),
            chains: BTreeMap::new(),
            said: BTreeMap::new(),
            next_sequence: 1,
        };
        world.nodes = (0..REPLICAS).map(|place| Node::new(NodeId(place as u16))).collect();
        (0..REPLICAS).for_each(|place| world.start(place));
        world.settle();
        world
    }

    /// Starts a replica from what is durable.
    pub(crate) fn start(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let last = node.journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
        let seat = Seat { me: node.me, members: NodeSet::first(REPLICAS), seed: 1 };
        node.effects = Effects::new(last);
        node.chain = Chain::default();
        let records = node.journal.clone().into_iter();
        node.core = Some(Pbft::recover(seat, &self.config, self.now, records, &mut node.effects));
        assert_eq!(node.effects.records().len(), 0, "recovery writes nothing");
        assert_eq!(node.effects.take_sends().len(), 0, "recovery sends nothing");
        self.execute(place);
        self.nodes[place].effects.clear();
        self.nodes[place].inbox.push_back(Input::Timeout);
    }

    /// Stops a replica; what is not durable is lost.
    pub(crate) fn crash(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        node.core = None;
        node.unwritten.clear();
        node.inbox.clear();
        node.gated.clear();
    }

    pub(crate) fn restart(&mut self, place: usize) {
        self.crash(place);
        self.start(place);
    }

    pub(crate) fn core(&self, place: usize) -> &Pbft {
        self.nodes[place].core.as_ref().expect("it is up")
    }

    pub(crate) fn give(&mut self, place: usize, input: Input<Message>) {
        self.nodes[place].inbox.push_back(input);
    }

    pub(crate) fn hear(&mut self, place: usize, from: u16, message: Message) {
        self.give(place, Input::Message { from: NodeId(from), message });
    }

    pub(crate) fn prover(&self, client: u16) -> Prover {
        self.config.keys.prover(client, self.config.authentication)
    }

    /// A new write of a client, with its proof.
    pub(crate) fn write(&mut self, client: u16) -> (Request, Bytes) {
        self.next_sequence += 1;
        let request = Request::Write(batch(client, self.next_sequence, b"x"));
        let proof = self.prover(client).prove(&request);
        (request, proof)
    }

    /// A client asks one replica.
    pub(crate) fn ask(&mut self, place: usize, (request, proof): (Request, Bytes)) {
        self.give(place, Input::Request { ticket: Ticket(9), request, proof });
    }

    /// A client asks everybody.
    pub(crate) fn ask_all(&mut self, (request, proof): (Request, Bytes)) {
        for place in 0..self.nodes.len() {
            self.ask(place, (request.clone(), proof.clone()));
        }
    }

    /// Lets everything happen that happens without waiting.
    pub(crate) fn settle(&mut self) {
        assert!(self.rounds(100_000), "it never settles");
    }

    /// Lets everybody who has something to do take so many turns; whether all is done then.
    pub(crate) fn rounds(&mut self, rounds: usize) -> bool {
        for _ in 0..rounds {
            let busy: Vec<usize> =
                (0..self.nodes.len()).filter(|place| self.nodes[*place].is_busy()).collect();
            if busy.is_empty() {
                return true;
            }
            busy.into_iter().for_each(|place| self.turn(place));
        }
        false
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        loop {
            let deadlines = self.nodes.iter().filter_map(|node| node.core.as_ref()?.deadline());
            let next = deadlines.min().map_or(end, |deadline| deadline.max(self.now));
            if next >= end {
                break;
            }
            // A clock's tick later, as hosts are.
            self.now = next + Duration::from_micros(1);
            for node in &mut self.nodes {
                if node.core.as_ref().and_then(Pbft::deadline).is_some_and(|deadline| deadline <= self.now) {
                    node.inbox.push_back(Input::Timeout);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    /// Runs until this holds, at most so long.
    pub(crate) fn run_until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !holds(self) {
            assert!(self.now < end, "it did not happen within {limit:?}: {}", self.summary());
            self.run(Duration::from_millis(10));
        }
    }

    /// One line for each replica.
    pub(crate) fn summary(&self) -> String {
        let line = |node: &Node| match &node.core {
            None => format!("\n{}: down", node.me),
            Some(core) => format!(
                "\n{}: view {} active {} stable {} executed {} records {}",
                node.me,
                core.view(),
                core.is_active(),
                core.stable(),
                core.executed(),
                node.journal.len()
            ),
        };
        self.nodes.iter().map(line).collect()
    }

    /// Whether all replicas that are up have executed so many entries with something in them.
    pub(crate) fn executed_by_all(&self, entries: usize) -> bool {
        self.nodes.iter().filter(|node| node.core.is_some()).all(|node| node.writes() >= entries)
    }

    fn turn(&mut self, place: usize) {
        let now = self.now;
        let node = &mut self.nodes[place];
        let Some(core) = node.core.as_mut() else {
            node.inbox.clear();
            return;
        };
        if !node.unwritten.is_empty() {
            node.journal.append(&mut node.unwritten);
            let last = node.journal.last().expect("something was written").0;
            node.inbox.push_back(Input::Durable(last));
        }
        while let Some(input) = node.inbox.pop_front() {
            core.step(now, input, &mut node.effects);
        }
        core.flush(now, &mut node.effects);
        core.check();
        let durable = node.journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
        node.unwritten.extend(node.effects.records().map(|(lsn, record)| (lsn, reread(record))));
        let needed_from = node.effects.needed_from();
        node.journal.retain(|(lsn, _)| *lsn >= needed_from);
        node.gated.extend(node.effects.take_sends());
        node.events.extend(node.effects.take_events());
        node.refused.extend(node.effects.take_refusals());
        self.execute(place);
        self.nodes[place].effects.clear();
        self.deliver(place, durable);
    }

    fn execute(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        for commit in node.effects.take_commits() {
            match commit {
                Commit::Apply { index, batch } => {
                    node.chain.extend(index, &batch);
                    if self.liars.contains(&node.me) {
                        continue;
                    }
                    let first = *self.chains.entry(index).or_insert(node.chain.hash);
                    assert_eq!(
                        first, node.chain.hash,
                        "replica {} executed something else at {index}",
                        node.me
                    );
                    node.applied.push((index, batch));
                }
                Commit::Query { batch, .. } => node.queried.push(batch),
                Commit::Capture => {
                    let image = [&node.chain.index.0.to_le_bytes()[..], &node.chain.hash].concat();
                    node.inbox.push_back(Input::Captured { index: node.chain.index, image: image.into() });
                }
                Commit::Restore { index, image } => {
                    let hash: [u8; 32] = image[8..40].try_into().expect("an image of this world");
                    assert_eq!(self.chains.get(&index), Some(&hash), "an image that nobody executed");
                    node.chain = Chain { index, hash };
                }
            }
        }
    }

    fn deliver(&mut self, place: usize, durable: Lsn) {
        let from = self.nodes[place].me;
        let gated = std::mem::take(&mut self.nodes[place].gated);
        for outgoing in gated {
            if outgoing.after > durable {
                self.nodes[place].gated.push_back(outgoing);
                continue;
            }
            self.nodes[place].sent += 1;
            let Outgoing { to, message, .. } = outgoing;
            if self.liars.contains(&from) {
                let lies = (self.twist)(to, message);
                lies.iter().for_each(|message| self.carry(from, to, message));
            } else {
                self.hold_to_its_word(from, &message);
                self.carry(from, to, &message);
            }
        }
    }

    fn carry(&mut self, from: NodeId, to: NodeId, message: &Message) {
        if (self.network)(from, to, message) {
            let message = reread(message);
            self.nodes[usize::from(to.0)].inbox.push_back(Input::Message { from, message });
        }
    }

    /// No correct replica says two different things of the same kind about the same place, whatever it has forgotten.
    fn hold_to_its_word(&mut self, from: NodeId, message: &Message) {
        let (place, digest) = match message {
            Message::PrePrepare(PrePrepare { view, seq, requests, .. }) => {
                ((0, view.0, seq.0), *requests.digest())
            }
            Message::Prepare { view, seq, digest, .. } => ((1, view.0, seq.0), *digest),
            Message::Commit { view, seq, digest, .. } => ((2, view.0, seq.0), *digest),
            Message::Checkpoint { seq, digest, .. } => ((3, 0, seq.0), *digest),
            Message::ViewChange(vote) if vote.voter == from => ((4, vote.view.0, 0), vote.digest()),
            _ => return,
        };
        let (kind, view, seq) = place;
        let first = *self.said.entry((from, kind, view, seq)).or_insert(digest);
        assert_eq!(first, digest, "{from} contradicts itself: {message:?}");
    }
}

impl Node {
    fn new(me: NodeId) -> Self {
        Self {
            me,
            core: None,
            effects: Effects::new(Lsn::ZERO),
            journal: Vec::new(),
            unwritten: Vec::new(),
            inbox: VecDeque::new(),
            gated: VecDeque::new(),
            chain: Chain::default(),
            applied: Vec::new(),
            queried: Vec::new(),
            events: Vec::new(),
            refused: Vec::new(),
            sent: 0,
        }
    }

    fn is_busy(&self) -> bool {
        !self.inbox.is_empty() || self.core.is_some() && !self.unwritten.is_empty()
    }

    /// Entries executed here that are no null requests.
    pub(crate) fn writes(&self) -> usize {
        self.applied.iter().filter(|(_, batch)| !batch.is_empty()).count()
    }

    /// What was executed, in order, without null requests.
    pub(crate) fn executed(&self) -> Vec<Batch> {
        self.applied.iter().filter(|(_, batch)| !batch.is_empty()).map(|(_, batch)| batch.clone()).collect()
    }
}

pub(crate) fn batch(client: u16, sequence: u64, command: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(SessionId(u64::from(client) << 48 | 1), Sequence(sequence), Sequence(1));
    builder.push_bytes(command);
    builder.finish()
}

/// The same value, from its bytes.
fn reread<T: Wire + Clone + PartialEq + std::fmt::Debug>(value: &T) -> T {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    let again = T::decode_all(bytes.into()).expect("what is written can be read");
    assert_eq!(again, *value, "what is read is what was written");
    again
}

/// With signatures everywhere.
pub(crate) fn signed() -> Config {
    Config { authentication: Authentication::Signatures, ..config() }
}
