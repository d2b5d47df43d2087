//! Seeded bugs of the lock service, on Raft: whatever carries it, it is the same.
//!
//! The machine's own tests have two more. Here no world sees that queues are overtaken, as only single commands show it; nor that
//! two ticks count the same time, as their session executes only one of them, too.

use qlab_raft::Raft;

use crate::{Mutant, mutant};

/// Clocks that run apart, and nothing else: leases that end too early show where everything else goes well.
const CLOCKS: &str = "clock-drift,clock-strobe";

/// Each and the laws that it breaks.
pub(crate) const MUTANTS: &[Mutant<Raft>] = &[
    mutant("locks: an old token is as good as a new one", &["L1"]).of_locks(),
    mutant("locks: tokens begin again after a snapshot", &["L1"]).of_locks(),
    mutant("locks: a lease counts from its answer", &["L2"]).of_locks().within(2_000),
    mutant("locks: a lease runs from the tick before its renewal", &["L2"]).of_locks().within(2_000),
    mutant("locks: leases trust clocks", &["L2"]).of_locks().under(CLOCKS).within(20_000),
    mutant("locks: anyone may release", &["L3"]).of_locks(),
    mutant("locks: the dead keep what they claimed", &["L4"]).of_locks(),
    mutant("locks: a wake-up is lost", &["L5"]).of_locks(),
    mutant("locks: shared joins exclusive", &["L2", "L6"]).of_locks(),
    mutant("locks: a victim keeps its locks", &["L7"]).of_locks(),
    mutant("locks: nobody looks for deadlocks", &["L7"]).of_locks(),
];
