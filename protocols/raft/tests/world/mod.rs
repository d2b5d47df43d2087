//! A small hostile world for Raft replicas: one seed decides what is lost, delayed, repeated, reordered, forgotten.
//!
//! It keeps the laws across replicas that no replica can see: one leader a term, one entry a place, committed means durable on
//! a majority and for ever, reads see what was acknowledged before.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{
    Batch, BatchBuilder, Commit, Effects, Event, Index, Input, Lane, Lsn, Message as _, NodeId, NodeSet,
    Outgoing, Protocol, Request, Seat, Sequence, SessionId, Term, Ticket, Time, Wire,
};
use qlab_raft::{Config, Message, Raft, Record};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) loss_percent: u32,
    pub(crate) duplicate_percent: u32,
    /// Messages that take longer than an election does.
    pub(crate) delay_percent: u32,
    pub(crate) crash_percent: u32,
    /// Crashes that take everyone at once.
    pub(crate) blackout_percent: u32,
    pub(crate) partition_percent: u32,
    /// Processes that stand still for a while, while their clock goes on and their inbox fills.
    pub(crate) pause_percent: u32,
    /// Bursts that wait for more inputs, so that many are stepped before a flush.
    pub(crate) hold_percent: u32,
}

pub(crate) const CALM: Faults = Faults {
    loss_percent: 0,
    duplicate_percent: 0,
    delay_percent: 0,
    crash_percent: 0,
    blackout_percent: 0,
    partition_percent: 0,
    pause_percent: 0,
    hold_percent: 0,
};

/// A node's clock: as far from the others' as their configuration allows, and begun at another time.
#[derive(Clone, Copy)]
struct Clock {
    offset_ns: u64,
    drift_ppm: i64,
}

impl Clock {
    fn rate(self) -> u128 {
        u128::try_from(1_000_000 + self.drift_ppm).expect("clocks run forward")
    }

    /// What the clock shows at `now`.
    fn local(self, now: Time) -> Time {
        Time(self.offset_ns + (u128::from(now.0) * self.rate() / 1_000_000) as u64)
    }

    /// The first moment at which the clock shows `local`.
    fn global(self, local: Time) -> Time {
        Time((u128::from(local.0.saturating_sub(self.offset_ns)) * 1_000_000).div_ceil(self.rate()) as u64)
    }
}

/// Inputs that are stepped before a flush at the most.
const BURST_MAX: usize = 40;

struct Flight {
    arrives: Time,
    order: u64,
    from: NodeId,
    to: NodeId,
    message: Message,
}

pub(crate) struct Node {
    pub(crate) raft: Option<Raft>,
    effects: Effects<Raft>,
    journal: Vec<(Lsn, Record)>,
    clock: Clock,
    /// What came since the last burst.
    inbox: Vec<Input<Message>>,
    /// It stands still until then.
    paused_until: Time,
    /// What the disk holds, and what of that the replica has been told.
    synced: Lsn,
    durable: Lsn,
    gated: VecDeque<Outgoing<Message>>,
    /// The state machine: which batches were applied, as (index, bytes) in order from the image on.
    pub(crate) applied: Vec<(Index, Bytes)>,
}

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    pub(crate) faults: Faults,
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    chance: Pcg32,
    flights: Vec<Flight>,
    order: u64,
    /// When the last message of each lane arrives.
    lanes: BTreeMap<(NodeId, NodeId, bool), Time>,
    // What must hold across replicas, ever.
    elected: BTreeMap<Term, NodeId>,
    committed: BTreeMap<Index, (Term, Bytes)>,
    /// The term of whoever applied it first: no lower than the one it was committed in.
    committed_in: BTreeMap<Index, Term>,
    pub(crate) acknowledged: BTreeSet<u64>,
    reads: BTreeMap<Ticket, Index>,
    pub(crate) reads_answered: usize,
    requests: u64,
    /// How much longer messages of the bulk lane take.
    pub(crate) bulk_delay: Duration,
    /// Entries and pieces of images sent so far.
    pub(crate) bulk_sent: usize,
    pub(crate) misbehaved: usize,
    pub(crate) refused: usize,
    pub(crate) installed: usize,
    pub(crate) compacted: usize,
    pub(crate) elections: usize,
}

