//! What clients ask: writes in a session that was opened here, reads by anybody.

use bytes::Bytes;
use qlab_kernel::command::{ABSENT, DELETED, KEY_BYTES_MAX, STORED, TOO_LARGE, VALUE_BYTES_MAX};
use qlab_kernel::{
    Burst, Command, Effects, Outcome, Refusal, ReplyBody, Request, Sequence, SessionId, Ticket, Time,
};

use super::Dynamo;
use super::content::Content;
use super::envelope::Update;
use super::operation::Write;
use super::record::Record;
use crate::sessions::Opening;

impl Dynamo {
    pub(super) fn on_request(
        &mut self,
        now: Time,
        ticket: Ticket,
        request: Request,
        effects: &mut Effects<Self>,
    ) {
        let is_write = matches!(request, Request::Write(_));
        let (Request::Write(batch) | Request::Read(batch)) = request;
        let is_full = is_write && self.store.weight_bytes() > self.config.store_bytes_max;
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
        let write = self.write_of(now, command);
        let prospect = match &write {
            Ok((key, write)) => self.prospect(key, write),
            Err(outcome) => *outcome,
        };
        let mut is_new = false;
        let outcome = match self.sessions.enter(burst.session, burst.settled) {
            Some(mut session) => session.once(sequence, || {
                is_new = true;
                prospect
            }),
            None => Outcome::of(Outcome::EXPIRED),
        };
        match write {
            Ok((key, write)) if is_new && outcome == write.outcome => {
                self.waiting.insert(request);
                self.begin_write(now, request, key, write, effects);
            }
            // It is answered when it is done.
            _ if self.waiting.contains(&request) => {}
            // Early: what was done is on as many disks as are wanted; and what was not is never done.
            _ => effects.reply_early(request.0, sequence, ReplyBody::Written(outcome)),
        }
    }

    /// What a command writes, or what it comes to without.
    fn write_of(&self, now: Time, command: &[u8]) -> Result<(Bytes, Write), Outcome> {
        // Neither a comparison nor a deletion says what its author had read: puts do.
        let malformed = || Outcome::of(Outcome::MALFORMED);
        let Ok(Command::Put { key, value }) = Command::parse(command) else { return Err(malformed()) };
        let update = Update::decode(Bytes::copy_from_slice(value)).map_err(|_| malformed())?;
        let seen = update.seen(self.seat.members.len()).ok_or_else(malformed)?;
        let value_bytes = update.value.as_ref().map_or(0, Bytes::len);
        if key.len() > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
            return Err(Outcome::of(TOO_LARGE));
        }
        let outcome = Outcome::of(if update.value.is_some() { STORED } else { DELETED });
        let content = Content { written_at: now, value: update.value };
        Ok((Bytes::copy_from_slice(key), Write { seen, content, outcome }))
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
