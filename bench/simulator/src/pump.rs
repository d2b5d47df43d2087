//! The calm world: replicas of one cluster pumped in one thread. Messages arrive at once and in order, disks are instant.
//!
//! What is left is what the cores cost, which is what this is for. The driver's contract is kept: bursts, one flush,
//! all lanes harvested, records durable before what waits for them is delivered.

use bytes::Bytes;
use qlab_kernel::{Commit, Effects, Index, Input, Lsn, NodeId, NodeSet, Protocol, Seat, Time};

/// A cluster in one thread.
pub struct Pump<P: Protocol> {
    replicas: Vec<Replica<P>>,
    inboxes: Vec<Vec<Input<P::Message>>>,
    now: Time,
}

struct Replica<P: Protocol> {
    core: P,
    effects: Effects<P>,
    burst: Vec<Input<P::Message>>,
    durable: Lsn,
    applied: Index,
    queries: u64,
    replies: u64,
}

impl<P: Protocol> Pump<P> {
    /// A new cluster of `nodes` replicas, the first of which leads if the protocol has leaders.
    pub fn new(nodes: usize, config: &P::Config) -> Self {
        let now = Time(1);
        let members = NodeSet::first(nodes);
        let replicas =
            members.iter().map(|me| Replica::new(Seat { me, members, seed: 7 }, config, now)).collect();
        let inboxes = members.iter().map(|_| Vec::new()).collect();
        let mut pump = Self { replicas, inboxes, now };
        // The first replica's patience ends before the others look at the clock.
        if let Some(deadline) = pump.replicas[0].core.deadline() {
            pump.now = deadline;
            pump.inboxes[0].push(Input::Timeout);
        }
        pump.settle();
        pump
    }

    /// The first replica.
    pub const fn leader(&self) -> NodeId {
        NodeId(0)
    }

    /// Adds an input for `node`; [`settle`](Self::settle) takes it in.
    pub fn give(&mut self, node: NodeId, input: Input<P::Message>) {
        self.inboxes[usize::from(node.0)].push(input);
    }

    /// Runs until nobody has anything left to take in.
    pub fn settle(&mut self) {
        // Time moves, but never far enough for anybody to lose patience.
        self.now.0 += 1;
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for id in 0..self.replicas.len() {
                if !self.inboxes[id].is_empty() {
                    quiet = false;
                    self.burst(id);
                }
            }
        }
    }

    /// The last index `node` has applied.
    pub fn applied(&self, node: NodeId) -> Index {
        self.replicas[usize::from(node.0)].applied
    }

    /// How many groups of queries `node` has answered.
    pub fn queries(&self, node: NodeId) -> u64 {
        self.replicas[usize::from(node.0)].queries
    }

    /// How many commands `node` has answered by itself.
    pub fn replies(&self, node: NodeId) -> u64 {
        self.replicas[usize::from(node.0)].replies
    }

    fn burst(&mut self, id: usize) {
        let from = NodeId(u16::try_from(id).expect("a node set's size"));
        let replica = &mut self.replicas[id];
        std::mem::swap(&mut self.inboxes[id], &mut replica.burst);
        for input in replica.burst.drain(..) {
            replica.core.step(self.now, input, &mut replica.effects);
        }
        replica.core.flush(self.now, &mut replica.effects);
        replica.harvest(&mut self.inboxes[id]);
        for outgoing in replica.effects.take_sends() {
            let input = Input::Message { from, message: outgoing.message };
            self.inboxes[usize::from(outgoing.to.0)].push(input);
        }
        replica.effects.clear();
    }
}

impl<P: Protocol> Replica<P> {
    fn new(seat: Seat, config: &P::Config, now: Time) -> Self {
        let mut effects = Effects::new(Lsn::ZERO);
        let core = P::recover(seat, config, now, std::iter::empty(), &mut effects);
        let (durable, applied) = (Lsn::ZERO, Index::ZERO);
        Self { core, effects, burst: Vec::new(), durable, applied, queries: 0, replies: 0 }
    }

    /// Does what the core wants done, but for its messages.
    fn harvest(&mut self, inbox: &mut Vec<Input<P::Message>>) {
        if self.effects.last() > self.durable {
            self.durable = self.effects.last();
            inbox.push(Input::Durable(self.durable));
        }
        // Nothing here answers before all that it rests on is durable: disks are instant.
        self.replies += self.effects.take_replies().count() as u64;
        for commit in self.effects.take_commits() {
            match commit {
                Commit::Apply { index, .. } => self.applied = index,
                Commit::Query { .. } => self.queries += 1,
                // The state machine of this world has no state.
                Commit::Capture => inbox.push(Input::Captured { index: self.applied, image: Bytes::new() }),
                Commit::Restore { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qlab_kernel::{Batch, BatchBuilder, Request, Sequence, SessionId, Ticket};
    use qlab_raft::{Config, Raft};

    fn write() -> Batch {
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(1), Sequence(1), Sequence(1));
        builder.push_bytes(&[0; 64]);
        builder.finish()
    }

    #[test]
    fn writes_and_reads_go_through_a_pumped_cluster() {
        let mut pump = Pump::<Raft>::new(3, &Config::default());
        let opening = pump.applied(pump.leader());
        for ticket in 0..10 {
            pump.give(
                pump.leader(),
                Input::Request {
                    ticket: Ticket(ticket),
                    request: Request::Write(write()),
                    proof: Bytes::new(),
                },
            );
            pump.settle();
        }
        assert_eq!(pump.applied(pump.leader()), Index(opening.0 + 10));
        pump.give(
            pump.leader(),
            Input::Request { ticket: Ticket(11), request: Request::Read(write()), proof: Bytes::new() },
        );
        pump.settle();
        assert_eq!(pump.queries(pump.leader()), 1);
    }
}
