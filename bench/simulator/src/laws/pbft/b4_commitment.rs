//! B4: what a replica takes as committed is: 2f + 1 hold its certificate durably, of whom f may be lying.

use std::collections::HashMap;

use qlab_kernel::Index;
use qlab_pbft::Pbft;
use qlab_pbft::keys::Digest;

use super::b1_agreement::Agreement;
use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};
use crate::process::Done;

const LAW: &str = "B4 committed by a quorum's disks";
/// Entries after the last executed one that are looked at.
const AHEAD: u64 = 8;

/// What each process is known to take as committed, not executed yet.
#[derive(Debug, Default)]
pub(crate) struct Commitment(HashMap<(usize, Index), Digest>);

impl Commitment {
    pub(crate) fn check(
        &mut self,
        glimpse: &Glimpse<'_, Pbft>,
        agreement: &mut Agreement,
        ledger: &Ledger,
    ) -> Verdict {
        for done in &glimpse.harvest.done {
            if let Done::Applied { index, .. } = done {
                self.check_entry(glimpse, *index, agreement, ledger)?;
            }
        }
        let executed = glimpse.core.executed().0;
        (executed + 1..=executed + AHEAD)
            .try_for_each(|seq| self.check_entry(glimpse, Index(seq), agreement, ledger))
    }

    fn check_entry(
        &mut self,
        glimpse: &Glimpse<'_, Pbft>,
        seq: Index,
        agreement: &mut Agreement,
        ledger: &Ledger,
    ) -> Verdict {
        let Some(digest) = glimpse.core.committed_at(seq) else { return Ok(()) };
        let (node, process) = (glimpse.node, glimpse.process);
        if self.0.insert((process, seq), digest) == Some(digest) {
            return Ok(());
        }
        agreement.check(seq, digest, &format!("{node}"))?;
        if ledger.committed(seq).is_none_or(|lock| lock.digest != digest) {
            let what =
                format!("{node} takes {digest:?} as committed at {seq}; too few disks hold a certificate");
            return broken(LAW, what);
        }
        Ok(())
    }

    pub(crate) fn ended(&mut self, process: usize) {
        self.0.retain(|(whose, _), _| *whose != process);
    }
}
