//! G5: replicas that ever applied up to an index applied the same up to it; and each applies in order, once. An image made at an
//! index is the same everywhere, byte for byte (Raft: R15).

use std::collections::HashMap;

use qlab_kernel::Index;

use super::{Verdict, broken};
use crate::process::Done;

const LAW: &str = "G5 chain hash";
const IMAGES: &str = "R15 snapshots";

/// The hash at every index, as first reported.
#[derive(Debug, Default)]
pub(crate) struct ChainHash {
    hashes: HashMap<Index, [u8; 32]>,
    images: HashMap<Index, [u8; 32]>,
    applied: HashMap<usize, Index>,
}

impl ChainHash {
    pub(crate) fn check(&mut self, process: usize, done: &Done) -> Verdict {
        match done {
            Done::Applied { index, hash } => {
                let last = self.applied.insert(process, *index).unwrap_or_default();
                if last.next() != *index {
                    return broken(LAW, format!("process {process} applied {index} after {last}"));
                }
                same(LAW, &mut self.hashes, *index, *hash)
            }
            Done::Restored { index, hash } => {
                self.applied.insert(process, *index);
                same(IMAGES, &mut self.hashes, *index, *hash)
            }
            Done::Captured { index, hash } => same(IMAGES, &mut self.images, *index, *hash),
            Done::Queried { .. } => Ok(()),
        }
    }

    /// The process ended: it begins anew, from an image or from nothing.
    pub(crate) fn forget(&mut self, process: usize) {
        self.applied.remove(&process);
    }
}

fn same(law: &'static str, known: &mut HashMap<Index, [u8; 32]>, index: Index, hash: [u8; 32]) -> Verdict {
    if *known.entry(index).or_insert(hash) == hash {
        Ok(())
    } else {
        broken(law, format!("two replicas hold different histories up to {index}"))
    }
}
