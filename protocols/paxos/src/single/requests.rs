//! What clients ask: a put claims a register, a get looks at it.

use bytes::Bytes;
use qlab_kernel::command::{KEY_BYTES_MAX, TOO_LARGE, VALUE_BYTES_MAX};
use qlab_kernel::{
    Burst, Command, Effects, Outcome, Refusal, ReplyBody, Request, Sequence, SessionId, Ticket, Time, mutant,
};

use super::Paxos;
use super::attempt::{Attempt, Waiting, Wish};
use super::message::Value;

impl Paxos {
    pub(super) fn on_request(
        &mut self,
        now: Time,
        ticket: Ticket,
        request: Request,
        effects: &mut Effects<Self>,
    ) {
        let is_write = matches!(request, Request::Write(_));
        let (Request::Write(batch) | Request::Read(batch)) = request;
        let is_full = is_write && self.registers.weight_bytes() > self.config.registers_bytes_max;
        let is_crowded = self.waiting > 0 && self.waiting + batch.commands() > self.config.commands_max;
        if is_full || is_crowded {
            effects.refuse(ticket, batch, Refusal::Busy);
            return;
        }
        for burst in batch.bursts() {
            if is_write {
                self.take_writes(now, &burst, effects);
            } else {
                self.take_reads(now, &burst, effects);
            }
        }
    }

    fn take_writes(&mut self, now: Time, burst: &Burst<'_>, effects: &mut Effects<Self>) {
        let session = burst.session;
        if burst.opens_session() {
            // A request's own number makes it idempotent: there is nothing to remember of a session.
            let opened = ReplyBody::Written(Outcome::of(Outcome::OPENED));
            return effects.reply(session, Sequence::ZERO, opened);
        }
        for (sequence, command) in burst.commands() {
            let status = match Command::parse(command) {
                Ok(Command::Put { key, value } | Command::CompareAndSet { key, value, .. })
                    if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX =>
                {
                    TOO_LARGE
                }
                Ok(Command::Put { key, value }) => {
                    self.claim(now, key, claimed(session, sequence, value), Wish::Put, effects);
                    continue;
                }
                Ok(Command::CompareAndSet { key, expected: None, value }) => {
                    self.claim(now, key, claimed(session, sequence, value), Wish::Swap, effects);
                    continue;
                }
                _ => Outcome::MALFORMED,
            };
            effects.reply(session, sequence, ReplyBody::Written(Outcome::of(status)));
        }
    }

    fn claim(&mut self, now: Time, key: &[u8], value: Value, wish: Wish, effects: &mut Effects<Self>) {
        let waiting = Waiting { session: value.session, sequence: value.sequence, wish };
        let Some(waiting) = self.answer_from_memory(key, waiting, effects) else { return };
        let place = self.registers.enter(key);
        if let Some(attempt) = self.attempts.get_mut(&place) {
            attempt.claim.get_or_insert(value);
            self.waiting += usize::from(attempt.join(waiting));
        } else {
            self.begin_attempt(place, Attempt::new(Some(value), waiting));
            self.propose(now, place, effects);
        }
    }

    fn take_reads(&mut self, now: Time, burst: &Burst<'_>, effects: &mut Effects<Self>) {
        for (sequence, command) in burst.commands() {
            match Command::parse(command) {
                Ok(Command::Get { key }) if key.len() <= KEY_BYTES_MAX => {
                    self.look_up(now, burst.session, sequence, key, effects);
                }
                Ok(Command::Get { .. }) => effects.reply(burst.session, sequence, Waiting::absent()),
                _ => {
                    let malformed = ReplyBody::Found { status: Outcome::MALFORMED, value: Bytes::new() };
                    effects.reply(burst.session, sequence, malformed);
                }
            }
        }
    }

    fn look_up(
        &mut self,
        now: Time,
        session: SessionId,
        sequence: Sequence,
        key: &[u8],
        effects: &mut Effects<Self>,
    ) {
        let after = mutant!(self.last_round(), "paxos: a read joins a question asked before it", 0);
        let waiting = Waiting { session, sequence, wish: Wish::Get { after } };
        let Some(waiting) = self.answer_from_memory(key, waiting, effects) else { return };
        let place = self.registers.enter(key);
        if let Some(attempt) = self.attempts.get_mut(&place) {
            self.waiting += usize::from(attempt.join(waiting));
        } else {
            self.begin_attempt(place, Attempt::new(None, waiting));
            self.ask(now, place, effects);
        }
    }

    /// Answers at once if the decision is known here: it is the same for ever. Hands back what cannot be answered.
    fn answer_from_memory(
        &self,
        key: &[u8],
        waiting: Waiting,
        effects: &mut Effects<Self>,
    ) -> Option<Waiting> {
        let decided = self.registers.place(key).and_then(|place| self.registers.get(place).decided());
        let Some(value) = decided else { return Some(waiting) };
        // Early: a quorum's disks hold the value, whatever this one's does.
        effects.reply_early(waiting.session, waiting.sequence, waiting.answer(value));
        None
    }
}

fn claimed(session: SessionId, sequence: Sequence, value: &[u8]) -> Value {
    Value { session, sequence, bytes: Bytes::copy_from_slice(value) }
}
