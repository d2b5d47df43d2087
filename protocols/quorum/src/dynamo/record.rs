//! What a crash must not forget.

use bytes::Bytes;
use qlab_kernel::limits::SESSIONS_MAX;
use qlab_kernel::{Reader, SessionId, Sink, Wire, WireError};

use super::content::{State, state_bytes};
use crate::steps::{put_key, take_key};

/// One record of the journal. What was written last about a key counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The replica began to live for this time, counted from 1.
    Life {
        /// Which.
        incarnation: u32,
        /// It named writes of keys that it forgot, with numbers up to this one.
        named: u64,
    },
    /// Sessions that were opened here, the latest last: none of them is ever opened again.
    Opened {
        /// Which.
        sessions: Vec<SessionId>,
    },
    /// This is held from now on.
    Held {
        /// Under which key.
        key: Bytes,
        /// What.
        state: State,
    },
    /// All that was known of a key is forgotten: everybody else knows it, or it was deleted long ago.
    Forgotten {
        /// Which.
        key: Bytes,
        /// The replica named writes of forgotten keys with numbers up to this one.
        named: u64,
    },
    /// What is held under some keys, written again so that older records can be let go.
    Images {
        /// By key.
        images: Vec<(Bytes, State)>,
    },
}

/// Bytes that a state adds to a record, at most.
pub(crate) fn item_bytes(key: &Bytes, state: &State) -> usize {
    2 + key.len() + state_bytes(state)
}

impl Wire for Record {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Life { incarnation, named } => {
                0_u8.encode(sink);
                incarnation.encode(sink);
                named.encode(sink);
            }
            Self::Opened { sessions } => {
                1_u8.encode(sink);
                count(sessions.len()).encode(sink);
                sessions.iter().for_each(|session| session.encode(sink));
            }
            Self::Held { key, state } => {
                2_u8.encode(sink);
                put_key(sink, key);
                state.encode(sink);
            }
            Self::Forgotten { key, named } => {
                3_u8.encode(sink);
                put_key(sink, key);
                named.encode(sink);
            }
            Self::Images { images } => {
                4_u8.encode(sink);
                count(images.len()).encode(sink);
                for (key, state) in images {
                    put_key(sink, key);
                    state.encode(sink);
                }
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Life { incarnation: r.u32()?, named: r.u64()? },
            1 => {
                let count = r.u32()?;
                if count as usize > SESSIONS_MAX {
                    return Err(WireError::Invalid { what: "sessions", value: count.into() });
                }
                Self::Opened { sessions: (0..count).map(|_| SessionId::decode(r)).collect::<Result<_, _>>()? }
            }
            2 => Self::Held { key: take_key(r)?, state: State::decode(r)? },
            3 => Self::Forgotten { key: take_key(r)?, named: r.u64()? },
            4 => {
                let count = r.u32()?;
                let mut image = || Ok((take_key(r)?, State::decode(r)?));
                Self::Images { images: (0..count).map(|_| image()).collect::<Result<_, WireError>>()? }
            }
            other => return Err(WireError::Invalid { what: "record tag", value: other.into() }),
        })
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a record is far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::super::content::tests::any_state;
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from)
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let session = any::<u64>().prop_map(SessionId);
        prop_oneof![
            any::<(u32, u64)>().prop_map(|(incarnation, named)| Record::Life { incarnation, named }),
            prop::collection::vec(session, 0..5).prop_map(|sessions| Record::Opened { sessions }),
            (any_key(), any_state()).prop_map(|(key, state)| Record::Held { key, state }),
            (any_key(), any::<u64>()).prop_map(|(key, named)| Record::Forgotten { key, named }),
            prop::collection::vec((any_key(), any_state()), 0..4)
                .prop_map(|images| Record::Images { images }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in any_record()) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            prop_assert_eq!(Record::decode_all(bytes.into()), Ok(record));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(0_u8..5, 0..100)) {
            if let Ok(record) = Record::decode_all(bytes.clone().into()) {
                let mut again = Vec::new();
                record.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
