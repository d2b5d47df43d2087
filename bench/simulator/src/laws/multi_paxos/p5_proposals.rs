//! P5 (Paxos Made Simple §2.2, P2b): what is proposed above the ballot in which a value was chosen is that value.

use qlab_kernel::NodeId;
use qlab_paxos::multi::Record;

use super::ledger::Ledger;
use crate::laws::{Verdict, broken};

const LAW: &str = "P5 later ballots propose what is chosen";

/// Looks at what a proposer writes down. Accepts on their way to a disk may still make something chosen in an earlier ballot; P1
/// notices that.
pub(crate) fn check(node: NodeId, record: &Record, ledger: &Ledger) -> Verdict {
    let Record::Accept { ballot, index, batch } = record else { return Ok(()) };
    let Some(chosen) = ledger.chosen(*index) else { return Ok(()) };
    if ballot.node == node && *ballot > chosen.ballot && chosen.batch != *batch {
        let first = chosen.ballot;
        return broken(
            LAW,
            format!("{node} proposes in {ballot} for {index} another value than {first} chose"),
        );
    }
    Ok(())
}
