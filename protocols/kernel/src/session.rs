//! Exactly-once execution of numbered client requests (Raft §8; Ongaro's thesis §6.3).
//!
//! The table is part of the replicated state: it changes only by what is applied, in order, and travels in snapshots. A
//! client numbers its requests, keeps at most [`SESSION_WINDOW`] unanswered, retries with the same number wherever it likes,
//! and says with each burst below which number everything is answered. An answer is kept until then. A session that was
//! forgotten is told so and never executed again in silence.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::{SESSION_WINDOW, SESSIONS_MAX};
use crate::wire::{Reader, Sink, Wire, WireError};
use crate::{Sequence, SessionId, mutant};

/// The result of a write: what happened and a number (a length, a version, a token) whose meaning the machine defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// One of the `Outcome` constants, or a machine's own code below 128.
    pub status: u8,
    /// What goes with it.
    pub number: u64,
}

impl Outcome {
    /// Status: the session is not known (any more). The request was not executed now; whether it ever was is unknown.
    pub const EXPIRED: u8 = 255;
    /// Status: the number lies too far above the settled ones.
    pub const OUT_OF_WINDOW: u8 = 254;
    /// Status: answered before, and the client said so; the answer is forgotten.
    pub const SETTLED: u8 = 253;
    /// Status: the session is open.
    pub const OPENED: u8 = 252;
    /// Status: the machine cannot read the command.
    pub const MALFORMED: u8 = 251;

    /// An outcome whose status says it all.
    #[must_use]
    pub const fn of(status: u8) -> Self {
        Self { status, number: 0 }
    }
}

impl Wire for Outcome {
    fn encode(&self, sink: &mut impl Sink) {
        self.status.encode(sink);
        self.number.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { status: reader.u8()?, number: reader.u64()? })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Session {
    /// When it was last used, in uses of the whole table.
    used: u64,
    /// Every request below this one has been answered.
    settled: Sequence,
    /// Answers from `settled` on; `None` where the request has not come yet.
    answers: VecDeque<Option<Outcome>>,
}

/// Every client's session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    // Ordered, so that images are equal where tables are.
    sessions: BTreeMap<SessionId, Session>,
    uses: u64,
}

impl Sessions {
    /// Opens a session; the one unused for longest makes room. Opening twice changes nothing.
    pub fn open(&mut self, id: SessionId) -> Outcome {
        self.uses += 1;
        if !self.sessions.contains_key(&id) && self.sessions.len() == SESSIONS_MAX {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            self.sessions.remove(&oldest.expect("a full table has an oldest session"));
        }
        let session =
            self.sessions.entry(id).or_insert_with(|| Session { settled: Sequence(1), ..Session::default() });
        session.used = self.uses;
        Outcome::of(Outcome::OPENED)
    }

    /// The session of a burst, for [`OpenSession::once`]; `None` if it is not known (any more).
    pub fn enter(&mut self, id: SessionId, settled: Sequence) -> Option<OpenSession<'_>> {
        self.uses += 1;
        mutant!("sessions: one that is not known is opened", {
            self.open(id);
        });
        let session = self.sessions.get_mut(&id)?;
        session.used = self.uses;
        while session.settled < settled {
            // A client cannot settle what was never asked: past the answers there is nothing to forget.
            session.answers.pop_front();
            session.settled = if session.answers.is_empty() { settled } else { session.settled.next() };
        }
        Some(OpenSession { session })
    }

    /// Number of sessions remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

/// A session that exists.
#[derive(Debug)]
pub struct OpenSession<'a> {
    session: &'a mut Session,
}

impl OpenSession<'_> {
    /// Executes request `sequence` unless that has been done; the same answer every time.
    pub fn once(&mut self, sequence: Sequence, execute: impl FnOnce() -> Outcome) -> Outcome {
        let Some(offset) = sequence.0.checked_sub(self.session.settled.0) else {
            mutant!("sessions: a settled request is executed again", { return execute() });
            mutant!("sessions: a settled request gets the newest answer", {
                return self.session.answers.back().copied().flatten().unwrap_or(Outcome::of(0));
            });
            return Outcome::of(Outcome::SETTLED);
        };
        if offset >= SESSION_WINDOW {
            return Outcome::of(Outcome::OUT_OF_WINDOW);
        }
        let offset = usize::try_from(offset).expect("below the window");
        let answers = &mut self.session.answers;
        mutant!("sessions: every request is executed", { return execute() });
        if offset < answers.len() {
            return *answers[offset].get_or_insert_with(execute);
        }
        // Mostly the next one; a gap is left for requests that come late.
        while answers.len() < offset {
            answers.push_back(None);
        }
        let outcome = execute();
        answers.push_back(Some(outcome));
        outcome
    }
}

