//! What is written is read; noise is refused.

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
        |(view, seq, digest, pre_prepare, prepares)| Prepared { view, seq, digest, pre_prepare, prepares },
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
    qlab_kernel::Snapshot { index: Index(3), term: Term::ZERO, image: Bytes::from_static(b"image") }.chunk(0)
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
        (index(), digest()).prop_map(|(seq, digest)| Message::Executed { seq, digest }),
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
            stable: StableCheckpoint { signatures: signed(2 * faulty + 1), ..StableCheckpoint::default() },
            prepared: vec![certificate; prepared],
            signature: Signature([0; 64]),
        };
        let bytes = encoded(&Message::ViewChange(Arc::new(vote))).len();
        let bytes_max = ViewChange::bytes_max(prepared, replicas);
        assert!(bytes <= bytes_max && bytes_max <= bytes + 128, "{bytes} and {bytes_max}");
    }
}
