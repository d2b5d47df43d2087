//! What clients prove themselves with, and how such a proof is checked.

use std::fmt;

use bytes::Bytes;
use ed25519_zebra::SigningKey;
use qlab_kernel::Request;

use super::simulated_signature;
use super::statement::{Statement, request_statement};

/// Bytes of one message authentication code, a truncated keyed hash.
pub const MAC_BYTES: usize = 16;

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

    /// One that signs as they do in simulated worlds.
    pub(super) fn simulated(secret: [u8; 32]) -> Self {
        Self(Proving::Simulated(secret))
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

pub(super) fn mac(key: &[u8; 32], statement: &Statement) -> [u8; MAC_BYTES] {
    let hash = blake3::keyed_hash(key, &statement.0);
    hash.as_bytes()[..MAC_BYTES].try_into().expect("a hash is longer")
}

/// In the same time wherever they differ: a guesser learns nothing from waiting.
pub(super) fn is_equal(a: &[u8; MAC_BYTES], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prover")
    }
}
