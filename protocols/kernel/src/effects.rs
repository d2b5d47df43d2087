//! What a replica wants done: its lanes and the durability gate.
//!
//! The gate: records are numbered ([`Lsn`]); a send or reply waits for every record persisted before it, unless its author says
//! `early`, with the reason in a comment. If every output waits, a replica behaves like one that synced after every step
//! and merely spoke late; so protocols are written as if disks were instant. Commits are never gated: what is committed is
//! safe by the protocol's own quorum, on whichever disks that was counted.

use bytes::Bytes;

use crate::{Batch, Index, Lsn, NodeId, Outcome, Protocol, Sequence, SessionId, Term, Ticket};

/// The way a message takes between two replicas. Lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Small and urgent: votes, heartbeats, acknowledgements.
    Control,
    /// Large: log entries, snapshots.
    Bulk,
    /// Small, and worth nothing when late: it may vanish, come twice or be overtaken. What is larger than the path's datagrams
    /// never leaves.
    Datagram,
}

/// A message on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing<M> {
    /// To whom.
    pub to: NodeId,
    /// Not before this record is durable; zero means at once.
    pub after: Lsn,
    /// What.
    pub message: M,
}

/// What the state machine is to do, in the order given.
#[derive(Clone, Debug)]
pub enum Commit {
    /// Execute a batch. Indices follow each other without a gap.
    Apply {
        /// Its place in the log.
        index: Index,
        /// What to execute; empty for a no-op.
        batch: Batch,
    },
    /// Answer queries from the state as it is now, after everything before this in the lane.
    Query {
        /// Who asked.
        ticket: Ticket,
        /// The queries.
        batch: Batch,
    },
    /// Hand back an image of the state as [`Input::Captured`](crate::Input::Captured).
    Capture,
    /// Become the state that an image holds.
    Restore {
        /// The last entry in the image.
        index: Index,
        /// The image.
        image: Bytes,
    },
}

/// Why a request is not taken here. It may be asked again, with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another replica leads, if known which.
    NotLeader(Option<NodeId>),
    /// A window is full: later.
    Busy,
}

/// A request handed back.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Who asked.
    pub ticket: Ticket,
    /// For what: hosts name its commands to the client.
    pub batch: Batch,
    /// Why not.
    pub refusal: Refusal,
}

/// What a client is told by a protocol that holds the values itself, with no state machine behind it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Whose command is answered.
    pub session: SessionId,
    /// Its number; zero for the opening of the session.
    pub sequence: Sequence,
    /// Not before this record is durable; zero means at once.
    pub after: Lsn,
    /// What became of it.
    pub body: ReplyBody,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// Of a write.
    Written(Outcome),
    /// Of a query.
    Found {
        /// One of the statuses in [`command`](crate::command).
        status: u8,
        /// The value; empty if there is none.
        value: Bytes,
    },
}

/// What observers may want to know: for traces, coverage and laws across replicas, never for the protocol's own sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This replica leads from now on.
    Elected(Term),
    /// It led until now.
    Deposed(Term),
    /// It follows another leader from now on, and clients had better know.
    ViewEntered(Term),
    /// It asks for votes.
    Campaigned(Term),
    /// It threw entries away from this one on, to follow its leader.
    Truncated(Index),
    /// It replaced its log up to here by an image of the state.
    Compacted(Index),
    /// It took over a peer's image up to here.
    Installed(Index),
    /// A peer broke the rules and was ignored.
    Misbehaved(NodeId),
    /// It knows everything that a node wrote in one of its lives, up to this version.
    Learned {
        /// Which node.
        writer: NodeId,
        /// In which life.
        life: u32,
        /// The last version known.
        version: u64,
    },
    /// It takes a node for alive again.
    FoundAlive(NodeId),
    /// It suspects a node to be dead.
    Suspected(NodeId),
    /// It takes a node for dead.
    DeclaredDead(NodeId),
}

/// What a replica wants done. It may only add; its driver may only look, take and clear.
#[derive(Debug)]
pub struct Effects<P: Protocol> {
    records: Vec<P::Record>,
    last: Lsn,
    awaited: Lsn,
    needed_from: Lsn,
    sends: Vec<Outgoing<P::Message>>,
    commits: Vec<Commit>,
    replies: Vec<Reply>,
    refusals: Vec<Refused>,
    events: Vec<Event>,
}

