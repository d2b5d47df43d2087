//! The lock service: leases, fencing tokens, queues, shared and exclusive claims, and no deadlock that lasts.
//!
//! | command | outcome | number |
//! |---|---|---|
//! | policy | [`SET`], or [`IN_USE`] while there are owners | 0 |
//! | open | [`OPENED`] | the owner |
//! | renew | [`RENEWED`] | 0 |
//! | restart | [`RESTARTED`] | 0 |
//! | close | [`CLOSED`] | 0 |
//! | acquire, again as often as one likes | [`GRANTED`] | the token |
//! | | [`QUEUED`] | claims before it in the queue |
//! | try | [`GRANTED`] or [`TAKEN`] | the token, or 0 |
//! | release | [`RELEASED`], or [`NOT_HELD`] if the token is no grant of this owner to this lock | 0 |
//! | withdraw | [`WITHDRAWN`], [`GRANTED`] if it comes too late, or [`NOT_HELD`] | 0, or the token |
//! | tick | [`TICKED`], or [`LATE`] if another one was faster | ticks so far |
//! | write | [`WRITTEN`], or [`FENCED`] if the register knows a later token | the register's token |
//! | | [`FORGED`] if there was never such a token | 0 |
//! | write unfenced | [`WRITTEN`] | the register's token |
//! | one of an owner that is not open (any more) | [`NO_OWNER`] | 0 |
//! | acquire, try, release, withdraw of a victim | [`ABORTED`] | 0 |
//! | acquire, try of what is claimed shared, now exclusive | [`OTHER_MODE`] | 0 |
//! | one that would outgrow a limit | [`FULL`] or [`TOO_LARGE`] | 0 |
//! | a query, as a write; a client's tick; anything that cannot be read | [`Outcome::MALFORMED`] | 0 |
//!
//! Queries: *wait* answers [`GRANTED`] and the token, or [`QUEUED`] and the number of claims before it (8 bytes each), or
//! [`NOT_HELD`], [`ABORTED`], [`NO_OWNER`]; *read* answers [`FOUND`], the register's token (8 bytes) and its value, or
//! [`NOT_FOUND`].
//!
//! An acquisition is answered at once, [`GRANTED`] or [`QUEUED`]: the session table keeps one answer for each request, which is
//! what makes a retry safe, and an answer that came later would need a second lane beside it. Whoever is queued asks with *wait*.
//! Hosts [park](crate::parked) such a query while its answer is [`QUEUED`] and answer it from the state after whichever entry
//! changes that: locks are handed over without any interval of polling. They may do so wherever they were sure of themselves once:
//! a state that holds more of the log is no older than the moment of asking.
//!
//! Leases and the time they are measured in: [`lease`]. The order in which claims are granted: [`holding`]. Victims:
//! [`deadlock`]. Locks that nobody holds or waits for take no memory: one counter gives the tokens of all, so none returns.
//! Commands name owners, and whoever speaks for one is believed: the service keeps apart clients that fail, not those that lie.

pub mod command;
pub mod deadlock;
pub mod holding;
pub mod ids;
mod image;
pub mod lease;
mod owners;
mod queries;
pub mod register;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use qlab_kernel::{Outcome, Reader, Sink, WireError, mutant};

pub use self::command::Command;
pub use self::deadlock::Policy;
pub use self::holding::{Grant, Lock, Mode, Standing, Waiter};
pub use self::ids::{LockId, OwnerId, Token};
pub use self::lease::{Holder, Metronome};
pub use self::register::Register;
pub use self::status::*;

use self::lease::TICK_NS_MAX;
use self::owners::Owner;
use self::register::Registers;
use crate::{Machine, Value};

/// Owners that are open.
pub const OWNERS_MAX: usize = 4096;
/// Locks that are held.
pub const LOCKS_MAX: usize = 1 << 16;
/// Claims of one owner, held or waiting.
pub const CLAIMS_MAX: usize = 256;
/// Claims that wait for one lock.
pub const WAITERS_MAX: usize = 1024;

