//! What several replicas answered to one client, where none of them is believed alone.
//!
//! In a Byzantine system of 3f + 1 replicas a client takes a result once f + 1 different replicas gave the same (Castro and
//! Liskov, OSDI '99, §4.1): one of them is honest. They are compared command by command, as each replica may cut what it says
//! into other answers and frames. Of each replica, its newest word about a command counts.
//!
//! Only what was asked is voted on, and what was asked is bounded by the client itself: no replica can make this grow.

mod frames;
mod slot;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use self::frames::Frames;
use self::slot::{Said, SaidBody, Slot};
use crate::client::{Answer, AnswerBody, Outcomes, Values, answers};
use crate::limits::{SESSION_WINDOW, SESSIONS_MAX};
use crate::wire::WireError;
use crate::{Burst, NodeId, NodeSet, Refusal, Request, Sequence, SessionId};

/// Sessions whose answers are voted on: two for each that a service remembers, and as many that were given up. The one begun
/// first makes room; what was asked in it must be asked again.
pub const VOTED_SESSIONS_MAX: usize = 4 * SESSIONS_MAX;

/// The answers to one client that wait for others like them.
#[derive(Debug)]
pub struct Votes {
    replicas: usize,
    matching: usize,
    sessions: BTreeMap<SessionId, Ring>,
    /// The sessions as they were begun.
    begun: VecDeque<SessionId>,
    /// Whom each replica last named as the leader.
    words: Vec<Option<NodeId>>,
    leader: Option<NodeId>,
    frames: Frames,
}

impl Votes {
    /// Nothing asked yet, of so many replicas: an answer counts once `matching` of them gave it.
    ///
    /// # Panics
    /// If `matching` is 0 or more than there are replicas.
    #[must_use]
    pub fn new(replicas: usize, matching: usize) -> Self {
        assert!(
            (1..=replicas.min(NodeSet::CAPACITY)).contains(&matching),
            "{matching} of {replicas} replicas"
        );
        Self {
            replicas,
            matching,
            sessions: BTreeMap::new(),
            begun: VecDeque::new(),
            words: vec![None; replicas],
            leader: None,
            frames: Frames::default(),
        }
    }

    /// The client asks for this, for the first time or again. Answers to anything else do not count.
    pub fn asked(&mut self, request: &Request) {
        let (Request::Write(batch) | Request::Read(batch)) = request;
        for burst in batch.bursts() {
            self.ring(burst.session).ask(&burst);
        }
    }

    /// Takes a frame of replica `from` in, and appends what `matching` replicas have now said alike to `given`, as frames: each
    /// asked command's answer once. The first malformed answer is the frame's end.
    pub fn take(&mut self, from: NodeId, frame: &[u8], given: &mut Vec<Bytes>) -> Result<(), WireError> {
        if usize::from(from.0) >= self.replicas {
            return Ok(());
        }
        let mut end = Ok(());
        for answer in answers(frame) {
            match answer {
                Ok(answer) => self.hear(from, &answer),
                Err(error) => end = Err(error),
            }
        }
        self.frames.take(given);
        end
    }

    /// Whom `matching` replicas last named as the leader, if they ever agreed.
    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Forgets who leads: the one named so far does not answer, and only what is said from now on counts.
    pub fn forget_leader(&mut self) {
        self.words.fill(None);
        self.leader = None;
    }

    fn ring(&mut self, session: SessionId) -> &mut Ring {
        if !self.sessions.contains_key(&session) {
            if self.begun.len() == VOTED_SESSIONS_MAX
                && let Some(oldest) = self.begun.pop_front()
            {
                self.sessions.remove(&oldest);
            }
            self.begun.push_back(session);
        }
        self.sessions.entry(session).or_default()
    }

    fn hear(&mut self, from: NodeId, answer: &Answer<'_>) {
        match answer.body {
            AnswerBody::Moved(leader) | AnswerBody::Refused(Refusal::NotLeader(leader)) => {
                self.hear_leader(from, leader);
            }
            AnswerBody::Refused(Refusal::Busy) => self.hear_busy(from, answer),
            AnswerBody::Written(outcomes) => self.hear_outcomes(from, answer, outcomes),
            AnswerBody::Values(values) => self.hear_values(from, answer, values),
        }
    }

