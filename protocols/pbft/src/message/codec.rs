//! The encoding of messages.

use std::sync::Arc;

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Index, NodeId, NodeSet, Reader, Sink, Term, Wire, WireError};

use super::{Message, NewView, PrePrepare, Prepared, Proposal, Signed, StableCheckpoint, ViewChange};
use crate::keys::{Digest, Signature};
use crate::request::{ClientRequest, Requests};

/// Entries that one message of a view change can speak of: a bound for decoding, far above what any window allows.
const ENTRIES_MAX: usize = 1 << 14;

fn put_list<T: Wire>(sink: &mut impl Sink, list: &[T]) {
    u32::try_from(list.len()).expect("lists are short").encode(sink);
    list.iter().for_each(|item| item.encode(sink));
}

fn take_list<T: Wire>(r: &mut Reader, what: &'static str, limit: usize) -> Result<Vec<T>, WireError> {
    let len = r.u32()? as usize;
    if len > limit {
        return Err(WireError::Invalid { what, value: len as u64 });
    }
    // Grown as items come: a length alone makes nobody allocate.
    (0..len).map(|_| T::decode(r)).collect()
}

fn put_signed(sink: &mut impl Sink, list: &[Signed]) {
    u16::try_from(list.len()).expect("at most one for each node").encode(sink);
    for (node, signature) in list {
        node.encode(sink);
        signature.encode(sink);
    }
}

fn take_signed(r: &mut Reader) -> Result<Vec<Signed>, WireError> {
    let len = r.u16()?;
    if usize::from(len) > NodeSet::CAPACITY {
        return Err(WireError::Invalid { what: "number of signatures", value: len.into() });
    }
    (0..len).map(|_| Ok((NodeId::decode(r)?, Signature::decode(r)?))).collect()
}

impl Wire for StableCheckpoint {
    fn encode(&self, sink: &mut impl Sink) {
        self.seq.encode(sink);
        self.digest.encode(sink);
        put_signed(sink, &self.signatures);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { seq: Index::decode(r)?, digest: Digest::decode(r)?, signatures: take_signed(r)? })
    }
}

impl Wire for Prepared {
    fn encode(&self, sink: &mut impl Sink) {
        self.view.encode(sink);
        self.seq.encode(sink);
        self.digest.encode(sink);
        self.pre_prepare.encode(sink);
        put_signed(sink, &self.prepares);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            view: Term::decode(r)?,
            seq: Index::decode(r)?,
            digest: Digest::decode(r)?,
            pre_prepare: Signature::decode(r)?,
            prepares: take_signed(r)?,
        })
    }
}

impl Wire for ViewChange {
    fn encode(&self, sink: &mut impl Sink) {
        self.view.encode(sink);
        self.voter.encode(sink);
        self.stable.encode(sink);
        put_list(sink, &self.prepared);
        self.signature.encode(sink);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            view: Term::decode(r)?,
            voter: NodeId::decode(r)?,
            stable: StableCheckpoint::decode(r)?,
            prepared: take_list(r, "number of certificates", ENTRIES_MAX)?,
            signature: Signature::decode(r)?,
        })
    }
}

impl Wire for Proposal {
    fn encode(&self, sink: &mut impl Sink) {
        self.seq.encode(sink);
        self.digest.encode(sink);
        self.signature.encode(sink);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { seq: Index::decode(r)?, digest: Digest::decode(r)?, signature: Signature::decode(r)? })
    }
}

impl Wire for NewView {
    fn encode(&self, sink: &mut impl Sink) {
        self.view.encode(sink);
        u16::try_from(self.votes.len()).expect("at most one for each node").encode(sink);
        for (voter, digest) in &self.votes {
            voter.encode(sink);
            digest.encode(sink);
        }
        put_list(sink, &self.proposals);
        self.signature.encode(sink);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        let view = Term::decode(r)?;
        let len = r.u16()?;
        if usize::from(len) > NodeSet::CAPACITY {
            return Err(WireError::Invalid { what: "number of votes", value: len.into() });
        }
        let votes = (0..len).map(|_| Ok((NodeId::decode(r)?, Digest::decode(r)?)));
        let votes = votes.collect::<Result<_, WireError>>()?;
        let proposals = take_list(r, "number of proposals", ENTRIES_MAX)?;
        Ok(Self { view, votes, proposals, signature: Signature::decode(r)? })
    }
}

