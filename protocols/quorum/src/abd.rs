//! ABD: linearizable registers without a leader (Attiya, Bar-Noy, Dolev, "Sharing Memory Robustly in Message-Passing Systems", 1995;
//! with many writers as in Lynch, Shvartsman, "Robust emulation of shared memory using dynamic quorum-acknowledged broadcasts", 1997).
//!
//! # What is here
//!
//! Each key is a register of its own. Every replica holds every register, serves clients, and coordinates what it is asked. A write
//! asks a read quorum for the highest [`Tag`], and stores its value with a higher one at a write quorum. A read asks a read quorum
//! for its versions and takes the highest; unless a whole write quorum already holds that, it stores it there before it answers
//! (write-back). Operations share messages, nobody waits for another's. Deletions store that there is nothing. Not here: changes of
//! the membership; compare-and-set and append, which registers without agreement cannot do (Herlihy 1991): they are `MALFORMED`.
//!
//! # Why it is safe
//!
//! 1. A tag is given to one value: it carries the writer's number, the number of its life, which is durable before anybody hears a
//!    tag of it, and a timestamp above all that this life has given the key, as it holds what it writes before anybody else does.
//! 2. A replica's version never goes back, and is durable before the replica says that it holds it ("stored", "told"), to itself too.
//! 3. A write is answered when a write quorum holds its tag or a later one; a read when one holds what it returns. Every later
//!    operation asks a read quorum, which shares a replica with that (R + W > N, checked): so a read returns that tag or a later one,
//!    and a write goes above it. Order operations by tag, each read after the write of its tag: that order agrees with time.
//! 4. "A write quorum already holds it" is counted from the very answers of the read, which are durable; so such a read may be
//!    answered at once.
//! 5. A read that finds no tag at a read quorum came before every write was answered: nothing was there.
//! 6. Messages that come twice, late or never: questions carry a number that is never used twice, stores are idempotent by tag.
//!
//! # Requests that are asked again
//!
//! A write through two coordinators would be two writes, of two tags: another value could be read between them, and the first value
//! again, which no order explains. So a session belongs to the one replica that opened it, in the life in which it did. There each
//! request gets one tag, however often it is asked; everywhere else, and after a restart, the session is `EXPIRED`: the request was
//! not executed now, and whether it ever was is unknown. That a session was opened is durable before the client is told, so that
//! a late copy of the opening does not open it again in the next life. Who opens a session asks one replica, and draws another
//! session to ask another. Reads need no session, and may be asked anywhere.
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`tag`] | tags, and values with them |
//! | [`config`] | quorums, times, limits |
//! | [`message`], [`record`] | what is said, what is written |
//! | `registers` | what a replica holds |
//! | `requests` | what clients ask |
//! | `coordinator` | the two phases of a write, the one or two of a read |
//! | `operation` | an operation that somebody here waits for |
//! | `replica` | telling and storing |
//! | `journal` | writing, and writing anew |
//! | `recovery` | restart from the journal |
//! | `invariant` | what must hold after every burst |
//!
//! # Trade-offs
//!
//! A write costs two round trips and one sync, where a stable leader needs one round trip and one sync; a read without contention
//! one round trip and no sync, and no leader or clock is trusted for it. Any minority may be slow or gone and nobody notices: there
//! is nothing to elect. Values cross the network once for each replica that is asked. Deleted keys keep their tags for ever, in
//! memory and on the disk: some replica may still hold an older value. A restart of a replica expires its sessions, of which it
//! remembers the last [`SESSIONS_MAX`](qlab_kernel::limits::SESSIONS_MAX).

pub mod config;
mod coordinator;
mod invariant;
mod journal;
pub mod message;
mod operation;
pub mod record;
mod recovery;
mod registers;
mod replica;
mod requests;
pub mod tag;

use std::collections::{BTreeMap, HashSet, VecDeque};

use qlab_kernel::{Effects, Event, Input, Lsn, NodeId, Protocol, Seat, Sequence, SessionId, Time};

pub use config::{Config, ConfigError};
pub use message::{Message, Step};
pub use record::Record;
pub use tag::{Tag, Version};

use crate::outbox::Outbox;
use crate::quorums::Quorums;
use crate::rewriting::Rewriting;
use crate::sessions::OwnSessions;
use operation::Operation;
use registers::Registers;

