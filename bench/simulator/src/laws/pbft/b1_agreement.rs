//! B1: no two different digests are ever committed for one entry, in whatever views: not by the certificates that disks hold, and
//! not in what any honest replica takes as committed.

use std::collections::HashMap;

use qlab_kernel::Index;
use qlab_pbft::keys::Digest;

use crate::laws::{Verdict, broken};

const LAW: &str = "B1 agreement";

/// What was first committed for every entry, and by whose word.
#[derive(Debug, Default)]
pub(crate) struct Agreement(HashMap<Index, (Digest, String)>);

impl Agreement {
    /// Something is committed, as `who` says.
    pub(crate) fn check(&mut self, seq: Index, digest: Digest, who: &str) -> Verdict {
        let (first, whose) = self.0.entry(seq).or_insert_with(|| (digest, who.to_owned()));
        if *first != digest {
            return broken(LAW, format!("entry {seq} is {first:?} by {whose}, and {digest:?} by {who}"));
        }
        Ok(())
    }
}
