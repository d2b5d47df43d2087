//! Who can prove what: signatures of replicas and clients, and clients' authenticators.
//!
//! A [`Keyring`] is what one replica holds: its own secret, everybody's public keys, and a key shared with each client. A
//! [`Prover`] is what one client holds. Two schemes stand behind both: Ed25519 with keyed BLAKE3, for processes; and a
//! *simulated* one, in which a signature is a hash keyed with a secret that every verifier knows, too. It costs a hundredth and
//! proves nothing to anybody who does not play by the rules, so only worlds that are simulated may use it.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use qlab_kernel::{NodeId, Reader, Request, Sink, Wire, WireError, mutant};
use rand::{TryCryptoRng, TryRng};

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of one message authentication code, a truncated keyed hash.
pub const MAC_BYTES: usize = 16;
/// Signatures from which on one batch is cheaper than each by itself.
const BATCH_MIN: usize = 4;

/// A BLAKE3 hash.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// What is signed: the hash of a message's fields behind the name of what they are.
pub type Statement = Digest;

/// A signature by a replica or a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

/// How clients prove who they are, and replicas what they committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Clients send a code for each replica, and commits rest on the channel they come through (OSDI '99 §5.2). Only what must be
    /// carried on to others is signed.
    Macs,
    /// Requests and commits are signed, too.
    Signatures,
}

/// Whose signature it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A replica.
    Replica(NodeId),
    /// A client, by its place in the list of clients.
    Client(u16),
}

/// Somebody is said to have signed something.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Who.
    pub signer: Signer,
    /// What.
    pub statement: Statement,
    /// The proof.
    pub signature: Signature,
}

/// Keys that are not of this curve: get them anew from whoever made them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A public key is no point of the curve.
    #[error("the public key of {owner} {place} is no Ed25519 key: hand out the keys again")]
    NotAKey {
        /// `replica` or `client`.
        owner: &'static str,
        /// Its place in the list.
        place: usize,
    },
    /// The secret does not belong to the public key at this replica's place.
    #[error("the secret of replica {0} does not fit its public key: hand out the keys again")]
    NotMine(NodeId),
}

/// What a replica needs to know of a client.
#[derive(Clone, Debug)]
pub struct ClientKeys {
    /// Its public key.
    pub public: [u8; 32],
    /// The key it shares with this replica.
    pub mac: [u8; 32],
}

/// One replica's keys; cheap to clone.
#[derive(Clone)]
pub struct Keyring(Arc<Scheme>);

enum Scheme {
    Ed25519 {
        me: NodeId,
        secret: Box<SigningKey>,
        replicas: Vec<VerificationKey>,
        clients: Vec<(VerificationKey, [u8; 32])>,
    },
    Simulated {
        replicas: Vec<[u8; 32]>,
        clients: Vec<SimulatedClient>,
    },
}

#[derive(Clone)]
struct SimulatedClient {
    secret: [u8; 32],
    /// One key for each replica.
    macs: Vec<[u8; 32]>,
}

/// The public key that goes with a secret.
#[must_use]
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    VerificationKeyBytes::from(&SigningKey::from_bytes(secret)).into()
}

impl Keyring {
    /// The keys of replica `me`: its `secret`, the public keys of all replicas in seat order, and all clients in their order.
    pub fn new(
        me: NodeId,
        secret: &[u8; 32],
        replicas: &[[u8; 32]],
        clients: &[ClientKeys],
    ) -> Result<Self, KeyError> {
        let key = |owner, place, bytes: &[u8; 32]| {
            VerificationKey::try_from(*bytes).map_err(|_| KeyError::NotAKey { owner, place })
        };
        if replicas.get(usize::from(me.0)) != Some(&public_key(secret)) {
            return Err(KeyError::NotMine(me));
        }
        let replicas = replicas.iter().enumerate();
        let clients = clients.iter().enumerate();
        Ok(Self(Arc::new(Scheme::Ed25519 {
            me,
            secret: Box::new(SigningKey::from_bytes(secret)),
            replicas: replicas
                .map(|(place, bytes)| key("replica", place, bytes))
                .collect::<Result<_, _>>()?,
            clients: clients
                .map(|(place, keys)| Ok((key("client", place, &keys.public)?, keys.mac)))
                .collect::<Result<_, _>>()?,
        })))
    }

    /// Everybody's keys in a simulated world: the same ring serves all replicas.
    #[must_use]
    pub fn simulated(replicas: usize, clients: usize, seed: u64) -> Self {
        let secret = |kind: &str, who: usize, whom: usize| -> [u8; 32] {
            let mut hasher = blake3::Hasher::new_derive_key("qlab-pbft simulated secret");
            hasher.update(&seed.to_le_bytes()).update(kind.as_bytes());
            hasher.update(&(who as u64).to_le_bytes()).update(&(whom as u64).to_le_bytes());
            hasher.finalize().into()
        };
        let client = |place| SimulatedClient {
            secret: secret("client", place, 0),
            macs: (0..replicas).map(|replica| secret("mac", place, replica)).collect(),
        };
        Self(Arc::new(Scheme::Simulated {
            replicas: (0..replicas).map(|place| secret("replica", place, 0)).collect(),
            clients: (0..clients).map(client).collect(),
        }))
    }

