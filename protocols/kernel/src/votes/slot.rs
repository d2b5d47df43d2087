//! What the replicas said about one command.

use std::borrow::Cow;

use crate::{Index, NodeId, NodeSet};

/// Bytes of a value that are kept for comparison; of a longer one, its BLAKE3 hash is.
const VALUE_BYTES_KEPT_MAX: usize = 1024;

/// One replica's word, borrowed from its frame.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) index: Index,
    pub(super) status: u8,
    pub(super) body: SaidBody<'a>,
}

#[derive(Debug)]
pub(super) enum SaidBody<'a> {
    /// Of a write.
    Number(u64),
    /// Of a query.
    Value(&'a [u8]),
}

/// The words about one command.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The first claim, and among honest replicas the only one: it takes no allocation.
    claim: Option<Claim>,
    /// Claims that contradict it. Every claim has a voter, and every replica votes for one: there are fewer than replicas.
    others: Vec<Claim>,
    busy: NodeSet,
    is_given: bool,
}

/// What some replicas said alike.
#[derive(Debug)]
struct Claim {
    index: Index,
    status: u8,
    body: Body,
    voters: NodeSet,
}

#[derive(Debug)]
enum Body {
    Number(u64),
    Value {
        len: usize,
        /// The value, or its hash if it is long.
        essence: Box<[u8]>,
    },
}

impl Slot {
    /// It is asked, for the first time or again: whoever asks again has not heard the answer.
    pub(super) fn ask(&mut self) {
        if self.is_given {
            *self = Self::default();
        }
    }

    /// Counts a replica's word; true if with it `matching` replicas said the same, for the first time.
    pub(super) fn vote(&mut self, from: NodeId, said: &Said<'_>, matching: usize) -> bool {
        if self.is_given {
            return false;
        }
        let voters = self.count(from, said);
        crate::mutant!("votes: one answer is enough", matching = 1);
        if voters < matching {
            return false;
        }
        *self = Self { is_given: true, ..Self::default() };
        true
    }

    /// Counts a replica that is busy; true if with it `matching` are. Then the count begins anew.
    pub(super) fn is_busy(&mut self, from: NodeId, matching: usize) -> bool {
        if self.is_given {
            return false;
        }
        self.busy.insert(from);
        let enough = self.busy.len() >= matching;
        if enough {
            self.busy = NodeSet::EMPTY;
        }
        enough
    }

    /// Moves a replica's vote to what it says now; how many say so.
    fn count(&mut self, from: NodeId, said: &Said<'_>) -> usize {
        let mut voters = None;
        for claim in self.claim.iter_mut().chain(&mut self.others) {
            if voters.is_none() && claim.is(said) {
                claim.voters.insert(from);
                voters = Some(claim.voters.len());
            } else {
                claim.voters.remove(from);
            }
        }
        self.claim.take_if(|claim| claim.voters.is_empty());
        if !self.others.is_empty() {
            self.others.retain(|claim| !claim.voters.is_empty());
        }
        voters.unwrap_or_else(|| {
            self.add(Claim::new(from, said));
            1
        })
    }

    fn add(&mut self, claim: Claim) {
        if self.claim.is_none() {
            self.claim = Some(claim);
        } else {
            self.others.push(claim);
        }
    }
}

impl Claim {
    fn new(from: NodeId, said: &Said<'_>) -> Self {
        let body = match said.body {
            SaidBody::Number(number) => Body::Number(number),
            SaidBody::Value(value) => Body::Value { len: value.len(), essence: essence(value).into() },
        };
        Self { index: said.index, status: said.status, body, voters: [from].into_iter().collect() }
    }

    fn is(&self, said: &Said<'_>) -> bool {
        let body = match (&self.body, &said.body) {
            (Body::Number(claimed), SaidBody::Number(number)) => claimed == number,
            (Body::Value { len, essence: claimed }, SaidBody::Value(value)) => {
                *len == value.len() && **claimed == *essence(value)
            }
            _ => false,
        };
        body && self.status == said.status && self.index == said.index
    }
}

fn essence(value: &[u8]) -> Cow<'_, [u8]> {
    if value.len() <= VALUE_BYTES_KEPT_MAX {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(blake3::hash(value).as_bytes().to_vec())
    }
}
