//! A small calm cluster that is looked at closely: how often something is sent, what a read sees, what is counted. Hostile worlds,
//! and laws across replicas, are the simulator's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{
    Batch, BatchBuilder, Commit, Effects, Event, Index, Input, Lane, Lsn, Message as _, NodeId, NodeSet,
    Outgoing, Protocol, Request, Seat, Sequence, SessionId, Ticket, Time,
};
use qlab_raft::{Config, Message, Raft, Record};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

/// A node's clock: begun at another time than the others', and perhaps of another rate.
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

struct Flight {
    arrives: Time,
    order: u64,
    from: NodeId,
    to: NodeId,
    message: Message,
}

struct Node {
    raft: Option<Raft>,
    effects: Effects<Raft>,
    journal: Vec<(Lsn, Record)>,
    clock: Clock,
    durable: Lsn,
    gated: VecDeque<Outgoing<Message>>,
    applied: Index,
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// How much longer messages of the bulk lane take.
    pub(crate) bulk_delay: Duration,
    /// Entries and pieces of images sent so far.
    pub(crate) bulk_sent: usize,
    pub(crate) misbehaved: usize,
    pub(crate) refused: usize,
    pub(crate) installed: usize,
    /// Writes that some replica has executed.
    pub(crate) acknowledged: BTreeSet<u64>,
    config: Config,
    nodes: Vec<Node>,
    chance: Pcg32,
    flights: Vec<Flight>,
    order: u64,
    /// When the last message of each lane arrives.
    lanes: BTreeMap<(NodeId, NodeId, bool), Time>,
    /// The last entry that anybody has executed.
    committed: Index,
    /// What any client may have been told of before each read.
    reads: BTreeMap<Ticket, Index>,
    requests: u64,
}

impl World {
    pub(crate) fn new(nodes: usize, seed: u64, config: Config) -> Self {
        let mut world = Self {
            now: Time(1),
            cut: BTreeSet::new(),
            bulk_delay: Duration::ZERO,
            bulk_sent: 0,
            misbehaved: 0,
            refused: 0,
            installed: 0,
            acknowledged: BTreeSet::new(),
            config,
            nodes: Vec::new(),
            chance: Pcg32::seed_from_u64(seed),
            flights: Vec::new(),
            order: 0,
            lanes: BTreeMap::new(),
            committed: Index::ZERO,
            reads: BTreeMap::new(),
            requests: 0,
        };
        for _ in 0..nodes {
            let clock = Clock { offset_ns: world.chance.random_range(1 << 39..1 << 40), drift_ppm: 0 };
            world.nodes.push(Node {
                raft: None,
                effects: Effects::new(Lsn::ZERO),
                journal: Vec::new(),
                clock,
                durable: Lsn::ZERO,
                gated: VecDeque::new(),
                applied: Index::ZERO,
            });
        }
        world.ids().into_iter().for_each(|id| world.start(id));
        world
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        (0..self.nodes.len() as u16).map(NodeId).collect()
    }

