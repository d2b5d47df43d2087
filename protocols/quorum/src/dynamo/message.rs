//! What Dynamo replicas say to each other.

use bytes::Bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::content::{State, state_bytes};
use super::digest::{CHILDREN, Digest};
use crate::steps::{self, Steps, put_key, take_key};

/// Steps of many keys in one message.
pub type Message = Steps<Step>;

/// Keys of a bucket that are named at a time.
pub const BUCKET_KEYS_MAX: usize = 1024;

/// One step. A round numbers a question of whoever asks it, unlike any other of its questions, in whichever life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A reader asks what is held under a key.
    Ask {
        /// The round.
        round: u64,
        /// Which key.
        key: Bytes,
        /// What the reader holds itself.
        known: Digest,
    },
    /// Answers [`Step::Ask`]: the same, durably.
    Same {
        /// The round.
        round: u64,
    },
    /// Answers [`Step::Ask`]: this, durably.
    Told {
        /// The round.
        round: u64,
        /// What is held.
        state: State,
    },
    /// Hold this, too.
    Store {
        /// The round.
        round: u64,
        /// Under which key.
        key: Bytes,
        /// What.
        state: State,
    },
    /// Answers [`Step::Store`]: it is held, durably.
    Stored {
        /// The round.
        round: u64,
        /// Under which key.
        key: Bytes,
    },
    /// What all keys of a range come to; whoever holds the same says nothing.
    Root {
        /// Which range.
        range: u16,
        /// The root of its tree.
        root: Digest,
    },
    /// What is below a node of a range's tree.
    Branch {
        /// Which range.
        range: u16,
        /// Levels between the node and the root.
        level: u8,
        /// Which node of its level.
        index: u16,
        /// The digests below it. Boxed: other steps are many, and small.
        children: Box<[Digest; CHILDREN]>,
    },
    /// What keys of a bucket come to.
    Bucket {
        /// Which range.
        range: u16,
        /// Which bucket.
        bucket: u16,
        /// Whether this answers another one's.
        is_answer: bool,
        /// The keys, deleted ones included.
        keys: Vec<(Bytes, Digest)>,
    },
}

/// Bytes of a step besides keys and states, at most.
const STEP_BYTES: usize = 32;
const DIGEST_BYTES: usize = 16;

impl steps::Step for Step {
    fn bytes_max(&self) -> usize {
        STEP_BYTES
            + match self {
                Self::Ask { key, .. } => key.len() + DIGEST_BYTES,
                Self::Told { state, .. } => state_bytes(state),
                Self::Store { key, state, .. } => key.len() + state_bytes(state),
                Self::Stored { key, .. } => key.len(),
                Self::Same { .. } | Self::Root { .. } => 0,
                Self::Branch { .. } => CHILDREN * DIGEST_BYTES,
                Self::Bucket { keys, .. } => keys.iter().map(|(key, _)| 2 + key.len() + DIGEST_BYTES).sum(),
            }
    }

    fn is_bulk(&self) -> bool {
        matches!(self, Self::Told { .. } | Self::Store { .. } | Self::Bucket { .. })
    }
}

impl Step {
    const fn number(&self) -> u8 {
        match self {
            Self::Ask { .. } => 0,
            Self::Same { .. } => 1,
            Self::Told { .. } => 2,
            Self::Store { .. } => 3,
            Self::Stored { .. } => 4,
            Self::Root { .. } => 5,
            Self::Branch { .. } => 6,
            Self::Bucket { .. } => 7,
        }
    }
}