/// Everything the lock service knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locks {
    policy: Policy,
    /// Ticks so far: the name of the last one.
    ticks: u64,
    /// Machine time: what they counted.
    now_ns: u64,
    last_owner: OwnerId,
    last_token: Token,
    // Ordered, so that whatever is done for many is done alike on every replica.
    owners: BTreeMap<OwnerId, Owner>,
    locks: BTreeMap<LockId, Lock>,
    registers: Registers,
}

impl Machine for Locks {
    fn apply(&mut self, command: &[u8]) -> Outcome {
        let Ok(command) = Command::parse(command) else { return Outcome::of(Outcome::MALFORMED) };
        self.execute(command).unwrap_or_else(|Refused(status)| Outcome::of(status))
    }

    fn is_internal(command: &[u8]) -> bool {
        matches!(Command::parse(command), Ok(Command::Tick { .. }))
    }

    fn is_pending(&self, query: &[u8]) -> bool {
        queries::is_pending(self, query)
    }

    fn query(&self, command: &[u8]) -> Value<'_> {
        queries::answer(self, command)
    }

    fn snapshot(&self, sink: &mut impl Sink) {
        image::write(self, sink);
    }

    fn restore(reader: &mut Reader) -> Result<Self, WireError> {
        image::read(reader)
    }
}

/// A command that changed nothing, and the status that says why.
struct Refused(u8);

impl Locks {
    /// Ticks so far: what a [`Metronome`] wants to hear.
    #[must_use]
    pub const fn ticks(&self) -> u64 {
        self.ticks
    }

    /// What is done about deadlocks.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether anybody's lease depends on time: there need be no ticks as long as nobody's does.
    #[must_use]
    pub fn needs_time(&self) -> bool {
        !self.owners.is_empty()
    }

    /// A lock, if anyone holds it.
    #[must_use]
    pub fn lock(&self, id: LockId) -> Option<&Lock> {
        self.locks.get(&id)
    }

    /// Every lock that anyone holds.
    pub fn locks(&self) -> impl Iterator<Item = (LockId, &Lock)> {
        self.locks.iter().map(|(id, lock)| (*id, lock))
    }

    /// Every owner that is open, and whether it is a victim that has not begun anew.
    pub fn owners(&self) -> impl Iterator<Item = (OwnerId, bool)> {
        self.owners.iter().map(|(id, owner)| (*id, owner.aborted))
    }

    /// A register, if it was ever written.
    #[must_use]
    pub fn register(&self, id: LockId) -> Option<&Register> {
        self.registers.get(id)
    }

    fn execute(&mut self, command: Command<'_>) -> Result<Outcome, Refused> {
        match command {
            Command::Policy(policy) => self.set_policy(policy),
            Command::Open { ttl_ns } => self.open(ttl_ns),
            Command::Renew { owner } => self.renew(owner),
            Command::Restart { owner } => self.restart(owner),
            Command::Close { owner } => self.close(owner),
            Command::Acquire { owner, lock, mode } => self.acquire(lock, Waiter { owner, mode }),
            Command::Try { owner, lock, mode } => self.try_acquire(lock, Waiter { owner, mode }),
            Command::Release { owner, lock, token } => self.release(owner, lock, token),
            Command::Withdraw { owner, lock } => self.withdraw(owner, lock),
            Command::Tick { after, elapsed_ns } => self.tick(after, elapsed_ns),
            Command::Write { register, token, value } => self.write(register, token, value),
            Command::WriteUnfenced { register, value } => self.registers.write_unfenced(register, value),
            Command::Wait { .. } | Command::Read { .. } => Err(Refused(Outcome::MALFORMED)),
        }
    }

    fn set_policy(&mut self, policy: Policy) -> Result<Outcome, Refused> {
        // Claims that wait by one policy's order may close a cycle with those that wait by another's.
        if !self.owners.is_empty() {
            return Err(Refused(IN_USE));
        }
        self.policy = policy;
        Ok(Outcome::of(SET))
    }

    fn open(&mut self, ttl_ns: u64) -> Result<Outcome, Refused> {
        if self.owners.len() >= OWNERS_MAX {
            return Err(Refused(FULL));
        }
        self.last_owner.0 += 1;
        self.owners.insert(self.last_owner, Owner::new(ttl_ns));
        Ok(Outcome { status: OPENED, number: self.last_owner.0 })
    }

