//! Batches and single verdicts agree; proofs convince those they are made for.

use super::*;
use proptest::prelude::*;
use qlab_kernel::{BatchBuilder, Request, Sequence, SessionId};

/// Points of small order, and encodings that nobody need write: what implementations disagree about.
const STRANGE: [[u8; 32]; 12] = [
    ends(0x01, 0x00),
    ends(0x01, 0x80),
    middle(0xec, 0x7f),
    middle(0xec, 0xff),
    ends(0x00, 0x00),
    ends(0x00, 0x80),
    middle(0xed, 0x7f),
    middle(0xed, 0xff),
    middle(0xee, 0x7f),
    middle(0xee, 0xff),
    ORDER_8,
    ends(0x02, 0x00),
];

const ORDER_8: [u8; 32] = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
    0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];

const fn ends(first: u8, last: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    (bytes[0], bytes[31]) = (first, last);
    bytes
}

const fn middle(first: u8, last: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    (bytes[0], bytes[31]) = (first, last);
    bytes
}

const SECRETS: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

/// Three proper replicas, and one for each strange key that is a point at all.
fn ring() -> (Keyring, usize) {
    let strange = STRANGE.into_iter().filter(|bytes| VerificationKey::try_from(*bytes).is_ok());
    let keys: Vec<[u8; 32]> = SECRETS.iter().map(public_key).chain(strange).collect();
    (Keyring::new(NodeId(0), &SECRETS[0], &keys, &[]).unwrap(), keys.len())
}

fn signature() -> impl Strategy<Value = Option<Signature>> {
    let half = || prop_oneof![prop::sample::select(&STRANGE[..]), any::<[u8; 32]>(), Just([0; 32])];
    let forged = (half(), half()).prop_map(|(r, s)| Some(Signature([r, s].concat().try_into().unwrap())));
    prop_oneof![4 => Just(None), 1 => forged]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_is_good_exactly_if_each_signature_is(
        claims in prop::collection::vec((0..3_u16, 0..16_u16, any::<u8>(), signature(), 0..40_usize), 1..12),
    ) {
        let (ring, replicas) = ring();
        let claim = |(signer, stranger, word, forged, spoilt): (u16, u16, u8, Option<Signature>, usize)| {
            let statement = Digest([word; 32]);
            let mut signature = forged.unwrap_or_else(|| {
                Signature(SigningKey::from_bytes(&SECRETS[usize::from(signer)]).sign(&statement.0).to_bytes())
            });
            if spoilt == 0 {
                signature.0[usize::from(word) % 64] ^= 1;
            }
            let signer = if forged.is_some() { stranger % replicas as u16 } else { signer };
            Claim { signer: Signer::Replica(NodeId(signer)), statement, signature }
        };
        let claims: Vec<Claim> = claims.into_iter().map(claim).collect();
        let single: Vec<bool> = claims.iter().map(|claim| ring.verify(claim)).collect();
        prop_assert_eq!(ring.verify_batch(&claims), single.iter().all(|good| *good));
        prop_assert_eq!(ring.verify_all(&claims), single);
    }
}

#[test]
fn strange_points_are_judged_alike_alone_and_among_others() {
    let (ring, replicas) = ring();
    let statement = Digest([9; 32]);
    let mut taken = 0;
    for (signer, r) in (3..replicas as u16).flat_map(|signer| STRANGE.map(|r| (signer, r))) {
        let signature = Signature([r, [0; 32]].concat().try_into().unwrap());
        let claim = Claim { signer: Signer::Replica(NodeId(signer)), statement, signature };
        assert_eq!(ring.verify(&claim), ring.verify_batch(&[claim; 5]));
        taken += usize::from(ring.verify(&claim));
    }
    assert!(taken > 0, "with cofactors cleared, some of these are signatures of everything");
}

fn request() -> Request {
    let mut builder = BatchBuilder::new();
    builder.begin(SessionId(1), Sequence(1), Sequence(1));
    builder.push_bytes(b"x");
    Request::Write(builder.finish())
}

#[test]
fn proofs_convince_those_they_are_made_for_and_are_bound_to_request_and_client() {
    let (macs, secret) = (vec![[7; 32], [8; 32]], [9; 32]);
    let publics = [public_key(&SECRETS[0]), public_key(&SECRETS[1])];
    let client = |place: usize| ClientKeys { public: public_key(&secret), mac: macs[place] };
    let rings: Vec<Keyring> = (0..2)
        .map(|me| Keyring::new(NodeId(me as u16), &SECRETS[me], &publics, &[client(me)]).unwrap())
        .collect();
    let statement = request_statement(&request());
    let other = request_statement(&Request::Read(match request() {
        Request::Write(batch) | Request::Read(batch) => batch,
    }));
    for (authentication, prover) in
        [(Authentication::Macs, Prover::macs(macs)), (Authentication::Signatures, Prover::signing(&secret))]
    {
        let proof = prover.prove(&request());
        for me in [NodeId(0), NodeId(1)] {
            let ring = &rings[usize::from(me.0)];
            assert!(ring.proves(me, authentication, 0, &statement, &proof));
            assert!(!ring.proves(me, authentication, 1, &statement, &proof), "nobody knows client 1");
            assert!(!ring.proves(me, authentication, 0, &other, &proof), "a write proves no read");
            assert!(!ring.proves(me, authentication, 0, &statement, &[]));
            let mut spoilt = proof.to_vec();
            spoilt.iter_mut().for_each(|byte| *byte ^= 0x40);
            assert!(!ring.proves(me, authentication, 0, &statement, &spoilt));
        }
    }
}

#[test]
fn the_simulated_scheme_behaves_like_the_real_one() {
    let ring = Keyring::simulated(4, 2, 5);
    let statement = Digest([1; 32]);
    let signature = ring.sign(NodeId(2), &statement);
    let claim = |signer, statement| Claim { signer, statement, signature };
    assert!(ring.verify(&claim(Signer::Replica(NodeId(2)), statement)));
    assert!(!ring.verify(&claim(Signer::Replica(NodeId(1)), statement)));
    assert!(!ring.verify(&claim(Signer::Client(2), statement)));
    assert!(!ring.verify(&claim(Signer::Replica(NodeId(2)), Digest([2; 32]))));
    assert!(!Keyring::simulated(4, 2, 6).verify(&claim(Signer::Replica(NodeId(2)), statement)));
    for authentication in [Authentication::Macs, Authentication::Signatures] {
        let proof = ring.prover(1, authentication).prove(&request());
        let statement = request_statement(&request());
        assert!(ring.proves(NodeId(3), authentication, 1, &statement, &proof));
        assert!(!ring.proves(NodeId(3), authentication, 0, &statement, &proof));
    }
}

#[test]
fn keys_that_do_not_belong_together_are_refused() {
    let publics = [public_key(&SECRETS[0]), public_key(&SECRETS[1])];
    let refused = |me, publics: &[[u8; 32]]| Keyring::new(NodeId(me), &SECRETS[0], publics, &[]).err();
    assert_eq!(refused(0, &publics), None);
    assert_eq!(refused(1, &publics), Some(KeyError::NotMine(NodeId(1))));
    assert_eq!(refused(7, &publics), Some(KeyError::NotMine(NodeId(7))));
    let not_a_point = STRANGE.into_iter().find(|bytes| VerificationKey::try_from(*bytes).is_err()).unwrap();
    let wrong = KeyError::NotAKey { owner: "replica", place: 1 };
    assert_eq!(refused(0, &[publics[0], not_a_point]), Some(wrong));
}
