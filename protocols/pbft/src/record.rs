//! What a crash must not forget. That something is committed needs no record: the others say so again.

use std::sync::Arc;

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Index, Reader, Sink, Term, Wire, WireError};

use crate::message::{PrePrepare, Prepared, StableCheckpoint, ViewChange};
use crate::request::Requests;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The primary's word for an entry is accepted, with its requests.
    Accepted(PrePrepare),
    /// An entry's requests came later than the word for it.
    Body {
        /// The entry.
        seq: Index,
        /// Its requests.
        requests: Requests,
    },
    /// An entry is prepared; what was prepared there in earlier views counts no more.
    Prepared(Prepared),
    /// The next view is voted for: nothing is said in earlier ones any more.
    Voted(Arc<ViewChange>),
    /// A view has begun here.
    Entered {
        /// The view.
        view: Term,
    },
    /// A piece of an image; with the last piece, the replica has executed up to there.
    Image {
        /// The piece.
        chunk: Chunk,
    },
    /// A checkpoint, whose image is here, is stable: everything before it is gone.
    Stable(StableCheckpoint),
}

impl Wire for Record {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Accepted(pre_prepare) => {
                0_u8.encode(sink);
                pre_prepare.encode(sink);
            }
            Self::Body { seq, requests } => {
                1_u8.encode(sink);
                seq.encode(sink);
                requests.encode(sink);
            }
            Self::Prepared(prepared) => {
                2_u8.encode(sink);
                prepared.encode(sink);
            }
            Self::Voted(vote) => {
                3_u8.encode(sink);
                vote.encode(sink);
            }
            Self::Entered { view } => {
                4_u8.encode(sink);
                view.encode(sink);
            }
            Self::Image { chunk } => {
                5_u8.encode(sink);
                chunk.encode(sink);
            }
            Self::Stable(stable) => {
                6_u8.encode(sink);
                stable.encode(sink);
            }
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Accepted(PrePrepare::decode(r)?),
            1 => Self::Body { seq: Index::decode(r)?, requests: Requests::decode(r)? },
            2 => Self::Prepared(Prepared::decode(r)?),
            3 => Self::Voted(Arc::new(ViewChange::decode(r)?)),
            4 => Self::Entered { view: Term::decode(r)? },
            5 => Self::Image { chunk: Chunk::decode(r)? },
            6 => Self::Stable(StableCheckpoint::decode(r)?),
            other => return Err(WireError::Invalid { what: "record tag", value: other.into() }),
        })
    }
}
