//! What a crash must not forget. That something is chosen needs no record: whoever leads finds it out again.

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Batch, Index, Reader, Sink, Wire, WireError};

use crate::Ballot;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing is promised or accepted below this ballot from now on (Paxos Made Simple §2.2, P2c).
    Promise {
        /// The ballot.
        ballot: Ballot,
    },
    /// This value is accepted in a slot; what was accepted there before counts no more.
    Accept {
        /// In which ballot.
        ballot: Ballot,
        /// In which slot.
        index: Index,
        /// The value.
        batch: Batch,
    },
    /// A piece of an image; with the last piece, the image stands for all slots up to its index.
    Image {
        /// The piece.
        chunk: Chunk,
    },
}

impl Wire for Record {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Promise { ballot } => {
                0_u8.encode(sink);
                ballot.encode(sink);
            }
            Self::Accept { ballot, index, batch } => {
                1_u8.encode(sink);
                ballot.encode(sink);
                index.encode(sink);
                batch.encode(sink);
            }
            Self::Image { chunk } => {
                2_u8.encode(sink);
                chunk.encode(sink);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Promise { ballot: Ballot::decode(r)? },
            1 => Self::Accept {
                ballot: Ballot::decode(r)?,
                index: Index::decode(r)?,
                batch: Batch::decode(r)?,
            },
            2 => Self::Image { chunk: Chunk::decode(r)? },
            other => return Err(WireError::Invalid { what: "record tag", value: other.into() }),
        })
    }
}
