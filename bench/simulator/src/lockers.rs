//! Simulated clients of the lock service: each has one owner at a time, takes up to two locks, waits, renews, writes the registers
//! that its locks guard, gives things back or forgets to, and now and then falls silent until its lease has ended.
//!
//! What one believes is its own clock's to say ([`Holder`]); what it was told is kept here for the laws.

use std::collections::BTreeMap;
use std::time::Duration;

use qlab_kernel::client::{Answer, AnswerBody};
use qlab_kernel::{Batch, BatchBuilder, NodeId, Outcome, Refusal, Request, Sequence, SessionId, Time};
use qlab_machines::lock::{self, Command, Holder, LockId, Mode, OwnerId, Policy, Token};
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::clients::{Receivers, Wish};
use crate::clock::Clock;
use crate::desk::ClientNumber;
use crate::network::percent;

/// Without an answer for so long, a client asks elsewhere: longer than a query may be parked.
const PATIENCE: Duration = Duration::from_millis(150);
/// After that many attempts under fire, a client gives up: its owner is left to its lease.
const ATTEMPTS_MAX: u32 = 10;
/// Locks that one owner holds or waits for at most: two close circles.
const CLAIMS_MAX: usize = 2;
/// Thoughts in a hundred that take longer than any lease.
const SILENT_PERCENT: u32 = 2;
/// How long silence lasts.
pub(crate) const SILENCE: Duration = Duration::from_millis(800);

/// One client.
#[derive(Debug)]
pub(crate) struct Locker {
    number: ClientNumber,
    nodes: usize,
    locks: u64,
    session: SessionId,
    sessions: u64,
    is_open: bool,
    next: Sequence,
    asked: Option<Asked>,
    turns_to: NodeId,
    attempts: u64,
    pub(crate) clock: Clock,
    tenancy: Option<Tenancy>,
    /// Under fire clients give up; afterwards they insist.
    pub(crate) may_give_up: bool,
}

/// An owner and what it claims.
#[derive(Debug)]
struct Tenancy {
    owner: OwnerId,
    holder: Holder,
    /// It was told that it is a victim.
    aborted: bool,
    held: BTreeMap<LockId, Held>,
    /// What it waits for.
    waits: Option<(LockId, Mode)>,
}

/// A lock that it was told it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) token: Token,
    pub(crate) mode: Mode,
}

#[derive(Debug)]
struct Asked {
    sequence: Sequence,
    request: Request,
    /// `None` while a session is being opened.
    question: Option<Question>,
    attempts: u32,
    attempt_number: u64,
}

/// What it wants to know or to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Policy(Policy),
    Open,
    Renew,
    Restart,
    Close,
    Acquire(LockId, Mode),
    Try(LockId, Mode),
    Await(LockId, Mode),
    Withdraw(LockId),
    Release(LockId, Token),
    /// Gives back what somebody else holds.
    Steal(LockId, Token),
    Write(LockId, Token),
}

/// What an answer was, for the laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Nothing,
    /// A lock is held.
    Granted(LockId, Held),
    /// A write was taken.
    Written(LockId, Token),
    /// A write was refused as that of a stale holder.
    Fenced,
    /// It is a victim, and claims nothing any more.
    Aborted,
    /// Its owner is no more.
    Gone,
    /// Another's lock was given back, and the service did it.
    Stolen(LockId, Token),
}

const TTL_NS: u64 = 400_000_000;

impl Locker {
    pub(crate) fn new(number: ClientNumber, nodes: usize, locks: u64, clock: Clock) -> Self {
        let mut locker = Self {
            number,
            nodes,
            locks,
            session: SessionId::ZERO,
            sessions: 0,
            is_open: false,
            next: Sequence(1),
            asked: None,
            turns_to: NodeId((number as usize % nodes) as u16),
            attempts: 0,
            clock,
            tenancy: None,
            may_give_up: true,
        };
        locker.renew_session();
        locker
    }

    /// Whether it waits for an answer.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// What it wants to know, if that is not an opening.
    pub(crate) fn question_asked(&self) -> Option<Question> {
        self.asked.as_ref()?.question
    }

    /// Its owner, if it has one.
    pub(crate) fn owner(&self) -> Option<OwnerId> {
        self.tenancy.as_ref().map(|tenancy| tenancy.owner)
    }

    /// What it believes to hold of a lock at a moment of the world's time.
    pub(crate) fn believes(&self, now: Time, id: LockId) -> Option<Held> {
        let tenancy = self.tenancy.as_ref().filter(|tenancy| !tenancy.aborted)?;
        let held = tenancy.held.get(&id).copied()?;
        tenancy.holder.may_believe(self.clock.local(now)).then_some(held)
    }

    /// Asks something new, or opens its session or an owner first. `seen` are tokens that others were told.
    pub(crate) fn ask(&mut self, now: Time, seen: &[(LockId, Token)], chance: &mut Pcg32) -> Wish {
        if !self.is_open {
            return self.open_session();
        }
        if percent(chance, 10) {
            self.turns_to = NodeId(chance.random_range(0..self.nodes) as u16);
        }
        let question = self.question(seen, chance);
        self.begin(now, question, chance)
    }

