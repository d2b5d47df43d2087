//! P1: at most one value is ever chosen in an instance.

use bytes::Bytes;
use qlab_paxos::Ballot;
use qlab_paxos::single::Value;

use super::ledger::Chosen;
use crate::laws::{Verdict, broken};

const LAW: &str = "P1 agreement";

/// A quorum has accepted `value` in `ballot`; `chosen` is what was chosen there first.
pub(crate) fn check(key: &Bytes, chosen: &Chosen, ballot: Ballot, value: &Value) -> Verdict {
    if chosen.value == *value {
        return Ok(());
    }
    let first = chosen.ballot;
    broken(LAW, format!("{key:?}: one value is chosen in ballot {first}, another one in {ballot}"))
}
