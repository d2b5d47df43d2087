//! The journal from outside: what it keeps, what it refuses, and what it survives.

mod crash;
mod damage;
mod failing;
mod flips;
mod fuzz;
mod keeping;
mod lives;
#[cfg(feature = "mutants")]
mod mutants;
mod shelf;
mod threads;

use bytes::Bytes;
use qlab_journal::{BLOCK_BYTES, Disk, Durability, Identity, Journal, JournalError, JournalOptions};
use qlab_kernel::{Lsn, NodeId, Reader, Sink, Wire, WireError};

const ME: Identity = Identity { cluster: 0xC1, node: NodeId(1) };
const BLOCK: u64 = BLOCK_BYTES as u64;

/// A record of any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blob(Vec<u8>);

impl Wire for Blob {
    fn encode(&self, sink: &mut impl Sink) {
        sink.put(&self.0);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self(reader.take_rest().to_vec()))
    }
}

/// The content of record `lsn`: no two alike, no block of zeros.
fn content(lsn: u64, bytes: usize) -> Vec<u8> {
    let mut state = lsn.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| byte()).collect()
}

fn options(blocks: u64) -> JournalOptions {
    #[cfg(feature = "mutants")]
    mutants::arm();
    JournalOptions {
        segment_bytes: blocks * BLOCK,
        durability: Durability::Fdatasync,
        ..JournalOptions::new(ME)
    }
}

fn append<D: Disk>(journal: &mut Journal<D>, lsn: u64, bytes: usize) -> Result<(), JournalError> {
    journal.append(Lsn(lsn), &Blob(content(lsn, bytes)))
}

/// Appends and commits records `lsns`, each on its own.
fn fill<D: Disk>(journal: &mut Journal<D>, lsns: std::ops::RangeInclusive<u64>, bytes: usize) {
    for lsn in lsns {
        append(journal, lsn, bytes).unwrap();
        assert_eq!(journal.commit().unwrap(), Lsn(lsn));
    }
}

fn expected(lsns: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<(Lsn, Bytes)> {
    lsns.map(|lsn| (Lsn(lsn), content(lsn, bytes).into())).collect()
}
