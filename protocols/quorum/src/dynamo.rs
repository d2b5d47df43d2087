//! Dynamo: storage that answers first and agrees later (DeCandia et al., "Dynamo: Amazon's Highly Available Key-value Store", 2007).
//!
//! # What is here
//!
//! Each key has N homes on a ring. Whoever is asked coordinates: a write is answered once W of them hold it durably, a read once R of
//! them have told what they hold. R and W are free: where they need not meet, a read may miss what was written. Nothing that was
//! written is lost all the same: a value stays until somebody writes who has read it, and values of which nobody knew the others'
//! stay side by side (*siblings*), with dotted version vectors to tell which (Preguiça et al. 2010). Copies become the same by what
//! coordinators tell, by read repair, by hinted handoff and by anti-entropy over trees of digests. Deletions are values, too, and are
//! forgotten after a grace. A sloppy quorum counts replicas that stand in for homes which cannot be reached. Not here: changes of the
//! membership, and virtual nodes; comparing and appending, which take agreement, are `MALFORMED`. So is a bare deletion, which does
//! not say what its author had read: see [`envelope`].
//!
//! # Why no update is lost
//!
//! 1. A write is named by its coordinator and a number, and no two are named alike: a home remembers every name that it has given
//!    for a key, as what it holds covers them; it names nothing before it is durable that anybody else hears of. Whoever is no home
//!    learns from one before it writes, and forgets only what every home holds; nobody gives numbers of forgotten keys again.
//! 2. A state covers the names of all writes that made it, and holds the values of those that are current. Of two states, a value
//!    stays unless the other covers its name and does not hold it: then a write is known there that replaced it.
//! 3. A write replaces what its context covers, which is what its author read: all that was current, and what that had replaced. So
//!    a value goes only for a write whose author had seen it, or had seen one that had replaced it.
//! 4. What is said to be held is durable, to its own coordinator too: W disks hold what a write was answered for.
//! 5. Homes that differ find out where, and take in each other's states: joining is commutative, associative and idempotent, so that
//!    they come to the same in whichever order.
//! 6. A deletion is forgotten by a home once all other homes hold the same, durably, or nothing: no home has an older value then. Only
//!    what was under way for longer than the grace can bring one back.
//!
//! Requests that are asked again belong to sessions, as [`abd`](crate::abd) has them: each is executed once, by the replica that
//! opened the session, or is `EXPIRED` after that was restarted.
//!
//! # What is promised
//!
//! | quorums | siblings | last writer wins |
//! |---|---|---|
//! | R + W > N, not sloppy | no lost update; a read knows every write that was answered before it was asked | updates may be lost |
//! | others | no lost update | updates may be lost |
//!
//! None of them is linearizable: a write that was not answered may be read, and then not.
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | N, R, W, times, limits |
//! | [`envelope`] | what clients say of what they have read |
//! | [`content`], [`digest`] | what is under a key, and what that comes to |
//! | [`message`], [`record`] | what is said, what is written |
//! | `ring` | who holds which key |
//! | `store` | what a replica holds |
//! | `requests` | what clients ask |
//! | `coordinator`, `operation` | what is under way for them |
//! | `writing`, `reading` | naming and storing; joining what is told, and repair |
//! | `replica` | telling and holding |
//! | `handoff` | telling again, and what is held for others |
//! | `anti_entropy` | comparing trees |
//! | `graves` | forgetting deletions |
//! | `journal`, `recovery` | writing, writing anew, restart |
//! | `invariant` | what must hold after every burst |
//!
//! # Trade-offs
//!
//! With R = W = 1 a home answers after its own sync, and reads without asking: the floor of one server, for copies that lag. Other
//! homes are compared a little later, once for many reads of a key: nobody waits for them or for their processors. W ≥ 2 costs
//! a round trip and a second sync after the first one, as a name must be durable before it is told. Whole states are told, siblings
//! and all: they are short where clients read before they write, and grow with every blind write, up to
//! [`SIBLINGS_MAX`](qlab_clocks::dotted::SIBLINGS_MAX) values or [`SIBLINGS_BYTES_MAX`] bytes; then writes are `FULL` until somebody reads.
//! A client that forges contexts can make values of its own keys go, and nobody else's.

