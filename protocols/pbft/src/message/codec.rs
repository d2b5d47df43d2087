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
mod tests {
    use super::*;
    use crate::record::Record;
    use bytes::Bytes;
    use proptest::prelude::*;
    use qlab_kernel::{BatchBuilder, Request, Sequence, SessionId};

    fn digest() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest)
    }

    fn signature() -> impl Strategy<Value = Signature> {
        any::<u8>().prop_map(|byte| Signature([byte; 64]))
    }

    fn signed() -> impl Strategy<Value = Vec<Signed>> {
        prop::collection::vec((any::<u16>().prop_map(NodeId), signature()), 0..4)
    }

    fn index() -> impl Strategy<Value = Index> {
        any::<u64>().prop_map(Index)
    }

    fn term() -> impl Strategy<Value = Term> {
        any::<u64>().prop_map(Term)
    }

    fn request() -> impl Strategy<Value = ClientRequest> {
        (any::<u64>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
            |(session, read, bytes)| {
                let mut builder = BatchBuilder::new();
                builder.begin(SessionId(session), Sequence(1), Sequence(1));
                builder.push_bytes(&bytes);
                let batch = builder.finish();
                let request = if read { Request::Read(batch) } else { Request::Write(batch) };
                ClientRequest::new(request, bytes.into()).expect("of one client")
            },
        )
    }

    fn requests() -> impl Strategy<Value = Requests> {
        prop::collection::vec(request(), 0..4).prop_map(Requests::new)
    }

    fn pre_prepare() -> impl Strategy<Value = PrePrepare> {
        (term(), index(), requests(), signature()).prop_map(|(view, seq, requests, signature)| PrePrepare {
            view,
            seq,
            requests,
            signature,
        })
    }

    fn prepared() -> impl Strategy<Value = Prepared> {
        (term(), index(), digest(), signature(), signed()).prop_map(
            |(view, seq, digest, pre_prepare, prepares)| Prepared {
                view,
                seq,
                digest,
                pre_prepare,
                prepares,
            },
        )
    }

    fn stable() -> impl Strategy<Value = StableCheckpoint> {
        (index(), digest(), signed()).prop_map(|(seq, digest, signatures)| StableCheckpoint {
            seq,
            digest,
            signatures,
        })
    }

    fn vote() -> impl Strategy<Value = Arc<ViewChange>> {
        let prepared = prop::collection::vec(prepared(), 0..3);
        (term(), any::<u16>(), stable(), prepared, signature()).prop_map(
            |(view, voter, stable, prepared, signature)| {
                Arc::new(ViewChange { view, voter: NodeId(voter), stable, prepared, signature })
            },
        )
    }

    fn new_view() -> impl Strategy<Value = Message> {
        let votes = prop::collection::vec((any::<u16>().prop_map(NodeId), digest()), 0..4);
        let proposal = (index(), digest(), signature()).prop_map(|(seq, digest, signature)| Proposal {
            seq,
            digest,
            signature,
        });
        (term(), votes, prop::collection::vec(proposal, 0..4), signature()).prop_map(
            |(view, votes, proposals, signature)| {
                Message::NewView(Arc::new(NewView { view, votes, proposals, signature }))
            },
        )
    }

    fn chunk() -> Chunk {
        qlab_kernel::Snapshot { index: Index(3), term: Term::ZERO, image: Bytes::from_static(b"image") }
            .chunk(0)
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            request().prop_map(Message::Relay),
            pre_prepare().prop_map(Message::PrePrepare),
            (term(), index(), digest(), signature())
                .prop_map(|(view, seq, digest, signature)| Message::Prepare { view, seq, digest, signature }),
            (term(), index(), digest(), prop::option::of(signature()))
                .prop_map(|(view, seq, digest, signature)| Message::Commit { view, seq, digest, signature }),
            (index(), digest(), signature()).prop_map(|(seq, digest, signature)| Message::Checkpoint {
                seq,
                digest,
                signature
            }),
            stable().prop_map(Message::Stable),
            vote().prop_map(Message::ViewChange),
            new_view(),
            term().prop_map(|view| Message::FetchVotes { view }),
            (index(), digest()).prop_map(|(seq, digest)| Message::FetchBody { seq, digest }),
            (index(), requests()).prop_map(|(seq, requests)| Message::Body { seq, requests }),
            (index(), any::<u64>()).prop_map(|(seq, have_bytes)| Message::FetchState { seq, have_bytes }),
            any::<bool>().prop_map(|last| Message::State { chunk: chunk(), last }),
            (term(), any::<bool>(), index(), index()).prop_map(|(view, active, stable, executed)| {
                Message::Status { view, active, stable, executed }
            }),
            digest().prop_map(|request| Message::Doubt { request }),
            digest().prop_map(|request| Message::Vouch { request }),
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            pre_prepare().prop_map(Record::Accepted),
            (index(), requests()).prop_map(|(seq, requests)| Record::Body { seq, requests }),
            prepared().prop_map(Record::Prepared),
            vote().prop_map(Record::Voted),
            term().prop_map(|view| Record::Entered { view }),
            Just(Record::Image { chunk: chunk() }),
            stable().prop_map(Record::Stable),
        ]
    }

    fn encoded(value: &impl Wire) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_and_nothing_shorter(message in message(), record in record(), cut in any::<prop::sample::Index>()) {
            let bytes = encoded(&message);
            prop_assert_eq!(Message::decode_all(bytes.clone().into()), Ok(message));
            prop_assert!(Message::decode_all(bytes[..cut.index(bytes.len())].to_vec().into()).is_err());
            let bytes = encoded(&record);
            prop_assert_eq!(Record::decode_all(bytes.clone().into()), Ok(record));
            prop_assert!(Record::decode_all(bytes[..cut.index(bytes.len())].to_vec().into()).is_err());
        }

        #[test]
        fn whatever_can_be_read_is_what_would_be_written(
            message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let mut bytes = encoded(&message);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = Message::decode_all(bytes.clone().into()) {
                prop_assert_eq!(encoded(&read), bytes);
            }
        }

        #[test]
        fn noise_is_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode_all(bytes.clone().into());
            let _ = Record::decode_all(bytes.into());
        }
    }

    #[test]
    fn a_view_change_is_no_longer_than_it_is_said_to_be() {
        for (replicas, prepared) in [(4, 0), (4, 7), (7, 3), (13, 1)] {
            let faulty = (replicas - 1) / 3;
            let signed = |count: usize| vec![(NodeId(0), Signature([0; 64])); count];
            let certificate = Prepared {
                view: Term(0),
                seq: Index(1),
                digest: Digest::default(),
                pre_prepare: Signature([0; 64]),
                prepares: signed(2 * faulty),
            };
            let vote = ViewChange {
                view: Term(1),
                voter: NodeId(0),
                stable: StableCheckpoint {
                    signatures: signed(2 * faulty + 1),
                    ..StableCheckpoint::default()
                },
                prepared: vec![certificate; prepared],
                signature: Signature([0; 64]),
            };
            let bytes = encoded(&Message::ViewChange(Arc::new(vote))).len();
            let bytes_max = ViewChange::bytes_max(prepared, replicas);
            assert!(bytes <= bytes_max && bytes_max <= bytes + 128, "{bytes} and {bytes_max}");
        }
    }
}
