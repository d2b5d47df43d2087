//! B3: what is prepared is so by the primary's word and that of 2f different backups for the same digest, all signed; and no two
//! different digests are prepared at one place.

use std::collections::HashMap;

use qlab_kernel::{Index, NodeId, NodeSet, Term};
use qlab_pbft::keys::Digest;
use qlab_pbft::message::{Prepared, pre_prepare_statement, prepare_statement};

use super::ledger::{Ledger, Lock};
use crate::laws::{Verdict, broken};

const PROVED: &str = "B3 prepared is proved";
const UNIQUE: &str = "B3 one digest is prepared";

/// What was first prepared at every place, and at which process: durably, as what a crash takes was never told to anybody, and may
/// hold the replica's own word that it never gave.
#[derive(Debug, Default)]
pub(crate) struct Certificates(HashMap<(Term, Index), (Digest, usize)>);

impl Certificates {
    /// A certificate has become durable.
    pub(crate) fn check_unique(&mut self, process: usize, lock: &Lock) -> Verdict {
        let Lock { seq, view, digest } = *lock;
        let (first, whose) = *self.0.entry((view, seq)).or_insert((digest, process));
        if first != digest {
            let what =
                format!("entry {seq} in view {view} is {first:?} at {whose} and {digest:?} at {process}");
            return broken(UNIQUE, what);
        }
        Ok(())
    }
}

/// A replica writes a certificate down.
pub(crate) fn check(node: NodeId, prepared: &Prepared, ledger: &Ledger) -> Verdict {
    prove(prepared, ledger)
        .or_else(|why| broken(PROVED, format!("{node} takes for prepared what is not: {why}")))
}

/// What is wrong with a certificate, if anything is.
pub(crate) fn prove(prepared: &Prepared, ledger: &Ledger) -> Result<(), String> {
    let Prepared { view, seq, digest, pre_prepare, ref prepares } = *prepared;
    let primary = ledger.primary(view);
    let place = format!("entry {seq} in view {view}");
    if !ledger.is_signed(primary, &pre_prepare_statement(view, seq, &digest), pre_prepare) {
        return Err(format!("{place} lacks the word of its primary {primary}"));
    }
    let statement = prepare_statement(view, seq, &digest);
    let signs =
        |signed: &&(NodeId, _)| signed.0 != primary && ledger.is_signed(signed.0, &statement, signed.1);
    let backups: NodeSet = prepares.iter().filter(signs).map(|(node, _)| *node).collect();
    if backups.len() < 2 * ledger.faulty() {
        return Err(format!("{place} has the word of {} backups", backups.len()));
    }
    Ok(())
}