impl Wire for PrePrepare {
    fn encode(&self, sink: &mut impl Sink) {
        self.view.encode(sink);
        self.seq.encode(sink);
        self.requests.encode(sink);
        self.signature.encode(sink);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            view: Term::decode(r)?,
            seq: Index::decode(r)?,
            requests: Requests::decode(r)?,
            signature: Signature::decode(r)?,
        })
    }
}

/// A tag, then these values in this order.
macro_rules! put {
    ($sink:expr, $tag:literal $(, $value:expr)*) => {{
        let tag: u8 = $tag;
        tag.encode($sink);
        $($value.encode($sink);)*
    }};
}

impl Wire for Message {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Relay(request) => put!(sink, 0, request),
            Self::PrePrepare(pre_prepare) => put!(sink, 1, pre_prepare),
            Self::Prepare { view, seq, digest, signature } => put!(sink, 2, view, seq, digest, signature),
            Self::Commit { view, seq, digest, signature } => put!(sink, 3, view, seq, digest, signature),
            Self::Checkpoint { seq, digest, signature } => put!(sink, 4, seq, digest, signature),
            Self::Stable(stable) => put!(sink, 5, stable),
            Self::ViewChange(vote) => put!(sink, 6, vote),
            Self::NewView(new_view) => put!(sink, 7, new_view),
            Self::FetchVotes { view } => put!(sink, 8, view),
            Self::FetchBody { seq, digest } => put!(sink, 9, seq, digest),
            Self::Body { seq, requests } => put!(sink, 10, seq, requests),
            Self::FetchState { seq, have_bytes } => put!(sink, 11, seq, have_bytes),
            Self::State { chunk, last } => put!(sink, 12, chunk, last),
            Self::Status { view, active, stable, executed } => {
                put!(sink, 13, view, active, stable, executed)
            }
            Self::Doubt { request } => put!(sink, 14, request),
            Self::Vouch { request } => put!(sink, 15, request),
            Self::Executed { seq, digest } => put!(sink, 16, seq, digest),
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Relay(ClientRequest::decode(r)?),
            1 => Self::PrePrepare(PrePrepare::decode(r)?),
            2 => Self::Prepare {
                view: Term::decode(r)?,
                seq: Index::decode(r)?,
                digest: Digest::decode(r)?,
                signature: Signature::decode(r)?,
            },
            3 => Self::Commit {
                view: Term::decode(r)?,
                seq: Index::decode(r)?,
                digest: Digest::decode(r)?,
                signature: Option::decode(r)?,
            },
            4 => Self::Checkpoint {
                seq: Index::decode(r)?,
                digest: Digest::decode(r)?,
                signature: Signature::decode(r)?,
            },
            5 => Self::Stable(StableCheckpoint::decode(r)?),
            6 => Self::ViewChange(Arc::new(ViewChange::decode(r)?)),
            7 => Self::NewView(Arc::new(NewView::decode(r)?)),
            8 => Self::FetchVotes { view: Term::decode(r)? },
            9 => Self::FetchBody { seq: Index::decode(r)?, digest: Digest::decode(r)? },
            10 => Self::Body { seq: Index::decode(r)?, requests: Requests::decode(r)? },
            11 => Self::FetchState { seq: Index::decode(r)?, have_bytes: r.u64()? },
            12 => Self::State { chunk: Chunk::decode(r)?, last: r.bool("last piece")? },
            13 => Self::Status {
                view: Term::decode(r)?,
                active: r.bool("active view")?,
                stable: Index::decode(r)?,
                executed: Index::decode(r)?,
            },
            14 => Self::Doubt { request: Digest::decode(r)? },
            15 => Self::Vouch { request: Digest::decode(r)? },
            16 => Self::Executed { seq: Index::decode(r)?, digest: Digest::decode(r)? },
            other => return Err(WireError::Invalid { what: "message tag", value: other.into() }),
        })
    }
}

#[cfg(test)]
mod tests;
