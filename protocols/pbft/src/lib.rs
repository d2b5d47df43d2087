//! PBFT: Practical Byzantine Fault Tolerance (Castro and Liskov, OSDI '99; Castro's thesis, 2001).
//!
//! Of n = 3f + 1 replicas, any f may do whatever they like: lie, stay silent, say different things to different others. The rest
//! agree on one order of clients' requests, and execute it.
//!
//! # What is here
//!
//! The three-phase agreement (OSDI '99 §4.2), batched and pipelined between watermarks; checkpoints with proofs (§4.3); view changes
//! whose messages are signed (§4.4); retransmission and state transfer by status messages (§5.3 of the thesis); authentication of
//! clients by codes or signatures, with a remedy against clients that convince only some. Not here: the read-only and tentative
//! optimisations (§5.1), proactive recovery, view changes without signatures. Membership is fixed.
//!
//! # Why it is safe
//!
//! 1. A correct replica takes the primary's word for one digest per view and sequence number, and says PREPARE for no other, across
//!    restarts too: what it may have forgotten saying, it does not speak of any more ([`recovery`](self)).
//! 2. So no two digests are prepared at the same place in one view: two sets of 2f + 1 share a correct replica.
//! 3. COMMIT says that a certificate is durable. If 2f + 1 say it, f + 1 correct ones hold it; the entry is committed.
//! 4. Any 2f + 1 votes for a later view contain one of these; its vote carries the certificate, and everybody computes from the same
//!    votes that the entry is proposed again, with the digest of the highest view. By induction it is so in all later views.
//! 5. A vote is durable before it is sent, and nothing is said in earlier views after it.
//! 6. The log is forgotten only below a checkpoint whose image 2f + 1 hold durably; votes then carry that proof instead.
//! 7. Every signature that is counted has been verified; bodies and images are believed by their hash; what is not signed is believed
//!    only of who sends it.
//! 8. An entry holds only requests whose client f + 1 replicas, or this one, are convinced of.
//! 9. Early sends are those a crash cannot make false, or that 1 takes care of: see the comment at each.
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | times, windows, switches |
//! | [`keys`] | who can prove what: the keyring of a replica, the prover of a client |
//! | [`request`] | what clients ask for, and bodies of entries |
//! | [`message`], [`record`] | what is said, what is written |
//! | `quorum` | who is primary, and how many are enough |
//! | `intake` | requests that wait: first come first served, and clients in turn |
//! | `standing` | whose requests are believed |
//! | `slots` | what is known of each sequence number |
//! | `agreement` | pre-prepare, prepare, commit: **when an entry is committed** |
//! | `execution` | executing in order |
//! | `checkpoint` | images that take the place of the log |
//! | `view_change`, [`new_view`] | leaving a view and entering the next |
//! | `timers` | when a primary is given up |
//! | `transfer` | helping those who are behind |
//! | `recovery` | restart from the journal |
//! | `invariant` | what must hold after every burst |
//!
//! # Trade-offs
//!
//! One signature for each batch and replica, in return for view changes that anybody can check, with no exchange of
//! acknowledgements. PREPARE does not wait for the disk; in return a restarted replica is silent in its view for a window of entries.
//! Images are whole, not trees of pages: checkpoints are made seldom, and state transfer moves all of it.

#![forbid(unsafe_code)]

mod agreement;
mod checkpoint;
pub mod config;
mod execution;
mod intake;
mod invariant;
pub mod keys;
pub mod message;
pub mod new_view;
mod quorum;
pub mod record;
mod recovery;
pub mod request;
mod slots;
mod standing;
mod timers;
mod transfer;
mod view_change;

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use qlab_kernel::{Effects, Event, Index, Input, Intake, Lsn, NodeId, Protocol, Seat, Term, Time};

pub use config::{Config, ConfigError};
pub use keys::{Authentication, Keyring, Prover};
pub use message::Message;
pub use record::Record;

use agreement::Burst;
use checkpoint::Checkpoints;
use intake::Backlog;
use keys::{Claim, Digest, Signature, Statement};
use message::{NewView, StableCheckpoint, ViewChange};
use quorum::Quorum;
use slots::Slots;
use standing::Standing;
use timers::Impatience;
use transfer::Transfer;
use view_change::Views;

/// A PBFT replica.
#[derive(Debug)]
pub struct Pbft {
    seat: Seat,
    quorum: Quorum,
    config: Config,
    work: Work,

