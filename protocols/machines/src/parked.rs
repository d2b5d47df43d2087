//! Queries whose answers are worth waiting for: they stay with the replica until the state says something else, or until they have
//! waited so long that whoever asked would begin to think that the replica is dead.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{Batch, Sequence, SessionId, Time};

use crate::{Answers, Machine, Service};

/// Queries that wait at one replica; any more are answered as things are.
pub const PARKED_MAX: usize = 1 << 16;
/// How long one waits at most: far less than a client's patience.
pub const PARKED_TIME_MAX: Duration = Duration::from_millis(100);

/// Queries that wait for another answer than the present one.
#[derive(Clone, Debug, Default)]
pub struct Parked {
    // By who asks and its number: whoever asks again does not wait twice.
    queries: BTreeMap<(SessionId, Sequence), Query>,
}

#[derive(Clone, Debug)]
struct Query {
    bytes: Bytes,
    since: Time,
}

impl Parked {
    /// Answers the queries that need not wait, and parks the others.
    pub fn query<M: Machine>(
        &mut self,
        service: &Service<M>,
        batch: &Batch,
        now: Time,
        answers: &mut impl Answers,
    ) {
        for burst in batch.bursts() {
            for (sequence, query) in burst.commands() {
                let name = (burst.session, sequence);
                if service.machine().is_pending(query) && self.queries.len() < PARKED_MAX {
                    // A copy: a piece of the request would keep all of it.
                    let bytes = Bytes::copy_from_slice(query);
                    self.queries.insert(name, Query { bytes, since: now });
                } else {
                    service.query_one(name, query, answers);
                }
            }
        }
    }

    /// After entries were executed, or time has passed: answers the queries that have waited for it.
    pub fn answer<M: Machine>(&mut self, service: &Service<M>, now: Time, answers: &mut impl Answers) {
        self.queries.retain(|name, query| {
            let waits = now < query.since + PARKED_TIME_MAX && service.machine().is_pending(&query.bytes);
            if !waits {
                service.query_one(*name, &query.bytes, answers);
            }
            waits
        });
    }

    /// Queries that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }
}
