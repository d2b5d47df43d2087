//! Simulated clients of the lock service: each has one owner at a time, takes up to two locks, waits, renews, writes the registers
//! that its locks guard, gives things back or forgets to, and now and then falls silent until its lease has ended.
//!
//! What one believes is its own clock's to say ([`Holder`](qlab_machines::lock::Holder)); what it was told is kept for the laws.

mod tenancy;

use std::time::Duration;

use qlab_kernel::client::{Answer, AnswerBody};
use qlab_kernel::{Batch, BatchBuilder, NodeId, Outcome, Refusal, Request, Sequence, SessionId, Time};
use qlab_machines::lock::{self, Command, LockId, OwnerId, Policy, Token};
use rand::RngExt;
use rand_pcg::Pcg32;

pub(crate) use self::tenancy::{Held, News, Question};

use self::tenancy::Tenancy;
use crate::clients::{Receivers, Wish};
use crate::clock::Clock;
use crate::desk::ClientNumber;
use crate::network::percent;

/// Without an answer for so long, a client asks elsewhere: longer than a query may be parked.
const PATIENCE: Duration = Duration::from_millis(150);
/// After that many attempts under fire, a client gives up: its owner is left to its lease.
const ATTEMPTS_MAX: u32 = 10;
/// Questions asked of anybody rather than of whoever is believed to lead, in a hundred.
const WANDERING_PERCENT: u32 = 10;
/// Questions that try to give back what another holds, in a hundred.
const THIEVING_PERCENT: u32 = 3;
/// Questions that renew the lease, in a hundred …
const RENEWING_PERCENT: u32 = 25;
/// … and with those that end it.
const RENEWS_OR_CLOSES_PERCENT: u32 = 27;
/// Thoughts in a hundred that take longer than any lease.
const SILENT_PERCENT: u32 = 2;
/// How long silence lasts.
const SILENCE: Duration = Duration::from_millis(800);

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

#[derive(Debug)]
struct Asked {
    sequence: Sequence,
    request: Request,
    /// `None` while a session is being opened.
    question: Option<Question>,
    attempts: u32,
    attempt_number: u64,
}

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
        self.tenancy.as_ref()?.believes(self.clock.local(now), id)
    }

    /// Asks something new, or opens its session or an owner first. `seen` are tokens that others were told.
    pub(crate) fn ask(&mut self, now: Time, seen: &[(LockId, Token)], chance: &mut Pcg32) -> Wish {
        if !self.is_open {
            return self.open_session();
        }
        if percent(chance, WANDERING_PERCENT) {
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
        if percent(chance, THIEVING_PERCENT)
            && let Some((lock, token)) = tenancy.anothers(seen, chance)
        {
            return Question::Steal(lock, token);
        }
        match chance.random_range(0..100) {
            0..RENEWING_PERCENT => Question::Renew,
            RENEWING_PERCENT..RENEWS_OR_CLOSES_PERCENT => Question::Close,
            _ => tenancy.question(self.locks, chance),
        }
    }

    fn begin(&mut self, now: Time, question: Question, chance: &mut Pcg32) -> Wish {
        let sequence = self.next;
        self.next = sequence.next();
        let local = self.clock.local(now);
        if question == Question::Open {
            // Whatever it had was another owner's.
            self.tenancy = Some(Tenancy::new());
        }
        if let Some(tenancy) = &mut self.tenancy {
            tenancy.leave(question);
            if let Question::Open | Question::Renew = question {
                tenancy.ask_to_live(sequence, local);
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

/// How long a client thinks: mostly as long as others, now and then until its lease has ended.
pub(crate) fn thought(usual: Duration, chance: &mut Pcg32) -> Duration {
    if percent(chance, SILENT_PERCENT) { SILENCE } else { usual }
}
