//! Taking answers: each finds its operation by session and number, or nobody waits for it any more.

use qlab_kernel::client::{Answer, AnswerBody};
use qlab_kernel::command::TAKEN;
use qlab_kernel::{Outcome, Refusal, Sequence};
use qlab_machines::kv;

use super::Driver;
use super::lane::Op;
use super::session::{Opening, number_of};
use crate::history::{ABSENT, End, FOREIGN, Kind};
use crate::mix::Class;
use crate::values::value_id;

impl Driver {
    pub(super) fn answer(&mut self, link: usize, answer: &Answer<'_>, now_ns: u64) {
        let number = number_of(answer.session);
        match answer.body {
            AnswerBody::Moved(leader) => self.redirect(link, leader, now_ns),
            _ if !self.knows(number, answer) => self.book.counters.stale += 1,
            AnswerBody::Refused(refusal) => self.refused(number, answer, refusal, now_ns),
            AnswerBody::Written(outcomes) if answer.first == Sequence::ZERO => {
                self.opened(number, outcomes.iter().next());
            }
            AnswerBody::Written(outcomes) => {
                self.progress(number);
                for (sequence, outcome) in numbers(answer).zip(outcomes.iter()) {
                    self.written(number, answer, sequence, outcome, now_ns);
                }
            }
            AnswerBody::Values(values) => {
                self.progress(number);
                for (sequence, (status, value)) in numbers(answer).zip(values.iter()) {
                    self.found(number, answer, sequence, status, value, now_ns);
                }
            }
        }
    }

    /// Whether the answer names a lane of the present.
    fn knows(&mut self, number: usize, answer: &Answer<'_>) -> bool {
        self.sessions.get_mut(number).is_some_and(|session| session.lane(answer.session).is_some())
    }

    fn refused(&mut self, number: usize, answer: &Answer<'_>, refusal: Refusal, now_ns: u64) {
        let session = &mut self.sessions[number];
        let link = session.link;
        let parked = match session.lane(answer.session) {
            Some(lane) if answer.first > Sequence::ZERO => lane.park(answer.first, answer.count),
            _ => {
                session.opening = Opening::Wanted;
                0
            }
        };
        match refusal {
            Refusal::Busy => {
                self.book.counters.busy += parked as u64;
                self.pause(number, now_ns);
            }
            Refusal::NotLeader(leader) => self.redirect(link, leader, now_ns),
        }
    }

    fn opened(&mut self, number: usize, outcome: Option<Outcome>) {
        if outcome.is_some_and(|outcome| outcome.status == Outcome::OPENED) {
            self.sessions[number].opening = Opening::Open;
            self.progress(number);
            self.mark(number);
        }
    }

    fn written(
        &mut self,
        number: usize,
        answer: &Answer<'_>,
        sequence: Sequence,
        outcome: Outcome,
        now_ns: u64,
    ) {
        match outcome.status {
            Outcome::EXPIRED => return self.forgotten(number, answer, now_ns),
            Outcome::OUT_OF_WINDOW | Outcome::SETTLED if self.awaits(number, answer, sequence) => {
                return self.forgotten(number, answer, now_ns);
            }
            _ => {}
        }
        let Some(op) = self.take(number, answer, sequence) else { return };
        if op.class == Class::Lock {
            return self.lock_answered(number, op, (outcome.status, outcome.number), now_ns);
        }
        let end = match (op.kind, outcome.status) {
            (Kind::Put, kv::STORED) | (Kind::CompareAndSet, kv::SWAPPED) => End::Ok,
            // Another value was there: the register is written once, or not what was expected.
            (Kind::CompareAndSet, kv::MISMATCH) | (Kind::Put, TAKEN) => End::Mismatch,
            (Kind::Put | Kind::CompareAndSet, kv::TOO_LARGE | kv::FULL | Outcome::MALFORMED) => End::Failed,
            _ => return self.misanswered(number, &op, now_ns),
        };
        self.book.answered(&op, op.value, end, now_ns);
        self.ended(number);
    }

    /// The answer is none to what was asked: it says nothing about what happened.
    pub(super) fn misanswered(&mut self, number: usize, op: &Op, now_ns: u64) {
        self.book.unknown(op, now_ns);
        self.ended(number);
    }

