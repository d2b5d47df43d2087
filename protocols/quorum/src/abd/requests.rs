//! What clients ask: writes in a session that was opened here, reads by anybody.

use bytes::Bytes;
use qlab_kernel::command::{ABSENT, KEY_BYTES_MAX, TOO_LARGE, VALUE_BYTES_MAX};
use qlab_kernel::{
    Burst, Command, Effects, Outcome, Refusal, ReplyBody, Request, Sequence, SessionId, Ticket, Time,
};

use super::Abd;
use super::operation::Wish;
use super::record::Record;
use crate::sessions::Opening;

impl Abd {
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
        let waiting = self.waiting.len();
        let is_crowded = waiting > 0 && waiting + batch.commands() > self.config.commands_max;
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
        if burst.opens_session() {
            return self.open_session(burst.session, effects);
        }
        for (sequence, command) in burst.commands() {
            self.take_write(now, burst, sequence, command, effects);
        }
    }

    fn open_session(&mut self, session: SessionId, effects: &mut Effects<Self>) {
        let status = match self.sessions.open(session, self.incarnation) {
            Opening::New => {
                effects.persist(Record::Opened { sessions: vec![session] });
                Outcome::OPENED
            }
            Opening::Again => Outcome::OPENED,
            Opening::Past => Outcome::EXPIRED,
        };
        effects.reply(session, Sequence::ZERO, ReplyBody::Written(Outcome::of(status)));
    }

    fn take_write(
        &mut self,
        now: Time,
        burst: &Burst<'_>,
        sequence: Sequence,
        command: &[u8],
        effects: &mut Effects<Self>,
    ) {
        let request = (burst.session, sequence);
        let (outcome, write) = match write(command) {
            Ok(write) => (write.wish().outcome(), Some(write)),
            Err(outcome) => (outcome, None),
        };
        let mut is_new = false;
        let outcome = match self.sessions.enter(burst.session, burst.settled) {
            Some(mut session) => session.once(sequence, || {
                is_new = true;
                outcome
            }),
            None => Outcome::of(Outcome::EXPIRED),
        };
        match write {
            Some(Write { key, value }) if is_new && self.waiting.insert(request) => {
                self.begin_write(now, request, key, value, effects);
            }
            // It is answered when it is done.
            _ if self.waiting.contains(&request) => {}
            // Early: what was done is on a write quorum's disks; and what was not is never done.
            _ => effects.reply_early(request.0, sequence, ReplyBody::Written(outcome)),
        }
    }

    fn take_reads(&mut self, now: Time, burst: &Burst<'_>, effects: &mut Effects<Self>) {
        for (sequence, command) in burst.commands() {
            let request = (burst.session, sequence);
            let status = match Command::parse(command) {
                Ok(Command::Get { key }) if key.len() <= KEY_BYTES_MAX => {
                    // A retry of one that waits is answered with it.
                    if self.waiting.insert(request) {
                        self.begin_read(now, request, key, effects);
                    }
                    continue;
                }
                Ok(Command::Get { .. }) => ABSENT,
                _ => Outcome::MALFORMED,
            };
            effects.reply(request.0, sequence, ReplyBody::Found { status, value: Bytes::new() });
        }
    }
}

/// What a command writes.
struct Write<'a> {
    key: &'a [u8],
    /// Nothing for a deletion.
    value: Option<&'a [u8]>,
}

impl Write<'_> {
    const fn wish(&self) -> Wish {
        if self.value.is_some() { Wish::Put } else { Wish::Delete }
    }
}

/// What a command writes, or what it comes to without.
fn write(command: &[u8]) -> Result<Write<'_>, Outcome> {
    let write = match Command::parse(command) {
        Ok(Command::Put { key, value }) => Write { key, value: Some(value) },
        Ok(Command::Delete { key }) => Write { key, value: None },
        // A register cannot compare: that takes agreement.
        _ => return Err(Outcome::of(Outcome::MALFORMED)),
    };
    let is_too_large =
        write.key.len() > KEY_BYTES_MAX || write.value.is_some_and(|value| value.len() > VALUE_BYTES_MAX);
    if is_too_large { Err(Outcome::of(TOO_LARGE)) } else { Ok(write) }
}
