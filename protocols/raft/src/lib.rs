//! Raft (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014; Ongaro's thesis, 2014).
//!
//! # What is here
//!
//! Leader election with randomised timeouts, pre-vote (thesis §9.6) and check-quorum (§6.2); log replication, batched and
//! pipelined; the leader's disk write in parallel with the followers' (§10.2.1); linearizable reads by batched ReadIndex (§6.4)
//! or leader lease (§6.4.1); snapshots with chunked transfer (§7); leadership transfer (§3.10). Membership is fixed.
//!
//! # Why it is safe
//!
//! 1. A vote and the entries before it are durable before the vote leaves: replies are gated on every earlier record.
//! 2. So a replica votes once a term, also across crashes, and a term has one leader at the most (Election Safety).
//! 3. Entries are put only after a matching place, so equal places mean equal logs before them (Log Matching).
//! 4. A follower acknowledges an entry only when it is durable; a leader counts itself only when its own copy is.
//! 5. An entry of the leader's own term on a majority is committed, and all before it (§5.4.2); see [`replication`].
//! 6. Any later leader got its vote from one of that majority, whose log was no newer than the leader's (§5.4.1), so it holds
//!    the entry (Leader Completeness). It never overwrites its own log.
//! 7. Early sends are those a crash cannot make false: see the comment at each.
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | times, windows, switches |
//! | [`message`], [`record`] | what is said, what is written |
//! | `log` | the log in memory |
//! | [`election`] | timeouts, pre-votes, votes, becoming and ceasing to be leader |
//! | [`replication`] | the leader's view of its peers, appending, acknowledging, **the commit rule** |
//! | [`read`] | ReadIndex and leases |
//! | `snapshot` | compaction and the transfer of images |
//! | `recovery` | restart from the journal |
//! | `invariant` | what must hold after every burst |
//!
//! # Trade-offs
//!
//! One message carries one entry, and an entry is a whole batch: messages stay small and fixed, and catching up is nothing but
//! pipelining. The newest image is kept in memory, for followers too far behind; states of many gigabytes would want a file.

#![forbid(unsafe_code)]

pub mod config;
pub mod election;
mod invariant;
mod log;
pub mod message;
pub mod read;
pub mod record;
mod recovery;
pub mod replication;
mod snapshot;

use qlab_kernel::{
    Commit, Effects, Event, Images, Index, Input, Lsn, NodeId, NodeSet, Protocol, Refusal, Request, Seat,
    Term, Ticket, Time,
};
use rand_pcg::Pcg32;

pub use config::{Config, ConfigError, LeaderWrite, Reads};
pub use message::{Entry, Message, Place};
pub use record::Record;

use log::Log;
use replication::{Leader, Owed};

/// A Raft replica.
#[derive(Debug)]
pub struct Raft {
    seat: Seat,
    config: Config,
    chance: Pcg32,

    /// The current term and the vote given in it: durable before anyone hears of them.
    term: Term,
    voted_for: Option<NodeId>,
    /// The record that holds the two.
    vote_lsn: Lsn,
    log: Log,
    /// Every record up to here is durable.
    durable: Lsn,

    /// Entries known to be committed, and those handed to the state machine.
    commit: Index,
    applied: Index,

    role: Role,
    leader: Option<NodeId>,
    /// When a leader was last heard: nobody is helped to depose it for a while.
    heard: Time,
    election_deadline: Time,
    /// What this follower owes its leader at the next flush.
    owed: Owed,
    /// How far this follower's log is known to equal its leader's.
    received: Index,

    images: Images,
}

#[derive(Debug)]
enum Role {
    Follower,
    PreCandidate { votes: NodeSet },
    Candidate { votes: NodeSet },
    Leader(Box<Leader>),
}

impl Protocol for Raft {
    const NAME: &'static str = "raft";
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
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, effects),
            Input::Request { ticket, request, .. } => self.on_request(ticket, request, effects),
            Input::Durable(lsn) => self.on_durable(now, lsn, effects),
            Input::Captured { index, image } => self.on_captured(index, image, effects),
            Input::Timeout => self.on_timeout(now, effects),
            Input::Yield { to } => self.on_yield(now, to),
        }
    }

    fn flush(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.advance_commit();
        self.propose(effects);
        self.apply(effects);
        self.answer_reads(now, effects);
        self.replicate(now, effects);
        self.settle_owed(effects);
    }

    fn deadline(&self) -> Option<Time> {
        Some(match &self.role {
            Role::Leader(leader) => leader.deadline(),
            _ => self.election_deadline,
        })
    }

    fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    fn check(&self) {
        invariant::check(self);
    }
}