    fn found(
        &mut self,
        number: usize,
        answer: &Answer<'_>,
        sequence: Sequence,
        status: u8,
        value: &[u8],
        now_ns: u64,
    ) {
        let Some(op) = self.take(number, answer, sequence) else { return };
        if op.class == Class::Lock {
            let token = value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            return self.lock_answered(number, op, (status, token), now_ns);
        }
        let read = match (op.kind, status) {
            (Kind::Get, kv::FOUND | kv::ABSENT) if self.scribe.contexts.is_some() => self.seen(&op, value),
            (Kind::Get, kv::FOUND) => value_id(value).unwrap_or(FOREIGN),
            (Kind::Get, kv::ABSENT) => ABSENT,
            (Kind::Get, Outcome::MALFORMED) => return self.read(number, &op, ABSENT, End::Failed, now_ns),
            _ => return self.misanswered(number, &op, now_ns),
        };
        self.book.counters.foreign += u64::from(read == FOREIGN);
        if op.class == Class::ReadModifyWrite && read != FOREIGN {
            self.book.read_half(&op, read, now_ns);
            self.enqueue(number, Op { kind: Kind::CompareAndSet, expected: read, sent_ns: 0, ..op });
        } else {
            self.read(number, &op, read, End::Ok, now_ns);
        }
    }

    /// What a store found that shows several values side by side: one of them stands for all in the history.
    fn seen(&mut self, op: &Op, value: &[u8]) -> u64 {
        let contexts = self.scribe.contexts.as_mut();
        let found = contexts.and_then(|contexts| contexts.found(op.key, op.sent_ns, value));
        found.map_or(FOREIGN, |value| value.unwrap_or(ABSENT))
    }

    fn read(&mut self, number: usize, op: &Op, value: u64, end: End, now_ns: u64) {
        self.book.answered(op, value, end, now_ns);
        self.ended(number);
    }

    /// Whether the number still waits for its answer: a late copy of one that has it is told that it is settled.
    fn awaits(&mut self, number: usize, answer: &Answer<'_>, sequence: Sequence) -> bool {
        self.sessions[number].lane(answer.session).is_some_and(|lane| lane.awaits(sequence))
    }

    /// Takes the operation that an answer is for.
    fn take(&mut self, number: usize, answer: &Answer<'_>, sequence: Sequence) -> Option<Op> {
        let lane = self.sessions[number].lane(answer.session)?;
        let op = lane.take(sequence);
        let has_fresh = lane.has_fresh();
        if op.is_none() {
            self.book.counters.stale += 1;
        }
        if has_fresh {
            // The window may have moved.
            self.mark(number);
        }
        op
    }

    /// The replicas do not know this session any more: whatever it has sent is unknown, and it starts over.
    fn forgotten(&mut self, number: usize, answer: &Answer<'_>, now_ns: u64) {
        if self.knows(number, answer) {
            self.book.counters.expired += 1;
            self.lose_writes(number, now_ns);
            self.sessions[number].renew(number, &mut self.rng);
            self.mark(number);
        }
    }

    /// Gives up every write that a session has sent.
    pub(super) fn lose_writes(&mut self, number: usize, now_ns: u64) {
        let mut lost = 0;
        self.sessions[number].writes.lose_sent(|op| {
            self.book.unknown(&op, now_ns);
            lost += 1;
        });
        (0..lost).for_each(|_| self.ended(number));
    }

    /// An operation of a session has ended, however.
    pub(super) fn ended(&mut self, number: usize) {
        self.outstanding -= 1;
        if self.source.fills_vacancies() {
            self.vacancies.push(number);
        }
    }

    /// An answer came: pauses are short again.
    fn progress(&mut self, number: usize) {
        let session = &mut self.sessions[number];
        session.pauses = 0;
        self.links[session.link].moves = 0;
    }
}

fn numbers(answer: &Answer<'_>) -> impl Iterator<Item = Sequence> + use<> {
    // Saturating: numbers near the end of their range are nobody's.
    let first = answer.first.0;
    (0..u64::from(answer.count)).map(move |at| Sequence(first.saturating_add(at)))
}
