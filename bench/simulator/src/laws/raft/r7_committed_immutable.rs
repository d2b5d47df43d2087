//! R7: once anybody has committed an entry, nobody ever commits another one at its index; and followers commit nothing that no
//! leader has (R6 is about those).

use std::collections::BTreeMap;

use qlab_kernel::{Index, Term};
use qlab_raft::Raft;

use crate::laws::{Glimpse, Violation, broken};

const LAW: &str = "R7 committed is immutable";
const QUORUM: &str = "R6 committed on quorum";

/// What was ever committed.
#[derive(Debug, Default)]
pub(crate) struct Committed(BTreeMap<Index, Place>);

/// A committed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) term: Term,
    /// The term of whoever committed it first: no lower than the one it was committed in.
    pub(crate) committed_in: Term,
}

impl Committed {
    /// Takes in what a replica has committed past `before`; whether that was anything.
    pub(crate) fn check(&mut self, glimpse: &Glimpse<'_, Raft>, before: Index) -> Result<bool, Violation> {
        let raft = glimpse.core;
        for index in before.0 + 1..=raft.commit_index().0 {
            let index = Index(index);
            // An image that came in may have put it before the log.
            let Some(term) = raft.term_at(index) else { continue };
            if !raft.is_leader() && !self.0.contains_key(&index) {
                broken(QUORUM, format!("{} commits {index}, which no leader has", glimpse.node))?;
            }
            let place = *self.0.entry(index).or_insert(Place { term, committed_in: raft.term() });
            if place.term != term {
                broken(LAW, format!("{index} was committed in term {}, and now in term {term}", place.term))?;
            }
        }
        Ok(raft.commit_index() > before)
    }

    /// The last index that anybody has committed.
    pub(crate) fn last(&self) -> Index {
        self.0.last_key_value().map_or(Index::ZERO, |(index, _)| *index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Index, Place)> {
        self.0.iter().map(|(index, place)| (*index, *place))
    }
}
