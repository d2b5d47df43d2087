//! What a crash must not forget.

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Index, NodeId, Reader, Sink, Term, Wire, WireError};

use crate::message::Entry;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The current term and the vote given in it (Raft §5.2).
    Vote {
        /// The term.
        term: Term,
        /// For whom.
        voted_for: Option<NodeId>,
    },
    /// The log ends with this entry now: whatever stood at its index or beyond is gone. Truncation needs no record of its
    /// own, and cannot be torn apart from the entry that caused it.
    Append {
        /// Its place.
        index: Index,
        /// The entry.
        entry: Entry,
    },
    /// A piece of a snapshot; with the last piece, the snapshot stands for the log up to its index.
    Snapshot {
        /// The piece.
        chunk: Chunk,
        /// Whether the entries after its index are gone too, because they followed another history.
        replaces_log: bool,
    },
}

impl Wire for Record {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Vote { term, voted_for } => {
                0_u8.encode(sink);
                term.encode(sink);
                voted_for.encode(sink);
            }
            Self::Append { index, entry } => {
                1_u8.encode(sink);
                index.encode(sink);
                entry.encode(sink);
            }
            Self::Snapshot { chunk, replaces_log } => {
                2_u8.encode(sink);
                replaces_log.encode(sink);
                chunk.encode(sink);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(match reader.u8()? {
            0 => Self::Vote { term: Term::decode(reader)?, voted_for: Option::decode(reader)? },
            1 => Self::Append { index: Index::decode(reader)?, entry: Entry::decode(reader)? },
            2 => {
                let replaces_log = reader.bool("replaces log")?;
                Self::Snapshot { chunk: Chunk::decode(reader)?, replaces_log }
            }
            other => return Err(WireError::Invalid { what: "record tag", value: other.into() }),
        })
    }
}
