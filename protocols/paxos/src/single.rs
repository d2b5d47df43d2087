//! Single-decree Paxos (Lamport, "Paxos Made Simple", 2001, §2), once for each key: a store of registers that are written once.
//!
//! # What is here
//!
//! Each key is an instance of its own, independent of all others: no log, no leader, no order between keys. Every replica is
//! proposer, acceptor and learner; every replica serves clients. A put *claims* its register: it proposes its value, and is told
//! whether that was chosen or another was. A get asks a quorum what it has accepted, and finishes the instance where that is not
//! enough. A proposer whose ballot is rejected backs off for a random, growing time. Steps of many instances share messages and
//! records; decisions are told to the others in batches. With [`FirstBallot::Promised`], one replica may skip phase 1 in each
//! instance (§3 does this for a leader's whole log). Registers live in memory and are written to the journal anew from time to time.
//! Not here: changes of the membership, deletion.
//!
//! # Why it is safe
//!
//! 1. A ballot has one proposer, once: it carries the proposer's number and the number of its life, which is durable before anything
//!    is said in that life. Within a life each ballot of an instance is above the last.
//! 2. What an acceptor promises or accepts is durable before anybody hears of it, its own proposer included; below its promise it
//!    accepts nothing.
//! 3. A proposer proposes what its quorum of promises has accepted in the highest ballot, or anything if there is nothing (P2c). In
//!    an instance's first ballot, if that is promised to its owner beforehand, there is nothing below that could have been accepted;
//!    the owner uses it only if its own register, durable, says that it never has.
//! 4. A value is chosen when a quorum has accepted it in *one* ballot. Any two quorums meet, so by 2 and 3 every higher ballot
//!    proposes it again: one value for each key, for ever.
//! 5. A learner takes a value for chosen if it counted such a quorum, if a peer says that the ballot in which it accepted the value
//!    was the one, or if a peer names the value itself; and never changes its mind.
//! 6. A request's identity is part of its value: a retry, through whichever replica, proposes the same value, and asking which value
//!    was chosen says whether the request was the one. So a put is executed once, without any table of sessions.
//! 7. A read of an absent register is linearizable: see [`read`]. A read or a refused put of a decided one is, as that never changes.
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | times, limits, switches |
//! | [`message`], [`record`] | what is said, what is written |
//! | `registers` | every instance: promised, accepted, decided |
//! | [`requests`] | what clients ask |
//! | [`proposer`] | phase 1, phase 2, back-off, **when a value is chosen** |
//! | [`acceptor`] | promising and accepting |
//! | [`learner`] | who is told what is chosen |
//! | [`read`] | reads |
//! | `attempt` | an instance that somebody waits for, and who does |
//! | `outbox`, `journal` | many instances in one message, in one record |
//! | `recovery` | restart from the journal |
//! | `invariant` | what must hold after every burst |
//!
//! # Trade-offs
//!
//! That a register is decided is not written down: a restarted replica asks again. A put on a fresh key costs two round trips and
//! two syncs one after the other, where a log with a stable leader needs one of each; in return nobody waits for a leader, and no key
//! for another. Reads of what a replica knows to be decided cost nothing.

pub mod acceptor;
mod attempt;
pub mod config;
mod invariant;
mod journal;
pub mod learner;
pub mod message;
mod outbox;
pub mod proposer;
pub mod read;
pub mod record;
mod recovery;
mod registers;
pub mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use qlab_kernel::{Effects, Event, Input, Lsn, NodeId, Protocol, Seat, Time};
use rand_pcg::Pcg32;

use crate::Ballot;

pub use config::{Config, ConfigError, FirstBallot};
pub use message::{Accepted, Message, Step, Value};
pub use record::{Change, Image, Record};

use attempt::{Attempt, Phase};
use journal::Rewriting;
use outbox::Outbox;
use registers::{Place, Registers};

/// A Paxos replica: proposer, acceptor and learner of every instance.
#[derive(Clone, Debug)]
pub struct Paxos {
    seat: Seat,
    config: Config,
    quorum: usize,
    chance: Pcg32,
    /// Below every ballot that is prepared.
    floor: Ballot,
    /// The number of this life, and the record that says so; zero before it is written.
    incarnation: u32,
    life_lsn: Lsn,

