//! Gossip: anti-entropy over version digests, SWIM membership, and replicated objects that converge.
//!
//! # What is here
//!
//! Every node writes entries of its own and tells some random peers, round after round, how much it knows of everybody's; they
//! tell each other what the other lacks. Push, pull and push-pull (Demers et al., 1987) over the digests of Scuttlebutt (van
//! Renesse et al., 2008), with deletion. SWIM (Das et al., 2002) finds out who is alive. The payload are conflict-free replicated
//! data types with delta mutators (Shapiro et al., 2011; Almeida et al., 2018). Who may take part is fixed: the transport lets
//! nobody else in. There is no leader, no quorum and no order of writes: a write is taken at once by any node, and read where it
//! has arrived.
//!
//! # Why it is safe
//!
//! 1. A writer is a node in one life, and a life is durable before anyone hears of it: versions and dots are never used twice.
//! 2. A writer's entries are taken in only as a continuation of what is known, so two numbers say what is known of it.
//! 3. Whoever may have missed a forgotten deletion begins the writer anew; so the deleted does not come back. See [`store`].
//! 4. An entry's newer version holds everything that the older did, so skipping the older loses nothing as long as somebody has
//!    the newer; if nobody has, those who hold different entries amend each other. See [`objects`] and [`store`].
//! 5. Joins are commutative, associative and idempotent, so loss, duplication and reordering change when nodes know something,
//!    never what; nodes that know the same entries hold the same objects, to the byte.
//! 6. Beliefs on members are joined, too; an incarnation is raised by its owner alone. See [`membership`].
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | times, bounds, switches |
//! | [`identity`] | lives and writers |
//! | [`roster`] | everybody, and how some of them are chosen |
//! | [`key`], [`store`], [`digest`] | entries, what is known of them, and how little suffices to say it |
//! | [`crdt`], [`objects`] | the data types, and how they become entries |
//! | [`membership`] | SWIM |
//! | [`message`], [`record`] | what is said, what is written |
//! | [`node`] | one node of a cluster of any size |
//! | `news`, `service` | what a node's observers hear, and what clients may ask of it |
//! | [`world`] | many of them in one thread, for tests and simulations |
//! | [`history`] | what may happen to one object, and what its value must be then |
//!
//! # Trade-offs
//!
//! Messages are bounded: a node far behind catches up writer by writer, over rounds. Peers are drawn from everybody, so messages
//! to the dead are wasted, and a healed partition needs nobody's help. Only the life is durable: what a crashed node wrote
//! survives where it had arrived. A node that lost its disk takes up a new life when somebody remembers the old one; what it writes before that may
//! clash with what it wrote then, so give it a new seat instead.

#![forbid(unsafe_code)]

pub mod config;
pub mod crdt;
pub mod digest;
pub mod history;
pub mod identity;
pub mod key;
pub mod membership;
pub mod message;
mod news;
pub mod node;
pub mod objects;
pub mod record;
pub mod roster;
mod service;
pub mod store;
pub mod world;

use std::time::Duration;

use qlab_kernel::{Effects, Event, Input, Lsn, NodeId, Protocol, Refusal, ReplyBody, Request, Seat, Time};
use rand::RngExt;
use rand_pcg::Pcg32;

pub use config::{Config, ConfigError, Exchange};
pub use identity::{Actor, Life};
use membership::Verdicts;
pub use message::Message;
pub use node::{Node, WriteError};
pub use objects::{Object, Operation};
pub use record::Record;
pub use roster::Roster;

/// A node as hosts drive it.
#[derive(Debug)]
pub struct Gossip {
    node: Node,
    outbox: node::Outbox,
    /// The life that was written down last.
    recorded: Option<Life>,
    /// What observers have been told.
    told: news::Told,
    /// Answers to clients.
    replies: Vec<service::Answer>,
}

impl Protocol for Gossip {
    const NAME: &'static str = "gossip";
    type Config = Config;
    type Message = Message;
    type Record = Record;

    /// Panics if the configuration is not [valid](Config::validate).
    fn recover(
        seat: Seat,
        config: &Config,
        now: Time,
        records: impl Iterator<Item = (Lsn, Record)>,
        _: &mut Effects<Self>,
    ) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        let life = records.last().map_or(Life::FIRST, |(_, Record(last))| last.next());
        // Rounds of different nodes had better not fall together.
        let interval_ns = config.round_interval.as_nanos().try_into().unwrap_or(u64::MAX);
        let mut chance = Pcg32::new(seat.seed, u64::from(seat.me.0));
        let wait = Duration::from_nanos(chance.random_range(0..=interval_ns));
        let roster = Roster::new(seat.members.iter());
        let node = Node::new(seat.me, life, roster, config, chance.random(), now + wait);
        Self { node, outbox: Vec::new(), recorded: None, told: news::Told::default(), replies: Vec::new() }
    }

    fn step(&mut self, now: Time, input: Input<Message>, effects: &mut Effects<Self>) {
        match input {
            Input::Message { from, message } => {
                if !self.node.receive(now, from, message, &mut self.outbox) {
                    effects.event(Event::Misbehaved(from));
                }
            }
            Input::Timeout => self.node.tick(now, &mut self.outbox),
            Input::Request { request: Request::Write(batch), .. } => self.take_writes(&batch),
            // What is known here may be known nowhere else, and the other way around: there is nothing to read.
            Input::Request { ticket, request: Request::Read(batch), .. } => {
                effects.refuse(ticket, batch, Refusal::Busy);
            }
            Input::Durable(_) | Input::Captured { .. } | Input::Yield { .. } => {}
        }
    }

    /// Every message and answer waits for the life to be durable, and for nothing else: that is the only record.
    fn flush(&mut self, _: Time, effects: &mut Effects<Self>) {
        let life = self.node.actor().life;
        if self.recorded != Some(life) {
            self.recorded = Some(life);
            let lsn = effects.persist(Record(life));
            effects.release_below(lsn);
        }
        for (to, message) in self.outbox.drain(..) {
            effects.send(to, message);
        }
        for (session, sequence, outcome) in self.replies.drain(..) {
            effects.reply(session, sequence, ReplyBody::Written(outcome));
        }
        self.told.update(&self.node, effects);
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.node.deadline())
    }

    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn counters(&self, _: Time) -> Vec<(&'static str, u64)> {
        let Verdicts { probes, unanswered, declared_dead, objections } = self.node.membership().verdicts();
        vec![
            ("rounds", self.node.rounds()),
            ("probes", probes),
            ("unanswered", unanswered),
            ("declared_dead", declared_dead),
            ("objections", objections),
            ("content", self.node.content()),
        ]
    }

    fn check(&self) {
        self.node.check();
    }
}

impl Gossip {
    /// What the node knows and believes.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// To write: what is written goes out with the rounds that follow.
    pub const fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}