    pub(crate) fn raft(&self, id: NodeId) -> &Raft {
        self.nodes[usize::from(id.0)].raft.as_ref().expect("up")
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::from(id.0)]
    }

    /// Starts a replica from what is durable of its journal.
    pub(crate) fn start(&mut self, id: NodeId) {
        let seat = Seat { me: id, members: NodeSet::first(self.nodes.len()), seed: self.chance.random() };
        let (config, now) = (self.config.clone(), self.local(id));
        let node = self.node(id);
        node.effects = Effects::new(node.durable);
        let records = node.journal.clone().into_iter();
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

    /// A burst of one input; the deadline comes with it if it has passed.
    pub(crate) fn give(&mut self, id: NodeId, input: Input<Message>) {
        self.burst(id, Some(input));
    }

    fn burst(&mut self, id: NodeId, input: Option<Input<Message>>) {
        let now = self.local(id);
        let node = self.node(id);
        let Some(raft) = &mut node.raft else { return };
        let timeout = raft.deadline().is_some_and(|deadline| deadline <= now).then_some(Input::Timeout);
        for input in input.into_iter().chain(timeout) {
            raft.step(now, input, &mut node.effects);
        }
        raft.flush(now, &mut node.effects);
        raft.check();
        self.harvest(id);
    }

    /// From now on, `id`'s clock runs that much too fast.
    pub(crate) fn set_drift(&mut self, id: NodeId, drift_ppm: i64) {
        let (now, shown) = (self.now, self.local(id));
        let clock = &mut self.node(id).clock;
        *clock = Clock { offset_ns: 0, drift_ppm };
        clock.offset_ns =
            shown.0.checked_sub(clock.local(now).0).expect("clocks began well before the world");
    }

    /// What `id`'s clock shows.
    fn local(&self, id: NodeId) -> Time {
        self.nodes[usize::from(id.0)].clock.local(self.now)
    }

    /// When `id` wants to be woken.
    fn wakes_at(&self, id: NodeId) -> Option<Time> {
        let node = &self.nodes[usize::from(id.0)];
        Some(node.clock.global(node.raft.as_ref()?.deadline()?))
    }

    pub(crate) fn write(&mut self, id: NodeId) {
        self.write_bytes(id, 40);
    }

    pub(crate) fn write_bytes(&mut self, id: NodeId, bytes: usize) {
        self.requests += 1;
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(self.requests), Sequence(1), Sequence(1));
        builder.push_bytes(&vec![7; bytes]);
        self.ask(id, Request::Write(builder.finish()));
    }

    pub(crate) fn read(&mut self, id: NodeId) {
        self.requests += 1;
        self.reads.insert(Ticket(self.requests), self.committed);
        self.ask(id, Request::Read(Batch::default()));
    }

    fn ask(&mut self, id: NodeId, request: Request) {
        self.give(id, Input::Request { ticket: Ticket(self.requests), request, proof: Bytes::new() });
    }

    fn sync(&mut self, id: NodeId, durable: Lsn) {
        self.node(id).durable = durable;
        while let Some(ready) = self.node(id).gated.pop_front_if(|outgoing| outgoing.after <= durable) {
            self.post(id, ready);
        }
        self.give(id, Input::Durable(durable));
    }

    fn harvest(&mut self, id: NodeId) {
        let node = self.node(id);
        let records: Vec<_> = node.effects.records().map(|(lsn, record)| (lsn, record.clone())).collect();
        node.journal.extend(records);
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
        for event in events {
            self.installed += usize::from(matches!(event, Event::Installed(_)));
            self.misbehaved += usize::from(matches!(event, Event::Misbehaved(_)));
        }
        commits.into_iter().for_each(|commit| self.execute(id, commit));
    }

    fn execute(&mut self, id: NodeId, commit: Commit) {
        match commit {
            Commit::Apply { index, batch } => {
                self.node(id).applied = index;
                self.committed = self.committed.max(index);
                self.acknowledged.extend(batch.bursts().map(|burst| burst.session.0));
            }
            Commit::Query { ticket, .. } => {
                let known = self.reads.remove(&ticket).expect("asked once, answered once");
                let applied = self.node(id).applied;
                assert!(
                    applied >= known,
                    "a read at {id} sees up to {applied}, but {known} was committed before it came"
                );
            }
            Commit::Capture => {
                let index = self.node(id).applied;
                // As large as what was written: each entry has 200 KB where images are looked at.
                let image = vec![7; index.0 as usize * 200_000].into();
                self.give(id, Input::Captured { index, image });
            }
            Commit::Restore { index, .. } => self.node(id).applied = index,
        }
    }

    fn post(&mut self, from: NodeId, outgoing: Outgoing<Message>) {
        let Outgoing { to, message, .. } = outgoing;
        let is_bulk = matches!(message, Message::Append { entry: Some(_), .. } | Message::Install { .. });
        self.bulk_sent += usize::from(is_bulk);
        let in_bulk_lane = message.lane() == Lane::Bulk;
        let delay = Duration::from_micros(self.chance.random_range(50..500));
        let delay = delay + if in_bulk_lane { self.bulk_delay } else { Duration::ZERO };
        // A lane keeps its order.
        let lane = self.lanes.entry((from, to, in_bulk_lane)).or_default();
        let arrives = (self.now + delay).max(*lane);
        *lane = arrives;
        self.order += 1;
        self.flights.push(Flight { arrives, order: self.order, from, to, message });
    }

    /// Goes on to the next thing that is due: a message, a timeout, a disk.
    pub(crate) fn advance(&mut self) {
        let arrival = self.flights.iter().map(|flight| flight.arrives).min();
        let timeout = self.ids().into_iter().filter_map(|id| self.wakes_at(id)).min();
        let next = [arrival, timeout].into_iter().flatten().min().unwrap_or(self.now);
        self.now = self.now.max(next);
        self.now.0 += 1;
        for id in self.ids() {
            if self.wakes_at(id).is_some_and(|at| at <= self.now) {
                self.burst(id, None);
            }
            let (durable, last) = (self.node(id).durable, self.node(id).effects.last());
            if last > durable && self.nodes[usize::from(id.0)].raft.is_some() {
                let up_to = Lsn(self.chance.random_range(durable.0 + 1..=last.0));
                self.sync(id, up_to);
            }
        }
        let now = self.now;
        let mut due: Vec<Flight> = self.flights.extract_if(.., |flight| flight.arrives <= now).collect();
        due.sort_by_key(|flight| (flight.arrives, flight.order));
        for Flight { from, to, message, .. } in due {
            if !self.cut.contains(&(from, to)) {
                self.give(to, Input::Message { from, message });
            }
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        let up = self.ids().into_iter().filter(|id| self.nodes[usize::from(id.0)].raft.is_some());
        up.filter(|id| self.raft(*id).is_leader()).max_by_key(|id| self.raft(*id).term())
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

    /// Every replica has applied the same.
    pub(crate) fn converged(&self) -> bool {
        self.nodes.iter().all(|node| node.raft.is_some() && node.applied == self.committed)
    }
}
