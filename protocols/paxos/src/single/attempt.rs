//! One instance that somebody here waits for: how far it has come, and who waits.

use bytes::Bytes;
use qlab_kernel::{NodeId, NodeSet, Outcome, ReplyBody, Sequence, SessionId, Time, command};

use super::message::{Accepted, Value};
use crate::Ballot;

/// An instance that somebody here waits for.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) phase: Phase,
    /// What is proposed if nothing was before: the first claim that came here.
    pub(crate) claim: Option<Value>,
    pub(crate) waiting: Vec<Waiting>,
    /// The highest ballot that others were found to have promised.
    pub(crate) seen: Ballot,
    /// When it is to be looked at again.
    pub(crate) alarm: Time,
    /// Rejections in a row.
    pub(crate) rejections: u32,
    /// Questions asked of a quorum so far.
    pub(crate) round_trips: u32,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Asks what is accepted.
    Asking { round: u64, told: Vec<(NodeId, Option<Accepted>)> },
    /// Phase 1. The round numbers the question, so that it can stand for a read's.
    Preparing { ballot: Ballot, round: u64, promised: NodeSet, rejected: NodeSet, highest: Option<Accepted> },
    /// Phase 2.
    Accepting { ballot: Ballot, value: Value, accepted: NodeSet, rejected: NodeSet },
    /// Waits until it tries again.
    BackingOff,
}

/// A command that waits for the decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    pub(crate) session: SessionId,
    pub(crate) sequence: Sequence,
    pub(crate) wish: Wish,
}

/// What it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    /// That its value be the one.
    Put,
    /// The same, said as a comparison with nothing.
    Swap,
    /// To know the value. That there is none only a round of questions after this one can say.
    Get { after: u64 },
}

impl Phase {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Asking { .. } => "asking",
            Self::Preparing { .. } => "preparing",
            Self::Accepting { .. } => "proposing",
            Self::BackingOff => "backing-off",
        }
    }
}

impl Attempt {
    pub(crate) fn new(claim: Option<Value>, waiting: Waiting) -> Self {
        Self {
            phase: Phase::BackingOff,
            claim,
            waiting: vec![waiting],
            seen: Ballot::ZERO,
            alarm: Time(0),
            rejections: 0,
            round_trips: 0,
        }
    }

    /// Waits, too, unless it is a retry of one that does; whether it is not.
    pub(crate) fn join(&mut self, waiting: Waiting) -> bool {
        let is_new =
            self.waiting.iter().all(|w| (w.session, w.sequence) != (waiting.session, waiting.sequence));
        if is_new {
            self.waiting.push(waiting);
        }
        is_new
    }
}

impl Waiting {
    /// What the decision says to it.
    pub(crate) fn answer(&self, decided: &Value) -> ReplyBody {
        let is_own = (self.session, self.sequence) == (decided.session, decided.sequence);
        let status = match self.wish {
            Wish::Put if is_own => command::STORED,
            Wish::Put => command::TAKEN,
            Wish::Swap if is_own => command::SWAPPED,
            Wish::Swap => command::MISMATCH,
            Wish::Get { .. } => {
                return ReplyBody::Found { status: command::FOUND, value: decided.bytes.clone() };
            }
        };
        ReplyBody::Written(Outcome::of(status))
    }

    /// What a read is told when nothing is there.
    pub(crate) fn absent() -> ReplyBody {
        ReplyBody::Found { status: command::ABSENT, value: Bytes::new() }
    }
}