impl Raft {
    /// The current term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }

    /// For whom it voted in this term.
    #[must_use]
    pub const fn voted_for(&self) -> Option<NodeId> {
        self.voted_for
    }

    /// Whether this replica leads.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// What this replica is at the moment: `follower`, `pre-candidate`, `candidate` or `leader`.
    #[must_use]
    pub const fn role(&self) -> &'static str {
        match self.role {
            Role::Follower => "follower",
            Role::PreCandidate { .. } => "pre-candidate",
            Role::Candidate { .. } => "candidate",
            Role::Leader(_) => "leader",
        }
    }

    /// The last committed index this replica knows of.
    #[must_use]
    pub const fn commit_index(&self) -> Index {
        self.commit
    }

    /// Where its log ends.
    #[must_use]
    pub fn last(&self) -> Place {
        self.log.last()
    }

    /// The term at `index`, if that is in memory.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// What a leader believes: up to where each follower's log is durable there and equal to its own.
    pub fn matched(&self) -> impl Iterator<Item = (NodeId, Index)> {
        let peers = if let Role::Leader(leader) = &self.role { leader.peers() } else { &[] };
        peers.iter().map(replication::Peer::matched)
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message, effects: &mut Effects<Self>) {
        if !self.seat.peers().contains(from) || !message.is_sound() {
            effects.event(Event::Misbehaved(from));
            return;
        }
        if !self.align_term(now, from, &message, effects) {
            return;
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.hear(from, now);
        }
        match message {
            Message::Vote { term, ballot, last } => self.on_vote(now, from, term, ballot, last, effects),
            Message::VoteReply { term, pre, granted } => {
                self.on_vote_reply(now, from, term, pre, granted, effects)
            }
            Message::Append { previous, commit, entry, .. } => {
                self.follow(now, from);
                self.on_append(from, previous, commit, entry, effects);
            }
            Message::Matched { matched, .. } => self.on_matched(from, matched),
            Message::Conflict { previous, hint, .. } => self.on_conflict(from, previous, hint),
            Message::Heartbeat { round, commit, .. } => {
                self.follow(now, from);
                self.on_heartbeat(from, round, commit, effects);
            }
            Message::HeartbeatReply { round, received, .. } => {
                self.on_heartbeat_reply(now, from, round, received)
            }
            Message::Install { chunk, .. } => {
                self.follow(now, from);
                self.on_install(from, &chunk, effects);
            }
            Message::InstallReply { index, have_bytes, .. } => {
                self.on_install_reply(now, from, index, have_bytes)
            }
            Message::TakeOver { .. } => self.on_take_over(now, effects),
            Message::Stale { .. } => {}
        }
    }

    fn on_request(&mut self, ticket: Ticket, request: Request, effects: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else {
            let (Request::Write(batch) | Request::Read(batch)) = request;
            effects.refuse(ticket, batch, Refusal::NotLeader(self.leader));
            return;
        };
        match request {
            Request::Write(batch) if leader.has_room(&self.config, batch.len()) => {
                leader.intake.push(ticket, batch)
            }
            Request::Read(batch) if leader.has_room_to_read(&self.config, batch.len()) => {
                leader.reads.push(ticket, batch);
            }
            Request::Write(batch) | Request::Read(batch) => effects.refuse(ticket, batch, Refusal::Busy),
        }
    }

    fn on_durable(&mut self, now: Time, lsn: Lsn, effects: &mut Effects<Self>) {
        self.durable = self.durable.max(lsn);
        self.log.mark_durable(lsn);
        self.release_journal(effects);
        self.count_own_vote(now, effects);
    }

    /// Hands everything committed to the state machine, in order, once; asks for an image when the log has grown long.
    fn apply(&mut self, effects: &mut Effects<Self>) {
        while self.applied < self.commit {
            self.applied = self.applied.next();
            let batch = self.log.batch(self.applied);
            self.images.log_grew(batch.len());
            effects.commit(Commit::Apply { index: self.applied, batch });
        }
        if self.images.wants_image(self.config.snapshot_log_bytes) {
            effects.commit(Commit::Capture);
        }
    }
}