    fn renew(&mut self, owner: OwnerId) -> Result<Outcome, Refused> {
        self.owner(owner)?.lease_end_ns = None;
        mutant!("locks: a lease runs from the tick before its renewal", {
            let now_ns = self.now_ns;
            let renewed = self.owner(owner)?;
            renewed.lease_end_ns = Some(now_ns + lease::kept_ns(renewed.ttl_ns));
        });
        Ok(Outcome::of(RENEWED))
    }

    fn restart(&mut self, owner: OwnerId) -> Result<Outcome, Refused> {
        self.owner(owner)?.aborted = false;
        self.free(&[owner]);
        Ok(Outcome::of(RESTARTED))
    }

    fn close(&mut self, owner: OwnerId) -> Result<Outcome, Refused> {
        self.owner(owner)?;
        self.bury(&[owner]);
        Ok(Outcome::of(CLOSED))
    }

    fn acquire(&mut self, id: LockId, claim: Waiter) -> Result<Outcome, Refused> {
        if let Some(outcome) = self.grant_at_once(id, claim)? {
            return Ok(outcome);
        }
        let lock = self.locks.get_mut(&id).expect("what is not granted at once is held by others");
        if lock.queue.len() >= WAITERS_MAX {
            return Err(Refused(FULL));
        }
        lock.queue.push_back(claim);
        self.owner(claim.owner)?.claims.insert(id);
        self.avoid_deadlock(claim.owner, id);
        let standing = self.standing(claim.owner, id)?;
        Ok(outcome_of(standing.expect("whoever was no victim has its claim")))
    }

    fn try_acquire(&mut self, id: LockId, claim: Waiter) -> Result<Outcome, Refused> {
        self.grant_at_once(id, claim)?.ok_or(Refused(TAKEN))
    }

    /// What the owner has to do with the lock already, or a grant if it need not wait; `None` if it must.
    fn grant_at_once(&mut self, id: LockId, claim: Waiter) -> Result<Option<Outcome>, Refused> {
        if let Some(standing) = self.standing(claim.owner, id)? {
            let (Standing::Holds(mode, _) | Standing::Waits(mode, _)) = standing;
            return if mode.covers(claim.mode) {
                Ok(Some(outcome_of(standing)))
            } else {
                Err(Refused(OTHER_MODE))
            };
        }
        let locks_full = self.locks.len() >= LOCKS_MAX && !self.locks.contains_key(&id);
        if locks_full || self.owner(claim.owner)?.claims.len() >= CLAIMS_MAX {
            return Err(Refused(FULL));
        }
        let lock = self.locks.entry(id).or_insert_with(Lock::new);
        if !lock.admits_newcomer(claim.mode) {
            return Ok(None);
        }
        let token = lock.grant(claim, &mut self.last_token);
        self.owner(claim.owner)?.claims.insert(id);
        Ok(Some(Outcome { status: GRANTED, number: token.0 }))
    }

    fn release(&mut self, owner: OwnerId, id: LockId, token: Token) -> Result<Outcome, Refused> {
        let standing = self.standing(owner, id)?;
        mutant!("locks: anyone may release", {
            if let Some(grant) = self.locks.get(&id).and_then(|lock| lock.holders.first()) {
                self.leave(grant.owner, id);
                return Ok(Outcome::of(RELEASED));
            }
        });
        match standing {
            Some(Standing::Holds(_, held)) if held == token => {
                self.leave(owner, id);
                Ok(Outcome::of(RELEASED))
            }
            _ => Err(Refused(NOT_HELD)),
        }
    }

    fn withdraw(&mut self, owner: OwnerId, id: LockId) -> Result<Outcome, Refused> {
        let standing = self.standing(owner, id)?.ok_or(Refused(NOT_HELD))?;
        if let Standing::Holds(..) = standing {
            return Ok(outcome_of(standing));
        }
        self.leave(owner, id);
        Ok(Outcome::of(WITHDRAWN))
    }