/// An ABD replica: holder of every register, and coordinator of what it is asked.
#[derive(Clone, Debug)]
pub struct Abd {
    seat: Seat,
    config: Config,
    quorums: Quorums,
    /// The number of this life, and the record that says so; zero before it is written.
    incarnation: u32,
    life_lsn: Lsn,

    registers: Registers,
    /// Every record up to here is durable.
    durable: Lsn,
    /// What the replica says to the coordinator here, with the record that it waits for.
    own: VecDeque<(Lsn, Step)>,
    outbox: Outbox<Step>,
    rewriting: Rewriting,

    sessions: OwnSessions,
    /// Commands that wait for an answer: asked for, never walked.
    waiting: HashSet<(SessionId, Sequence)>,
    /// By the round that each is in.
    operations: BTreeMap<u64, Operation>,
    /// When rounds are to be looked at, in order, as all wait equally long; some have ended since.
    alarms: VecDeque<(Time, u64)>,
    /// Rounds begun in this life.
    rounds: u64,
    counts: Counts,
}

/// What is counted, since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    reads: u64,
    writes: u64,
    round_trips: u64,
    write_backs: u64,
    repeats: u64,
}

impl Protocol for Abd {
    const NAME: &'static str = "abd";
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
        self.begin_life(effects);
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, effects),
            Input::Request { ticket, request, .. } => self.on_request(now, ticket, request, effects),
            Input::Durable(lsn) => {
                self.durable = self.durable.max(lsn);
                self.hear_own(now, effects);
            }
            Input::Timeout => self.on_timeout(now),
            // There is no state machine to make images of, and no leadership to hand over.
            Input::Captured { .. } | Input::Yield { .. } => {}
        }
    }

    fn flush(&mut self, _: Time, effects: &mut Effects<Self>) {
        self.begin_life(effects);
        self.outbox.emit(self.life_lsn <= self.durable, effects);
        self.rewrite(effects);
        while self.alarms.front().is_some_and(|(_, round)| !self.operations.contains_key(round)) {
            self.alarms.pop_front();
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.alarms.front().map(|(at, _)| *at)
    }

    /// Whoever is asked serves.
    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn counters(&self, _: Time) -> Vec<(&'static str, u64)> {
        let Counts { reads, writes, round_trips, write_backs, repeats } = self.counts;
        vec![
            ("reads", reads),
            ("writes", writes),
            ("round_trips", round_trips),
            ("write_backs", write_backs),
            ("repeats", repeats),
        ]
    }

    fn check(&self) {
        invariant::check(self);
    }
}

impl Abd {
    /// What this replica holds under a key; nothing, with no tag, if it has never heard of it.
    #[must_use]
    pub fn version(&self, key: &[u8]) -> Version {
        self.registers.get(key).map_or_else(Version::default, |register| register.version.clone())
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message, effects: &mut Effects<Self>) {
        if !self.seat.peers().contains(from) || !message.steps.iter().all(Step::is_sound) {
            effects.event(Event::Misbehaved(from));
            return;
        }
        for step in message.steps {
            match step {
                Step::AskTag { round, key } => self.on_ask_tag(from, round, &key),
                Step::Ask { round, key } => self.on_ask(from, round, &key),
                Step::Store { round, key, version } => self.on_store(from, round, &key, &version, effects),
                answer => self.on_answer(now, from, answer, effects),
            }
        }
    }

    fn on_answer(&mut self, now: Time, from: NodeId, answer: Step, effects: &mut Effects<Self>) {
        match answer {
            Step::ToldTag { round, tag } => self.on_told_tag(now, from, round, tag, effects),
            Step::Told { round, version } => self.on_told(now, from, round, version, effects),
            Step::Stored { round, .. } => self.on_stored(from, round, effects),
            Step::AskTag { .. } | Step::Ask { .. } | Step::Store { .. } => {
                unreachable!("questions are the replica's")
            }
        }
    }

    /// Hears what the replica here has said, as far as it is durable.
    fn hear_own(&mut self, now: Time, effects: &mut Effects<Self>) {
        while let Some((_, step)) = self.own.pop_front_if(|(lsn, _)| *lsn <= self.durable) {
            self.on_answer(now, self.seat.me, step, effects);
        }
    }
}
