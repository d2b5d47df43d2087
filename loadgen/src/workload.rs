//! What the operations of a load are: of a store, or of the lock service.

use std::num::NonZeroU64;
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workload {
    /// Keys of a store, by the shares of a mix.
    #[default]
    Store,
    /// Locks: each operation takes one exclusively, waiting for its turn, and gives it back at once. That is two commands, one
    /// after the other, and a query for each time that it has to wait. Keys are locks; the mix has no meaning.
    Locks(LockLoad),
}

/// How locks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockLoad {
    /// How long an owner lives without a renewal. Each operation has an owner to itself while it lasts.
    pub lease: Duration,
    /// Every so-manieth holder dies with its lock: its lease must end before anyone else has that.
    pub deaths_every: Option<NonZeroU64>,
}
