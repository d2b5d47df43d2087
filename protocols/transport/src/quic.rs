//! quinn, set up for this house: configurations per remote address, reset keys that survive a restart, the handshake's end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    AsyncUdpSocket, ConnectionError, ConnectionId, ConnectionIdGenerator, EndpointConfig, Runtime,
    TokioRuntime, TransportErrorCode,
};
use rustls::crypto::SecureRandom;
use tokio::time::timeout;

use crate::counters::{Counters, Refused};
use crate::link::{EmulatedSocket, LinkControl};
use crate::tls::{self, Plane, TlsError};
use crate::tuning::{
    HANDSHAKE_DEADLINE, HANDSHAKES_MAX, INCOMING_BUFFER_BYTES, INCOMING_BUFFER_TOTAL_BYTES,
    LOOPBACK_MTU_BYTES, transport,
};
use crate::{Identity, ReplicaEntry, Roster, Socket};

/// The TLS alert `no_application_protocol`.
const ALERT_NO_PROTOCOL: u8 = 120;
/// What tells connections on one port apart: collisions must not happen, nothing else.
const CONNECTION_ID_BYTES: usize = 8;
/// TLS needs a name to send to; nobody looks at it.
const SERVER_NAME: &str = "qlab";

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialError {
    /// It cannot even be tried: the endpoint is closed or the address is of another family.
    #[error("cannot dial: {0}")]
    Impossible(#[from] quinn::ConnectError),
    /// The other side refused or went away.
    #[error("handshake: {0}")]
    Refused(#[from] ConnectionError),
    /// No answer in time: try later.
    #[error("no finished handshake within {HANDSHAKE_DEADLINE:?}")]
    Timeout,
}

/// Makes an endpoint of a socket. Must be called within a tokio runtime, which then drives it.
pub(crate) fn open(
    socket: Socket,
    identity: &Identity,
    link: Option<&LinkControl>,
) -> io::Result<quinn::Endpoint> {
    let runtime = Arc::new(TokioRuntime);
    let mut udp: Arc<dyn AsyncUdpSocket> = runtime.wrap_udp_socket(socket.into_std())?;
    if let Some(control) = link {
        udp = EmulatedSocket::wrap(udp, control.clone());
    }
    quinn::Endpoint::new_with_abstract_socket(endpoint_config(identity), None, udp, runtime)
}

/// What this endpoint tells whoever dials it from `remote`.
pub(crate) fn server_config(
    crypto: Arc<dyn quinn::crypto::ServerConfig>,
    remote: SocketAddr,
) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(crypto);
    config
        .transport_config(transport(remote.ip()))
        .migration(false)
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL_BYTES);
    config.validation_token.sent(0);
    config
}

/// What this endpoint tells `replica` when dialling it.
pub(crate) fn client_config(
    identity: &Identity,
    roster: &Roster,
    plane: Plane,
    replica: &ReplicaEntry,
    counters: &Arc<Counters>,
) -> Result<quinn::ClientConfig, TlsError> {
    let crypto = tls::dialing(identity, roster, plane, replica.fingerprint, counters)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(replica.address.ip()));
    Ok(config)
}

/// Dials, and counts a failure by its reason.
pub(crate) async fn dial(
    endpoint: &quinn::Endpoint,
    config: &quinn::ClientConfig,
    address: SocketAddr,
    counters: &Counters,
) -> Result<quinn::Connection, DialError> {
    let connecting = endpoint.connect_with(config.clone(), address, SERVER_NAME)?;
    finish(connecting, counters).await
}

/// Waits for a handshake's end in either role, and counts a failure by its reason.
pub(crate) async fn finish(
    handshake: impl Future<Output = Result<quinn::Connection, ConnectionError>>,
    counters: &Counters,
) -> Result<quinn::Connection, DialError> {
    let Ok(outcome) = timeout(HANDSHAKE_DEADLINE, handshake).await else {
        counters.refused(Refused::HandshakeTimeout);
        return Err(DialError::Timeout);
    };
    if let Err(error) = &outcome {
        count_failure(error, counters);
    }
    let connection = outcome?;
    counters.connected(&connection);
    Ok(connection)
}

fn count_failure(error: &ConnectionError, counters: &Counters) {
    let no_protocol = TransportErrorCode::crypto(ALERT_NO_PROTOCOL);
    match error {
        ConnectionError::TransportError(error) if error.code == no_protocol => {
            counters.refused(Refused::WrongPlane)
        }
        ConnectionError::ConnectionClosed(close) if close.error_code == no_protocol => {
            counters.refused(Refused::WrongPlane);
        }
        ConnectionError::TimedOut => counters.refused(Refused::HandshakeTimeout),
        _ => counters.refused(Refused::Handshake),
    }
}

/// A restarted node must be able to tell its peers at once that their old connections are void. For that, its reset tokens
/// derive from its key instead of chance, and it takes any connection id for one that it may have given out before.
fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey(identity.derive("qlab 2026 stateless reset"))));
    config.cid_generator(|| Box::new(RandomIds(rustls::crypto::ring::default_provider().secure_random)));
    config.max_udp_payload_size(LOOPBACK_MTU_BYTES).expect("the limit lies within QUIC's range");
    config
}

struct RandomIds(&'static dyn SecureRandom);

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_BYTES];
        self.0.fill(&mut id).expect("a system that has run for long enough to have a key has random bytes");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

struct ResetKey([u8; 32]);

impl ResetKey {
    fn tag(&self, data: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, data)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        signature.copy_from_slice(self.tag(data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature: [u8; blake3::OUT_LEN] = signature.try_into().map_err(|_| CryptoError)?;
        // Hashes are compared in constant time.
        if self.tag(data) == blake3::Hash::from_bytes(signature) { Ok(()) } else { Err(CryptoError) }
    }
}
