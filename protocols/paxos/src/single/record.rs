//! What a crash must not forget. That something is chosen needs no record: a quorum remembers what it accepted.

use bytes::Bytes;
use qlab_kernel::command::KEY_BYTES_MAX;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::message::{Accepted, Value};
use crate::Ballot;

/// What an acceptor did in one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing is accepted below this ballot any more.
    Promise {
        /// The ballot.
        ballot: Ballot,
    },
    /// This value is accepted, and nothing below its ballot any more.
    Accept {
        /// In which ballot.
        ballot: Ballot,
        /// The value.
        value: Value,
    },
}

/// A register as a whole: what its acceptor has promised and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The highest ballot promised.
    pub promised: Ballot,
    /// What was accepted last; what is known to be chosen was accepted in [`Ballot::CHOSEN`].
    pub accepted: Option<Accepted>,
}

/// One record of the journal. Recovery takes the highest of everything, so that it does not matter how often anything is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The replica began to live for this time, counted from 1: ballots and questions of earlier lives are not its own.
    Life {
        /// Which.
        incarnation: u32,
    },
    /// Everything that the acceptor did in one burst, in order.
    Changes {
        /// By key.
        changes: Vec<(Bytes, Change)>,
    },
    /// Some registers, written again so that what made them so can be let go.
    Images {
        /// By key.
        images: Vec<(Bytes, Image)>,
    },
}

/// Bytes of a change or an image beside its key and value, at most.
pub(crate) const ITEM_BYTES: usize = 64;

/// Appends a key with its length.
pub(crate) fn put_key(sink: &mut impl Sink, key: &Bytes) {
    u16::try_from(key.len()).expect("within KEY_BYTES_MAX").encode(sink);
    sink.put(key);
}

/// Takes what [`put_key`] wrote.
pub(crate) fn take_key(reader: &mut Reader) -> Result<Bytes, WireError> {
    let bytes = usize::from(reader.u16()?);
    if bytes > KEY_BYTES_MAX {
        return Err(WireError::TooLong { what: "key", bytes, limit_bytes: KEY_BYTES_MAX });
    }
    reader.take(bytes)
}

impl Wire for Change {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Promise { ballot } => {
                0_u8.encode(sink);
                ballot.encode(sink);
            }
            Self::Accept { ballot, value } => {
                1_u8.encode(sink);
                ballot.encode(sink);
                value.encode(sink);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Promise { ballot: Ballot::decode(r)? },
            1 => Self::Accept { ballot: Ballot::decode(r)?, value: Value::decode(r)? },
            other => return Err(WireError::Invalid { what: "change", value: other.into() }),
        })
    }
}

impl Wire for Image {
    fn encode(&self, sink: &mut impl Sink) {
        self.promised.encode(sink);
        self.accepted.encode(sink);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { promised: Ballot::decode(r)?, accepted: Option::decode(r)? })
    }
}

impl Wire for Record {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Life { incarnation } => {
                0_u8.encode(sink);
                incarnation.encode(sink);
            }
            Self::Changes { changes } => {
                1_u8.encode(sink);
                put_all(sink, changes);
            }
            Self::Images { images } => {
                2_u8.encode(sink);
                put_all(sink, images);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Life { incarnation: r.u32()? },
            1 => Self::Changes { changes: take_all(r)? },
            2 => Self::Images { images: take_all(r)? },
            other => return Err(WireError::Invalid { what: "record tag", value: other.into() }),
        })
    }
}

fn put_all<T: Wire>(sink: &mut impl Sink, items: &[(Bytes, T)]) {
    u32::try_from(items.len()).expect("a record is far below 4 GiB").encode(sink);
    for (key, item) in items {
        put_key(sink, key);
        item.encode(sink);
    }
}

fn take_all<T: Wire>(reader: &mut Reader) -> Result<Vec<(Bytes, T)>, WireError> {
    let count = reader.u32()?;
    (0..count).map(|_| Ok((take_key(reader)?, T::decode(reader)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{any_accepted, any_ballot, any_key};
    use super::*;
    use proptest::prelude::*;

    fn any_change() -> impl Strategy<Value = Change> {
        prop_oneof![
            any_ballot().prop_map(|ballot| Change::Promise { ballot }),
            any_accepted().prop_map(|Accepted { ballot, value }| Change::Accept { ballot, value }),
        ]
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let image = (any_ballot(), prop::option::of(any_accepted()))
            .prop_map(|(promised, accepted)| Image { promised, accepted });
        prop_oneof![
            any::<u32>().prop_map(|incarnation| Record::Life { incarnation }),
            prop::collection::vec((any_key(), any_change()), 0..5)
                .prop_map(|changes| Record::Changes { changes }),
            prop::collection::vec((any_key(), image), 0..5).prop_map(|images| Record::Images { images }),
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
