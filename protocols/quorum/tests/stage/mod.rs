//! A cluster whose messages and disks do nothing until they are told to.

use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{
    BatchBuilder, Command, Effects, Input, Lsn, NodeId, NodeSet, Protocol, Refusal, Reply, ReplyBody,
    Request, Seat, Sequence, SessionId, Ticket, Time,
};

/// A replica, its disk, and what it wants done.
pub(crate) struct Replica<P: Protocol> {
    pub(crate) core: P,
    effects: Effects<P>,
    /// What is durable, and what is not.
    pub(crate) journal: Vec<(Lsn, P::Record)>,
    unsynced: Vec<(Lsn, P::Record)>,
    pub(crate) needed_from: Lsn,
    pub(crate) sends: Vec<(NodeId, Lsn, P::Message)>,
    replies: Vec<Reply>,
    pub(crate) refusals: Vec<Refusal>,
}

/// A cluster whose messages and disks do nothing until they are told to.
pub(crate) struct Cluster<P: Protocol> {
    config: P::Config,
    pub(crate) replicas: Vec<Replica<P>>,
    /// Who is cut off.
    pub(crate) cut: NodeSet,
    pub(crate) now: Time,
    pub(crate) answers: Vec<(SessionId, Sequence, ReplyBody)>,
    /// Messages carried since the last count.
    pub(crate) carried: usize,
}

impl<P: Protocol> Cluster<P> {
    pub(crate) fn with(nodes: usize, config: P::Config) -> Self {
        let replicas = (0..nodes).map(|node| Replica::start(node, nodes, &config, Vec::new())).collect();
        let (cut, answers) = (NodeSet::EMPTY, Vec::new());
        let mut cluster = Self { config, replicas, cut, now: Time(1), answers, carried: 0 };
        // Everybody's life begins, durably.
        (0..nodes).for_each(|node| cluster.step(node, Input::Timeout));
        cluster.settle();
        cluster
    }

    pub(crate) fn step(&mut self, node: usize, input: Input<P::Message>) {
        let replica = &mut self.replicas[node];
        replica.core.step(self.now, input, &mut replica.effects);
        replica.flush(self.now);
    }

    pub(crate) fn request(&mut self, node: usize, request: Request) {
        self.step(node, Input::Request { ticket: Ticket(1), request, proof: Bytes::new() });
    }

    /// Asks for a write or a read, and lets nothing else happen.
    pub(crate) fn ask(&mut self, node: usize, session: u64, sequence: u64, command: &Command<'_>) {
        let batch = batch(session, sequence, Some(command));
        let is_read = matches!(command, Command::Get { .. });
        self.request(node, if is_read { Request::Read(batch) } else { Request::Write(batch) });
    }

    pub(crate) fn open(&mut self, node: usize, session: u64) {
        self.request(node, Request::Write(batch(session, 0, None)));
    }

    pub(crate) fn sync(&mut self, node: usize) {
        let replica = &mut self.replicas[node];
        let Some((last, _)) = replica.unsynced.last().cloned() else { return };
        replica.journal.append(&mut replica.unsynced);
        self.step(node, Input::Durable(last));
    }

    /// Carries every message that may leave and that nobody is cut off from; whether there was any.
    pub(crate) fn carry(&mut self) -> bool {
        let mut carried = false;
        for from in 0..self.replicas.len() {
            let durable = self.replicas[from].durable();
            let (ready, held): (Vec<_>, Vec<_>) =
                self.replicas[from].sends.drain(..).partition(|(_, after, _)| *after <= durable);
            self.replicas[from].sends = held;
            for (to, _, message) in ready {
                if self.cut.contains(to) || self.cut.contains(NodeId(from as u16)) {
                    continue;
                }
                carried = true;
                self.carried += 1;
                self.step(usize::from(to.0), Input::Message { from: NodeId(from as u16), message });
            }
        }
        carried
    }

    /// Everything that can happen without time does.
    pub(crate) fn settle(&mut self) {
        loop {
            let carried = self.carry();
            let unsynced = (0..self.replicas.len()).any(|node| !self.replicas[node].unsynced.is_empty());
            (0..self.replicas.len()).for_each(|node| self.sync(node));
            if !carried && !unsynced {
                break;
            }
        }
        self.collect();
    }

    pub(crate) fn collect(&mut self) {
        for replica in &mut self.replicas {
            let durable = replica.durable();
            let ready = replica.replies.extract_if(.., |reply| reply.after <= durable);
            self.answers.extend(ready.map(|reply| (reply.session, reply.sequence, reply.body)));
        }
    }

    pub(crate) fn answer(&mut self) -> Option<ReplyBody> {
        self.collect();
        self.answers.pop().map(|(_, _, body)| body)
    }

    pub(crate) fn crash(&mut self, node: usize) {
        let journal = std::mem::take(&mut self.replicas[node].journal);
        self.replicas[node] = Replica::start(node, self.replicas.len(), &self.config, journal);
        self.replicas[node].flush(self.now);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for node in 0..self.replicas.len() {
            if self.replicas[node].core.deadline().is_some_and(|deadline| deadline <= self.now) {
                self.step(node, Input::Timeout);
            }
        }
    }

    pub(crate) fn counter(&self, node: usize, name: &str) -> u64 {
        let counters = self.replicas[node].core.counters(Time(0));
        counters.iter().find(|(known, _)| *known == name).expect("it is counted").1
    }
}

impl<P: Protocol> Replica<P> {
    pub(crate) fn start(
        node: usize,
        nodes: usize,
        config: &P::Config,
        journal: Vec<(Lsn, P::Record)>,
    ) -> Self {
        let seat = Seat { me: NodeId(node as u16), members: NodeSet::first(nodes), seed: 1 };
        let mut effects = Effects::new(journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn));
        let core = P::recover(seat, config, Time(1), journal.clone().into_iter(), &mut effects);
        let (unsynced, sends, replies, refusals) = Default::default();
        Self { core, effects, journal, unsynced, needed_from: Lsn::ZERO, sends, replies, refusals }
    }

    pub(crate) fn durable(&self) -> Lsn {
        self.journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn)
    }

    pub(crate) fn flush(&mut self, now: Time) {
        self.core.flush(now, &mut self.effects);
        self.core.check();
        self.unsynced.extend(self.effects.records().map(|(lsn, record)| (lsn, record.clone())));
        self.needed_from = self.effects.needed_from();
        self.sends.extend(self.effects.take_sends().map(|out| (out.to, out.after, out.message)));
        self.replies.extend(self.effects.take_replies());
        self.refusals.extend(self.effects.take_refusals().map(|refused| refused.refusal));
        self.effects.clear();
    }
}

pub(crate) fn batch(session: u64, sequence: u64, command: Option<&Command<'_>>) -> qlab_kernel::Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(SessionId(session), Sequence(sequence), Sequence(sequence));
    if let Some(command) = command {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        builder.push_bytes(&bytes);
    }
    builder.finish()
}
