//! Who can prove what: signatures of replicas and clients, and clients' authenticators.
//!
//! A [`Keyring`] is what one replica holds: its own secret, everybody's public keys, and a key shared with each client. A
//! [`Prover`] is what one client holds. Two schemes stand behind both: Ed25519 with keyed BLAKE3, for processes; and a
//! *simulated* one, in which a signature is a hash keyed with a secret that every verifier knows, too. It costs a hundredth and
//! proves nothing to anybody who does not play by the rules, so only worlds that are simulated may use it.

mod coefficients;
mod prover;
mod statement;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use qlab_kernel::{NodeId, mutant};

use coefficients::Coefficients;
pub use prover::{MAC_BYTES, Prover};
use prover::{is_equal, mac};
pub(crate) use statement::Hasher;
pub use statement::{Digest, SIGNATURE_BYTES, Signature, Statement, request_statement};

/// Signatures from which on one batch is cheaper than each by itself.
const BATCH_MIN: usize = 4;

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
        match authentication {
            Authentication::Macs => Prover::macs(keys.macs),
            Authentication::Signatures => Prover::simulated(keys.secret),
        }
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

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if matches!(*self.0, Scheme::Ed25519 { .. }) { "Ed25519" } else { "simulated" };
        write!(f, "Keyring({scheme})")
    }
}

fn simulated_signature(secret: &[u8; 32], statement: &Statement) -> Signature {
    let mut signature = [0; SIGNATURE_BYTES];
    blake3::Hasher::new_keyed(secret).update(&statement.0).finalize_xof().fill(&mut signature);
    Signature(signature)
}
