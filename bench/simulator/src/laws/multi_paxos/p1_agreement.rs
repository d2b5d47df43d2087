//! P1, for each slot (M1): at most one value is ever chosen.

use qlab_kernel::{Batch, Index};
use qlab_paxos::Ballot;

use super::ledger::Chosen;
use crate::laws::{Verdict, broken};

const LAW: &str = "P1 agreement";

/// A quorum has accepted `batch` in `ballot`; `chosen` is what was chosen there first.
pub(crate) fn check(index: Index, chosen: &Chosen, ballot: Ballot, batch: &Batch) -> Verdict {
    if chosen.batch == *batch {
        return Ok(());
    }
    let first = chosen.ballot;
    broken(LAW, format!("slot {index}: one value is chosen in ballot {first}, another one in {ballot}"))
}
