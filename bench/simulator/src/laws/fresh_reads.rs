//! R13, R14 (Raft's thesis §6.4), M8: a read sees everything that anybody knew to be committed when it was asked, by whichever way
//! it was made safe: a round of confirmation or a lease.

use std::collections::HashMap;

use qlab_kernel::{Index, Protocol, SessionId};

use super::{Glimpse, Verdict, broken};
use crate::process::Done;

/// How far the cluster had committed when each query was first asked.
#[derive(Debug)]
pub(crate) struct FreshReads {
    law: &'static str,
    floors: HashMap<(SessionId, u64), Index>,
}

impl FreshReads {
    /// Broken, it is `law`.
    pub(crate) fn new(law: &'static str) -> Self {
        Self { law, floors: HashMap::new() }
    }

    pub(crate) fn asked(&mut self, session: SessionId, sequence: u64, committed: Index) {
        self.floors.entry((session, sequence)).or_insert(committed);
    }

    pub(crate) fn check<P: Protocol>(&self, glimpse: &Glimpse<'_, P>) -> Verdict {
        for done in &glimpse.harvest.done {
            let Done::Queried { index, queries } = done else { continue };
            for query in queries {
                let floor = self.floors.get(query).copied().unwrap_or_default();
                if *index < floor {
                    let node = glimpse.node;
                    let what =
                        format!("a read at {node} sees up to {index}, but {floor} was committed before");
                    return broken(self.law, what);
                }
            }
        }
        Ok(())
    }
}
