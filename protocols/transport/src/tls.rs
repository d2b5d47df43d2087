//! Both sides of every handshake: raw public keys (RFC 7250) pinned by fingerprint, TLS 1.3, nothing resumed, nothing early.
//!
//! There is no certificate to parse: the key itself is sent, its hash must be in the roster, and the handshake's signature
//! must verify under it. Expiry, names and chains do not exist here; the roster is the only authority.

use std::sync::{Arc, Weak};

use quinn::crypto::rustls::{HandshakeData, NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use crate::counters::{Counters, Refused};
use crate::{Fingerprint, Identity, Role, Roster};

/// Whom a connection serves, spoken as the handshake's application protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    Peer,
    Client,
}

impl Plane {
    pub(crate) fn alpn(self, cluster: &str) -> Vec<u8> {
        let plane = match self {
            Self::Peer => "qlab-peer/1",
            Self::Client => "qlab-client/1",
        };
        format!("{plane} {cluster}").into_bytes()
    }
}

/// Why TLS cannot be set up: never in practice, as all its inputs are ours.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refuses the configuration.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] Error),
    /// The suite that QUIC's first packets need is missing.
    #[error("TLS configuration: {0}")]
    Suite(#[from] NoInitialCipherSuite),
}

/// For whoever dials: exactly the key `expected` may answer.
pub(crate) fn dialing(
    identity: &Identity,
    roster: &Roster,
    plane: Plane,
    expected: Fingerprint,
    counters: &Arc<Counters>,
) -> Result<QuicClientConfig, TlsError> {
    let pin = Arc::new(Pin::new(Accepted::Exactly(expected), counters));
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            identity.certified_key(),
        )));
    config.alpn_protocols = vec![plane.alpn(roster.cluster())];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(QuicClientConfig::try_from(config)?)
}

/// For whoever serves: any key in the roster may knock; which plane it may speak on is settled by [`proven`].
pub(crate) fn serving(
    identity: &Identity,
    roster: &Arc<Roster>,
    counters: &Arc<Counters>,
) -> Result<QuicServerConfig, TlsError> {
    let pin = Arc::new(Pin::new(Accepted::Listed(Arc::clone(roster)), counters));
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(pin)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(identity.certified_key())));
    config.alpn_protocols = [Plane::Peer, Plane::Client].map(|plane| plane.alpn(roster.cluster())).into();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(QuicServerConfig::try_from(config)?)
}

/// What a finished handshake proves: the role of the key and the plane that was agreed on.
pub(crate) fn proven(connection: &quinn::Connection, roster: &Roster) -> Option<(Role, Plane)> {
    let keys = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let role = roster.role(Fingerprint::of(keys.first()?))?;
    let spoken = connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol?;
    let planes = [Plane::Peer, Plane::Client];
    let plane = planes.into_iter().find(|plane| plane.alpn(roster.cluster()) == spoken)?;
    Some((role, plane))
}

/// One suite, one signature scheme: what is not offered cannot be negotiated down to.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        // The fastest of three here: see `tuning`. QUIC's first packets need it in any case.
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    })
}

#[derive(Debug)]
enum Accepted {
    Exactly(Fingerprint),
    Listed(Arc<Roster>),
}

#[derive(Debug)]
struct Pin {
    accepted: Accepted,
    algorithms: WebPkiSupportedAlgorithms,
    /// Weak, as counters hold connections, which hold their verifier.
    counters: Weak<Counters>,
}

impl Pin {
    fn new(accepted: Accepted, counters: &Arc<Counters>) -> Self {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self { accepted, algorithms, counters: Arc::downgrade(counters) }
    }

    fn check_key(&self, key: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let fingerprint = Fingerprint::of(key);
        let known = match &self.accepted {
            Accepted::Exactly(expected) => *expected == fingerprint,
            Accepted::Listed(roster) => roster.role(fingerprint).is_some(),
        };
        if known && chain.is_empty() {
            return Ok(());
        }
        if let Some(counters) = self.counters.upgrade() {
            counters.refused(Refused::UnknownKey);
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn check_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_key(key, chain).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pin {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(key, chain).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
