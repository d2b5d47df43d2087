//! What clients ask for, and the bodies of log entries that are made of it.

use std::sync::Arc;

use bytes::Bytes;
use qlab_kernel::limits::{BATCH_BYTES_MAX, PROOF_BYTES_MAX};
use qlab_kernel::wire::put_bytes;
use qlab_kernel::{Batch, Reader, Request, Sink, Wire, WireError};

use crate::keys::{Digest, Hasher, request_statement};

/// Requests in one entry.
pub const REQUESTS_MAX: usize = 4096;
/// Bytes of an entry's requests, with everything that is sent with them.
pub const BODY_BYTES_MAX: usize = BATCH_BYTES_MAX + 2048;
/// Bytes around a request: its kind and two lengths.
const REQUEST_OVERHEAD_BYTES: usize = 9;

/// A request as its client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    /// What it asks for, shared.
    batch: Batch,
    is_read: bool,
    proof: Bytes,
    client: u16,
    digest: Digest,
}

impl ClientRequest {
    /// A request and what proves who asks; `None` if it is empty, or of several clients: nobody may ask for another.
    #[must_use]
    pub fn new(request: Request, proof: Bytes) -> Option<Self> {
        let digest = request_statement(&request);
        let (batch, is_read) = match request {
            Request::Write(batch) => (batch, false),
            Request::Read(batch) => (batch, true),
        };
        let client = batch.bursts().next()?.session.owner();
        let is_of_one = batch.belongs_to(client.into());
        if !is_of_one || proof.len() > PROOF_BYTES_MAX {
            return None;
        }
        Some(Self { batch, is_read, proof, client, digest })
    }

    /// Whose sessions it speaks in, by the client's place in the list of clients.
    #[must_use]
    pub const fn client(&self) -> u16 {
        self.client
    }

    /// What its client proves, and its name among requests: `BLAKE3(kind ‖ bytes of the batch)`.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What proves who asks.
    #[must_use]
    pub const fn proof(&self) -> &Bytes {
        &self.proof
    }

    /// What is asked.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Whether it asks for answers to queries, and not for changes.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        self.is_read
    }

    /// Bytes of its encoding.
    #[must_use]
    pub fn len(&self) -> usize {
        REQUEST_OVERHEAD_BYTES + self.batch.len() + self.proof.len()
    }

    /// No request is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

impl Wire for ClientRequest {
    fn encode(&self, sink: &mut impl Sink) {
        self.is_read.encode(sink);
        self.batch.encode(sink);
        put_bytes(sink, &self.proof);
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        let is_read = r.bool("request kind")?;
        let batch = Batch::decode(r)?;
        let proof = r.take_bytes("proof", PROOF_BYTES_MAX)?;
        let request = if is_read { Request::Read(batch) } else { Request::Write(batch) };
        Self::new(request, proof)
            .ok_or(WireError::Invalid { what: "owners of a request's sessions", value: 0 })
    }
}

/// The body of an entry: requests in order; none for a null request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    list: Arc<[ClientRequest]>,
    digest: Digest,
    bytes: usize,
}

impl Requests {
    /// An entry of these. Panics if they are too many or too large for one.
    #[must_use]
    pub fn new(list: Vec<ClientRequest>) -> Self {
        assert!(fits(&list), "{} requests do not fit an entry", list.len());
        Self::trusted(list)
    }

    /// The null request (OSDI '99 §4.4).
    #[must_use]
    pub fn null() -> Self {
        Self::trusted(Vec::new())
    }

    fn trusted(list: Vec<ClientRequest>) -> Self {
        let mut hasher = Hasher::new("requests");
        for request in &list {
            // Proofs, too: everybody must have been shown the same.
            request.digest.encode(&mut hasher);
            put_bytes(&mut hasher, &request.proof);
        }
        let bytes = list.iter().map(ClientRequest::len).sum();
        Self { list: list.into(), digest: hasher.finish(), bytes }
    }

    /// What the entry is agreed on by.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The requests in order.
    pub fn iter(&self) -> std::slice::Iter<'_, ClientRequest> {
        self.list.iter()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether it is the null request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of all requests.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Wire for Requests {
    fn encode(&self, sink: &mut impl Sink) {
        u16::try_from(self.list.len()).expect("below the limit").encode(sink);
        self.list.iter().for_each(|request| request.encode(sink));
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        let count = usize::from(r.u16()?);
        if count > REQUESTS_MAX {
            return Err(WireError::Invalid { what: "number of requests", value: count as u64 });
        }
        let list = (0..count).map(|_| ClientRequest::decode(r)).collect::<Result<Vec<_>, _>>()?;
        if !fits(&list) {
            let bytes = list.iter().map(ClientRequest::len).sum();
            return Err(WireError::TooLong { what: "entry", bytes, limit_bytes: BODY_BYTES_MAX });
        }
        Ok(Self::trusted(list))
    }
}

/// Whether the writes make one batch, and all of it one frame.
fn fits(list: &[ClientRequest]) -> bool {
    let batches: usize = list.iter().map(|request| request.batch.len()).sum();
    let all: usize = list.iter().map(ClientRequest::len).sum();
    list.len() <= REQUESTS_MAX && batches <= BATCH_BYTES_MAX && all <= BODY_BYTES_MAX
}
