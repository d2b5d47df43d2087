//! How messages are encoded: a tag, then the fields in the order in which they are declared.

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Batch, Index, Reader, Sink, Wire, WireError};

use super::{Message, RUNS_MAX, Run, Span};
use crate::Ballot;

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
    use qlab_kernel::{NodeId, Term};

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
