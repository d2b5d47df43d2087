//! One lock: who holds it, and who waits for it in which order.
//!
//! A claim conflicts with another on the same lock unless both are shared. The queue is strictly first come, first served: a
//! claim waits for every conflicting one before it, whether that holds or waits. So a stream of readers cannot starve a writer,
//! and whom a claim waits for is settled when it comes: later, claims before it only go.

use std::collections::VecDeque;

use qlab_kernel::{WireError, mutant};

use super::ids::{OwnerId, Token};

/// Alone or with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With everyone else who shares.
    Shared,
    /// Alone.
    Exclusive,
}

impl Mode {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Shared => 0,
            Self::Exclusive => 1,
        }
    }

    pub(super) const fn of_code(code: u8) -> Result<Self, WireError> {
        match code {
            0 => Ok(Self::Shared),
            1 => Ok(Self::Exclusive),
            other => Err(WireError::Invalid { what: "mode", value: other as u64 }),
        }
    }

    /// Whether claims of these modes cannot both hold.
    #[must_use]
    pub const fn conflicts(self, other: Self) -> bool {
        !matches!((self, other), (Self::Shared, Self::Shared))
    }

    /// Whether a claim of this mode is as good as one of the other.
    pub(super) const fn covers(self, other: Self) -> bool {
        matches!((self, other), (Self::Exclusive, _) | (_, Self::Shared))
    }
}

/// A claim that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose.
    pub owner: OwnerId,
    /// What proves it.
    pub token: Token,
}

/// A claim that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Whose.
    pub owner: OwnerId,
    /// Alone or with others.
    pub mode: Mode,
}

/// What an owner has to do with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds the lock.
    Holds(Mode, Token),
    /// It waits, with so many before it in the queue.
    Waits(Mode, usize),
}

/// A lock that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    pub(super) mode: Mode,
    /// By token: every later grant has a larger one.
    pub(super) holders: Vec<Grant>,
    pub(super) queue: VecDeque<Waiter>,
}

impl Lock {
    /// A lock that nobody holds yet.
    pub(super) const fn new() -> Self {
        Self { mode: Mode::Shared, holders: Vec::new(), queue: VecDeque::new() }
    }

    /// In which mode it is held.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Who holds it, by token.
    #[must_use]
    pub fn holders(&self) -> &[Grant] {
        &self.holders
    }

    /// Who waits, first come first.
    pub fn waiters(&self) -> impl ExactSizeIterator<Item = Waiter> {
        self.queue.iter().copied()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }

    /// Whether one who comes now holds at once.
    pub(super) fn admits_newcomer(&self, mode: Mode) -> bool {
        let nobody_waits =
            mutant!(self.queue.is_empty(), "locks: shared claims overtake an exclusive one", true);
        nobody_waits && self.admits(mode)
    }

    pub(super) fn admits(&self, mode: Mode) -> bool {
        let conflicts =
            mutant!(self.mode.conflicts(mode), "locks: shared joins exclusive", mode == Mode::Exclusive);
        self.holders.is_empty() || !conflicts
    }

    pub(super) fn grant(&mut self, claim: Waiter, last_token: &mut Token) -> Token {
        last_token.0 += 1;
        self.mode = claim.mode;
        self.holders.push(Grant { owner: claim.owner, token: *last_token });
        *last_token
    }

    /// Grants to those at the front of the queue who no longer wait for anyone.
    pub(super) fn promote(&mut self, last_token: &mut Token) {
        while let Some(claim) = self.queue.pop_front() {
            if !self.admits(claim.mode) {
                self.queue.push_front(claim);
                return;
            }
            self.grant(claim, last_token);
            mutant!("locks: a wake-up is lost", {
                return;
            });
        }
    }

    /// Drops an owner's claim.
    pub(super) fn forget(&mut self, owner: OwnerId) {
        self.holders.retain(|grant| grant.owner != owner);
        self.queue.retain(|waiter| waiter.owner != owner);
    }

    /// What an owner has to do with it.
    #[must_use]
    pub fn standing(&self, owner: OwnerId) -> Option<Standing> {
        if let Some(grant) = self.holders.iter().find(|grant| grant.owner == owner) {
            return Some(Standing::Holds(self.mode, grant.token));
        }
        let at = self.place(owner)?;
        Some(Standing::Waits(self.queue[at].mode, at))
    }

    /// Whom an owner waits for here.
    pub fn blockers(&self, owner: OwnerId) -> impl Iterator<Item = OwnerId> {
        let waiting = self.place(owner).map(|at| (at, self.queue[at].mode));
        waiting.into_iter().flat_map(move |(at, mode)| {
            let holders = self.holders.iter().filter(move |_| self.mode.conflicts(mode));
            let before = self.queue.range(..at).filter(move |waiter| waiter.mode.conflicts(mode));
            holders.map(|grant| grant.owner).chain(before.map(|waiter| waiter.owner))
        })
    }

