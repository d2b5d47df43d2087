//! One operation that somebody here waits for.

use bytes::Bytes;
use qlab_kernel::{NodeSet, Outcome, ReplyBody, Sequence, SessionId, command};

use super::tag::{Tag, Version};

/// An operation that somebody here waits for.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) session: SessionId,
    pub(crate) sequence: Sequence,
    pub(crate) key: Bytes,
    pub(crate) wish: Wish,
    pub(crate) phase: Phase,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Get,
    Put,
    Delete,
}

/// How far it has come.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// A write asks for the highest tag, to store this value above it.
    AskingTag { value: Option<Bytes>, told: NodeSet, highest: Tag },
    /// A read asks for versions: the highest that it was told, and who holds that.
    Asking { told: NodeSet, highest: Version, holders: NodeSet },
    /// A version is being stored.
    Storing { version: Version, stored: NodeSet },
}

impl Phase {
    /// Whom it has heard of.
    pub(crate) const fn heard(&self) -> NodeSet {
        match self {
            Self::AskingTag { told, .. } | Self::Asking { told, .. } => *told,
            Self::Storing { stored, .. } => *stored,
        }
    }
}

impl Wish {
    /// What whoever wished is told: what was read, or that it is written.
    pub(crate) fn answer(self, version: Version) -> ReplyBody {
        match (self, version.value) {
            (Self::Get, Some(value)) => ReplyBody::Found { status: command::FOUND, value },
            (Self::Get, None) => ReplyBody::Found { status: command::ABSENT, value: Bytes::new() },
            (Self::Put | Self::Delete, _) => ReplyBody::Written(self.outcome()),
        }
    }

    /// What a write comes to, once it does.
    pub(crate) const fn outcome(self) -> Outcome {
        Outcome::of(match self {
            Self::Delete => command::DELETED,
            Self::Get | Self::Put => command::STORED,
        })
    }
}
