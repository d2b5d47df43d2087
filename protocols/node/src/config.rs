//! What a replica is told before it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use qlab_transport::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::clock::Oscillator;
use crate::keys::PublicKey;

/// A replica's configuration: a JSON file. Unknown keys are errors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cluster's name, 1 to 64 graphic ASCII characters: clusters with different names never mix.
    pub cluster: String,
    /// This replica's seat, from 0.
    pub node: u16,
    /// The protocol, by its name in [`systems`](crate::systems).
    pub system: String,
    /// The protocol's options, as in a plan; what must be equal on all replicas.
    #[serde(default)]
    pub options: toml::Table,
    /// The machine that is replicated: `kv` or `locks`.
    pub machine: String,
    /// Its key, as PEM.
    pub identity: PathBuf,
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Every replica's key, by seat.
    pub replicas: Vec<Fingerprint>,
    /// The keys of those who may ask.
    pub clients: Vec<Fingerprint>,
    /// Every replica's public signing key, by seat. Byzantine systems need them.
    #[serde(default)]
    pub replica_keys: Vec<PublicKey>,
    /// The public signing keys of those who may ask, as they are listed. Byzantine systems need them.
    #[serde(default)]
    pub client_keys: Vec<PublicKey>,
    /// Where the journal lies.
    pub data: PathBuf,
    /// `fdatasync`, `buffered` or `memory`.
    pub durability: String,
    /// Whether this is the replica's first start. A later start without its journal is refused: it has promised things that
    /// it no longer knows, and may only come back as somebody new.
    pub first_start: bool,
    /// Where its randomness comes from.
    pub seed: u64,
    /// Whether the link to others can be disturbed at run time.
    #[serde(default)]
    pub emulated_link: bool,
    /// What it takes for its clock.
    #[serde(default)]
    pub oscillator: Oscillator,
}