    registers: Registers,
    /// Every record up to here is durable.
    durable: Lsn,
    /// What the acceptor did and is not written yet.
    changes: Vec<(Bytes, Change)>,
    /// What the acceptor says to the proposer here, like to any other: first without, then with the record that it waits for.
    own_new: Vec<(Place, Step)>,
    own: VecDeque<(Lsn, Place, Step)>,
    outbox: Outbox,

    attempts: BTreeMap<Place, Attempt>,
    /// When attempts are to be looked at: one entry for each.
    alarms: BTreeSet<(Time, Place)>,
    /// Commands that wait in all attempts.
    waiting: usize,
    /// Questions asked in this life.
    rounds: u32,
    /// Decisions that the others have not been told, and when they are.
    tidings: Vec<(Place, Ballot)>,
    tell_at: Option<Time>,
    rewriting: Rewriting,
    counts: Counts,
}

/// What is counted, since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    decisions: u64,
    round_trips: u64,
    prepares: u64,
    accepts: u64,
    asks: u64,
    back_offs: u64,
}

impl Protocol for Paxos {
    const NAME: &'static str = "paxos";
    type Config = Config;
    type Message = Message;
    type Record = Record;

    fn recover(
        seat: Seat,
        config: &Config,
        _: Time,
        records: impl Iterator<Item = (Lsn, Record)>,
        effects: &mut Effects<Self>,
    ) -> Self {
        recovery::recover(seat, config, records, effects)
    }

    fn step(&mut self, now: Time, input: Input<Message>, effects: &mut Effects<Self>) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, effects),
            Input::Request { ticket, request, .. } => self.on_request(now, ticket, request, effects),
            Input::Durable(lsn) => self.durable = self.durable.max(lsn),
            Input::Timeout => self.on_timeout(now, effects),
            // There is no state machine to make images of, and no leadership to hand over.
            Input::Captured { .. } | Input::Yield { .. } => {}
        }
    }

    fn flush(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.write(effects);
        while self.hear_own(now, effects) {
            self.write(effects);
        }
        self.tell(now);
        self.outbox.emit(self.life_lsn <= self.durable, effects);
        self.rewrite(effects);
    }

    fn deadline(&self) -> Option<Time> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        [alarm, self.tell_at].into_iter().flatten().min()
    }

    /// Whoever is asked serves.
    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn counters(&self, _: Time) -> Vec<(&'static str, u64)> {
        let Counts { decisions, round_trips, prepares, accepts, asks, back_offs } = self.counts;
        vec![
            ("decisions", decisions),
            ("round_trips", round_trips),
            ("prepares", prepares),
            ("accepts", accepts),
            ("asks", asks),
            ("back_offs", back_offs),
        ]
    }

    fn check(&self) {
        invariant::check(self);
    }
}

impl Paxos {
    /// How many registers are known here to be decided.
    #[must_use]
    pub fn decided_count(&self) -> usize {
        self.registers.decided()
    }

    /// What is known here to be decided.
    pub fn decided(&self) -> impl Iterator<Item = (&Bytes, &Value)> {
        self.registers.iter().filter_map(|register| Some((&register.key, register.decided()?)))
    }

    /// What the acceptor has promised and accepted in an instance that it has heard of.
    #[must_use]
    pub fn acceptor(&self, key: &[u8]) -> Option<Image> {
        Some(self.registers.get(self.registers.place(key)?).image())
    }

    /// The same for all of them, in order of appearance.
    pub fn acceptors(&self) -> impl Iterator<Item = (&Bytes, Image)> {
        self.registers.iter().map(|register| (&register.key, register.image()))
    }

