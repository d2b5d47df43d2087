//! R3, Log Matching (Raft §5.3): two entries with the same index and term are the same. That what precedes them is the same
//! too follows by induction, as everybody's log is put together entry by entry after a place that matched; chains are
//! compared where they are applied (G5).

use std::collections::HashMap;

use bytes::Bytes;
use qlab_kernel::{Index, NodeId, Term};
use qlab_raft::Record;

use crate::laws::{Verdict, broken};

const LAW: &str = "R3 log matching";

#[derive(Debug, Default)]
pub(crate) struct Entries(HashMap<(Index, Term), Bytes>);

impl Entries {
    pub(crate) fn check(&mut self, node: NodeId, record: &Record) -> Verdict {
        let Record::Append { index, entry } = record else { return Ok(()) };
        let bytes = entry.batch.bytes();
        let first = self.0.entry((*index, entry.term)).or_insert_with(|| bytes.clone());
        if first == bytes {
            Ok(())
        } else {
            broken(LAW, format!("entry {index} of term {} is another one on {node}", entry.term))
        }
    }
}
