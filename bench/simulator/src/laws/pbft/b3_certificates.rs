//! B3: what is prepared is so by the primary's word and that of 2f different backups for the same digest, all signed; and no two
//! different digests are prepared at one place.

use std::collections::HashMap;

use qlab_kernel::{Index, NodeId, NodeSet, Term};
use qlab_pbft::keys::Digest;
use qlab_pbft::message::{Prepared, pre_prepare_statement, prepare_statement};

use super::ledger::Ledger;
use crate::laws::{Verdict, broken};

const PROVED: &str = "B3 prepared is proved";
const UNIQUE: &str = "B3 one digest is prepared";

/// What was first prepared at every place.
#[derive(Debug, Default)]
pub(crate) struct Certificates(HashMap<(Term, Index), (Digest, NodeId)>);

impl Certificates {
    pub(crate) fn check(&mut self, node: NodeId, prepared: &Prepared, ledger: &Ledger) -> Verdict {
        if let Err(why) = prove(prepared, ledger) {
            return broken(PROVED, format!("{node} takes for prepared what is not: {why}"));
        }
        let Prepared { view, seq, digest, .. } = *prepared;
        let (first, whose) = *self.0.entry((view, seq)).or_insert((digest, node));
        if first != digest {
            let what = format!("entry {seq} in view {view} is {first:?} at {whose} and {digest:?} at {node}");
            return broken(UNIQUE, what);
        }
        Ok(())
    }
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