    /// The view it is in, or on the way to.
    view: Term,
    /// Whether that view has begun here.
    active: bool,
    /// The record that says so.
    view_lsn: Lsn,
    /// Whether there is such a record.
    entered: bool,
    /// What was said in this view about entries up to here may be forgotten: nothing more is.
    silent_until: Index,
    /// It is primary of a view in which it must keep silent.
    resigns: bool,

    /// Every record up to here is durable.
    durable: Lsn,
    /// The paper's *h*: durable, with its image.
    stable: StableCheckpoint,
    slots: Slots,
    executed: Index,
    /// What a primary proposes next.
    next: Index,
    burst: Burst,
    /// Certificates on their way to the disk.
    writing: VecDeque<(Lsn, Index)>,

    backlog: Backlog,
    packer: Intake,
    standing: Standing,
    checkpoints: Checkpoints,
    views: Views,
    impatience: Impatience,
    transfer: Transfer,
    status_at: Time,
}

/// How often keys were used: what Byzantine fault tolerance costs in computing.
#[derive(Clone, Debug, Default)]
pub struct Work {
    signed: Cell<u64>,
    verified: Cell<u64>,
    proofs: Cell<u64>,
}

impl Work {
    /// Signatures made.
    #[must_use]
    pub fn signed(&self) -> u64 {
        self.signed.get()
    }

    /// Signatures verified, alone or in batches.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.verified.get()
    }

    /// Clients' proofs checked one by one: codes, or signatures.
    #[must_use]
    pub fn proofs(&self) -> u64 {
        self.proofs.get()
    }
}

impl Protocol for Pbft {
    const NAME: &'static str = "pbft";
    const EVERY_REPLICA_ANSWERS: bool = true;
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
        self.begin_first_view(effects);
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, effects),
            Input::Request { ticket, request, proof } => {
                self.on_request(now, ticket, request, proof, effects)
            }
            Input::Durable(lsn) => self.on_durable(lsn, effects),
            Input::Captured { index, image } => self.on_captured(index, image, effects),
            Input::Timeout => self.on_timeout(now, effects),
            // Views change when f + 1 want it: nobody can hand one over.
            Input::Yield { .. } => {}
        }
    }

    fn flush(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.begin_first_view(effects);
        self.admit(now, effects);
        self.conclude(now, effects);
        self.execute(now, effects);
        self.propose(now, effects);
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.next_deadline())
    }

    fn leader(&self) -> Option<NodeId> {
        self.active.then(|| self.quorum.primary(self.view))
    }

    fn counters(&self, _: Time) -> Vec<(&'static str, u64)> {
        vec![
            ("signatures", self.work.signed()),
            ("verifications", self.work.verified()),
            ("proofs", self.work.proofs()),
        ]
    }

    fn check(&self) {
        invariant::check(self);
    }
}

impl Pbft {
    /// The view it is in, or on the way to.
    #[must_use]
    pub const fn view(&self) -> Term {
        self.view
    }

