//! R13, R14 (thesis §6.4): a read sees everything that anybody had committed when it was asked, by whichever way it was made
//! safe: ReadIndex or a lease.

use std::collections::HashMap;

use qlab_kernel::{Index, SessionId};
use qlab_raft::Raft;

use crate::laws::{Glimpse, Verdict, broken};
use crate::process::Done;

const LAW: &str = "R13 read index";

/// How far the cluster had committed when each query was first asked.
#[derive(Debug, Default)]
pub(crate) struct Reads(HashMap<(SessionId, u64), Index>);

impl Reads {
    pub(crate) fn asked(&mut self, session: SessionId, sequence: u64, committed: Index) {
        self.0.entry((session, sequence)).or_insert(committed);
    }

    pub(crate) fn check(&self, glimpse: &Glimpse<'_, Raft>) -> Verdict {
        for done in &glimpse.harvest.done {
            let Done::Queried { index, queries } = done else { continue };
            for query in queries {
                let floor = self.0.get(query).copied().unwrap_or_default();
                if *index < floor {
                    let node = glimpse.node;
                    let what =
                        format!("a read at {node} sees up to {index}, but {floor} was committed before");
                    return broken(LAW, what);
                }
            }
        }
        Ok(())
    }
}
