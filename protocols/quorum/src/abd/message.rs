//! What ABD replicas say to each other.

use bytes::Bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::tag::{Tag, VERSION_BYTES, Version};
use crate::steps::{self, Steps, put_key, take_key};

/// Steps of many keys in one message.
pub type Message = Steps<Step>;

/// One step of one operation. A round numbers a question of whoever asks it, unlike any other of its questions, in whichever life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A writer asks for the highest tag.
    AskTag {
        /// The round.
        round: u64,
        /// Of which key.
        key: Bytes,
    },
    /// Answers [`Step::AskTag`].
    ToldTag {
        /// The round.
        round: u64,
        /// The highest tag that is held, durable or not: a writer may go above it in either case.
        tag: Tag,
    },
    /// A reader asks for the value.
    Ask {
        /// The round.
        round: u64,
        /// Of which key.
        key: Bytes,
    },
    /// Answers [`Step::Ask`].
    Told {
        /// The round.
        round: u64,
        /// What is held, durably.
        version: Version,
    },
    /// Hold this, unless it is something later that is held.
    Store {
        /// The round.
        round: u64,
        /// Under which key.
        key: Bytes,
        /// What.
        version: Version,
    },
    /// Answers [`Step::Store`].
    Stored {
        /// The round.
        round: u64,
        /// This or something later is held, durably.
        tag: Tag,
    },
}

/// Bytes of a step without key and value, at most.
const STEP_BYTES: usize = 16 + VERSION_BYTES;

impl steps::Step for Step {
    fn bytes_max(&self) -> usize {
        let (key_bytes, value_bytes) = match self {
            Self::AskTag { key, .. } | Self::Ask { key, .. } => (key.len(), 0),
            Self::Told { version, .. } => (0, version.value_bytes()),
            Self::Store { key, version, .. } => (key.len(), version.value_bytes()),
            Self::ToldTag { .. } | Self::Stored { .. } => (0, 0),
        };
        STEP_BYTES + key_bytes + value_bytes
    }

    fn is_bulk(&self) -> bool {
        matches!(self, Self::Told { .. } | Self::Store { .. })
    }
}

impl Step {
    /// The question that is asked or answered.
    #[must_use]
    pub const fn round(&self) -> u64 {
        match self {
            Self::AskTag { round, .. }
            | Self::ToldTag { round, .. }
            | Self::Ask { round, .. }
            | Self::Told { round, .. }
            | Self::Store { round, .. }
            | Self::Stored { round, .. } => *round,
        }
    }

    /// Whether a correct replica can say this.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match self {
            Self::AskTag { .. } | Self::Ask { .. } => true,
            Self::ToldTag { tag, .. } => *tag == Tag::ZERO || tag.is_given(),
            Self::Told { version, .. } => version.is_sound(),
            Self::Store { version, .. } => version.tag.is_given(),
            Self::Stored { tag, .. } => tag.is_given(),
        }
    }

    const fn number(&self) -> u8 {
        match self {
            Self::AskTag { .. } => 0,
            Self::ToldTag { .. } => 1,
            Self::Ask { .. } => 2,
            Self::Told { .. } => 3,
            Self::Store { .. } => 4,
            Self::Stored { .. } => 5,
        }
    }
}

impl Wire for Step {
    fn encode(&self, sink: &mut impl Sink) {
        self.number().encode(sink);
        self.round().encode(sink);
        match self {
            Self::AskTag { key, .. } | Self::Ask { key, .. } => put_key(sink, key),
            Self::ToldTag { tag, .. } | Self::Stored { tag, .. } => tag.encode(sink),
            Self::Told { version, .. } => version.encode(sink),
            Self::Store { key, version, .. } => {
                put_key(sink, key);
                version.encode(sink);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        let (number, round) = (r.u8()?, r.u64()?);
        Ok(match number {
            0 => Self::AskTag { round, key: take_key(r)? },
            1 => Self::ToldTag { round, tag: Tag::decode(r)? },
            2 => Self::Ask { round, key: take_key(r)? },
            3 => Self::Told { round, version: Version::decode(r)? },
            4 => Self::Store { round, key: take_key(r)?, version: Version::decode(r)? },
            5 => Self::Stored { round, tag: Tag::decode(r)? },
            other => return Err(WireError::Invalid { what: "step", value: other.into() }),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tag::tests::{any_tag, any_version};
    use super::*;
    use crate::steps::Step as _;
    use proptest::prelude::*;

    pub(crate) fn any_key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from)
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let round = any::<u64>;
        prop_oneof![
            (round(), any_key()).prop_map(|(round, key)| Step::AskTag { round, key }),
            (round(), any_tag()).prop_map(|(round, tag)| Step::ToldTag { round, tag }),
            (round(), any_key()).prop_map(|(round, key)| Step::Ask { round, key }),
            (round(), any_version()).prop_map(|(round, version)| Step::Told { round, version }),
            (round(), any_key(), any_version()).prop_map(|(round, key, version)| Step::Store {
                round,
                key,
                version
            }),
            (round(), any_tag()).prop_map(|(round, tag)| Step::Stored { round, tag }),
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
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(0_u8..7, 0..100)) {
            if let Ok(message) = Message::decode_all(bytes.clone().into()) {
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