    /// Whether that view has begun here.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// Whether it is the primary of a view that has begun.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.active && self.quorum.primary(self.view) == self.seat.me
    }

    /// The last stable checkpoint, which is durable here: the paper's *h*.
    #[must_use]
    pub const fn stable(&self) -> Index {
        self.stable.seq
    }

    /// The last entry executed.
    #[must_use]
    pub const fn executed(&self) -> Index {
        self.executed
    }

    /// What is accepted at a sequence number in the current view.
    #[must_use]
    pub fn accepted_at(&self, seq: Index) -> Option<Digest> {
        self.slots.get(seq)?.accepted.map(|accepted| accepted.digest)
    }

    /// What is prepared at a sequence number, and in which view at last.
    #[must_use]
    pub fn prepared_at(&self, seq: Index) -> Option<(Term, Digest)> {
        self.slots.get(seq)?.prepared.as_ref().map(|(prepared, _)| (prepared.view, prepared.digest))
    }

    /// What is committed at a sequence number after the stable checkpoint, as far as this replica knows.
    #[must_use]
    pub fn committed_at(&self, seq: Index) -> Option<Digest> {
        self.slots.get(seq)?.committed
    }

    /// How the view began that this replica is in, and by which votes; not known of the first one, nor after a restart.
    #[must_use]
    pub fn begun(&self) -> Option<(&NewView, &[Arc<ViewChange>])> {
        self.views.begun.as_ref().map(|(new_view, votes)| (&**new_view, &votes[..]))
    }

    /// How often keys were used since the start.
    #[must_use]
    pub const fn work(&self) -> &Work {
        &self.work
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message, effects: &mut Effects<Self>) {
        if !self.seat.peers().contains(from) || !message.is_sound() {
            effects.event(Event::Misbehaved(from));
            return;
        }
        match message {
            Message::Prepare { view, .. } | Message::Commit { view, .. } if self.is_ahead(view) => {
                self.views.keep_ahead(from, message);
            }
            Message::Prepare { view, seq, digest, signature } if view == self.view => {
                self.on_prepare(from, view, seq, digest, signature, effects);
            }
            Message::Commit { view, seq, digest, signature } if view == self.view => {
                self.on_commit(from, seq, digest, signature, effects);
            }
            Message::Prepare { .. } | Message::Commit { .. } => {}
            Message::PrePrepare(pre_prepare) => self.on_pre_prepare(from, pre_prepare, effects),
            Message::Checkpoint { seq, digest, signature } => {
                self.on_checkpoint(from, seq, digest, signature, effects);
            }
            Message::ViewChange(vote) => self.on_view_change(now, from, vote, effects),
            Message::NewView(new_view) => self.on_new_view(now, from, new_view, effects),
            Message::Relay(request) => self.on_relay(now, from, request, effects),
            Message::Doubt { request } => self.on_doubt(from, request, effects),
            Message::Vouch { request } => self.on_vouch(now, from, request),
            help => self.on_help(from, help, effects),
        }
    }

    /// What those say and ask who are behind, and those who help them.
    fn on_help(&mut self, from: NodeId, message: Message, effects: &mut Effects<Self>) {
        match message {
            Message::Stable(stable) => self.on_stable(from, stable, effects),
            Message::FetchVotes { view } => self.on_fetch_votes(from, view, effects),
            Message::FetchBody { seq, digest } => self.on_fetch_body(from, seq, digest, effects),
            Message::Executed { seq, digest } => self.on_executed(from, seq, digest, effects),
            Message::Body { seq, requests } => self.on_body(seq, requests, effects),
            Message::FetchState { seq, have_bytes } => self.on_fetch_state(from, seq, have_bytes, effects),
            Message::State { chunk, last } => self.on_state(from, &chunk, last, effects),
            Message::Status { view, active, stable, executed } => {
                self.on_status(from, view, active, stable, executed, effects);
            }
            _ => {}
        }
    }

    fn on_durable(&mut self, lsn: Lsn, effects: &mut Effects<Self>) {
        self.durable = self.durable.max(lsn);
        self.count_own_commits();
        self.stabilize(effects);
    }

    /// A replica without a journal is new, and was never in any view.
    fn begin_first_view(&mut self, effects: &mut Effects<Self>) {
        if !self.entered {
            self.entered = true;
            self.view_lsn = effects.persist(Record::Entered { view: self.view });
        }
    }

    /// Whether this replica can be sure that it has said nothing else about an entry in this view.
    fn may_speak_of(&self, seq: Index) -> bool {
        seq > self.silent_until
    }

    /// Says something to everybody that is of this view.
    fn cast(&self, message: Message, effects: &mut Effects<Self>) {
        self.seat.peers().iter().for_each(|peer| self.say(peer, message.clone(), effects));
    }

    /// Says something that is of this view.
    fn say(&self, to: NodeId, message: Message, effects: &mut Effects<Self>) {
        if self.view_lsn <= self.durable {
            // Early: after a crash this replica knows that it was in this view, and says nothing more in it about this entry.
            effects.send_early(to, message);
        } else {
            effects.send(to, message);
        }
    }

    fn sign(&self, statement: &Statement) -> Signature {
        self.work.signed.set(self.work.signed.get() + 1);
        self.config.keys.sign(self.seat.me, statement)
    }

    fn verify_all(&self, claims: &[Claim]) -> Vec<bool> {
        self.work.verified.set(self.work.verified.get() + claims.len() as u64);
        self.config.keys.verify_all(claims)
    }

    fn are_true(&self, claims: &[Claim]) -> bool {
        self.verify_all(claims).into_iter().all(|good| good)
    }

    fn count_proof(&self) {
        self.work.proofs.set(self.work.proofs.get() + 1);
    }
}
