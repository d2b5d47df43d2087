//! What replicas say to each other about the time.

use qlab_kernel::{Lane, Message, Reader, Sink, Wire, WireError};

const ASK: u8 = 0;
const ANSWER: u8 = 1;

/// The largest error that an answer may own up to: an hour. Whoever knows less had better not answer.
pub const ERROR_NS_MAX: u64 = 3_600_000_000_000;

/// A question or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockMessage {
    /// What time is it?
    Ask {
        /// Drawn at random for this question. It stands for T1, which the asker remembers: an answer that does not name it is
        /// somebody else's, or an old one again.
        nonce: u64,
    },
    /// What time it was here, for whoever asked.
    Answer {
        /// The question's.
        nonce: u64,
        /// T2: when the question was received, in nanoseconds on the common scale.
        received_ns: u64,
        /// T3: when this was written.
        answered_ns: u64,
        /// How far from the true time both may be, in nanoseconds: at most [`ERROR_NS_MAX`].
        error_ns: u64,
    },
}

impl Wire for ClockMessage {
    fn encode(&self, sink: &mut impl Sink) {
        match *self {
            Self::Ask { nonce } => {
                ASK.encode(sink);
                nonce.encode(sink);
            }
            Self::Answer { nonce, received_ns, answered_ns, error_ns } => {
                ANSWER.encode(sink);
                for field in [nonce, received_ns, answered_ns, error_ns] {
                    field.encode(sink);
                }
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match reader.u8()? {
            ASK => Ok(Self::Ask { nonce: reader.u64()? }),
            ANSWER => {
                let (nonce, received_ns, answered_ns) = (reader.u64()?, reader.u64()?, reader.u64()?);
                let error_ns = reader.u64()?;
                if error_ns > ERROR_NS_MAX {
                    return Err(WireError::Invalid { what: "clock error", value: error_ns });
                }
                Ok(Self::Answer { nonce, received_ns, answered_ns, error_ns })
            }
            other => Err(WireError::Invalid { what: "clock message", value: other.into() }),
        }
    }
}

impl Message for ClockMessage {
    /// Small, urgent, and worth nothing when late.
    fn lane(&self) -> Lane {
        Lane::Datagram
    }
}

/// What a clock writes down: nothing. A clock that comes back asks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nothing {}

impl Wire for Nothing {
    fn encode(&self, _: &mut impl Sink) {
        match *self {}
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Err(WireError::Trailing(reader.left()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(message: &ClockMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(nonce in any::<u64>(), times in any::<(u64, u64)>(), error_ns in 0..=ERROR_NS_MAX) {
            let answer = ClockMessage::Answer { nonce, received_ns: times.0, answered_ns: times.1, error_ns };
            for message in [ClockMessage::Ask { nonce }, answer] {
                prop_assert_eq!(ClockMessage::decode_all(encoded(&message).into()), Ok(message));
            }
        }

        #[test]
        fn accepted_bytes_are_the_only_encoding(bytes in prop::collection::vec(0_u8..3, 0..36)) {
            if let Ok(message) = ClockMessage::decode_all(bytes.clone().into()) {
                prop_assert_eq!(encoded(&message), bytes);
            }
        }
    }

    #[test]
    fn an_error_beyond_the_limit_is_refused() {
        let answer = |error_ns| ClockMessage::Answer { nonce: 1, received_ns: 2, answered_ns: 3, error_ns };
        assert!(ClockMessage::decode_all(encoded(&answer(ERROR_NS_MAX)).into()).is_ok());
        assert!(ClockMessage::decode_all(encoded(&answer(ERROR_NS_MAX + 1)).into()).is_err());
    }
}