impl World {
    pub(crate) fn new(nodes: usize, seed: u64, config: Config, faults: Faults) -> Self {
        let mut world = Self {
            config,
            now: Time(1),
            nodes: Vec::new(),
            faults,
            cut: BTreeSet::new(),
            chance: Pcg32::seed_from_u64(seed),
            flights: Vec::new(),
            order: 0,
            lanes: BTreeMap::new(),
            elected: BTreeMap::new(),
            committed: BTreeMap::new(),
            committed_in: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            reads: BTreeMap::new(),
            reads_answered: 0,
            requests: 0,
            bulk_delay: Duration::ZERO,
            bulk_sent: 0,
            misbehaved: 0,
            refused: 0,
            installed: 0,
            compacted: 0,
            elections: 0,
        };
        for _ in 0..nodes {
            let half_ppm = i64::from(world.config.clock_drift_ppm / 2);
            let clock = Clock {
                offset_ns: world.chance.random_range(1 << 39..1 << 40),
                drift_ppm: world.chance.random_range(-half_ppm..=half_ppm),
            };
            world.nodes.push(Node {
                clock,
                inbox: Vec::new(),
                paused_until: Time(0),
                synced: Lsn::ZERO,
                raft: None,
                effects: Effects::new(Lsn::ZERO),
                journal: Vec::new(),
                durable: Lsn::ZERO,
                gated: VecDeque::new(),
                applied: Vec::new(),
            });
        }
        for id in world.ids() {
            world.start(id, nodes);
        }
        world
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        (0..self.nodes.len() as u16).map(NodeId).collect()
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::from(id.0)]
    }

    pub(crate) fn raft(&self, id: NodeId) -> &Raft {
        self.nodes[usize::from(id.0)].raft.as_ref().expect("up")
    }

    fn start(&mut self, id: NodeId, members: usize) {
        let seed = self.chance.random();
        let seat = Seat { me: id, members: NodeSet::first(members), seed };
        let (config, now) = (self.config.clone(), self.local(id));
        let node = self.node(id);
        let last = node.synced;
        node.durable = last;
        node.effects = Effects::new(last);
        // Through the codec, as a real journal would.
        let records = node.journal.iter().map(|(lsn, record)| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            (*lsn, Record::decode_all(bytes.into()).expect("what was encoded is decoded"))
        });
        node.applied.clear();
        node.raft = Some(Raft::recover(seat, &config, now, records, &mut node.effects));
        self.harvest(id);
    }

    /// Drops the replica and every record that is not durable.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let node = self.node(id);
        node.raft = None;
        node.gated.clear();
        node.inbox.clear();
        node.paused_until = Time(0);
        let synced = node.synced;
        node.journal.retain(|(lsn, _)| *lsn <= synced);
    }

    pub(crate) fn restart(&mut self, id: NodeId) {
        if self.node(id).raft.is_none() {
            self.start(id, self.nodes.len());
        }
    }

    /// Something comes in; unless bursts are held back, it is stepped and flushed at once.
    pub(crate) fn give(&mut self, id: NodeId, input: Input<Message>) {
        let node = self.node(id);
        if node.raft.is_none() {
            return;
        }
        node.inbox.push(input);
        if self.node(id).inbox.len() >= BURST_MAX || !self.percent(self.faults.hold_percent) {
            self.burst(id);
        }
    }

    /// A burst as the host makes it: the disk's news first, the deadline last, one flush, the clock read once.
    fn burst(&mut self, id: NodeId) {
        let now = self.local(id);
        if self.is_paused(id) || self.node(id).raft.is_none() {
            return;
        }
        self.open_gate(id);
        let node = self.node(id);
        let Some(raft) = &mut node.raft else { return };
        let timeout = raft.deadline().is_some_and(|deadline| deadline <= now).then_some(Input::Timeout);
        for input in std::mem::take(&mut node.inbox).into_iter().chain(timeout) {
            raft.step(now, input, &mut node.effects);
        }
        raft.flush(now, &mut node.effects);
        raft.check();
        self.harvest(id);
    }

    fn open_gate(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.synced <= node.durable {
            return;
        }
        node.durable = node.synced;
        let durable = node.durable;
        node.inbox.insert(0, Input::Durable(durable));
        let ready = node.gated.iter().take_while(|outgoing| outgoing.after <= durable).count();
        for outgoing in node.gated.drain(..ready).collect::<Vec<_>>() {
            self.post(id, outgoing);
        }
    }

    /// From now on, `id`'s clock runs that much too fast.
    pub(crate) fn set_drift(&mut self, id: NodeId, drift_ppm: i64) {
        let (now, shown) = (self.now, self.local(id));
        let clock = &mut self.node(id).clock;
        *clock = Clock { offset_ns: 0, drift_ppm };
        clock.offset_ns =
            shown.0.checked_sub(clock.local(now).0).expect("clocks began well before the world");
    }

    fn is_paused(&self, id: NodeId) -> bool {
        self.now < self.nodes[usize::from(id.0)].paused_until
    }

    /// What `id`'s clock shows.
    fn local(&self, id: NodeId) -> Time {
        self.nodes[usize::from(id.0)].clock.local(self.now)
    }

    /// When `id` wants to be woken, if it stands still not before that ends.
    fn wakes_at(&self, id: NodeId) -> Option<Time> {
        let node = &self.nodes[usize::from(id.0)];
        let deadline = node.clock.global(node.raft.as_ref()?.deadline()?);
        Some(deadline.max(node.paused_until))
    }

    pub(crate) fn write(&mut self, id: NodeId) -> u64 {
        self.write_bytes(id, 40)
    }

    pub(crate) fn write_bytes(&mut self, id: NodeId, bytes: usize) -> u64 {
        self.requests += 1;
        let number = self.requests;
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(number), Sequence(1), Sequence(1));
        builder.push_bytes(&vec![7; bytes]);
        self.give(
            id,
            Input::Request {
                ticket: Ticket(number),
                request: Request::Write(builder.finish()),
                proof: Bytes::new(),
            },
        );
        number
    }

    pub(crate) fn read(&mut self, id: NodeId) {
        self.requests += 1;
        let ticket = Ticket(self.requests);
        // What any client may have been told of before this read.
        let known = self.committed.keys().next_back().copied().unwrap_or_default();
        self.reads.insert(ticket, known);
        self.give(
            id,
            Input::Request { ticket, request: Request::Read(Batch::default()), proof: Bytes::new() },
        );
    }

    /// Makes everything written durable, or a part of it.
    pub(crate) fn sync(&mut self, id: NodeId, up_to: Lsn) {
        let node = self.node(id);
        if node.raft.is_some() && up_to > node.synced {
            node.synced = up_to;
            if !self.percent(self.faults.hold_percent) {
                self.burst(id);
            }
        }
    }

    pub(crate) fn sync_all(&mut self, id: NodeId) {
        let last = self.node(id).effects.last();
        self.sync(id, last);
    }

    fn harvest(&mut self, id: NodeId) {
        let node = &mut self.nodes[usize::from(id.0)];
        let records: Vec<_> = node.effects.records().map(|(lsn, record)| (lsn, record.clone())).collect();
        node.journal.extend(records);
        // A journal lets go of whole segments: now and then, and of less than it might.
        let first = node.journal.first().map_or(0, |(lsn, _)| lsn.0);
        let needed_from = node.effects.needed_from().0.max(first);
        let dropped = [first, needed_from, self.chance.random_range(first..=needed_from)];
        let dropped = dropped[self.chance.random_range(0..3)];
        node.journal.retain(|(lsn, _)| lsn.0 >= dropped);
        let sends: Vec<_> = node.effects.take_sends().collect();
        let commits: Vec<_> = node.effects.take_commits().collect();
        let events: Vec<_> = node.effects.take_events().collect();
        let refused: Vec<_> = node.effects.take_refusals().collect();
        node.effects.clear();
        for outgoing in sends {
            if outgoing.after <= self.node(id).durable {
                self.post(id, outgoing);
            } else {
                self.node(id).gated.push_back(outgoing);
            }
        }
        self.refused += refused.len();
        for refusal in refused {
            self.reads.remove(&refusal.ticket);
        }
        for event in events {
            self.observe(id, event);
        }
        for commit in commits {
            self.execute(id, commit);
        }
    }

    fn observe(&mut self, id: NodeId, event: Event) {
        match event {
            Event::Elected(term) => {
                let other = self.elected.insert(term, id);
                assert!(
                    other.is_none_or(|other| other == id),
                    "two leaders in term {term}: {other:?} and {id}"
                );
                self.elections += 1;
                self.expect_complete_log(id, term);
            }
            Event::Installed(_) => self.installed += 1,
            Event::Compacted(_) => self.compacted += 1,
            Event::Misbehaved(_) => self.misbehaved += 1,
            Event::Deposed(_) | Event::ViewEntered(_) | Event::Campaigned(_) | Event::Truncated(_) => {}
        }
    }

    /// Leader Completeness (Raft §5.4): whatever was ever committed is in the log of every later leader.
    /// Late votes may elect somebody whose time is over: he need not hold what was committed in a later term.
    fn expect_complete_log(&self, id: NodeId, elected: Term) {
        let raft = self.raft(id);
        for (index, (term, _)) in &self.committed {
            if self.committed_in[index] >= elected {
                continue;
            }
            if let Some(found) = raft.term_at(*index) {
                // An image's first place may have its term still; entries must.
                assert_eq!(found, *term, "leader {id} has another entry at committed index {index}");
            } else {
                assert!(*index <= raft.commit_index(), "leader {id} lacks committed entry {index}");
            }
        }
    }

    fn execute(&mut self, id: NodeId, commit: Commit) {
        match commit {
            Commit::Apply { index, batch } => {
                let term = self.raft(id).term_at(index).expect("just applied");
                let known = self.committed.get(&index);
                assert!(
                    known.is_none_or(|(t, bytes)| *t == term && bytes == batch.bytes()),
                    "index {index} was committed with another content"
                );
                if known.is_none() {
                    self.expect_on_majority(index, term);
                    self.committed.insert(index, (term, batch.bytes().clone()));
                    self.committed_in.insert(index, self.raft(id).term());
                    self.acknowledged.extend(batch.bursts().map(|burst| burst.session.0));
                }
                let node = self.node(id);
                let expected = node.applied.last().map_or(Index(1), |(last, _)| last.next());
                assert_eq!(index, expected, "applied out of order at {id}");
                node.applied.push((index, batch.bytes().clone()));
            }
            Commit::Query { ticket, .. } => {
                let known = self.reads.remove(&ticket).expect("asked once, answered once");
                let applied = self.node(id).applied.last().map_or(Index::ZERO, |(index, _)| *index);
                assert!(
                    applied >= known,
                    "a read at {id} sees up to {applied}, but {known} was committed before it came"
                );
                self.reads_answered += 1;
            }
            Commit::Capture => {
                let node = self.node(id);
                let mut image = Vec::new();
                for (index, bytes) in &node.applied {
                    index.encode(&mut image);
                    qlab_kernel::wire::put_bytes(&mut image, bytes);
                }
                let index = node.applied.last().map_or(Index::ZERO, |(index, _)| *index);
                self.give(id, Input::Captured { index, image: image.into() });
            }
            Commit::Restore { index, image } => {
                let mut reader = qlab_kernel::Reader::new(image);
                let mut applied = Vec::new();
                while reader.left() > 0 {
                    let at = Index::decode(&mut reader).expect("own image");
                    applied.push((at, reader.take_bytes("entry", usize::MAX).expect("own image")));
                }
                assert_eq!(applied.last().map(|(index, _)| *index), Some(index));
                for (at, bytes) in &applied {
                    assert_eq!(
                        Some(bytes),
                        self.committed.get(at).map(|(_, b)| b),
                        "an image holds another history"
                    );
                }
                self.node(id).applied = applied;
            }
        }
    }

    /// Committed means durable on a majority: as the journals say, not as the leader believes.
    fn expect_on_majority(&self, index: Index, term: Term) {
        let holders = self.nodes.iter().filter(|node| {
            let mut holds = false;
            for (lsn, record) in &node.journal {
                match record {
                    _ if *lsn > node.synced => break,
                    Record::Append { index: at, entry } if *at == index => holds = entry.term == term,
                    Record::Append { index: at, .. } if *at < index => holds = false,
                    Record::Snapshot { chunk, .. }
                        if chunk.index >= index && chunk.end() == chunk.total_bytes =>
                    {
                        holds = true
                    }
                    _ => {}
                }
            }
            holds
        });
        let holders = holders.count();
        assert!(
            holders > self.nodes.len() / 2,
            "entry {index} of term {term} is committed with {holders} durable copies"
        );
    }

    fn post(&mut self, from: NodeId, outgoing: Outgoing<Message>) {
        self.bulk_sent += usize::from(matches!(
            outgoing.message,
            Message::Append { entry: Some(_), .. } | Message::Install { .. }
        ));
        let copies = 1 + usize::from(self.percent(self.faults.duplicate_percent));
        for _ in 0..copies {
            if self.percent(self.faults.loss_percent) || self.cut.contains(&(from, outgoing.to)) {
                continue;
            }
            let mut delay_us = self.chance.random_range(50..500);
            if self.percent(self.faults.delay_percent) {
                delay_us += self.chance.random_range(0..1_000_000);
            }
            if self.percent(self.faults.duplicate_percent) {
                delay_us += self.chance.random_range(0..400_000);
            }
            if outgoing.message.lane() == Lane::Bulk {
                delay_us += u64::try_from(self.bulk_delay.as_micros()).expect("a short delay");
            }
            let mut bytes = Vec::new();
            outgoing.message.encode(&mut bytes);
            let message = Message::decode_all(bytes.into()).expect("what was encoded is decoded");
            assert_eq!(message, outgoing.message);
            self.order += 1;
            let mut arrives = Time(self.now.0 + delay_us * 1000);
            if self.faults.duplicate_percent == 0 && self.faults.delay_percent == 0 {
                // As the transport does: a lane keeps its order.
                let lane = (from, outgoing.to, message.lane() == Lane::Bulk);
                let last = self.lanes.entry(lane).or_default();
                arrives = arrives.max(*last);
                *last = arrives;
            }
            self.flights.push(Flight { arrives, order: self.order, from, to: outgoing.to, message });
        }
    }

    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        percent > 0 && self.chance.random_range(0..100) < percent
    }

    /// Goes on to the next thing that is due: a message, a timeout, a disk.
    pub(crate) fn advance(&mut self) {
        let arrival = self.flights.iter().map(|flight| flight.arrives).min();
        let timeout = self.ids().into_iter().filter_map(|id| self.wakes_at(id)).min();
        let next = [arrival, timeout].into_iter().flatten().min().unwrap_or(self.now);
        self.now = self.now.max(next);
        self.now.0 += 1;
        for id in self.ids() {
            let due = self.wakes_at(id).is_some_and(|at| at <= self.now);
            if due || !self.node(id).inbox.is_empty() && !self.percent(self.faults.hold_percent) {
                self.burst(id);
            }
            if !self.is_paused(id) && self.percent(70) {
                let (synced, last) = (self.node(id).synced.0, self.node(id).effects.last().0);
                if last > synced {
                    let up_to = self.chance.random_range(synced + 1..=last);
                    self.sync(id, Lsn(up_to));
                }
            }
        }
        let now = self.now;
        let mut due: Vec<Flight> = self.flights.extract_if(.., |flight| flight.arrives <= now).collect();
        due.sort_by_key(|flight| (flight.arrives, flight.order));
        for flight in due {
            // Where messages are late, those sent before a cut arrive after it.
            if self.faults.delay_percent > 0 || !self.cut.contains(&(flight.from, flight.to)) {
                self.give(flight.to, Input::Message { from: flight.from, message: flight.message });
            }
        }
    }

    pub(crate) fn misfortune(&mut self) {
        if self.percent(self.faults.crash_percent) {
            let id = NodeId(self.chance.random_range(0..self.nodes.len() as u16));
            if self.node(id).raft.is_some() {
                self.crash(id);
            } else {
                self.restart(id);
            }
        }
        if self.percent(self.faults.blackout_percent) {
            for id in self.ids() {
                self.crash(id);
                self.restart(id);
            }
        }
        if self.percent(self.faults.pause_percent) {
            let id = NodeId(self.chance.random_range(0..self.nodes.len() as u16));
            self.pause(id, Duration::from_micros(self.chance.clone().random_range(0..600_000)));
        }
        if self.percent(self.faults.partition_percent) {
            self.cut.clear();
            if let Some(leader) = self.leader()
                && self.percent(40)
            {
                // The others elect another, and the old one hears nothing of it.
                self.cut.extend(self.ids().into_iter().map(|other| (other, leader)));
                if self.percent(30) {
                    self.give(leader, Input::Yield { to: None });
                } else {
                    self.cut.extend(self.ids().into_iter().map(|other| (leader, other)));
                }
            } else if self.percent(60) {
                for from in self.ids() {
                    for to in self.ids() {
                        if self.percent(30) {
                            self.cut.insert((from, to));
                        }
                    }
                }
            }
        }
    }

    /// Stops a process, not its clock.
    pub(crate) fn pause(&mut self, id: NodeId, duration: Duration) {
        self.node(id).paused_until = self.now + duration;
    }

    pub(crate) fn heal(&mut self) {
        self.faults = CALM;
        self.cut.clear();
        for id in self.ids() {
            self.restart(id);
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leaders().max_by_key(|id| self.raft(*id).term())
    }

    /// Everyone who believes to lead.
    pub(crate) fn leaders(&self) -> impl Iterator<Item = NodeId> {
        let up = self.ids().into_iter().filter(|id| self.nodes[usize::from(id.0)].raft.is_some());
        up.filter(|id| self.raft(*id).is_leader())
    }

    pub(crate) fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            self.advance();
        }
        panic!("never: {what}");
    }

    pub(crate) fn elect(&mut self) -> NodeId {
        self.run_until("a leader with a committed entry of its term", |world| {
            world.leader().is_some_and(|leader| {
                let raft = world.raft(leader);
                raft.term_at(raft.commit_index()) == Some(raft.term())
            })
        });
        self.leader().expect("just elected")
    }

    /// Writes as a client would: again when nothing comes of it.
    pub(crate) fn write_until_acknowledged(&mut self) {
        for _ in 0..10 {
            let leader = self.elect();
            let write = self.write(leader);
            for _ in 0..5_000 {
                if self.acknowledged.contains(&write) {
                    return;
                }
                self.advance();
            }
        }
        let rafts: Vec<_> = self.nodes.iter().map(|node| &node.raft).collect();
        panic!("never: a write is acknowledged by {rafts:?}");
    }

    /// Every replica has applied the same.
    pub(crate) fn converged(&self) -> bool {
        let last = self.committed.keys().next_back().copied();
        self.nodes
            .iter()
            .all(|node| node.raft.is_some() && node.applied.last().map(|(index, _)| *index) == last)
    }
}