    fn hear_leader(&mut self, from: NodeId, leader: Option<NodeId>) {
        let word = &mut self.words[usize::from(from.0)];
        // Only a new word can move anybody, so that two groups that disagree do not move clients to and fro.
        if std::mem::replace(word, leader) != leader
            && self.words.iter().filter(|word| **word == leader).count() >= self.matching
        {
            self.leader = leader.or(self.leader);
        }
    }

    fn hear_busy(&mut self, from: NodeId, answer: &Answer<'_>) {
        let Self { sessions, matching, frames, .. } = self;
        let Some(ring) = sessions.get_mut(&answer.session) else { return };
        if answer.first == Sequence::ZERO {
            if ring.opening.as_mut().is_some_and(|opening| opening.is_busy(from, *matching)) {
                frames.push_busy(answer.session, Sequence::ZERO, 0);
            }
            return;
        }
        for number in ring.asked_among(answer.first, answer.count) {
            if ring.slot(number).is_some_and(|slot| slot.is_busy(from, *matching)) {
                frames.push_busy(answer.session, number, 1);
            }
        }
    }

    fn hear_outcomes(&mut self, from: NodeId, answer: &Answer<'_>, outcomes: Outcomes<'_>) {
        let Some(ring) = self.sessions.get_mut(&answer.session) else { return };
        for (number, outcome) in numbers(answer).zip(outcomes.iter()) {
            let said =
                Said { index: answer.index, status: outcome.status, body: SaidBody::Number(outcome.number) };
            if ring.slot(number).is_some_and(|slot| slot.vote(from, &said, self.matching)) {
                self.frames.push_outcome(answer.session, number, answer.index, outcome);
            }
        }
    }

    fn hear_values(&mut self, from: NodeId, answer: &Answer<'_>, values: Values<'_>) {
        let Some(ring) = self.sessions.get_mut(&answer.session) else { return };
        for (number, (status, value)) in numbers(answer).zip(values.iter()) {
            let said = Said { index: answer.index, status, body: SaidBody::Value(value) };
            if ring.slot(number).is_some_and(|slot| slot.vote(from, &said, self.matching)) {
                self.frames.push_value(answer.session, number, answer.index, status, value);
            }
        }
    }
}

/// The commands of one session from the lowest unsettled number on.
#[derive(Debug, Default)]
struct Ring {
    /// The session's opening, if that was asked for.
    opening: Option<Slot>,
    /// Number of the first slot; 0 before anything was asked.
    base: u64,
    slots: VecDeque<Slot>,
}

impl Ring {
    fn ask(&mut self, burst: &Burst<'_>) {
        if burst.opens_session() {
            self.opening.get_or_insert_default().ask();
            return;
        }
        self.settle(burst.settled.0.max(1));
        let last = burst.first.0 + u64::from(burst.count);
        let wanted = last.saturating_sub(self.base).min(SESSION_WINDOW);
        let wanted = usize::try_from(wanted).expect("below the window");
        if wanted > self.slots.len() {
            self.slots.resize_with(wanted, Slot::default);
        }
        for number in self.asked_among(burst.first, burst.count) {
            self.slot(number).into_iter().for_each(Slot::ask);
        }
    }

    fn settle(&mut self, settled: u64) {
        while self.base < settled && self.slots.pop_front().is_some() {
            self.base += 1;
        }
        self.base = self.base.max(settled);
    }

    /// The numbers among these that were asked and are not settled.
    fn asked_among(&self, first: Sequence, count: u32) -> impl Iterator<Item = Sequence> + use<> {
        let end = self.base + self.slots.len() as u64;
        (first.0.max(self.base)..first.0.saturating_add(count.into()).min(end)).map(Sequence)
    }

    fn slot(&mut self, number: Sequence) -> Option<&mut Slot> {
        if number == Sequence::ZERO {
            return self.opening.as_mut();
        }
        self.slots.get_mut(usize::try_from(number.0.checked_sub(self.base)?).ok()?)
    }
}

fn numbers(answer: &Answer<'_>) -> impl Iterator<Item = Sequence> + use<> {
    // Saturating: numbers near the end of their range are nobody's.
    let first = answer.first.0;
    (0..u64::from(answer.count)).map(move |at| Sequence(first.saturating_add(at)))
}

#[cfg(test)]
mod tests;
