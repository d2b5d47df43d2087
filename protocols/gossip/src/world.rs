//! A world of nodes without sockets, of any size: messages take their time, some are lost, some come twice; nodes stop and start
//! again. Everything in it follows from its seed.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};
use std::time::Duration;

use qlab_kernel::{NodeId, Time};
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::message::encoded_bytes;
use crate::node::Outbox;
use crate::{Config, Life, Message, Node, Roster};

/// What the network does to messages.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// How many in a hundred are lost.
    pub loss_percent: u32,
    /// How many in a hundred come twice.
    pub duplicate_percent: u32,
    /// Shortest and longest flight.
    pub flight: (Duration, Duration),
}

impl Network {
    /// Nothing is lost, and every flight takes a millisecond.
    pub const CALM: Self = Self {
        loss_percent: 0,
        duplicate_percent: 0,
        flight: (Duration::from_millis(1), Duration::from_millis(1)),
    };

    /// Much is lost, repeated and overtaken.
    pub const ROUGH: Self = Self {
        loss_percent: 25,
        duplicate_percent: 25,
        flight: (Duration::from_millis(1), Duration::from_millis(300)),
    };
}

/// Nodes, the network between them, and virtual time.
#[derive(Debug)]
pub struct World {
    config: Config,
    /// What happens to messages from now on.
    pub network: Network,
    /// Check every node's invariants, and S1 across nodes, after each step.
    pub watched: bool,
    now: Time,
    /// `None`: stopped.
    nodes: Vec<Option<Node>>,
    bytes: u64,
    messages: u64,
    lives: Vec<Life>,
    /// Nodes that cannot hear or be heard by others outside.
    island: HashSet<usize>,
    agenda: BinaryHeap<Due>,
    wakes: Vec<Time>,
    sequence: u64,
    roster: Roster,
    chance: Pcg32,
    outbox: Outbox,
}

#[derive(Debug)]
struct Due {
    at: Time,
    sequence: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Wake(usize),
    Arrive { from: usize, to: usize, message: Message },
}

const NEVER: Time = Time(u64::MAX);