    /// What a client of a simulated world holds. Panics if the world has no such client, or is none.
    #[must_use]
    pub fn prover(&self, client: u16, authentication: Authentication) -> Prover {
        let Scheme::Simulated { clients, .. } = &*self.0 else {
            panic!("clients keep their secrets to themselves")
        };
        let keys = clients[usize::from(client)].clone();
        Prover(match authentication {
            Authentication::Macs => Proving::Macs(keys.macs),
            Authentication::Signatures => Proving::Simulated(keys.secret),
        })
    }

    /// Signs as `me`, which must be the replica that this ring belongs to.
    #[must_use]
    pub fn sign(&self, me: NodeId, statement: &Statement) -> Signature {
        match &*self.0 {
            Scheme::Ed25519 { me: owner, secret, .. } => {
                assert_eq!(me, *owner, "nobody signs for another");
                Signature(secret.sign(&statement.0).to_bytes())
            }
            Scheme::Simulated { replicas, .. } => {
                simulated_signature(&replicas[usize::from(me.0)], statement)
            }
        }
    }

    /// Whether a claim is true. Nobody who is not in the ring has signed anything.
    #[must_use]
    pub fn verify(&self, claim: &Claim) -> bool {
        match &*self.0 {
            Scheme::Ed25519 { replicas, clients, .. } => {
                let key = public(replicas, clients, claim.signer);
                key.is_some_and(|key| key.verify(&claim.signature.0.into(), &claim.statement.0).is_ok())
            }
            Scheme::Simulated { replicas, clients } => {
                let secret = match claim.signer {
                    Signer::Replica(node) => replicas.get(usize::from(node.0)),
                    Signer::Client(client) => clients.get(usize::from(client)).map(|client| &client.secret),
                };
                secret.is_some_and(|secret| simulated_signature(secret, &claim.statement) == claim.signature)
            }
        }
    }

    /// The verdict on each claim: the same that [`Self::verify`] gives, whatever stands beside it.
    #[must_use]
    pub fn verify_all(&self, claims: &[Claim]) -> Vec<bool> {
        mutant!("pbft: a bad signature in a batch passes", {
            return vec![claims.first().is_some_and(|claim| self.verify(claim)); claims.len()];
        });
        if claims.len() >= BATCH_MIN && self.verify_batch(claims) {
            return vec![true; claims.len()];
        }
        claims.iter().map(|claim| self.verify(claim)).collect()
    }

    /// Whether all claims are true, where that can be found out at once.
    fn verify_batch(&self, claims: &[Claim]) -> bool {
        let Scheme::Ed25519 { replicas, clients, .. } = &*self.0 else { return false };
        let mut verifier = batch::Verifier::new();
        for claim in claims {
            let Some(key) = public(replicas, clients, claim.signer) else { return false };
            let key = VerificationKeyBytes::from(*key);
            verifier.queue((key, claim.signature.0.into(), &claim.statement.0));
        }
        verifier.verify(Coefficients::of(claims)).is_ok()
    }

    /// Whether `proof` shows replica `me` that `client` asks for what `statement` is about.
    #[must_use]
    pub fn proves(
        &self,
        me: NodeId,
        authentication: Authentication,
        client: u16,
        statement: &Statement,
        proof: &[u8],
    ) -> bool {
        match authentication {
            Authentication::Macs => {
                let key = self.mac_key(me, client);
                let at = usize::from(me.0) * MAC_BYTES;
                let given = proof.get(at..at + MAC_BYTES);
                key.zip(given).is_some_and(|(key, given)| is_equal(&mac(key, statement), given))
            }
            Authentication::Signatures => <[u8; SIGNATURE_BYTES]>::try_from(proof).is_ok_and(|signature| {
                let signature = Signature(signature);
                self.verify(&Claim { signer: Signer::Client(client), statement: *statement, signature })
            }),
        }
    }

    fn mac_key(&self, me: NodeId, client: u16) -> Option<&[u8; 32]> {
        match &*self.0 {
            Scheme::Ed25519 { clients, .. } => clients.get(usize::from(client)).map(|(_, mac)| mac),
            Scheme::Simulated { clients, .. } => {
                clients.get(usize::from(client))?.macs.get(usize::from(me.0))
            }
        }
    }
}

/// What a client proves itself with; cheap to clone.
#[derive(Clone)]
pub struct Prover(Proving);

#[derive(Clone)]
enum Proving {
    Macs(Vec<[u8; 32]>),
    Ed25519(Box<SigningKey>),
    Simulated([u8; 32]),
}

