//! What is under way at a coordinator.

use bytes::Bytes;
use qlab_clocks::VectorClock;
use qlab_kernel::{NodeId, NodeSet, Outcome, Sequence, SessionId};

use super::content::{Content, State};
use super::digest::Digest;

/// Something that takes answers of others.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) key: Bytes,
    /// Who holds the key.
    pub(crate) homes: NodeSet,
    /// Whose command it is, until that is answered.
    pub(crate) client: Option<(SessionId, Sequence)>,
    pub(crate) task: Task,
}

/// What it is, and how far it has come.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Read(Read),
    /// Who does not hold the key must learn what its homes know before it writes.
    Learn(Write),
    /// A state is being stored.
    Store {
        state: State,
        holders: NodeSet,
        outcome: Outcome,
    },
    /// Everybody is asked whether a deletion can be forgotten.
    Bury {
        deletion: Digest,
        agreeing: NodeSet,
    },
}

/// What a client wants written.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// What its author had read.
    pub(crate) seen: VectorClock,
    pub(crate) content: Content,
    pub(crate) outcome: Outcome,
}

/// A read.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// What the coordinator held when it asked.
    pub(crate) base: State,
    pub(crate) known: Digest,
    /// All that was told.
    pub(crate) joined: State,
    pub(crate) told: Vec<(NodeId, Digest)>,
    pub(crate) asked: NodeSet,
}

impl Read {
    pub(crate) fn heard(&self) -> NodeSet {
        self.told.iter().map(|(node, _)| *node).collect()
    }

    /// A replica holds this.
    pub(crate) fn hear(&mut self, from: NodeId, digest: Digest, state: &State) {
        if self.heard().contains(from) {
            return;
        }
        if self.told.is_empty() {
            self.joined = state.clone();
        } else if self.told.iter().all(|(_, known)| *known != digest) {
            self.joined.join(state);
        }
        self.told.push((from, digest));
    }

    /// A replica holds what the coordinator held.
    pub(crate) fn hear_same(&mut self, from: NodeId) {
        self.hear(from, self.known, &self.base.clone());
    }

    /// Whether all that was told is the same.
    pub(crate) fn is_unanimous(&self) -> bool {
        self.told.windows(2).all(|told| told[0].1 == told[1].1)
    }
}
