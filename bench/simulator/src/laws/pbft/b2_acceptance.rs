//! B2: a replica accepts one digest for an entry in a view. What a crash took from its disk it may not know.

use std::collections::HashMap;

use qlab_kernel::{Index, Lsn, Term};
use qlab_pbft::keys::Digest;
use qlab_pbft::message::PrePrepare;

use crate::laws::{Verdict, broken};

const LAW: &str = "B2 one digest is accepted";

/// What every process has accepted, and in which record.
#[derive(Debug, Default)]
pub(crate) struct Acceptance(HashMap<usize, Accepted>);

type Accepted = HashMap<(Term, Index), (Lsn, Digest)>;

impl Acceptance {
    pub(crate) fn check(&mut self, process: usize, lsn: Lsn, pre_prepare: &PrePrepare) -> Verdict {
        let PrePrepare { view, seq, ref requests, .. } = *pre_prepare;
        let accepted = self.0.entry(process).or_default();
        let (_, first) = *accepted.entry((view, seq)).or_insert((lsn, *requests.digest()));
        if first != *requests.digest() {
            let what =
                format!("process {process} accepts two digests for {seq} in view {view}: {first:?} first");
            return broken(LAW, what);
        }
        Ok(())
    }

    pub(crate) fn started(&mut self, process: usize, last: Lsn) {
        self.0.entry(process).or_default().retain(|_, (lsn, _)| *lsn <= last);
    }
}