impl World {
    /// Nodes that all begin their rounds at the same time, as the analyses have it, or each at its own. Panics if the
    /// configuration is not [valid](Config::validate) or there are more than 65,536 nodes.
    #[must_use]
    pub fn new(nodes: usize, config: Config, network: Network, seed: u64, in_step: bool) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        let seats = u32::try_from(nodes).ok().filter(|nodes| *nodes <= 1 << 16).expect("seats are 16 bits");
        let mut world = Self {
            config,
            network,
            now: Time(0),
            nodes: (0..nodes).map(|_| None).collect(),
            watched: false,
            bytes: 0,
            messages: 0,
            lives: vec![Life(0); nodes],
            island: HashSet::new(),
            agenda: BinaryHeap::new(),
            wakes: vec![NEVER; nodes],
            sequence: 0,
            roster: Roster::new((0..seats).map(|node| NodeId(node as u16))),
            chance: Pcg32::new(seed, 7),
            outbox: Vec::new(),
        };
        for node in 0..nodes {
            world.start(node, in_step);
        }
        world
    }

    /// A node begins its next life, with nothing but its number.
    pub fn start(&mut self, node: usize, in_step: bool) {
        self.lives[node] = self.lives[node].next();
        let interval_ns = self.config.round_interval.as_nanos() as u64;
        let wait = if in_step {
            self.config.round_interval
        } else {
            Duration::from_nanos(self.chance.random_range(0..interval_ns))
        };
        let seed = self.chance.random();
        let me = NodeId(node as u16);
        let started =
            Node::new(me, self.lives[node], self.roster.clone(), &self.config, seed, self.now + wait);
        self.nodes[node] = Some(started);
        self.schedule(node);
    }

    /// A node ends, and everything that it knew with it.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node] = None;
        self.wakes[node] = NEVER;
    }

    /// A stopped node forgets which lives it has had.
    pub fn lose_disk(&mut self, node: usize) {
        self.lives[node] = Life(0);
    }

    /// Cuts these nodes off from all others; an empty island heals the network.
    pub fn cut_off(&mut self, island: impl IntoIterator<Item = usize>) {
        self.island = island.into_iter().collect();
    }

    /// The world's time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Messages that were sent, and their bytes.
    #[must_use]
    pub const fn sent(&self) -> (u64, u64) {
        (self.messages, self.bytes)
    }

    /// Whether a node runs.
    #[must_use]
    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node].is_some()
    }

    /// A node. Panics if it does not run.
    pub fn node(&mut self, node: usize) -> &mut Node {
        self.nodes[node].as_mut().expect("it runs")
    }

    /// The nodes that run.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// Everything that happens for a while.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.agenda.peek().is_some_and(|due| due.at <= until) {
            let due = self.agenda.pop().expect("it was there");
            self.now = due.at;
            self.happen(due.what);
        }
        self.now = until;
    }

    fn happen(&mut self, what: What) {
        let now = self.now;
        let mut outbox = std::mem::take(&mut self.outbox);
        let at = match what {
            What::Wake(node) => {
                if self.wakes[node] != now {
                    return self.outbox = outbox;
                }
                self.wakes[node] = NEVER;
                let running = self.nodes[node].as_mut().expect("stopped nodes are not woken");
                if running.deadline() <= now {
                    running.tick(now, &mut outbox);
                }
                node
            }
            What::Arrive { from, to, message } => {
                if let Some(running) = self.nodes[to].as_mut() {
                    assert!(
                        running.receive(now, NodeId(from as u16), message, &mut outbox),
                        "{from} broke the rules"
                    );
                }
                to
            }
        };
        for (to, message) in outbox.drain(..) {
            self.send(at, usize::from(to.0), message);
        }
        self.outbox = outbox;
        self.schedule(at);
        if self.watched {
            self.check(at);
        }
    }

    fn schedule(&mut self, node: usize) {
        let Some(running) = &self.nodes[node] else { return };
        let deadline = running.deadline().max(self.now);
        if deadline < self.wakes[node] {
            self.wakes[node] = deadline;
            self.put(deadline, What::Wake(node));
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let bytes = encoded_bytes(&message);
        assert!(bytes <= self.config.message_bytes_max, "S4: a message of {bytes} bytes");
        self.bytes += bytes as u64;
        self.messages += 1;
        if self.island.contains(&from) != self.island.contains(&to) {
            return;
        }
        if self.happens(self.network.duplicate_percent) {
            self.fly(from, to, message.clone());
        }
        if !self.happens(self.network.loss_percent) {
            self.fly(from, to, message);
        }
    }

    fn happens(&mut self, percent: u32) -> bool {
        percent > 0 && self.chance.random_range(0..100) < percent
    }

    fn fly(&mut self, from: usize, to: usize, message: Message) {
        let (min, max) = self.network.flight;
        let extra_ns =
            if min == max { 0 } else { self.chance.random_range(0..(max - min).as_nanos() as u64) };
        self.put(self.now + min + Duration::from_nanos(extra_ns), What::Arrive { from, to, message });
    }

    fn put(&mut self, at: Time, what: What) {
        self.sequence += 1;
        self.agenda.push(Due { at, sequence: self.sequence, what });
    }

    fn check(&self, at: usize) {
        let Some(node) = &self.nodes[at] else { return };
        node.check();
        for (other, life) in self.lives.iter().enumerate() {
            let belief = node.membership().belief(NodeId(other as u16));
            let own = self.nodes[other].as_ref().map(|owner| owner.membership().incarnation());
            let raised = own.map_or(belief.incarnation.life > *life, |own| belief.incarnation > own);
            assert!(!raised, "S1: {at} believes {belief:?} of {other}, which is in {own:?}");
        }
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    /// The heap's largest is the next to happen.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}
