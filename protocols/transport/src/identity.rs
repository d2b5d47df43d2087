//! Who a node is: an Ed25519 key, named by the hash of its public half.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Everything before the 32 secret bytes in the PKCS#8 form of an Ed25519 key (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
const SECRET_BYTES: usize = 32;
/// A key file is 119 bytes; whatever is much larger is something else.
const KEY_FILE_BYTES_MAX: u64 = 4096;
/// Nobody but the owner may read a key.
const KEY_FILE_MODE: u32 = 0o600;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key file cannot be read or written.
    #[error("key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than its owner may read the key file.
    #[error("key file {path} has mode {mode:o}: others may read it; chmod it to 600 or make a new key")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is no Ed25519 key in PKCS#8 PEM form.
    #[error("not an Ed25519 private key in PKCS#8 PEM form: {0}")]
    Malformed(String),
    /// The system gives no random bytes.
    #[error("the system's random generator failed: no key can be made")]
    NoRandomness,
}

/// A node's or client's secret key. It never leaves this type but into its file.
#[derive(Clone)]
pub struct Identity {
    pkcs8: Arc<PrivatePkcs8KeyDer<'static>>,
    signing_key: Arc<dyn SigningKey>,
    /// SubjectPublicKeyInfo, DER: what goes over the wire instead of a certificate (RFC 7250).
    public_key: CertificateDer<'static>,
}

impl Identity {
    /// A new key from the system's random generator.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut secret = [0; SECRET_BYTES];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut secret).map_err(|_| IdentityError::NoRandomness)?;
        Self::from_pkcs8([&PKCS8_PREFIX[..], &secret].concat().into())
    }

    /// Reads a key that [`save`](Self::save) wrote. Refuses a file that others may read.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let (text, mode) = read_key_file(path).map_err(|source| at(path, source))?;
        if mode & !KEY_FILE_MODE & 0o777 != 0 {
            return Err(IdentityError::Exposed { path: path.into(), mode: mode & 0o777 });
        }
        Self::from_pem(&text)
    }

    /// Writes the key to a new file that only its owner may read. Fails if the file exists: keys are never overwritten.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        write_key_file(path, &self.to_pem()).map_err(|source| at(path, source))
    }

    /// The name under which others know this key.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.public_key)
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(vec![self.public_key.clone()], Arc::clone(&self.signing_key)))
    }

    /// A secret for `purpose`, a name that nothing else in the world has, which stays the same when the process restarts. Nobody
    /// learns anything about the key or about secrets for other purposes from it.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, self.pkcs8.secret_pkcs8_der())
    }

    fn from_pem(text: &[u8]) -> Result<Self, IdentityError> {
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(text);
        Self::from_pkcs8(pkcs8.map_err(|error| IdentityError::Malformed(format!("{error:?}")))?)
    }

    fn from_pkcs8(pkcs8: PrivatePkcs8KeyDer<'static>) -> Result<Self, IdentityError> {
        let malformed = |what: &str| IdentityError::Malformed(what.to_owned());
        let signing_key = rustls::crypto::ring::sign::any_eddsa_type(&pkcs8)
            .map_err(|error| IdentityError::Malformed(error.to_string()))?;
        let public_key = signing_key.public_key().ok_or_else(|| malformed("it has no public half"))?;
        let public_key = CertificateDer::from(public_key.to_vec());
        Ok(Self { pkcs8: Arc::new(pkcs8), signing_key, public_key })
    }

    fn to_pem(&self) -> String {
        // 48 bytes are 64 characters: the one full line that PEM allows.
        let body = base64::engine::general_purpose::STANDARD.encode(self.pkcs8.secret_pkcs8_der());
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }
}

/// Shows the public half only.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}

/// The BLAKE3 hash of a public key's SubjectPublicKeyInfo; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(public_key: &[u8]) -> Self {
        Self(*blake3::hash(public_key).as_bytes())
    }
}

/// The text is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fingerprint: 64 hexadecimal digits are")]
pub struct FingerprintError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| FingerprintError(text.to_owned()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn at(path: &Path, source: std::io::Error) -> IdentityError {
    IdentityError::File { path: path.into(), source }
}

fn read_key_file(path: &Path) -> std::io::Result<(Vec<u8>, u32)> {
    let file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = Vec::new();
    file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok((text, mode))
}

fn write_key_file(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(KEY_FILE_MODE).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_key_loads_as_the_same_identity_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        let identity = Identity::generate().unwrap();
        identity.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load(&path).unwrap().fingerprint(), identity.fingerprint());
        assert!(matches!(identity.save(&path), Err(IdentityError::File { .. })));
    }

    #[test]
    fn an_exposed_key_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        Identity::generate().unwrap().save(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Identity::load(&path), Err(IdentityError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        for text in ["", "key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(
                matches!(Identity::from_pem(text.as_bytes()), Err(IdentityError::Malformed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn two_keys_differ_and_secrets_stay_out_of_debug_output() {
        let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_eq!(format!("{a:?}"), format!("Identity({})", a.fingerprint()));
    }

    #[test]
    fn fingerprints_survive_text_and_json() {
        let fingerprint = Identity::generate().unwrap().fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
        assert!("abc".parse::<Fingerprint>().is_err());
    }
}