    /// Whom an owner waits for here with nobody between them: whoever it waits for besides is waited for by one of these.
    pub(super) fn next_blockers(&self, owner: OwnerId) -> impl Iterator<Item = OwnerId> {
        let waiting = self.place(owner).map(|at| (at, self.queue[at].mode));
        waiting.into_iter().flat_map(move |(at, mode)| {
            let another_is_between = self.queue.range(..at).any(|waiter| waiter.mode == Mode::Exclusive);
            let holders =
                self.holders.iter().filter(move |_| !another_is_between && self.mode.conflicts(mode));
            let before = up_to_exclusive(self.queue.range(..at).rev());
            let before = before.filter(move |waiter| waiter.mode.conflicts(mode));
            holders.map(|grant| grant.owner).chain(before.map(|waiter| waiter.owner))
        })
    }

    /// Who waits for an owner here with nobody between them.
    pub(super) fn next_blocked(&self, owner: OwnerId) -> impl Iterator<Item = OwnerId> {
        let claim = self.standing(owner).map(|standing| match standing {
            Standing::Holds(mode, _) => (0, mode),
            Standing::Waits(mode, at) => (at + 1, mode),
        });
        claim.into_iter().flat_map(|(from, mode)| {
            let behind = up_to_exclusive(self.queue.range(from..));
            behind.filter(move |waiter| waiter.mode.conflicts(mode)).map(|waiter| waiter.owner)
        })
    }

    fn place(&self, owner: OwnerId) -> Option<usize> {
        self.queue.iter().position(|waiter| waiter.owner == owner)
    }
}

/// All before the first exclusive claim, and that.
fn up_to_exclusive<'a>(claims: impl Iterator<Item = &'a Waiter>) -> impl Iterator<Item = &'a Waiter> {
    let mut ended = false;
    claims.take_while(move |claim| !std::mem::replace(&mut ended, claim.mode == Mode::Exclusive))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mode::{Exclusive, Shared};

    /// A lock that these owners, numbered from 1, claimed one after the other.
    fn claimed(modes: &[Mode]) -> Lock {
        let (mut lock, mut last) = (Lock::new(), Token(0));
        for (mode, owner) in modes.iter().zip(1..) {
            let claim = Waiter { owner: OwnerId(owner), mode: *mode };
            if lock.admits_newcomer(claim.mode) {
                lock.grant(claim, &mut last);
            } else {
                lock.queue.push_back(claim);
            }
        }
        lock
    }

    fn ids(owners: impl Iterator<Item = OwnerId>) -> Vec<u64> {
        owners.map(|owner| owner.0).collect()
    }

    #[test]
    fn only_shared_claims_hold_together() {
        for (first, second, together) in [
            (Shared, Shared, true),
            (Shared, Exclusive, false),
            (Exclusive, Shared, false),
            (Exclusive, Exclusive, false),
        ] {
            let lock = claimed(&[first, second]);
            assert_eq!(lock.holders().len() == 2, together, "{first:?}, {second:?}");
        }
    }

    #[test]
    fn a_claim_waits_for_every_conflicting_one_before_it() {
        let lock = claimed(&[Shared, Shared, Exclusive, Shared, Shared, Exclusive]);
        assert_eq!(ids(lock.blockers(OwnerId(1))), []);
        assert_eq!(ids(lock.blockers(OwnerId(3))), [1, 2]);
        assert_eq!(ids(lock.blockers(OwnerId(5))), [3]);
        assert_eq!(ids(lock.blockers(OwnerId(6))), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn of_those_before_and_behind_the_next_ones_lead_to_all_others() {
        let lock = claimed(&[Shared, Shared, Exclusive, Shared, Shared, Exclusive, Exclusive]);
        assert_eq!(ids(lock.next_blockers(OwnerId(3))), [1, 2]);
        assert_eq!(ids(lock.next_blockers(OwnerId(5))), [3]);
        assert_eq!(ids(lock.next_blockers(OwnerId(6))), [5, 4, 3]);
        assert_eq!(ids(lock.next_blockers(OwnerId(7))), [6]);
        assert_eq!(ids(lock.next_blocked(OwnerId(2))), [3]);
        assert_eq!(ids(lock.next_blocked(OwnerId(3))), [4, 5, 6]);
        assert_eq!(ids(lock.next_blocked(OwnerId(4))), [6]);
        assert_eq!(ids(lock.next_blocked(OwnerId(7))), []);
        assert_eq!(ids(lock.next_blocked(OwnerId(9))), []);
    }

    #[test]
    fn when_a_writer_gives_up_the_readers_behind_it_join_those_before_it() {
        let mut lock = claimed(&[Shared, Exclusive, Shared, Shared, Exclusive]);
        lock.forget(OwnerId(2));
        lock.promote(&mut Token(7));
        let holders: Vec<_> = lock.holders().iter().map(|grant| (grant.owner.0, grant.token.0)).collect();
        assert_eq!(holders, [(1, 1), (3, 8), (4, 9)]);
        assert_eq!(lock.standing(OwnerId(5)), Some(Standing::Waits(Exclusive, 0)));
    }
}
