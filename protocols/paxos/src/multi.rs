//! Multi-Paxos: one instance of Paxos for each slot of a log, under a stable leader (Paxos Made Simple §3; Chandra et al., "Paxos
//! Made Live", 2007; Kirsch and Amir, "Paxos for System Builders", 2008).
//!
//! # What is here
//!
//! Phase 1 once for all slots (§3), with promises that name what was accepted and leave the values where they are until they are
//! needed; phase 2 batched, pipelined, in any order of slots, the leader's own accept beside the others'; flexible quorums (Howard
//! et al., "Flexible Paxos", 2016); thrifty sending; learning of what was missed, by slots or by images; confirmed reads and leader
//! leases (Paxos Made Live §5.2); elections with a canvass before, so that nobody who was cut off disturbs; leaders that step down
//! when they hear no quorum. Membership is fixed.
//!
//! # Why it is safe
//!
//! 1. A candidate's own promise is durable before its [`Message::Prepare`] leaves, as every send waits for the records before it.
//!    So after any crash it has promised at least every ballot that anybody heard of from it, and its next one is above: a ballot
//!    has one proposer, once, for ever.
//! 2. An acceptor's promise, and its accepts before that, are durable before the promise is told; below it nothing is accepted.
//! 3. A leader proposes in a slot only after a quorum of phase 1 has promised its ballot, and then the value that this quorum
//!    accepted in the highest ballot, or any value if there is none (P2c); and one value per slot, in order of slots, once.
//! 4. A value is chosen when a quorum of phase 2 has accepted it durably in *one* ballot. Any two quorums of the two kinds meet, so
//!    by 2 and 3 every later ballot proposes it again: one value per slot, for ever.
//! 5. A learner takes a slot as chosen if its leader says that all slots up to there are *and* it has accepted that slot in that
//!    very ballot, whose one value it is; or if a peer told it the chosen value. A leader believes nobody but its own count, so that
//!    what it says is about its own ballot.
//! 6. Slots are forgotten only behind an image of what they led to, which is durable before their records go.
//! 7. Early sends are those a crash cannot make false: see the comment at each.
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | times, windows, quorums, switches |
//! | [`message`], [`record`] | what is said, what is written |
//! | `slots` | what is accepted, slot by slot |
//! | [`election`] | timeouts, the canvass, promises, becoming and ceasing to be leader |
//! | [`phase1`] | a candidate's knowledge: what its quorum accepted, and which values it lacks |
//! | [`agreement`] | proposing, accepting, acknowledging, **when a value is chosen** |
//! | `stream` | one acceptor as its leader sees it: what to send, and what was lost |
//! | [`learning`] | what is chosen and was missed, by slots or by image |
//! | [`read`] | confirmed reads and leases |
//! | `compaction` | images in place of slots |
//! | `recovery` | restart from the journal |
//! | `invariant` | what must hold after every burst |
//!
//! # Trade-offs
//!
//! That something is chosen is not written down: a restarted replica starts from its image and learns again what came after. In
//! return an accept is one record, and choosing costs none. The newest image is kept in memory.

pub mod agreement;
mod compaction;
pub mod config;
pub mod election;
mod invariant;
pub mod learning;
pub mod message;
pub mod phase1;
pub mod read;
pub mod record;
mod recovery;
mod slots;
mod stream;

use qlab_kernel::{
    Commit, Effects, Event, Images, Index, Input, Lsn, NodeId, NodeSet, Protocol, Refusal, Request, Seat,
    Ticket, Time,
};
use rand_pcg::Pcg32;

use crate::Ballot;

pub use config::{Config, ConfigError, Quorums, Reads};
pub use message::{Message, Run, Span};
pub use record::Record;

use agreement::{Following, Leader};
use learning::Learning;
use phase1::Candidacy;
use slots::Slots;

/// A Multi-Paxos replica: proposer, acceptor and learner in one.
#[derive(Debug)]
pub struct MultiPaxos {
    seat: Seat,
    config: Config,
    quorums: Quorums,
    chance: Pcg32,

    /// Nothing is promised or accepted below: durable before anyone hears of it.
    promised: Ballot,
    /// The record that holds the promise.
    promise_lsn: Lsn,
    /// The highest ballot heard of, which only says how high the next must be.
    seen: Ballot,
    slots: Slots,
    /// Every record up to here is durable.
    durable: Lsn,

    /// All slots up to here are known to be chosen; those handed to the state machine.
    chosen: Index,
    applied: Index,

    role: Role,
    leader: Option<NodeId>,
    /// When a leader was last heard: nobody is helped to depose it for a while.
    heard: Time,
    election_deadline: Time,
    following: Following,
    learning: Learning,
    images: Images,
}

#[derive(Debug)]
enum Role {
    Follower,
    /// Asks whether a ballot would be promised.
    Canvassing {
        ballot: Ballot,
        granted: NodeSet,
    },
    /// Phase 1.
    Preparing(Box<Candidacy>),
    /// Phase 2.
    Leader(Box<Leader>),
}

