//! One owner: a session of locks that lives as long as its lease.

use std::collections::BTreeSet;

use super::ids::LockId;
use super::lease::kept_ns;

/// One who may hold locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) ttl_ns: u64,
    /// When its lease ends, in machine time; `None` from a renewal to the next tick, from which it runs.
    pub(super) lease_end_ns: Option<u64>,
    /// It was a victim, and has not begun anew.
    pub(super) aborted: bool,
    /// What it holds or waits for.
    pub(super) claims: BTreeSet<LockId>,
}

impl Owner {
    pub(super) const fn new(ttl_ns: u64) -> Self {
        Self { ttl_ns, lease_end_ns: None, aborted: false, claims: BTreeSet::new() }
    }

    /// Whether its lease has ended by a tick.
    pub(super) fn ends_by(&mut self, now_ns: u64) -> bool {
        let ttl_ns = self.ttl_ns;
        *self.lease_end_ns.get_or_insert_with(|| now_ns.saturating_add(kept_ns(ttl_ns))) <= now_ns
    }
}
