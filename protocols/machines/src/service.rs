//! A machine with its sessions and its chain: what a host drives.

use bytes::{Bytes, BytesMut};
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::limits::FRAME_BYTES_MAX;
use qlab_kernel::{
    Batch, Burst, Chain, Index, Outcome, Reader, Sequence, SessionId, Sessions, Sink, Wire, WireError,
};

use crate::answers::{item_bytes, outcomes_bytes, value_bytes};
use crate::{Answers, Machine};

/// The session in which replicas give commands of their own: of no client, as no roster is that long. Hosts take requests of a
/// client in its own sessions only.
pub const INTERNAL_SESSION: SessionId = SessionId::owned(u16::MAX, 0);

/// Outcomes in one answer; a burst of more commands gets several answers. Room is asked for once for each answer.
const OUTCOMES_MAX: usize = 4096;

const _: () = assert!(outcomes_bytes(OUTCOMES_MAX) <= FRAME_BYTES_MAX);

/// Why an image is not taken. The state is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are no image of this machine: fetch it again, from another replica.
    #[error("state image is malformed: {0}")]
    Malformed(#[from] WireError),
    /// It is an image of another moment: whoever stored or sent it mixed two up.
    #[error("state image was captured after entry {found}, not {wanted}")]
    Moment {
        /// The last entry in the image.
        found: Index,
        /// The last entry it should hold.
        wanted: Index,
    },
}

/// A machine on a log. Replicas that were given the same entries hold the same state, down to the bytes of their images.
#[derive(Clone, Debug, Default)]
pub struct Service<M> {
    machine: M,
    sessions: Sessions,
    chain: Chain,
}

impl<M: Machine> Service<M> {
    /// Executes entry `index`, which must follow the last one, and answers the clients that `answers` holds.
    pub fn apply(&mut self, index: Index, batch: &Batch, answers: &mut impl Answers) {
        self.chain.extend(index, batch);
        for burst in batch.bursts() {
            if burst.opens_session() {
                self.open(burst.session, answers);
            } else {
                self.execute(&burst, answers);
            }
        }
    }

    /// Answers queries from the state as it is. They need no open session: asking twice does no harm.
    pub fn query(&self, batch: &Batch, answers: &mut impl Answers) {
        for burst in batch.bursts() {
            self.look_up(burst.session, burst.commands(), answers);
        }
    }

    /// Answers one query.
    pub(crate) fn query_one(
        &self,
        (session, sequence): (SessionId, Sequence),
        query: &[u8],
        answers: &mut impl Answers,
    ) {
        self.look_up(session, std::iter::once((sequence, query)), answers);
    }

    /// An image of the state. Equal states give equal images.
    #[must_use]
    pub fn capture(&self) -> Bytes {
        let mut image = BytesMut::new();
        self.chain.index.encode(&mut image);
        image.put(&self.chain.hash);
        self.sessions.encode(&mut image);
        self.machine.snapshot(&mut image);
        image.freeze()
    }

    /// Becomes the state after entry `index` that an image holds.
    pub fn restore(&mut self, index: Index, image: Bytes) -> Result<(), RestoreError> {
        let restored = Self::decode(image)?;
        let found = restored.chain.index;
        if found != index {
            return Err(RestoreError::Moment { found, wanted: index });
        }
        *self = restored;
        Ok(())
    }

    /// The hash of everything applied, and how far that goes.
    #[must_use]
    pub const fn chain(&self) -> Chain {
        self.chain
    }

    /// The machine's state.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    fn open(&mut self, session: SessionId, answers: &mut impl Answers) {
        let outcome = self.sessions.open(session);
        if let Some(answer) = self.begin_outcomes(session, Sequence::ZERO, 1, answers) {
            answer.push_outcome(outcome);
        }
    }

    fn execute(&mut self, burst: &Burst<'_>, answers: &mut impl Answers) {
        let mut commands = burst.commands();
        let is_internal = burst.session == INTERNAL_SESSION;
        // The session is entered for each piece, heard or not: uses are counted, and alike on every replica.
        for (first, count) in pieces(burst) {
            let mut answer = self.begin_outcomes(burst.session, first, count, answers);
            let mut session = self.sessions.enter(burst.session, burst.settled);
            for (sequence, command) in commands.by_ref().take(count) {
                let outcome = match &mut session {
                    Some(_) if !is_internal && M::is_internal(command) => Outcome::of(Outcome::MALFORMED),
                    Some(session) => session.once(sequence, || self.machine.apply(command)),
                    None => Outcome::of(Outcome::EXPIRED),
                };
                if let Some(answer) = &mut answer {
                    answer.push_outcome(outcome);
                }
            }
        }
    }

    fn begin_outcomes<'a>(
        &self,
        session: SessionId,
        first: Sequence,
        count: usize,
        answers: &'a mut impl Answers,
    ) -> Option<&'a mut AnswerBuilder> {
        let answer = answers.room(session, outcomes_bytes(count))?;
        answer.begin_written(session, first, self.chain.index);
        Some(answer)
    }

    fn look_up<'a>(
        &self,
        session: SessionId,
        queries: impl Iterator<Item = (Sequence, &'a [u8])>,
        answers: &mut impl Answers,
    ) {
        let mut answer: Option<&mut AnswerBuilder> = None;
        for (sequence, command) in queries {
            let value = self.machine.query(command);
            let len = value.bytes.len();
            let roomy = match answer {
                Some(begun) if begun.len() + item_bytes(len) <= FRAME_BYTES_MAX => begun,
                _ => {
                    let Some(fresh) = answers.room(session, value_bytes(len)) else { return };
                    fresh.begin_values(session, sequence, self.chain.index);
                    fresh
                }
            };
            roomy.push_value(value.status, &value.bytes);
            answer = Some(roomy);
        }
    }

    fn decode(image: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(image);
        let index = Index::decode(&mut reader)?;
        let hash = reader.take(32)?.as_ref().try_into().expect("32 bytes were taken");
        let sessions = Sessions::decode(&mut reader)?;
        let machine = M::restore(&mut reader)?;
        reader.finish()?;
        Ok(Self { machine, sessions, chain: Chain { index, hash } })
    }
}

/// A burst's commands in pieces of at most [`OUTCOMES_MAX`]: the first number and the count of each.
fn pieces(burst: &Burst<'_>) -> impl Iterator<Item = (Sequence, usize)> + use<> {
    let (first, count) = (burst.first.0, burst.count as usize);
    (0..count)
        .step_by(OUTCOMES_MAX)
        .map(move |at| (Sequence(first + at as u64), OUTCOMES_MAX.min(count - at)))
}