impl Protocol for MultiPaxos {
    const NAME: &'static str = "multi-paxos";
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
            Input::Durable(lsn) => self.on_durable(lsn, effects),
            Input::Captured { index, image } => self.on_captured(index, image, effects),
            Input::Timeout => self.on_timeout(now, effects),
            Input::Yield { to } => self.on_yield(now, to),
        }
    }

    fn flush(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.conclude_phase_1(now, effects);
        self.advance_chosen();
        self.propose(now, effects);
        self.apply(effects);
        self.answer_reads(now, effects);
        self.replicate(now, effects);
        self.settle_owed(effects);
    }

    fn deadline(&self) -> Option<Time> {
        Some(match &self.role {
            Role::Leader(leader) => leader.deadline(&self.config),
            Role::Preparing(candidacy) => self.election_deadline.min(candidacy.retry_at),
            Role::Follower | Role::Canvassing { .. } => self.election_deadline,
        })
    }

    fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    fn check(&self) {
        invariant::check(self);
    }
}

impl MultiPaxos {
    /// Nothing below this ballot is promised or accepted any more.
    #[must_use]
    pub const fn promised(&self) -> Ballot {
        self.promised
    }

    /// Whether this replica leads, in the ballot it has promised.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// What it does at the moment: a word.
    #[must_use]
    pub const fn role(&self) -> &'static str {
        match self.role {
            Role::Follower => "follower",
            Role::Canvassing { .. } => "canvassing",
            Role::Preparing(_) => "preparing",
            Role::Leader(_) => "leader",
        }
    }

    /// The last slot that an image has replaced here.
    #[must_use]
    pub const fn base(&self) -> Index {
        self.slots.base()
    }

    /// The last slot that holds something, or the base.
    #[must_use]
    pub fn last_slot(&self) -> Index {
        self.slots.last()
    }

    /// The ballot in which a slot's value was accepted last; [`Ballot::CHOSEN`] if somebody said that it is chosen.
    #[must_use]
    pub fn accepted_in(&self, index: Index) -> Option<Ballot> {
        self.slots.get(index).map(|slot| slot.ballot)
    }

    /// The last slot up to which this replica knows all to be chosen.
    #[must_use]
    pub const fn chosen(&self) -> Index {
        self.chosen
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message, effects: &mut Effects<Self>) {
        if !self.seat.peers().contains(from) || !message.is_sound(from, self.seat.me) {
            effects.event(Event::Misbehaved(from));
            return;
        }
        match message {
            Message::Canvass { ballot, chosen } => self.on_canvass(now, from, ballot, chosen, effects),
            Message::Prepare { ballot, first, handover } => {
                self.on_prepare(now, from, ballot, first, handover, effects)
            }
            Message::Fetch { ballot, index, accepted_in } => {
                self.on_fetch(from, ballot, index, accepted_in, effects)
            }
            Message::Accept { ballot, index, commit, batch } => {
                if self.follow(now, from, ballot, effects) {
                    self.on_accept(index, commit, batch, effects);
                }
            }
            Message::Heartbeat { ballot, round, commit, oldest } => {
                if self.follow(now, from, ballot, effects) {
                    self.on_heartbeat(now, from, round, commit, oldest, effects);
                }
            }
            Message::TakeOver { ballot } => {
                if self.follow(now, from, ballot, effects) {
                    self.campaign(now, ballot, effects);
                }
            }
            Message::Learn { first, image, have_bytes } => {
                self.on_learn(from, first, image, have_bytes, effects)
            }
            Message::Chosen { index, batch, last } => self.on_chosen(now, index, batch, last, effects),
            Message::Image { chunk, last } => self.on_image(now, &chunk, last, effects),
            answer => self.on_answer(now, from, answer, effects),
        }
    }

    /// Answers to what this replica said as a candidate or leader. Those to an earlier ballot of its own are too late.
    fn on_answer(&mut self, now: Time, from: NodeId, answer: Message, effects: &mut Effects<Self>) {
        match answer {
            Message::CanvassReply { ballot, granted, promised, chosen } => {
                self.seen = self.seen.max(promised);
                self.on_canvass_reply(now, from, ballot, granted, chosen, effects);
            }
            Message::Stale { promised } => self.on_stale(now, promised, effects),
            Message::Promise { ballot, first, until, chosen, runs } if ballot == self.promised => {
                self.on_promise(from, first, until, chosen, runs, effects)
            }
            Message::Value { ballot, index, accepted_in, batch } if ballot == self.promised => {
                self.on_value(now, index, accepted_in, batch)
            }
            Message::Accepted { ballot, spans } if ballot == self.promised => {
                self.on_accepted(now, from, &spans);
            }
            Message::HeartbeatReply { ballot, round, received } if ballot == self.promised => {
                self.on_heartbeat_reply(now, from, round, received);
            }
            _ => {}
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

    fn on_durable(&mut self, lsn: Lsn, effects: &mut Effects<Self>) {
        self.durable = self.durable.max(lsn);
        self.release_journal(effects);
        self.count_own_accepts();
    }

    /// Hands everything chosen to the state machine, in order, once; asks for an image when enough has come together.
    fn apply(&mut self, effects: &mut Effects<Self>) {
        while self.applied < self.chosen {
            self.applied = self.applied.next();
            let batch = self.slots.batch(self.applied);
            self.images.log_grew(batch.len());
            effects.commit(Commit::Apply { index: self.applied, batch });
        }
        if self.images.wants_image(self.config.snapshot_log_bytes) {
            effects.commit(Commit::Capture);
        }
    }
}