    fn tick(&mut self, after: u64, elapsed_ns: u64) -> Result<Outcome, Refused> {
        mutant!("locks: two ticks count the same time", after = self.ticks);
        if after != self.ticks {
            return Ok(Outcome { status: LATE, number: self.ticks });
        }
        self.ticks += 1;
        self.now_ns = self.now_ns.saturating_add(elapsed_ns.min(TICK_NS_MAX));
        let now_ns = self.now_ns;
        let ended = self.owners.iter_mut().filter_map(|(id, owner)| owner.ends_by(now_ns).then_some(*id));
        let ended: Vec<OwnerId> = ended.collect();
        self.bury(&ended);
        Ok(Outcome { status: TICKED, number: self.ticks })
    }

    fn write(&mut self, register: LockId, token: Token, value: &[u8]) -> Result<Outcome, Refused> {
        // A token from the future would shut out everyone who comes by it honestly.
        if token == Token(0) || token > self.last_token {
            return Err(Refused(FORGED));
        }
        self.registers.write(register, token, value)
    }

    fn owner(&mut self, id: OwnerId) -> Result<&mut Owner, Refused> {
        self.owners.get_mut(&id).ok_or(Refused(NO_OWNER))
    }

    /// What an owner that may act has to do with a lock.
    fn standing(&self, owner: OwnerId, lock: LockId) -> Result<Option<Standing>, Refused> {
        let known = self.owners.get(&owner).ok_or(Refused(NO_OWNER))?;
        if known.aborted {
            return Err(Refused(ABORTED));
        }
        if !known.claims.contains(&lock) {
            return Ok(None);
        }
        Ok(self.locks.get(&lock).and_then(|lock| lock.standing(owner)))
    }

    /// Makes victims of owners, each at most once until it restarts.
    fn abort(&mut self, victims: &[OwnerId]) {
        for victim in victims {
            self.owners.get_mut(victim).expect("whoever is waited for is open").aborted = true;
        }
        mutant!("locks: a victim keeps its locks", {
            for victim in victims {
                let waits = |lock: &Lock| matches!(lock.standing(*victim), Some(Standing::Waits(..)));
                let waiting: Vec<LockId> =
                    self.locks.iter().filter(|(_, lock)| waits(lock)).map(|(id, _)| *id).collect();
                waiting.into_iter().for_each(|id| self.leave(*victim, id));
            }
            return;
        });
        self.free(victims);
    }

    /// Ends owners.
    fn bury(&mut self, ended: &[OwnerId]) {
        mutant!("locks: the dead keep what they claimed", {
            self.owners.retain(|id, _| !ended.contains(id));
            return;
        });
        self.free(ended);
        for owner in ended {
            self.owners.remove(owner);
        }
    }

    /// Drops every claim of these owners, and then grants what that makes free: not to one of them on its way out.
    fn free(&mut self, owners: &[OwnerId]) {
        let mut touched = BTreeSet::new();
        for id in owners {
            let owner = self.owners.get_mut(id).expect("only open owners are freed");
            for lock in std::mem::take(&mut owner.claims) {
                self.locks.get_mut(&lock).expect("what is claimed is there").forget(*id);
                touched.insert(lock);
            }
        }
        for lock in touched {
            self.settle(lock);
        }
    }

    /// Drops one claim.
    fn leave(&mut self, owner: OwnerId, lock: LockId) {
        self.locks.get_mut(&lock).expect("what is claimed is there").forget(owner);
        self.owners.get_mut(&owner).expect("whoever claims is open").claims.remove(&lock);
        self.settle(lock);
    }

    /// Grants what has become free, and forgets a lock that nobody wants.
    fn settle(&mut self, id: LockId) {
        let lock = self.locks.get_mut(&id).expect("what was claimed until now is there");
        lock.promote(&mut self.last_token);
        if lock.is_idle() {
            self.locks.remove(&id);
        }
    }
}

fn outcome_of(standing: Standing) -> Outcome {
    match standing {
        Standing::Holds(_, token) => Outcome { status: GRANTED, number: token.0 },
        Standing::Waits(_, before) => Outcome { status: QUEUED, number: before as u64 },
    }
}