impl<P: Protocol> Effects<P> {
    /// Empty lanes of a replica whose journal ends with `last`.
    #[must_use]
    pub fn new(last: Lsn) -> Self {
        Self {
            records: Vec::new(),
            last,
            awaited: last,
            needed_from: Lsn::ZERO,
            sends: Vec::new(),
            commits: Vec::new(),
            replies: Vec::new(),
            refusals: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Records something that a crash must not forget; its number is the answer.
    pub fn persist(&mut self, record: P::Record) -> Lsn {
        self.awaited = self.persist_unawaited(record);
        self.last
    }

    /// Records something whose durability nobody waits for by itself: it reaches the disk with the next record, message or reply
    /// that waits. A crash before that forgets it.
    pub fn persist_unawaited(&mut self, record: P::Record) -> Lsn {
        self.last = self.last.next();
        self.records.push(record);
        self.last
    }

    /// The last record's number.
    #[must_use]
    pub const fn last(&self) -> Lsn {
        self.last
    }

    /// The last record whose durability something waits for: hosts sync up to there without delay, and need not sync what follows.
    #[must_use]
    pub const fn awaited(&self) -> Lsn {
        self.awaited
    }

    /// Declares that no recovery will need a record below `lsn`. Never goes back.
    pub fn release_below(&mut self, lsn: Lsn) {
        assert!(lsn >= self.needed_from && lsn <= self.last.next(), "released records cannot be asked back");
        self.needed_from = lsn;
    }

    /// Sends once everything persisted so far is durable.
    pub fn send(&mut self, to: NodeId, message: P::Message) {
        self.awaited = self.last;
        self.sends.push(Outgoing { to, after: self.last, message });
    }

    /// Sends at once. Whoever calls this says why it is safe.
    pub fn send_early(&mut self, to: NodeId, message: P::Message) {
        self.sends.push(Outgoing { to, after: Lsn::ZERO, message });
    }

    /// Asks the state machine for something.
    pub fn commit(&mut self, commit: Commit) {
        self.commits.push(commit);
    }

    /// Answers a command once everything persisted so far is durable.
    pub fn reply(&mut self, session: SessionId, sequence: Sequence, body: ReplyBody) {
        self.awaited = self.last;
        self.replies.push(Reply { session, sequence, after: self.last, body });
    }

    /// Answers a command at once. Whoever calls this says why it is safe.
    pub fn reply_early(&mut self, session: SessionId, sequence: Sequence, body: ReplyBody) {
        self.replies.push(Reply { session, sequence, after: Lsn::ZERO, body });
    }

    /// Hands a request back.
    pub fn refuse(&mut self, ticket: Ticket, batch: Batch, refusal: Refusal) {
        self.refusals.push(Refused { ticket, batch, refusal });
    }

    /// Tells observers.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The records of this burst with their numbers, oldest first.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (Lsn, &P::Record)> {
        let first = self.last.0 + 1 - self.records.len() as u64;
        self.records.iter().enumerate().map(move |(i, record)| (Lsn(first + i as u64), record))
    }

    /// The lowest record that a recovery may still need; zero means all of them.
    #[must_use]
    pub const fn needed_from(&self) -> Lsn {
        self.needed_from
    }

    /// Takes the messages out.
    pub fn take_sends(&mut self) -> std::vec::Drain<'_, Outgoing<P::Message>> {
        self.sends.drain(..)
    }

    /// Takes the state machine's work out.
    pub fn take_commits(&mut self) -> std::vec::Drain<'_, Commit> {
        self.commits.drain(..)
    }

    /// Takes the replies out.
    pub fn take_replies(&mut self) -> std::vec::Drain<'_, Reply> {
        self.replies.drain(..)
    }

    /// Takes the refused requests out.
    pub fn take_refusals(&mut self) -> std::vec::Drain<'_, Refused> {
        self.refusals.drain(..)
    }

    /// Takes the news out.
    pub fn take_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// Empties all lanes; capacity and numbering stay.
    pub fn clear(&mut self) {
        self.records.clear();
        self.sends.clear();
        self.commits.clear();
        self.replies.clear();
        self.refusals.clear();
        self.events.clear();
    }
}