mod anti_entropy;
pub mod config;
pub mod content;
mod coordinator;
pub mod digest;
pub mod envelope;
mod graves;
mod handoff;
mod invariant;
mod journal;
pub mod message;
mod operation;
mod reading;
pub mod record;
mod recovery;
mod replica;
mod requests;
mod ring;
mod store;
mod writing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use qlab_kernel::{Effects, Event, Input, Lsn, NodeId, NodeSet, Protocol, Seat, Sequence, SessionId, Time};

pub use config::{Config, ConfigError, Conflicts, Guarantee};
pub use content::{Content, State};
pub use digest::Digest;
pub use message::{Message, Step};
pub use record::Record;

use crate::outbox::Outbox;
use crate::quorums::Quorums;
use crate::rewriting::Rewriting;
use crate::sessions::OwnSessions;
use operation::{Operation, Task};
use ring::Ring;
use store::Store;

/// Bytes of the values of a key that coordinators let stand side by side, all of them together: a state must fit a frame and a record.
pub const SIBLINGS_BYTES_MAX: usize = 768 << 10;

/// A Dynamo replica: home of its ranges, stand-in for others', and coordinator of what it is asked.
#[derive(Clone, Debug)]
pub struct Dynamo {
    seat: Seat,
    config: Config,
    ring: Ring,
    quorums: Quorums,
    /// The number of this life, and the record that says so; zero before it is written.
    incarnation: u32,
    life_lsn: Lsn,
    /// Numbers up to this one may have named writes of keys that were forgotten since.
    named: u64,

    store: Store,
    /// Every record up to here is durable.
    durable: Lsn,
    /// Rounds in which something is heard from this replica itself, with the record that it waits for.
    own: VecDeque<(Lsn, u64)>,
    outbox: Outbox<Step>,
    rewriting: Rewriting,

    sessions: OwnSessions,
    /// Commands that wait for an answer: asked for, never walked.
    waiting: HashSet<(SessionId, Sequence)>,
    /// By the round that each is in.
    operations: BTreeMap<u64, Operation>,
    /// When rounds are to be looked at, in order, as all wait equally long; some have ended since.
    alarms: VecDeque<(Time, u64)>,
    /// Rounds begun in this life.
    rounds: u64,
    /// Keys that were read here alone, and when the other homes are asked whether they are behind.
    uncompared: BTreeSet<Bytes>,
    uncompared_at: Time,
    /// Keys that are being learnt from their homes, and how often: asked for, never walked.
    learning: HashMap<Bytes, u32>,

    /// Keys that somebody is owed, and when they are told.
    debts: VecDeque<(Time, Bytes)>,
    /// Not before this.
    debts_at: Time,
    /// Keys that were deleted, and when their grace is over.
    graves: VecDeque<(Time, Bytes)>,

    /// Whom trees of which ranges are compared with, in turn; how often they were, and when they are next.
    pairs: Vec<(NodeId, u16)>,
    compared: usize,
    compare_at: Time,
    counts: Counts,
}

/// What is counted, since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    reads: u64,
    writes: u64,
    /// Values that reads were answered with.
    siblings: u64,
    repairs: u64,
    handoffs: u64,
    comparisons: u64,
    /// States told because trees differed.
    exchanged: u64,
    buried: u64,
    repeats: u64,
}

impl Protocol for Dynamo {
    const NAME: &'static str = "dynamo";
    type Config = Config;
    type Message = Message;
    type Record = Record;

    fn recover(
        seat: Seat,
        config: &Config,
        now: Time,
        records: impl Iterator<Item = (Lsn, Record)>,
        effects: &mut Effects<Self>,
    ) -> Self {
        recovery::recover(seat, config, now, records, effects)
    }

