//! R16: no replica overwrites an entry that it knows to be committed.

use qlab_kernel::Index;
use qlab_raft::{Raft, Record};

use crate::laws::{Glimpse, Verdict, broken};

const LAW: &str = "R16 committed entries stay";

/// `commit` is what the replica knew before this burst.
pub(crate) fn check(glimpse: &Glimpse<'_, Raft>, commit: Index) -> Verdict {
    for (_, record) in &glimpse.harvest.records {
        if let Record::Append { index, .. } = record
            && *index <= commit
        {
            return broken(LAW, format!("{} overwrites {index}, committed up to {commit}", glimpse.node));
        }
    }
    Ok(())
}