    fn question(&self, seen: &[(LockId, Token)], chance: &mut Pcg32) -> Question {
        if self.number == 0 && self.next == Sequence(1) {
            return Question::Policy(
                [Policy::Detect, Policy::WaitDie, Policy::WoundWait][chance.random_range(0..3)],
            );
        }
        let Some(tenancy) = &self.tenancy else { return Question::Open };
        if tenancy.aborted {
            return Question::Restart;
        }
        if percent(chance, 3)
            && let Some((lock, token)) = some(seen, chance)
            && tenancy.held.get(lock).is_none_or(|held| held.token != *token)
        {
            return Question::Steal(*lock, *token);
        }
        match chance.random_range(0..100) {
            0..25 => Question::Renew,
            25..27 => Question::Close,
            _ => tenancy.question(self.locks, chance),
        }
    }

    fn begin(&mut self, now: Time, question: Question, chance: &mut Pcg32) -> Wish {
        let sequence = self.next;
        self.next = sequence.next();
        let local = self.clock.local(now);
        if question == Question::Open {
            // Whatever it had was another owner's.
            let holder = Holder::new(TTL_NS);
            let (held, waits) = (BTreeMap::new(), None);
            self.tenancy = Some(Tenancy { owner: OwnerId(0), holder, aborted: false, held, waits });
        }
        if let Some(tenancy) = &mut self.tenancy {
            tenancy.leave(question);
            if let Question::Open | Question::Renew = question {
                tenancy.holder.ask(sequence, local);
            }
        }
        let value = chance.random::<u64>().to_le_bytes();
        let batch = self.batch(sequence, &question.command(self.owner().unwrap_or_default(), &value));
        let request =
            if let Question::Await(..) = question { Request::Read(batch) } else { Request::Write(batch) };
        self.asked =
            Some(Asked { sequence, request, question: Some(question), attempts: 0, attempt_number: 0 });
        self.attempt()
    }

    fn open_session(&mut self) -> Wish {
        let mut builder = BatchBuilder::new();
        builder.begin(self.session, Sequence::ZERO, Sequence::ZERO);
        let request = Request::Write(builder.finish());
        self.asked =
            Some(Asked { sequence: Sequence::ZERO, request, question: None, attempts: 0, attempt_number: 0 });
        self.attempt()
    }

    fn batch(&self, sequence: Sequence, command: &Command<'_>) -> Batch {
        let mut builder = BatchBuilder::new();
        builder.begin(self.session, sequence, sequence);
        builder.push_bytes(&command.to_bytes());
        builder.finish()
    }

    fn attempt(&mut self) -> Wish {
        let asked = self.asked.as_mut().expect("somebody asks");
        self.attempts += 1;
        asked.attempts += 1;
        asked.attempt_number = self.attempts;
        Wish::Ask {
            to: Receivers::One(self.turns_to),
            request: asked.request.clone(),
            patience: PATIENCE,
            attempt_number: self.attempts,
        }
    }

    /// An attempt took too long: elsewhere, or never mind.
    pub(crate) fn on_patience(&mut self, attempt_number: u64) -> Option<Wish> {
        let asked = self.asked.as_ref().filter(|asked| asked.attempt_number == attempt_number)?;
        self.turns_to = NodeId(((usize::from(self.turns_to.0) + 1) % self.nodes) as u16);
        if asked.attempts < ATTEMPTS_MAX || !self.may_give_up {
            return Some(self.attempt());
        }
        // Whatever became of it, this owner is not spoken for any more, nor this session.
        self.asked = None;
        self.tenancy = None;
        self.renew_session();
        Some(Wish::Think)
    }