    /// What it does at the moment, in the first instance that somebody here waits for: a word.
    #[must_use]
    pub fn role(&self) -> &'static str {
        self.attempts.values().next().map_or("idle", |attempt| attempt.phase.name())
    }

    /// Whether an attempt waits for a while, as its ballot was rejected.
    #[must_use]
    pub fn is_backing_off(&self) -> bool {
        self.attempts.values().any(|attempt| attempt.phase == Phase::BackingOff)
    }

    /// Feeds everything that decides what comes next into `hasher`, but for times and chance: for whoever explores all states.
    pub fn hash_state(&self, hasher: &mut impl Hasher) {
        for register in self.registers.iter() {
            (&register.key, register.promised, &register.accepted).hash(hasher);
        }
        for (place, attempt) in &self.attempts {
            (place, &attempt.phase, &attempt.claim, &attempt.waiting, attempt.seen).hash(hasher);
        }
        for (lsn, place, step) in &self.own {
            (lsn.0 - self.durable.0, place, step).hash(hasher);
        }
        (self.life_lsn <= self.durable, &self.tidings).hash(hasher);
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message, effects: &mut Effects<Self>) {
        if !self.seat.peers().contains(from) || !message.is_sound(from, self.seat.me) {
            effects.event(Event::Misbehaved(from));
            return;
        }
        for (key, step) in message.steps {
            self.on_step(now, from, &key, step, effects);
        }
    }

    fn on_step(&mut self, now: Time, from: NodeId, key: &Bytes, step: Step, effects: &mut Effects<Self>) {
        match step {
            Step::Prepare { ballot } => self.on_prepare(from, key, ballot),
            Step::Accept { ballot, value } => self.on_accept(from, key, ballot, &value),
            Step::Ask { round } => self.on_ask(from, key, round),
            answer => {
                if let Some(place) = self.registers.place(key) {
                    self.on_answer(now, from, place, answer, effects);
                }
            }
        }
    }

    /// Answers to what was asked here, if it still matters.
    fn on_answer(
        &mut self,
        now: Time,
        from: NodeId,
        place: Place,
        answer: Step,
        effects: &mut Effects<Self>,
    ) {
        match answer {
            Step::Promise { ballot, accepted } => {
                self.on_promise(now, from, place, (ballot, accepted), effects);
            }
            Step::Accepted { ballot } => self.on_accepted(now, from, place, ballot, effects),
            Step::Rejected { ballot, promised } => self.on_rejected(now, from, place, (ballot, promised)),
            Step::Told { round, accepted } => self.on_told(now, from, place, (round, accepted), effects),
            Step::Chosen { ballot } => self.on_chosen(place, ballot, effects),
            Step::Decided { value } => self.learn(place, &value, effects),
            Step::Prepare { .. } | Step::Accept { .. } | Step::Ask { .. } => {
                unreachable!("questions are the acceptor's")
            }
        }
    }

    /// Hears what the acceptor here has said, as far as it is durable; whether there was anything.
    fn hear_own(&mut self, now: Time, effects: &mut Effects<Self>) -> bool {
        let mut heard = false;
        while let Some((_, place, step)) = self.own.pop_front_if(|(lsn, _, _)| *lsn <= self.durable) {
            heard = true;
            self.on_answer(now, self.seat.me, place, step, effects);
        }
        heard
    }

    fn on_timeout(&mut self, now: Time, effects: &mut Effects<Self>) {
        while let Some((_, place)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.on_alarm(now, place, effects);
        }
    }

    fn begin_attempt(&mut self, place: Place, attempt: Attempt) {
        self.waiting += attempt.waiting.len();
        self.alarms.insert((attempt.alarm, place));
        self.attempts.insert(place, attempt);
    }

    fn end_attempt(&mut self, place: Place) -> Option<Attempt> {
        let attempt = self.attempts.remove(&place)?;
        self.alarms.remove(&(attempt.alarm, place));
        Some(attempt)
    }

    fn set_alarm(&mut self, place: Place, at: Time) {
        if let Some(attempt) = self.attempts.get_mut(&place) {
            self.alarms.remove(&(attempt.alarm, place));
            attempt.alarm = at;
            self.alarms.insert((at, place));
        }
    }

    /// Numbers a round of questions, unlike any other of this replica's, in whichever life.
    fn next_round(&mut self) -> u64 {
        self.rounds += 1;
        self.last_round()
    }

    fn last_round(&self) -> u64 {
        u64::from(self.incarnation) << 32 | u64::from(self.rounds)
    }
}