impl Prover {
    /// One that writes a code for each replica, from the keys it shares with them, in seat order.
    #[must_use]
    pub fn macs(keys: Vec<[u8; 32]>) -> Self {
        Self(Proving::Macs(keys))
    }

    /// One that signs.
    #[must_use]
    pub fn signing(secret: &[u8; 32]) -> Self {
        Self(Proving::Ed25519(Box::new(SigningKey::from_bytes(secret))))
    }

    /// What goes behind the request in its frame.
    #[must_use]
    pub fn prove(&self, request: &Request) -> Bytes {
        let statement = request_statement(request);
        match &self.0 {
            Proving::Macs(keys) => keys.iter().flat_map(|key| mac(key, &statement)).collect(),
            Proving::Ed25519(secret) => Bytes::copy_from_slice(&secret.sign(&statement.0).to_bytes()),
            Proving::Simulated(secret) => Bytes::copy_from_slice(&simulated_signature(secret, &statement).0),
        }
    }
}

/// What a client proves: `BLAKE3(kind ‖ bytes of the batch)`.
#[must_use]
pub fn request_statement(request: &Request) -> Statement {
    let (kind, batch) = match request {
        Request::Write(batch) => (0_u8, batch),
        Request::Read(batch) => (1, batch),
    };
    Digest(blake3::Hasher::new().update(&[kind]).update(batch.bytes()).finalize().into())
}

/// Collects the fields of a statement.
pub(crate) struct Hasher(blake3::Hasher);

impl Hasher {
    /// A statement of this kind.
    pub(crate) fn new(domain: &'static str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[u8::try_from(domain.len()).expect("names are short")]).update(domain.as_bytes());
        Self(hasher)
    }

    /// The next field.
    pub(crate) fn field(mut self, value: &impl Wire) -> Self {
        value.encode(&mut self);
        self
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Sink for Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

fn public<'a>(
    replicas: &'a [VerificationKey],
    clients: &'a [(VerificationKey, [u8; 32])],
    signer: Signer,
) -> Option<&'a VerificationKey> {
    match signer {
        Signer::Replica(node) => replicas.get(usize::from(node.0)),
        Signer::Client(client) => clients.get(usize::from(client)).map(|(key, _)| key),
    }
}

fn mac(key: &[u8; 32], statement: &Statement) -> [u8; MAC_BYTES] {
    let hash = blake3::keyed_hash(key, &statement.0);
    hash.as_bytes()[..MAC_BYTES].try_into().expect("a hash is longer")
}

/// In the same time wherever they differ: a guesser learns nothing from waiting.
fn is_equal(a: &[u8; MAC_BYTES], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn simulated_signature(secret: &[u8; 32], statement: &Statement) -> Signature {
    let mut signature = [0; SIGNATURE_BYTES];
    blake3::Hasher::new_keyed(secret).update(&statement.0).finalize_xof().fill(&mut signature);
    Signature(signature)
}

/// The numbers that a batch is weighed with: a hash of the whole batch, so that nobody who makes a signature can know them
/// before, and no replica needs a source of chance.
struct Coefficients(blake3::OutputReader);

impl Coefficients {
    fn of(claims: &[Claim]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("qlab-pbft batch verification");
        for claim in claims {
            let (kind, place) = match claim.signer {
                Signer::Replica(node) => (0_u8, node.0),
                Signer::Client(client) => (1, client),
            };
            hasher.update(&[kind]).update(&place.to_le_bytes());
            hasher.update(&claim.statement.0).update(&claim.signature.0);
        }
        Self(hasher.finalize_xof())
    }
}

impl TryRng for Coefficients {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Coefficients {}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(*self.0, Scheme::Ed25519 { .. }) { "Ed25519" } else { "simulated" };
        write!(f, "Keyring({scheme})")
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prover")
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Wire for Digest {
    fn encode(&self, sink: &mut impl Sink) {
        sink.put(&self.0);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self(r.take(32)?[..].try_into().expect("as many as were taken")))
    }
}

impl Wire for Signature {
    fn encode(&self, sink: &mut impl Sink) {
        sink.put(&self.0);
    }
    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(Self(r.take(SIGNATURE_BYTES)?[..].try_into().expect("as many as were taken")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use qlab_kernel::{BatchBuilder, Sequence, SessionId};

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
        for (authentication, prover) in [
            (Authentication::Macs, Prover::macs(macs)),
            (Authentication::Signatures, Prover::signing(&secret)),
        ] {
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
        let not_a_point =
            STRANGE.into_iter().find(|bytes| VerificationKey::try_from(*bytes).is_err()).unwrap();
        let wrong = KeyError::NotAKey { owner: "replica", place: 1 };
        assert_eq!(refused(0, &[publics[0], not_a_point]), Some(wrong));
    }
}