    /// Takes one answer of a frame.
    pub(crate) fn on_answer(&mut self, now: Time, answer: &Answer<'_>) -> Option<(Wish, News)> {
        if let AnswerBody::Moved(leader) = answer.body {
            return self.turn_to(leader);
        }
        let asked = self.asked.as_ref()?;
        if answer.session != self.session || answer.first != asked.sequence {
            return None;
        }
        let (status, number) = match answer.body {
            AnswerBody::Refused(Refusal::NotLeader(leader)) => return self.turn_to(leader),
            AnswerBody::Refused(Refusal::Busy) | AnswerBody::Moved(_) => return None,
            AnswerBody::Written(outcomes) => {
                let outcome = outcomes.iter().next()?;
                (outcome.status, outcome.number)
            }
            AnswerBody::Values(values) => {
                let (status, value) = values.iter().next()?;
                (status, value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
            }
        };
        let asked = self.asked.take().expect("looked at it");
        let Some(question) = asked.question else {
            self.is_open = status == Outcome::OPENED;
            return Some((Wish::Think, News::Nothing));
        };
        if matches!(status, Outcome::EXPIRED | Outcome::SETTLED | Outcome::OUT_OF_WINDOW) {
            self.tenancy = None;
            self.renew_session();
            return Some((Wish::Think, News::Nothing));
        }
        let local = self.clock.local(now);
        let news = match &mut self.tenancy {
            Some(tenancy) => tenancy.hear(asked.sequence, question, Outcome { status, number }, local),
            None => News::Nothing,
        };
        let ended = status == lock::NO_OWNER || matches!(question, Question::Close);
        if ended || self.owner() == Some(OwnerId(0)) {
            self.tenancy = None;
        }
        Some((Wish::Think, news))
    }

    fn turn_to(&mut self, leader: Option<NodeId>) -> Option<(Wish, News)> {
        let asked = self.asked.as_ref()?;
        self.turns_to = leader.filter(|leader| *leader != self.turns_to && asked.attempts < ATTEMPTS_MAX)?;
        Some((self.attempt(), News::Nothing))
    }

    fn renew_session(&mut self) {
        self.sessions += 1;
        self.session = SessionId::owned(self.number as u16, self.sessions);
        self.is_open = false;
        self.next = Sequence(1);
    }
}

impl Tenancy {
    /// What comes next for one that lives on.
    fn question(&self, locks: u64, chance: &mut Pcg32) -> Question {
        let mode = if percent(chance, 70) { Mode::Exclusive } else { Mode::Shared };
        if let Some((lock, mode)) = self.waits {
            return if percent(chance, 10) { Question::Withdraw(lock) } else { Question::Await(lock, mode) };
        }
        let held: Vec<(LockId, Held)> = self.held.iter().map(|(id, held)| (*id, *held)).collect();
        match (some(&held, chance), chance.random_range(0..6)) {
            (Some((lock, held)), 0 | 1) => Question::Release(*lock, held.token),
            (Some((lock, held)), 2) => Question::Write(*lock, held.token),
            _ if self.held.len() >= CLAIMS_MAX => Question::Renew,
            (_, 3) => Question::Try(LockId(chance.random_range(0..locks)), mode),
            _ => Question::Acquire(LockId(chance.random_range(0..locks)), mode),
        }
    }

    /// Whoever is about to give something up relies on it no more.
    fn leave(&mut self, question: Question) {
        match question {
            Question::Release(lock, _) => _ = self.held.remove(&lock),
            Question::Close | Question::Restart => self.held.clear(),
            _ => {}
        }
    }

    fn hear(&mut self, number: Sequence, question: Question, outcome: Outcome, local: Time) -> News {
        match (question, outcome.status) {
            (Question::Open, lock::OPENED) => {
                self.owner = OwnerId(outcome.number);
                self.holder.hear(number, outcome, local);
            }
            (Question::Renew, _) => _ = self.holder.hear(number, outcome, local),
            (Question::Restart, lock::RESTARTED) => {
                (self.aborted, self.waits) = (false, None);
            }
            (
                Question::Acquire(lock, mode) | Question::Try(lock, mode) | Question::Await(lock, mode),
                lock::GRANTED,
            ) => {
                self.waits = None;
                let token = Token(outcome.number);
                // What is held exclusively is not held less for having been asked for to be shared.
                let known = self.held.get(&lock).filter(|held| held.token == token).copied();
                let held = known.unwrap_or(Held { token, mode });
                self.held.insert(lock, held);
                return News::Granted(lock, held);
            }
            (Question::Acquire(lock, mode), lock::QUEUED) => self.waits = Some((lock, mode)),
            (Question::Withdraw(_) | Question::Await(..), lock::WITHDRAWN | lock::NOT_HELD) => {
                self.waits = None
            }
            (_, lock::ABORTED) => {
                self.aborted = true;
                self.waits = None;
                self.held.clear();
                return News::Aborted;
            }
            (_, lock::NO_OWNER) => return News::Gone,
            (Question::Write(lock, token), lock::WRITTEN) => return News::Written(lock, token),
            (Question::Write(..), lock::FENCED) => return News::Fenced,
            (Question::Steal(lock, token), lock::RELEASED) => return News::Stolen(lock, token),
            _ => {}
        }
        News::Nothing
    }
}

impl Question {
    fn command<'a>(self, owner: OwnerId, value: &'a [u8]) -> Command<'a> {
        match self {
            Self::Policy(policy) => Command::Policy(policy),
            Self::Open => Command::Open { ttl_ns: TTL_NS },
            Self::Renew => Command::Renew { owner },
            Self::Restart => Command::Restart { owner },
            Self::Close => Command::Close { owner },
            Self::Acquire(lock, mode) => Command::Acquire { owner, lock, mode },
            Self::Try(lock, mode) => Command::Try { owner, lock, mode },
            Self::Await(lock, _) => Command::Wait { owner, lock },
            Self::Withdraw(lock) => Command::Withdraw { owner, lock },
            Self::Release(lock, token) | Self::Steal(lock, token) => Command::Release { owner, lock, token },
            Self::Write(register, token) => Command::Write { register, token, value },
        }
    }
}

fn some<'a, T>(of: &'a [T], chance: &mut Pcg32) -> Option<&'a T> {
    if of.is_empty() { None } else { of.get(chance.random_range(0..of.len())) }
}

/// How long a client thinks: mostly as long as others, now and then until its lease has ended.
pub(crate) fn thought(usual: Duration, chance: &mut Pcg32) -> Duration {
    if percent(chance, SILENT_PERCENT) { SILENCE } else { usual }
}
