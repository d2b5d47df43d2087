//! What Multi-Paxos replicas say to each other.

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Batch, Index, Lane, NodeId, Reader, Sink, Wire, WireError};

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
        let of = |ballot: Ballot, node| ballot.node == node && ballot.is_proposable();
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

impl Wire for Run {
    fn encode(&self, sink: &mut impl Sink) {
        self.first.encode(sink);
        self.last.encode(sink);
        self.ballot.encode(sink);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { first: Index::decode(r)?, last: Index::decode(r)?, ballot: Ballot::decode(r)? })
    }
}

impl Wire for Span {
    fn encode(&self, sink: &mut impl Sink) {
        self.first.encode(sink);
        self.last.encode(sink);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { first: Index::decode(r)?, last: Index::decode(r)? })
    }
}

fn put_list<T: Wire>(sink: &mut impl Sink, list: &[T]) {
    assert!(list.len() <= RUNS_MAX, "{} runs in one message", list.len());
    u16::try_from(list.len()).expect("below the limit").encode(sink);
    list.iter().for_each(|item| item.encode(sink));
}

fn take_list<T: Wire>(r: &mut Reader) -> Result<Vec<T>, WireError> {
    let len = usize::from(r.u16()?);
    if len > RUNS_MAX {
        return Err(WireError::Invalid { what: "number of runs", value: len as u64 });
    }
    (0..len).map(|_| T::decode(r)).collect()
}

impl Wire for Message {
    fn encode(&self, sink: &mut impl Sink) {
        self.tag().encode(sink);
        match self {
            Self::Canvass { ballot, chosen } => {
                ballot.encode(sink);
                chosen.encode(sink);
            }
            Self::CanvassReply { ballot, granted, promised, chosen } => {
                ballot.encode(sink);
                granted.encode(sink);
                promised.encode(sink);
                chosen.encode(sink);
            }
            Self::Prepare { ballot, first, handover } => {
                ballot.encode(sink);
                first.encode(sink);
                handover.encode(sink);
            }
            Self::Promise { ballot, first, until, chosen, runs } => {
                ballot.encode(sink);
                first.encode(sink);
                until.encode(sink);
                chosen.encode(sink);
                put_list(sink, runs);
            }
            Self::Fetch { ballot, index, accepted_in } => {
                ballot.encode(sink);
                index.encode(sink);
                accepted_in.encode(sink);
            }
            Self::Value { ballot, index, accepted_in, batch } => {
                ballot.encode(sink);
                index.encode(sink);
                accepted_in.encode(sink);
                batch.encode(sink);
            }
            Self::Accept { ballot, index, commit, batch } => {
                ballot.encode(sink);
                index.encode(sink);
                commit.encode(sink);
                batch.encode(sink);
            }
            Self::Accepted { ballot, spans } => {
                ballot.encode(sink);
                put_list(sink, spans);
            }
            Self::Heartbeat { ballot, round, commit, oldest } => {
                ballot.encode(sink);
                round.encode(sink);
                commit.encode(sink);
                oldest.encode(sink);
            }
            Self::HeartbeatReply { ballot, round, received } => {
                ballot.encode(sink);
                round.encode(sink);
                received.encode(sink);
            }
            Self::Learn { first, image, have_bytes } => {
                first.encode(sink);
                image.encode(sink);
                have_bytes.encode(sink);
            }
            Self::Chosen { index, batch, last } => {
                index.encode(sink);
                batch.encode(sink);
                last.encode(sink);
            }
            Self::Image { chunk, last } => {
                chunk.encode(sink);
                last.encode(sink);
            }
            Self::TakeOver { ballot } => ballot.encode(sink),
            Self::Stale { promised } => promised.encode(sink),
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Canvass { ballot: Ballot::decode(r)?, chosen: Index::decode(r)? },
            1 => Self::CanvassReply {
                ballot: Ballot::decode(r)?,
                granted: r.bool("granted")?,
                promised: Ballot::decode(r)?,
                chosen: Index::decode(r)?,
            },
            2 => Self::Prepare {
                ballot: Ballot::decode(r)?,
                first: Index::decode(r)?,
                handover: Ballot::decode(r)?,
            },
            3 => Self::Promise {
                ballot: Ballot::decode(r)?,
                first: Index::decode(r)?,
                until: Option::decode(r)?,
                chosen: Index::decode(r)?,
                runs: take_list(r)?,
            },
            4 => Self::Fetch {
                ballot: Ballot::decode(r)?,
                index: Index::decode(r)?,
                accepted_in: Ballot::decode(r)?,
            },
            5 => Self::Value {
                ballot: Ballot::decode(r)?,
                index: Index::decode(r)?,
                accepted_in: Ballot::decode(r)?,
                batch: Batch::decode(r)?,
            },
            6 => Self::Accept {
                ballot: Ballot::decode(r)?,
                index: Index::decode(r)?,
                commit: Index::decode(r)?,
                batch: Batch::decode(r)?,
            },
            7 => Self::Accepted { ballot: Ballot::decode(r)?, spans: take_list(r)? },
            8 => Self::Heartbeat {
                ballot: Ballot::decode(r)?,
                round: r.u64()?,
                commit: Index::decode(r)?,
                oldest: Index::decode(r)?,
            },
            9 => Self::HeartbeatReply {
                ballot: Ballot::decode(r)?,
                round: r.u64()?,
                received: Index::decode(r)?,
            },
            10 => Self::Learn { first: Index::decode(r)?, image: Index::decode(r)?, have_bytes: r.u64()? },
            11 => Self::Chosen { index: Index::decode(r)?, batch: Batch::decode(r)?, last: r.bool("last")? },
            12 => Self::Image { chunk: Chunk::decode(r)?, last: r.bool("last")? },
            13 => Self::TakeOver { ballot: Ballot::decode(r)? },
            14 => Self::Stale { promised: Ballot::decode(r)? },
            other => return Err(WireError::Invalid { what: "message tag", value: other.into() }),
        })
    }
}

