//! What the server writes down, and the message that nobody can send.

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Batch, Index, Lane, Message, Reader, Sink, Wire, WireError};

const APPEND: u8 = 0;
const CHUNK: u8 = 1;

/// What a crash must not forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry of the log; the first is 1, the others follow without a gap.
    Append {
        /// Its place.
        index: Index,
        /// What it executes.
        batch: Batch,
    },
    /// A piece of a snapshot. Its pieces follow each other; the last one makes it count. Its term is zero.
    Chunk(Chunk),
}

impl Wire for Record {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Append { index, batch } => {
                APPEND.encode(sink);
                index.encode(sink);
                batch.encode(sink);
            }
            Self::Chunk(chunk) => {
                CHUNK.encode(sink);
                chunk.encode(sink);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match reader.u8()? {
            APPEND => Ok(Self::Append { index: Index::decode(reader)?, batch: Batch::decode(reader)? }),
            CHUNK => Ok(Self::Chunk(Chunk::decode(reader)?)),
            other => Err(WireError::Invalid { what: "record kind", value: other.into() }),
        }
    }
}

/// A message between servers that have no peers: there is none, and no bytes are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Never {}

impl Wire for Never {
    fn encode(&self, _: &mut impl Sink) {
        match *self {}
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Err(WireError::Trailing(reader.left()))
    }
}

impl Message for Never {
    fn lane(&self) -> Lane {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use qlab_kernel::limits::{BATCH_BYTES_MAX, RECORD_BYTES_MAX, SNAPSHOT_CHUNK_BYTES};
    use qlab_kernel::{BatchBuilder, Sequence, SessionId, Snapshot, Term};

    fn encoded(record: &Record) -> Bytes {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes.into()
    }

    #[test]
    fn records_are_read_back_and_fit_the_journal() {
        let mut batch = BatchBuilder::new();
        batch.begin(SessionId(1), Sequence(1), Sequence(1));
        batch.push_bytes(&[7; 100]);
        let image = Bytes::from(vec![7; SNAPSHOT_CHUNK_BYTES + 1]);
        let snapshot = Snapshot { index: Index(9), term: Term::ZERO, image };
        let append = Record::Append { index: Index(10), batch: batch.finish() };
        for record in snapshot.chunks().map(Record::Chunk).chain([append]) {
            assert_eq!(Record::decode_all(encoded(&record)), Ok(record));
        }
        let empty = Record::Append { index: Index(1), batch: Batch::default() };
        assert!(encoded(&empty).len() + BATCH_BYTES_MAX <= RECORD_BYTES_MAX);
    }

    #[test]
    fn no_bytes_are_a_message_and_unknown_records_are_refused() {
        assert!(Never::decode_all(Bytes::new()).is_err());
        assert!(Never::decode_all(Bytes::from_static(&[0; 9])).is_err());
        assert!(Record::decode_all(Bytes::from_static(&[2; 9])).is_err());
    }
}
