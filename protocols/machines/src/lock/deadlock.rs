//! Deadlocks: prevented by age, or detected in the wait-for graph.
//!
//! Its nodes are owners; an edge leads from one who waits to each it [waits for](super::holding::Lock::blockers). Queues are
//! first come, first served, so edges come into being only when a claim joins a queue, all of them from the newcomer. That is
//! when each policy acts; between two commands the graph has no cycle under any of them.
//!
//! - *Wait-die* (Rosenkrantz, Stearns, Lewis 1978): a newcomer that would wait for an older owner dies. Edges lead from older to
//!   younger owners only.
//! - *Wound-wait* (the same): a newcomer wounds every younger owner that it would wait for, in the queue, too. Edges lead from
//!   younger to older owners only.
//! - *Detection*: a newcomer waits. If that closes cycles, all of them go through it; the youngest owner on any of them is the
//!   victim, until there is none. The graph is looked at within one command: it is a consistent cut by nature.
//!
//! A victim loses everything it holds and waits for, at once; its tokens are stale from then on. It stays open, is told
//! [`ABORTED`](super::ABORTED) whatever it wants, and begins anew with a restart, as old as it was: so it becomes the oldest in
//! the end, and nobody wounds the oldest, nor has it ever to die.

use std::collections::BTreeSet;

use qlab_kernel::{WireError, mutant};

use super::Locks;
use super::holding::Lock;
use super::ids::{LockId, OwnerId};

/// What is done about deadlocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// They are looked for, and the youngest owner in one is the victim.
    #[default]
    Detect,
    /// Owners wait for younger ones only; others are victims.
    WaitDie,
    /// Owners wait for older ones only; younger ones that are waited for are victims.
    WoundWait,
}

impl Policy {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Detect => 0,
            Self::WaitDie => 1,
            Self::WoundWait => 2,
        }
    }

    pub(super) const fn of_code(code: u8) -> Result<Self, WireError> {
        match code {
            0 => Ok(Self::Detect),
            1 => Ok(Self::WaitDie),
            2 => Ok(Self::WoundWait),
            other => Err(WireError::Invalid { what: "policy", value: other as u64 }),
        }
    }
}

impl Locks {
    /// An owner has joined the queue of a lock: aborts whoever must not wait, or be waited for.
    pub(super) fn avoid_deadlock(&mut self, newcomer: OwnerId, lock: LockId) {
        match self.policy {
            Policy::Detect => {
                while let Some(victim) = self.youngest_in_deadlock(newcomer) {
                    self.abort(&[victim]);
                }
            }
            Policy::WaitDie => {
                if self.blockers(newcomer, lock).any(|blocker| blocker < newcomer) {
                    self.abort(&[newcomer]);
                }
            }
            Policy::WoundWait => {
                let younger: BTreeSet<OwnerId> =
                    self.blockers(newcomer, lock).filter(|blocker| *blocker > newcomer).collect();
                self.abort(&younger.into_iter().collect::<Vec<_>>());
            }
        }
    }

    /// Whom an owner waits for, over all locks.
    pub fn waits_for(&self, owner: OwnerId) -> impl Iterator<Item = OwnerId> {
        self.claimed(owner).flat_map(move |lock| lock.blockers(owner))
    }

    /// The youngest owner that both waits for `newcomer` and is waited for by it, over however many others.
    fn youngest_in_deadlock(&self, newcomer: OwnerId) -> Option<OwnerId> {
        // Mostly nobody waits for one who is about to wait: then this looks no further than its own claims.
        let waiting = self.reached(newcomer, |owner| {
            self.claimed(owner).flat_map(move |lock| lock.next_blocked(owner)).collect()
        });
        if waiting.is_empty() {
            return None;
        }
        let waited_for = self.reached(newcomer, |owner| {
            self.claimed(owner).flat_map(move |lock| lock.next_blockers(owner)).collect()
        });
        mutant!("locks: nobody looks for deadlocks", {
            return None;
        });
        waiting.intersection(&waited_for).max().copied()
    }

    /// Everyone at the end of a path from `start`.
    fn reached(&self, start: OwnerId, edges: impl Fn(OwnerId) -> Vec<OwnerId>) -> BTreeSet<OwnerId> {
        let mut reached = BTreeSet::new();
        let mut next = edges(start);
        while let Some(owner) = next.pop() {
            if reached.insert(owner) {
                next.extend(edges(owner));
            }
        }
        reached
    }

    fn blockers(&self, owner: OwnerId, lock: LockId) -> impl Iterator<Item = OwnerId> {
        self.locks.get(&lock).into_iter().flat_map(move |lock| lock.blockers(owner))
    }

    /// The locks that an owner holds or waits for.
    fn claimed(&self, owner: OwnerId) -> impl Iterator<Item = &Lock> {
        let claims = self.owners.get(&owner).into_iter().flat_map(|owner| &owner.claims);
        claims.map(|lock| &self.locks[lock])
    }
}
