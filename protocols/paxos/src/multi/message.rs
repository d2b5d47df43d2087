//! What Multi-Paxos replicas say to each other.

mod wire;

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Batch, Index, Lane, NodeId, mutant};

use crate::Ballot;

/// Slots `first ..= last`, all accepted in one ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first slot.
    pub first: Index,
    /// The last slot.
    pub last: Index,
    /// The ballot.
    pub ballot: Ballot,
}

/// Slots `first ..= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first slot.
    pub first: Index,
    /// The last slot.
    pub last: Index,
}

/// Runs or spans in one message.
pub const RUNS_MAX: usize = 2048;
/// Slots that one message may speak of, and the largest index there may be: no cluster lives to see either.
pub const SLOTS_MAX: u64 = 1 << 40;

/// One message.
///
/// A candidate or leader speaks in its own ballot, and answers repeat the ballot of what they answer. What is about chosen
/// values ([`Message::Learn`], [`Message::Chosen`], [`Message::Image`]) needs no ballot: it is true in all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "Would you promise me this ballot?" Changes nothing.
    Canvass {
        /// The ballot that would be prepared.
        ballot: Ballot,
        /// Up to where the asker knows what is chosen.
        chosen: Index,
    },
    /// Answers [`Message::Canvass`].
    CanvassReply {
        /// The ballot asked for.
        ballot: Ballot,
        /// Whether it would be promised now.
        granted: bool,
        /// The ballot promised already: the next attempt must be above it.
        promised: Ballot,
        /// Up to where the answerer knows what is chosen.
        chosen: Index,
    },
    /// Phase 1a, for all slots from `first` on.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The first slot that is asked about.
        first: Index,
        /// The ballot whose leader asked for this election itself: its followers need not wait for its silence. Zero if nobody
        /// did.
        handover: Ballot,
    },
    /// Phase 1b: nothing will be accepted below `ballot` any more. What was accepted is named; the values are there for
    /// [`Message::Fetch`].
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// The first slot that was asked about.
        first: Index,
        /// Up to where `runs` tell everything; there are more beyond. `None` if these are all.
        until: Option<Index>,
        /// Up to where the acceptor knows what is chosen; `runs` begin after it.
        chosen: Index,
        /// What is accepted, in order.
        runs: Vec<Run>,
    },
    /// The candidate lacks a value that a promise named.
    Fetch {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The slot.
        index: Index,
        /// The ballot it was accepted in.
        accepted_in: Ballot,
    },
    /// Answers [`Message::Fetch`].
    Value {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The slot.
        index: Index,
        /// The ballot it was accepted in, no lower than the one asked for.
        accepted_in: Ballot,
        /// The value.
        batch: Batch,
    },
    /// Phase 2a.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slot.
        index: Index,
        /// The leader knows all slots up to here to be chosen.
        commit: Index,
        /// The value.
        batch: Batch,
    },
    /// Phase 2b: these slots are accepted, durably, or chosen already.
    Accepted {
        /// The leader's ballot.
        ballot: Ballot,
        /// Which.
        spans: Vec<Span>,
    },
    /// The leader is here.
    Heartbeat {
        /// The leader's ballot.
        ballot: Ballot,
        /// Numbers the leader's heartbeats.
        round: u64,
        /// The leader knows all slots up to here to be chosen.
        commit: Index,
        /// The first slot on its way to this acceptor and not acknowledged; zero if there is none.
        oldest: Index,
    },
    /// Answers [`Message::Heartbeat`].
    HeartbeatReply {
        /// The leader's ballot.
        ballot: Ballot,
        /// The heartbeat answered.
        round: u64,
        /// Every slot from `oldest` up to here has been received, durable or not.
        received: Index,
    },
    /// Asks for what is chosen from `first` on.
    Learn {
        /// The first slot that is not known.
        first: Index,
        /// The image that has begun to come in, by its last slot; zero if none has.
        image: Index,
        /// Bytes of it that are here.
        have_bytes: u64,
    },
    /// The value chosen in a slot.
    Chosen {
        /// The slot.
        index: Index,
        /// The value.
        batch: Batch,
        /// Whether it ends the answer: ask again for more.
        last: bool,
    },
    /// A piece of an image, for those too far behind to be told slot by slot.
    Image {
        /// The piece.
        chunk: Chunk,
        /// Whether it ends the answer.
        last: bool,
    },
    /// The leader asks this replica to take over at once.
    TakeOver {
        /// The leader's ballot.
        ballot: Ballot,
    },
    /// The receiver's ballot is over.
    Stale {
        /// What the sender has promised.
        promised: Ballot,
    },
}

impl Message {
    /// Whether it can have come from `from`, going to `to`: proposers speak in ballots of their own, indices and rounds have
    /// room to grow, and runs are in order.
    pub(crate) fn is_sound(&self, from: NodeId, to: NodeId) -> bool {
        let is_of = |ballot: Ballot, node| {
            mutant!(ballot.node == node, "multi-paxos: ballots do not name their proposer", true)
        };
        let of = |ballot: Ballot, node| is_of(ballot, node) && ballot.is_proposable();
        let exists = |index: Index| index.0 <= SLOTS_MAX;
        let is_slot = |index: Index| index.0 > 0 && exists(index);
        match self {
            Self::Canvass { ballot, chosen } => of(*ballot, from) && exists(*chosen),
            Self::CanvassReply { ballot, promised, chosen, .. } => {
                of(*ballot, to) && promised.round.0 <= Ballot::ROUND_MAX && exists(*chosen)
            }
            Self::Prepare { ballot, first, .. } => of(*ballot, from) && is_slot(*first),
            Self::Promise { ballot, first, until, chosen, runs } => {
                let tells = |until: Index| *first <= until && exists(until);
                of(*ballot, to) && is_slot(*first) && until.is_none_or(tells) && are_sound(runs, *chosen)
            }
            Self::Fetch { ballot, index, accepted_in } => {
                of(*ballot, from) && is_slot(*index) && *accepted_in > Ballot::ZERO
            }
            Self::Value { ballot, index, .. } => of(*ballot, to) && is_slot(*index),
            Self::Accept { ballot, index, commit, .. } => {
                of(*ballot, from) && is_slot(*index) && exists(*commit)
            }
            Self::Heartbeat { ballot, commit, .. } => of(*ballot, from) && exists(*commit),
            Self::TakeOver { ballot } => of(*ballot, from),
            Self::Accepted { ballot, .. } | Self::HeartbeatReply { ballot, .. } => of(*ballot, to),
            Self::Learn { first, .. } => is_slot(*first),
            Self::Chosen { index, .. } => is_slot(*index),
            Self::Image { chunk, .. } => exists(chunk.index),
            Self::Stale { promised } => promised.is_proposable(),
        }
    }
}

/// Whether runs are in order, after `chosen`, and of ballots that there can be.
fn are_sound(runs: &[Run], chosen: Index) -> bool {
    let mut after = chosen;
    runs.iter().all(|run| {
        let in_order = after < run.first && run.first <= run.last && run.last.0 <= SLOTS_MAX;
        after = run.last;
        in_order && (run.ballot.is_proposable() || run.ballot == Ballot::CHOSEN)
    })
}

impl qlab_kernel::Message for Message {
    fn lane(&self) -> Lane {
        match self {
            Self::Accept { .. } | Self::Value { .. } | Self::Chosen { .. } | Self::Image { .. } => Lane::Bulk,
            _ => Lane::Control,
        }
    }
}