impl Wire for Step {
    fn encode(&self, sink: &mut impl Sink) {
        self.number().encode(sink);
        match self {
            Self::Ask { round, key, known } => {
                round.encode(sink);
                put_key(sink, key);
                known.encode(sink);
            }
            Self::Same { round } => round.encode(sink),
            Self::Told { round, state } => {
                round.encode(sink);
                state.encode(sink);
            }
            Self::Store { round, key, state } => {
                round.encode(sink);
                put_key(sink, key);
                state.encode(sink);
            }
            Self::Stored { round, key } => {
                round.encode(sink);
                put_key(sink, key);
            }
            Self::Root { range, root } => {
                range.encode(sink);
                root.encode(sink);
            }
            Self::Branch { range, level, index, children } => {
                range.encode(sink);
                level.encode(sink);
                index.encode(sink);
                children.iter().for_each(|child| child.encode(sink));
            }
            Self::Bucket { range, bucket, is_answer, keys } => {
                range.encode(sink);
                bucket.encode(sink);
                is_answer.encode(sink);
                u16::try_from(keys.len()).expect("within BUCKET_KEYS_MAX").encode(sink);
                for (key, digest) in keys {
                    put_key(sink, key);
                    digest.encode(sink);
                }
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Ask { round: r.u64()?, key: take_key(r)?, known: Digest::decode(r)? },
            1 => Self::Same { round: r.u64()? },
            2 => Self::Told { round: r.u64()?, state: State::decode(r)? },
            3 => Self::Store { round: r.u64()?, key: take_key(r)?, state: State::decode(r)? },
            4 => Self::Stored { round: r.u64()?, key: take_key(r)? },
            5 => Self::Root { range: r.u16()?, root: Digest::decode(r)? },
            6 => {
                let (range, level, index) = (r.u16()?, r.u8()?, r.u16()?);
                let mut children = Box::new([Digest::default(); CHILDREN]);
                for child in children.iter_mut() {
                    *child = Digest::decode(r)?;
                }
                Self::Branch { range, level, index, children }
            }
            7 => {
                let (range, bucket, is_answer) = (r.u16()?, r.u16()?, r.bool("whether it answers")?);
                Self::Bucket { range, bucket, is_answer, keys: decode_keys(r)? }
            }
            other => return Err(WireError::Invalid { what: "step", value: other.into() }),
        })
    }
}

fn decode_keys(r: &mut Reader) -> Result<Vec<(Bytes, Digest)>, WireError> {
    let count = usize::from(r.u16()?);
    if count > BUCKET_KEYS_MAX {
        return Err(WireError::Invalid { what: "keys of a bucket", value: count as u64 });
    }
    (0..count).map(|_| Ok((take_key(r)?, Digest::decode(r)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::content::tests::any_state;
    use super::*;
    use crate::steps::Step as _;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from)
    }

    fn any_digest() -> impl Strategy<Value = Digest> {
        any::<u128>().prop_map(Digest)
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let round = any::<u64>;
        let node = || (any::<u16>(), any::<u16>());
        let keys = prop::collection::vec((any_key(), any_digest()), 0..4);
        prop_oneof![
            (round(), any_key(), any_digest()).prop_map(|(round, key, known)| Step::Ask {
                round,
                key,
                known
            }),
            round().prop_map(|round| Step::Same { round }),
            (round(), any_state()).prop_map(|(round, state)| Step::Told { round, state }),
            (round(), any_key(), any_state()).prop_map(|(round, key, state)| Step::Store {
                round,
                key,
                state
            }),
            (round(), any_key()).prop_map(|(round, key)| Step::Stored { round, key }),
            (any::<u16>(), any_digest()).prop_map(|(range, root)| Step::Root { range, root }),
            (node(), any::<u8>(), prop::array::uniform16(any_digest())).prop_map(
                |((range, index), level, children)| Step::Branch {
                    range,
                    level,
                    index,
                    children: Box::new(children)
                }
            ),
            (node(), any::<bool>(), keys).prop_map(|((range, bucket), is_answer, keys)| Step::Bucket {
                range,
                bucket,
                is_answer,
                keys
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(steps in prop::collection::vec(any_step(), 1..6)) {
            let message = Message { steps };
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert!(bytes.len() <= 4 + message.steps.iter().map(Step::bytes_max).sum::<usize>());
            prop_assert_eq!(Message::decode_all(bytes.into()), Ok(message));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(0_u8..9, 0..100)) {
            if let Ok(message) = Message::decode_all(bytes.clone().into()) {
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