impl Wire for Sessions {
    fn encode(&self, sink: &mut impl Sink) {
        let sessions =
            mutant!(&self.sessions, "sessions: the table is not in the image", const { &BTreeMap::new() });
        self.uses.encode(sink);
        (sessions.len() as u64).encode(sink);
        for (id, session) in sessions {
            id.encode(sink);
            session.used.encode(sink);
            session.settled.encode(sink);
            (session.answers.len() as u64).encode(sink);
            for answer in &session.answers {
                answer.encode(sink);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let mut table = Self { uses: reader.u64()?, ..Self::default() };
        for _ in 0..bounded(reader, "sessions", SESSIONS_MAX as u64)? {
            let id = SessionId::decode(reader)?;
            let (used, settled) = (reader.u64()?, Sequence::decode(reader)?);
            let answers = bounded(reader, "answers", SESSION_WINDOW)?;
            let answers = (0..answers).map(|_| Option::decode(reader)).collect::<Result<_, _>>()?;
            table.sessions.insert(id, Session { used, settled, answers });
        }
        Ok(table)
    }
}

fn bounded(reader: &mut Reader, what: &'static str, limit: u64) -> Result<u64, WireError> {
    let value = reader.u64()?;
    if value > limit { Err(WireError::Invalid { what, value }) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ME: SessionId = SessionId(42);

    fn run(table: &mut Sessions, sequence: u64, settled: u64, fresh: u64) -> Outcome {
        let mut session = table.enter(ME, Sequence(settled)).expect("open");
        session.once(Sequence(sequence), || Outcome { status: 0, number: fresh })
    }

    #[test]
    fn a_retry_gets_the_first_answer_in_any_order() {
        let mut table = Sessions::default();
        table.open(ME);
        assert_eq!(run(&mut table, 2, 1, 20).number, 20);
        assert_eq!(run(&mut table, 1, 1, 10).number, 10);
        assert_eq!(run(&mut table, 2, 1, 99).number, 20);
        assert_eq!(run(&mut table, 3, 3, 30).number, 30);
        assert_eq!(run(&mut table, 2, 3, 99).status, Outcome::SETTLED);
        assert_eq!(run(&mut table, 2, 1, 99).status, Outcome::SETTLED);
    }

    #[test]
    fn limits_are_said_and_nothing_is_executed() {
        let mut table = Sessions::default();
        assert!(table.enter(ME, Sequence(1)).is_none());
        table.open(ME);
        assert_eq!(run(&mut table, SESSION_WINDOW + 1, 1, 1).status, Outcome::OUT_OF_WINDOW);
        assert_eq!(run(&mut table, SESSION_WINDOW, 1, 1).status, 0);
    }

    #[test]
    fn the_session_unused_for_longest_makes_room() {
        let mut table = Sessions::default();
        table.open(ME);
        for id in 0..SESSIONS_MAX as u64 - 1 {
            table.open(SessionId(1000 + id));
        }
        run(&mut table, 1, 1, 1);
        table.open(SessionId(7));
        assert_eq!(table.len(), SESSIONS_MAX);
        assert!(table.enter(ME, Sequence(1)).is_some());
        assert!(table.enter(SessionId(1000), Sequence(1)).is_none());
    }

    proptest! {
        #[test]
        fn every_number_is_executed_at_most_once(calls in prop::collection::vec((1_u64..40, 0_u64..40), 1..200)) {
            let mut table = Sessions::default();
            table.open(ME);
            let mut executed = std::collections::BTreeMap::new();
            for (fresh, (sequence, settled)) in calls.into_iter().enumerate() {
                let mut session = table.enter(ME, Sequence(settled)).unwrap();
                let answer = session.once(Sequence(sequence), || {
                    assert!(executed.insert(sequence, fresh as u64).is_none(), "executed twice");
                    Outcome { status: 0, number: fresh as u64 }
                });
                if answer.status == 0 {
                    prop_assert_eq!(Some(&answer.number), executed.get(&sequence));
                }
                let mut image = Vec::new();
                table.encode(&mut image);
                prop_assert_eq!(Sessions::decode_all(image.into()), Ok(table.clone()));
            }
        }
    }
}
