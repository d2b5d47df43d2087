//! The keys of Byzantine systems. Each follows from its owner's identity, so that a process has one secret to keep.

use std::fmt;
use std::str::FromStr;

use qlab_kernel::{NodeId, Protocol};
use qlab_pbft::Pbft;
use qlab_pbft::keys::{Authentication, ClientKeys, KeyError, Keyring, Prover, public_key};
use qlab_transport::{Fingerprint, Identity};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Config;
use crate::systems::{self, OptionsError};

const SIGNING: &str = "quorumlab 2026-11 signing secret of a replica or client";
const CODES: &str = "quorumlab 2026-11 secret behind the codes of a replica's clients";

/// A public signing key; 64 hexadecimal digits as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// The text is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no public key: 64 hexadecimal digits are")]
pub struct PublicKeyError(String);

impl PublicKey {
    /// The one that goes with an identity's signatures.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        Self(public_key(&identity.derive(SIGNING)))
    }
}

/// What a client needs that asks replicas which do not believe it, and which it does not believe.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Proves who it is.
    pub prover: Prover,
    /// How many replicas must say the same.
    pub matching: usize,
}

/// What `client` needs to ask these replicas; `None` of a system whose replicas are believed.
pub fn credentials(
    system: &str,
    options: &toml::Table,
    replicas: &[Identity],
    client: &Identity,
) -> Result<Option<Credentials>, OptionsError> {
    if system != Pbft::NAME {
        return Ok(None);
    }
    let codes = || replicas.iter().map(|replica| code_key(replica, client.fingerprint())).collect();
    let prover = match systems::authentication(options)? {
        Authentication::Macs => Prover::macs(codes()),
        Authentication::Signatures => Prover::signing(&client.derive(SIGNING)),
    };
    Ok(Some(Credentials { prover, matching: replicas.len().saturating_sub(1) / 3 + 1 }))
}

/// A replica's keys, from its identity and what its configuration says of the others'.
pub(crate) fn keyring(config: &Config, identity: &Identity) -> Result<Keyring, KeyError> {
    let replicas: Vec<[u8; 32]> = config.replica_keys.iter().map(|key| key.0).collect();
    let clients = config.clients.iter().zip(&config.client_keys);
    let clients: Vec<ClientKeys> =
        clients.map(|(client, key)| ClientKeys { public: key.0, mac: code_key(identity, *client) }).collect();
    Keyring::new(NodeId(config.node), &identity.derive(SIGNING), &replicas, &clients)
}

/// The key that a replica shares with a client. The replica needs nobody to tell it; the client must be told.
fn code_key(replica: &Identity, client: Fingerprint) -> [u8; 32] {
    blake3::keyed_hash(&replica.derive(CODES), client.to_string().as_bytes()).into()
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = blake3::Hash::from_hex(text).map_err(|_| PublicKeyError(text.to_owned()))?;
        Ok(Self(bytes.into()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use qlab_kernel::{BatchBuilder, Request, Sequence, SessionId};
    use qlab_pbft::keys::request_statement;

    use super::*;

    fn config(node: u16, replicas: &[Identity], client: &Identity) -> Config {
        Config {
            cluster: "keys".into(),
            node,
            system: Pbft::NAME.into(),
            options: toml::Table::new(),
            machine: "kv".into(),
            identity: "unread".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            replicas: replicas.iter().map(Identity::fingerprint).collect(),
            clients: vec![client.fingerprint()],
            replica_keys: replicas.iter().map(PublicKey::of).collect(),
            client_keys: vec![PublicKey::of(client)],
            data: "unread".into(),
            durability: "memory".into(),
            first_start: true,
            seed: 7,
            emulated_link: false,
            oscillator: crate::clock::Oscillator::default(),
        }
    }

    fn request() -> Request {
        let mut batch = BatchBuilder::new();
        batch.begin(SessionId::owned(0, 5), Sequence(1), Sequence(1));
        batch.push_bytes(b"x");
        Request::Write(batch.finish())
    }

    #[test]
    fn what_a_client_proves_convinces_every_replica_and_nobody_else_can_prove_it() {
        let replicas: Vec<Identity> = (0..4).map(|_| Identity::generate().unwrap()).collect();
        let (client, stranger) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        for (name, authentication) in
            [("macs", Authentication::Macs), ("signatures", Authentication::Signatures)]
        {
            let options = toml::Table::from_iter([("authentication".to_owned(), name.into())]);
            let proof = |client: &Identity| -> Bytes {
                let credentials = credentials(Pbft::NAME, &options, &replicas, client).unwrap().unwrap();
                assert_eq!(credentials.matching, 2);
                credentials.prover.prove(&request())
            };
            for (node, identity) in (0..).zip(&replicas) {
                let ring = keyring(&config(node, &replicas, &client), identity).unwrap();
                let convinced = |proof: &Bytes| {
                    ring.proves(NodeId(node), authentication, 0, &request_statement(&request()), proof)
                };
                assert!(convinced(&proof(&client)), "{name}");
                assert!(!convinced(&proof(&stranger)), "{name}");
            }
        }
    }

    #[test]
    fn a_replica_with_anothers_identity_gets_no_keyring() {
        let replicas: Vec<Identity> = (0..4).map(|_| Identity::generate().unwrap()).collect();
        let config = config(1, &replicas, &replicas[0]);
        assert!(keyring(&config, &replicas[2]).is_err());
        let key = PublicKey::of(&replicas[1]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!("abc".parse::<PublicKey>().is_err());
    }

    #[test]
    fn systems_whose_replicas_are_believed_need_no_credentials() {
        let client = Identity::generate().unwrap();
        assert!(credentials("raft", &toml::Table::new(), &[], &client).unwrap().is_none());
    }
}
