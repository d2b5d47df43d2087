//! What unruly clients and clocks do to a lock service: few owners, few locks, everything in any order.

use proptest::prelude::*;
use qlab_machines::lock::{Command, LockId, Mode, OwnerId, Policy, Token};

use crate::model::Model;

const OWNERS: u64 = 6;
const LOCKS: u64 = 3;
const TTL_NS: u64 = 1_000_000;

/// A token that a client shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    /// That of the owner's grant of that lock, if there is one.
    Own,
    /// That of whoever holds it.
    Holder,
    /// Any number.
    Number(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open(u64),
    Renew(OwnerId),
    Restart(OwnerId),
    Close(OwnerId),
    Acquire(OwnerId, LockId, Mode),
    Try(OwnerId, LockId, Mode),
    Release(OwnerId, LockId, Shown),
    Withdraw(OwnerId, LockId),
    /// How many ticks ago the last one was that its proposer knew of, and what it measured.
    Tick(u64, u64),
    Write(OwnerId, LockId, Shown, u8),
    WriteUnfenced(LockId, u8),
    /// The replica is replaced by one that its image was given to.
    Snapshot,
    Policy(Policy),
}

impl Step {
    /// The command it amounts to, if it is one.
    pub(crate) fn command<'a>(
        &self,
        model: &Model,
        ticks: u64,
        value: &'a mut [u8; 1],
    ) -> Option<Command<'a>> {
        let token = |owner: OwnerId, lock: LockId, shown: Shown| {
            let mut held = model.claims.iter().filter(|claim| claim.lock == lock.0 && claim.token > 0);
            let found = match shown {
                Shown::Own => held.find(|claim| claim.owner == owner.0),
                Shown::Holder => held.next(),
                Shown::Number(number) => return Token(number),
            };
            Token(found.map_or(0, |claim| claim.token))
        };
        Some(match *self {
            Self::Open(ttl_ns) => Command::Open { ttl_ns },
            Self::Renew(owner) => Command::Renew { owner },
            Self::Restart(owner) => Command::Restart { owner },
            Self::Close(owner) => Command::Close { owner },
            Self::Acquire(owner, lock, mode) => Command::Acquire { owner, lock, mode },
            Self::Try(owner, lock, mode) => Command::Try { owner, lock, mode },
            Self::Release(owner, lock, shown) => {
                Command::Release { owner, lock, token: token(owner, lock, shown) }
            }
            Self::Withdraw(owner, lock) => Command::Withdraw { owner, lock },
            Self::Tick(ago, elapsed_ns) => Command::Tick { after: ticks.saturating_sub(ago), elapsed_ns },
            Self::Write(owner, register, shown, byte) => {
                *value = [byte];
                Command::Write { register, token: token(owner, register, shown), value }
            }
            Self::WriteUnfenced(register, byte) => {
                *value = [byte];
                Command::WriteUnfenced { register, value }
            }
            Self::Policy(policy) => Command::Policy(policy),
            Self::Snapshot => return None,
        })
    }
}

/// A life of a lock service, under one policy.
pub(crate) fn life() -> impl Strategy<Value = Vec<Step>> {
    (policy(), prop::collection::vec(step(), 1..120)).prop_map(|(policy, mut steps)| {
        let opened = (0..4).map(|_| Step::Open(20 * TTL_NS));
        steps.splice(0..0, std::iter::once(Step::Policy(policy)).chain(opened));
        steps
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..30_u64).prop_map(|ttl| Step::Open(ttl * TTL_NS)),
        2 => owner().prop_map(Step::Renew),
        2 => owner().prop_map(Step::Restart),
        1 => owner().prop_map(Step::Close),
        16 => (owner(), lock(), mode()).prop_map(|(owner, lock, mode)| Step::Acquire(owner, lock, mode)),
        3 => (owner(), lock(), mode()).prop_map(|(owner, lock, mode)| Step::Try(owner, lock, mode)),
        6 => (owner(), lock(), shown()).prop_map(|(owner, lock, shown)| Step::Release(owner, lock, shown)),
        2 => (owner(), lock()).prop_map(|(owner, lock)| Step::Withdraw(owner, lock)),
        4 => (0..10_u64, 0..4 * TTL_NS).prop_map(|(ago, elapsed)| Step::Tick(ago / 8, elapsed)),
        3 => (owner(), lock(), shown(), 0..3_u8).prop_map(|(owner, lock, shown, byte)| {
            Step::Write(owner, lock, shown, byte)
        }),
        1 => (lock(), 0..3_u8).prop_map(|(lock, byte)| Step::WriteUnfenced(lock, byte)),
        1 => Just(Step::Snapshot),
        1 => policy().prop_map(Step::Policy),
    ]
}

fn owner() -> impl Strategy<Value = OwnerId> {
    (1..=OWNERS).prop_map(OwnerId)
}

pub(crate) fn lock() -> impl Strategy<Value = LockId> {
    (1..=LOCKS).prop_map(LockId)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)]
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Detect), Just(Policy::WaitDie), Just(Policy::WoundWait)]
}

fn shown() -> impl Strategy<Value = Shown> {
    prop_oneof![
        4 => Just(Shown::Own),
        1 => Just(Shown::Holder),
        1 => (0..20_u64).prop_map(Shown::Number),
    ]
}

/// Every owner and lock that steps speak of, and one of each that they do not.
pub(crate) fn everyone() -> impl Iterator<Item = (OwnerId, LockId)> {
    (1..=OWNERS + 1).flat_map(|owner| (1..=LOCKS + 1).map(move |lock| (OwnerId(owner), LockId(lock))))
}
