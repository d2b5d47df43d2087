//! A running hash of everything a replica applied: equal chains at an index mean equal histories up to it.

use crate::{Batch, Index};

/// `H_k = BLAKE3(H_{k−1} ‖ k ‖ entry_k)`. Replicas that ever applied index `k` must agree on `H_k`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The last index applied.
    pub index: Index,
    /// The hash up to and including it; all zero before the first.
    pub hash: [u8; 32],
}

impl Chain {
    /// Takes in the next entry. Panics unless `index` follows the last one: entries are applied in order, once.
    pub fn extend(&mut self, index: Index, batch: &Batch) {
        assert_eq!(index, self.index.next(), "entries are applied in order, once");
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.hash).update(&index.0.to_le_bytes()).update(batch.bytes());
        *self = Self { index, hash: hasher.finalize().into() };
    }
}