impl Message {
    const fn tag(&self) -> u8 {
        match self {
            Self::Canvass { .. } => 0,
            Self::CanvassReply { .. } => 1,
            Self::Prepare { .. } => 2,
            Self::Promise { .. } => 3,
            Self::Fetch { .. } => 4,
            Self::Value { .. } => 5,
            Self::Accept { .. } => 6,
            Self::Accepted { .. } => 7,
            Self::Heartbeat { .. } => 8,
            Self::HeartbeatReply { .. } => 9,
            Self::Learn { .. } => 10,
            Self::Chosen { .. } => 11,
            Self::Image { .. } => 12,
            Self::TakeOver { .. } => 13,
            Self::Stale { .. } => 14,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use qlab_kernel::Term;

    fn ballot() -> impl Strategy<Value = Ballot> {
        (any::<u64>(), any::<u16>()).prop_map(|(round, node)| Ballot {
            round: Term(round),
            node: NodeId(node),
            incarnation: 0,
        })
    }

    fn run() -> impl Strategy<Value = Run> {
        let fields = (any::<u64>(), any::<u64>(), ballot());
        fields.prop_map(|(first, last, ballot)| Run { first: Index(first), last: Index(last), ballot })
    }

    fn message() -> impl Strategy<Value = Message> {
        let index = || any::<u64>().prop_map(Index);
        prop_oneof![
            (ballot(), index()).prop_map(|(ballot, chosen)| Message::Canvass { ballot, chosen }),
            (ballot(), index(), ballot()).prop_map(|(ballot, first, handover)| Message::Prepare {
                ballot,
                first,
                handover
            }),
            (ballot(), index(), proptest::option::of(index()), index(), prop::collection::vec(run(), 0..20))
                .prop_map(|(ballot, first, until, chosen, runs)| Message::Promise {
                    ballot,
                    first,
                    until,
                    chosen,
                    runs
                }),
            (ballot(), index(), index()).prop_map(|(ballot, index, commit)| Message::Accept {
                ballot,
                index,
                commit,
                batch: Batch::default()
            }),
            (ballot(), any::<u64>(), index(), index()).prop_map(|(ballot, round, commit, oldest)| {
                Message::Heartbeat { ballot, round, commit, oldest }
            }),
            (index(), index(), any::<u64>()).prop_map(|(first, image, have_bytes)| Message::Learn {
                first,
                image,
                have_bytes
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(message in message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert_eq!(Message::decode_all(bytes.into()), Ok(message));
        }

        #[test]
        fn no_bytes_make_the_decoder_or_the_judge_of_soundness_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = Message::decode_all(bytes.into()) {
                let _ = message.is_sound(NodeId(0), NodeId(1));
            }
        }
    }
}