    fn step(&mut self, now: Time, input: Input<Message>, effects: &mut Effects<Self>) {
        self.begin_life(effects);
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, effects),
            Input::Request { ticket, request, .. } => self.on_request(now, ticket, request, effects),
            Input::Durable(lsn) => {
                self.durable = self.durable.max(lsn);
                self.hear_own(now, effects);
            }
            Input::Timeout => self.on_timeout(now, effects),
            // There is no state machine to make images of, and no leadership to hand over.
            Input::Captured { .. } | Input::Yield { .. } => {}
        }
    }

    fn flush(&mut self, _: Time, effects: &mut Effects<Self>) {
        self.begin_life(effects);
        self.outbox.emit(self.life_lsn <= self.durable, effects);
        self.rewrite(effects);
        while self.alarms.front().is_some_and(|(_, round)| !self.operations.contains_key(round)) {
            self.alarms.pop_front();
        }
    }

    fn deadline(&self) -> Option<Time> {
        let alarm = self.alarms.front().map(|(at, _)| *at);
        let uncompared = (!self.uncompared.is_empty()).then_some(self.uncompared_at);
        let debt = self.debts.front().map(|(at, _)| self.debts_at.max(*at));
        let grave = self.graves.front().map(|(at, _)| *at);
        let compare = (!self.pairs.is_empty()).then_some(self.compare_at);
        [alarm, uncompared, debt, grave, compare].into_iter().flatten().min()
    }

    /// Whoever is asked serves.
    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn counters(&self, _: Time) -> Vec<(&'static str, u64)> {
        let Counts { reads, writes, siblings, repairs, handoffs, comparisons, exchanged, buried, repeats } =
            self.counts;
        let mut counters = vec![
            ("reads", reads),
            ("writes", writes),
            ("siblings", siblings),
            ("repairs", repairs),
            ("handoffs", handoffs),
            ("comparisons", comparisons),
            ("exchanged", exchanged),
            ("buried", buried),
            ("repeats", repeats),
        ];
        if self.config.copies(self.seat.members.len()) == self.seat.members.len() {
            // Equal on replicas that hold the same.
            let content = self.roots().fold(0, |content, (_, root)| content ^ root.0 as u64);
            counters.push(("content", content));
        }
        counters
    }

    fn check(&self) {
        invariant::check(self);
    }
}

impl Dynamo {
    /// What this replica holds under a key.
    #[must_use]
    pub fn state(&self, key: &[u8]) -> State {
        self.held(key).0
    }

    /// The keys that this replica holds.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.store.iter().map(|entry| &entry.key)
    }

    /// Who holds a key for good.
    #[must_use]
    pub fn homes_of(&self, key: &[u8]) -> NodeSet {
        self.homes(key)
    }

    /// Writes that it brings about, whether their clients still wait or not.
    #[must_use]
    pub fn writes_under_way(&self) -> usize {
        let is_write = |operation: &&Operation| matches!(operation.task, Task::Learn(_) | Task::Store { .. });
        self.operations.values().filter(is_write).count()
    }

    /// The roots of the trees of all ranges whose home this is, by range: equal on homes that hold the same.
    pub fn roots(&self) -> impl Iterator<Item = (u16, Digest)> {
        (0..self.ring.ranges() as u16)
            .filter_map(|range| self.store.tree(range).map(|tree| (range, tree.root())))
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message, effects: &mut Effects<Self>) {
        if !self.seat.peers().contains(from) {
            effects.event(Event::Misbehaved(from));
            return;
        }
        for step in message.steps {
            match step {
                Step::Ask { round, key, known } => self.on_ask(from, round, &key, known),
                Step::Same { round } => self.on_same(now, from, round, effects),
                Step::Told { round, state } => self.on_told(now, from, round, &state, effects),
                Step::Store { round, key, state } => self.on_store(now, from, (round, key), &state, effects),
                Step::Stored { round, key } => self.on_stored(now, from, round, &key, effects),
                Step::Root { range, root } => self.on_root(from, range, root),
                Step::Branch { range, level, index, children } => {
                    self.on_branch(from, range, (level, index), &children);
                }
                Step::Bucket { range, bucket, is_answer, keys } => {
                    self.on_bucket(from, (range, bucket), is_answer, &keys);
                }
            }
        }
    }

    fn on_timeout(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.look_at_operations(now, effects);
        self.compare_reads(now, effects);
        self.tell_again(now, effects);
        self.look_at_graves(now, effects);
        self.compare(now);
    }
}
