//! What a crash must not forget.

use bytes::Bytes;
use qlab_kernel::limits::SESSIONS_MAX;
use qlab_kernel::{Reader, SessionId, Sink, Wire, WireError};

use super::tag::{VERSION_BYTES, Version};
use crate::steps::{put_key, take_key};

/// One record of the journal. Recovery takes the highest of everything, so that it does not matter how often anything is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The replica began to live for this time, counted from 1: tags, questions and sessions of earlier lives are not its own.
    Life {
        /// Which.
        incarnation: u32,
    },
    /// Sessions that were opened here, the latest last: none of them is ever opened again.
    Opened {
        /// Which.
        sessions: Vec<SessionId>,
    },
    /// A replica holds this from now on.
    Stored {
        /// Under which key.
        key: Bytes,
        /// What.
        version: Version,
    },
    /// What it holds under some keys, written again so that older records can be let go.
    Images {
        /// By key.
        images: Vec<(Bytes, Version)>,
    },
}

/// Bytes that a version adds to a record, at most.
pub(crate) fn item_bytes(key: &Bytes, version: &Version) -> usize {
    VERSION_BYTES + 2 + key.len() + version.value_bytes()
}

impl Wire for Record {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Life { incarnation } => {
                0_u8.encode(sink);
                incarnation.encode(sink);
            }
            Self::Opened { sessions } => {
                1_u8.encode(sink);
                count(sessions.len()).encode(sink);
                sessions.iter().for_each(|session| session.encode(sink));
            }
            Self::Stored { key, version } => {
                2_u8.encode(sink);
                put_key(sink, key);
                version.encode(sink);
            }
            Self::Images { images } => {
                3_u8.encode(sink);
                count(images.len()).encode(sink);
                for (key, version) in images {
                    put_key(sink, key);
                    version.encode(sink);
                }
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Life { incarnation: r.u32()? },
            1 => {
                let count = r.u32()?;
                if count as usize > SESSIONS_MAX {
                    return Err(WireError::Invalid { what: "sessions", value: count.into() });
                }
                Self::Opened { sessions: (0..count).map(|_| SessionId::decode(r)).collect::<Result<_, _>>()? }
            }
            2 => Self::Stored { key: take_key(r)?, version: Version::decode(r)? },
            3 => {
                let count = r.u32()?;
                let mut image = || Ok((take_key(r)?, Version::decode(r)?));
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
    use super::super::message::tests::any_key;
    use super::super::tag::tests::any_version;
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let session = any::<u64>().prop_map(SessionId);
        prop_oneof![
            any::<u32>().prop_map(|incarnation| Record::Life { incarnation }),
            prop::collection::vec(session, 0..5).prop_map(|sessions| Record::Opened { sessions }),
            (any_key(), any_version()).prop_map(|(key, version)| Record::Stored { key, version }),
            prop::collection::vec((any_key(), any_version()), 0..5)
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
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(0_u8..4, 0..100)) {
            if let Ok(record) = Record::decode_all(bytes.clone().into()) {
                let mut again = Vec::new();
                record.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
