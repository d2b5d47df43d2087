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
        secret: SigningKey,
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
            secret: SigningKey::from_bytes(secret),
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
