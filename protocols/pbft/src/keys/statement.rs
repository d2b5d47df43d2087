//! What is signed, and what a signature is.

use std::fmt;

use qlab_kernel::{Reader, Request, Sink, Wire, WireError};

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A BLAKE3 hash.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// What is signed: the hash of a message's fields behind the name of what they are.
pub type Statement = Digest;

/// A signature by a replica or a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

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

    /// The next field. By reference, as a hasher is two kilobytes to move.
    pub(crate) fn field(&mut self, value: &impl Wire) -> &mut Self {
        value.encode(self);
        self
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Sink for Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
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
