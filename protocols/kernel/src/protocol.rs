//! The one trait.

use std::fmt::Debug;

use bytes::Bytes;

use crate::{Batch, Effects, Index, Lane, Lsn, NodeId, NodeSet, Ticket, Time, Wire};

/// A replica of a distributed protocol, as a pure state machine.
///
/// The driver's contract, the same for every host: step 1 … [`BURST_INPUTS_MAX`](crate::limits::BURST_INPUTS_MAX) inputs,
/// one flush, harvest all lanes of the effects, clear them. Records reach the journal in order before a gated output is
/// released; early sends may leave at once; each lane to each peer keeps its order, but that of datagrams; commits are
/// executed in order, once. After a flush, ask for the deadline. A crash drops the replica and every record that is not
/// durable; a restart calls [`recover`](Self::recover) with the records that are.
pub trait Protocol: Sized {
    /// The system's name on the command line and in tables.
    const NAME: &'static str;
    /// Whether every replica answers every client that is connected to it, because clients believe several replicas or none.
    /// Elsewhere a replica answers those who asked it.
    const EVERY_REPLICA_ANSWERS: bool = false;
    /// What must be equal on all replicas.
    type Config: Clone;
    /// What replicas say to each other.
    type Message: Message;
    /// What a crash must not forget.
    type Record: Wire + Clone + Debug;

    /// A replica as of `records`, which are the durable ones in order; without any, a new one. It may ask at once for the
    /// state machine to be restored; it sends and persists nothing.
    fn recover(
        seat: Seat,
        config: &Self::Config,
        now: Time,
        records: impl Iterator<Item = (Lsn, Self::Record)>,
        effects: &mut Effects<Self>,
    ) -> Self;

    /// Takes one input in. Cannot fail: bad bytes died in decoding, a rule-breaking peer is counted and ignored.
    fn step(&mut self, now: Time, input: Input<Self::Message>, effects: &mut Effects<Self>);

    /// Speaks once for everything taken in since the last flush.
    fn flush(&mut self, now: Time, effects: &mut Effects<Self>);

    /// When to step [`Input::Timeout`] at the latest; pulled after each flush, so that no timer is ever stale.
    fn deadline(&self) -> Option<Time>;

    /// The replica that clients should turn to, if this one knows.
    fn leader(&self) -> Option<NodeId>;

    /// What this replica has counted since its start, and what it shows now, that only its protocol has, by name: for reports,
    /// never for others.
    fn counters(&self, _now: Time) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Panics if an invariant of this replica alone is broken.
    fn check(&self);
}

/// What replicas say to each other: small; bulk travels as a shared [`Batch`] or [`Bytes`] within.
pub trait Message: Wire + Clone + Debug {
    /// Which lane it travels on.
    fn lane(&self) -> Lane;
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input<M> {
    /// A peer spoke. The transport has proven who.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: M,
    },
    /// A client asks.
    Request {
        /// Whom to answer if the request is refused.
        ticket: Ticket,
        /// For what.
        request: Request,
        /// What proves to every replica who asks, where replicas do not believe each other; empty elsewhere. It follows the
        /// request in its frame.
        proof: Bytes,
    },
    /// Every record up to this one is on stable storage.
    Durable(Lsn),
    /// The state machine's image after applying `index`, as asked for by [`Commit::Capture`](crate::Commit::Capture).
    Captured {
        /// The last entry in the image.
        index: Index,
        /// The image.
        image: Bytes,
    },
    /// The deadline has passed.
    Timeout,
    /// Hand leadership over, to `to` or to whoever is best placed; a replica that does not lead ignores it.
    Yield {
        /// The successor wished for.
        to: Option<NodeId>,
    },
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// Execute these commands once, durably, in one order with everybody's.
    Write(Batch),
    /// Answer these queries from a state no older than the moment of asking.
    Read(Batch),
}

/// Who a replica is.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Its own number.
    pub me: NodeId,
    /// Everyone's, its own among them.
    pub members: NodeSet,
    /// Where its randomness comes from.
    pub seed: u64,
}

impl Seat {
    /// Everyone else.
    #[must_use]
    pub fn peers(&self) -> NodeSet {
        self.members.without(self.me)
    }
}
