//! A small hostile world for Raft replicas: one seed decides what is lost, delayed, repeated, reordered, forgotten.
//!
//! It keeps the laws across replicas that no replica can see: one leader a term, one entry a place, committed means durable on
//! a majority and for ever, reads see what was acknowledged before.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use qlab_kernel::{
    Batch, BatchBuilder, Commit, Effects, Event, Index, Input, Lsn, NodeId, NodeSet, Outgoing, Protocol,
    Request, Seat, Sequence, SessionId, Term, Ticket, Time, Wire,
};
use qlab_raft::{Config, Message, Raft, Record};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

pub(crate) struct Faults {
    pub(crate) loss_percent: u32,
    pub(crate) duplicate_percent: u32,
    pub(crate) crash_percent: u32,
    pub(crate) partition_percent: u32,
}

pub(crate) const CALM: Faults =
    Faults { loss_percent: 0, duplicate_percent: 0, crash_percent: 0, partition_percent: 0 };

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
    // What must hold across replicas, ever.
    leaders: BTreeMap<Term, NodeId>,
    committed: BTreeMap<Index, (Term, Bytes)>,
    pub(crate) acknowledged: BTreeSet<u64>,
    reads: BTreeMap<Ticket, Index>,
    pub(crate) reads_answered: usize,
    requests: u64,
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
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            reads: BTreeMap::new(),
            reads_answered: 0,
            requests: 0,
            installed: 0,
            compacted: 0,
            elections: 0,
        };
        for _ in 0..nodes {
            world.nodes.push(Node {
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
        let (config, now) = (self.config.clone(), self.now);
        let node = self.node(id);
        let last = node.journal.last().map_or(node.durable, |(lsn, _)| *lsn);
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
        let durable = node.durable;
        node.journal.retain(|(lsn, _)| *lsn <= durable);
    }

    pub(crate) fn restart(&mut self, id: NodeId) {
        if self.node(id).raft.is_none() {
            self.start(id, self.nodes.len());
        }
    }

    /// One input, one flush, as a host with bursts of one would do.
    pub(crate) fn give(&mut self, id: NodeId, input: Input<Message>) {
        let now = self.now;
        let node = self.node(id);
        let Some(raft) = &mut node.raft else { return };
        raft.step(now, input, &mut node.effects);
        raft.flush(now, &mut node.effects);
        raft.check();
        self.harvest(id);
    }

    pub(crate) fn write(&mut self, id: NodeId) -> u64 {
        self.requests += 1;
        let number = self.requests;
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(number), Sequence(1), Sequence(1));
        builder.push_bytes(&[7; 40]);
        self.give(id, Input::Request { ticket: Ticket(number), request: Request::Write(builder.finish()) });
        number
    }

    pub(crate) fn read(&mut self, id: NodeId) {
        self.requests += 1;
        let ticket = Ticket(self.requests);
        // What any client may have been told of before this read.
        let known = self.committed.keys().next_back().copied().unwrap_or_default();
        self.reads.insert(ticket, known);
        self.give(id, Input::Request { ticket, request: Request::Read(Batch::default()) });
    }

    /// Makes everything written durable, or a part of it.
    pub(crate) fn sync(&mut self, id: NodeId, up_to: Lsn) {
        let node = self.node(id);
        if node.raft.is_none() || up_to <= node.durable {
            return;
        }
        node.durable = up_to;
        let ready = node.gated.iter().take_while(|outgoing| outgoing.after <= up_to).count();
        for outgoing in node.gated.drain(..ready).collect::<Vec<_>>() {
            self.post(id, outgoing);
        }
        self.give(id, Input::Durable(up_to));
    }

    pub(crate) fn sync_all(&mut self, id: NodeId) {
        let last = self.node(id).effects.last();
        self.sync(id, last);
    }

    fn harvest(&mut self, id: NodeId) {
        let node = &mut self.nodes[usize::from(id.0)];
        let records: Vec<_> = node.effects.records().map(|(lsn, record)| (lsn, record.clone())).collect();
        node.journal.extend(records);
        let needed_from = node.effects.needed_from();
        node.journal.retain(|(lsn, _)| *lsn >= needed_from);
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
                let other = self.leaders.insert(term, id);
                assert!(
                    other.is_none_or(|other| other == id),
                    "two leaders in term {term}: {other:?} and {id}"
                );
                self.elections += 1;
                self.expect_complete_log(id);
            }
            Event::Installed(_) => self.installed += 1,
            Event::Compacted(_) => self.compacted += 1,
            Event::Misbehaved(from) => panic!("{id} found that {from} misbehaved"),
            Event::Deposed(_) | Event::Campaigned(_) | Event::Truncated(_) => {}
        }
    }

    /// Leader Completeness (Raft §5.4): whatever was ever committed is in the log of every later leader.
    fn expect_complete_log(&self, id: NodeId) {
        let raft = self.raft(id);
        for (index, (term, _)) in &self.committed {
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
                    _ if *lsn > node.durable => break,
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
        let copies = 1 + usize::from(self.percent(self.faults.duplicate_percent));
        for _ in 0..copies {
            if self.percent(self.faults.loss_percent) || self.cut.contains(&(from, outgoing.to)) {
                continue;
            }
            let mut delay_us = self.chance.random_range(50..500);
            if self.percent(self.faults.duplicate_percent) {
                delay_us += self.chance.random_range(0..400_000);
            }
            let mut bytes = Vec::new();
            outgoing.message.encode(&mut bytes);
            let message = Message::decode_all(bytes.into()).expect("what was encoded is decoded");
            assert_eq!(message, outgoing.message);
            self.order += 1;
            let arrives = Time(self.now.0 + delay_us * 1000);
            self.flights.push(Flight { arrives, order: self.order, from, to: outgoing.to, message });
        }
    }

    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        percent > 0 && self.chance.random_range(0..100) < percent
    }

    /// Goes on to the next thing that is due: a message, a timeout, a disk.
    pub(crate) fn advance(&mut self) {
        let arrival = self.flights.iter().map(|flight| flight.arrives).min();
        let timeout = self.nodes.iter().filter_map(|node| node.raft.as_ref()?.deadline()).min();
        let next = [arrival, timeout].into_iter().flatten().min().unwrap_or(self.now);
        self.now = self.now.max(next);
        self.now.0 += 1;
        for id in self.ids() {
            let due =
                self.node(id).raft.as_ref().and_then(Protocol::deadline).is_some_and(|at| at <= self.now);
            if due {
                self.give(id, Input::Timeout);
            }
            if self.percent(70) {
                let (durable, last) = (self.node(id).durable.0, self.node(id).effects.last().0);
                if last > durable {
                    let up_to = self.chance.random_range(durable + 1..=last);
                    self.sync(id, Lsn(up_to));
                }
            }
        }
        let now = self.now;
        let mut due: Vec<Flight> = self.flights.extract_if(.., |flight| flight.arrives <= now).collect();
        due.sort_by_key(|flight| (flight.arrives, flight.order));
        for flight in due {
            if !self.cut.contains(&(flight.from, flight.to)) {
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
        if self.percent(self.faults.partition_percent) {
            self.cut.clear();
            if self.percent(60) {
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

    pub(crate) fn heal(&mut self) {
        self.faults = CALM;
        self.cut.clear();
        for id in self.ids() {
            self.restart(id);
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leaders = self
            .ids()
            .into_iter()
            .filter(|id| self.nodes[usize::from(id.0)].raft.as_ref().is_some_and(Raft::is_leader));
        leaders.max_by_key(|id| self.raft(*id).term())
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
        for node in &self.nodes {
            println!("{:?}", node.raft);
        }
        panic!("never: a write is acknowledged");
    }

    /// Every replica has applied the same.
    pub(crate) fn converged(&self) -> bool {
        let last = self.committed.keys().next_back().copied();
        self.nodes
            .iter()
            .all(|node| node.raft.is_some() && node.applied.last().map(|(index, _)| *index) == last)
    }
}
