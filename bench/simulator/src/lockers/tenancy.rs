//! What one owner of locks believes, holds and waits for, and what it may want next.

use std::collections::BTreeMap;

use qlab_kernel::{Outcome, Sequence, Time};
use qlab_machines::lock::{self, Command, Holder, LockId, Mode, OwnerId, Policy, Token};
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::network::percent;

/// Locks that one owner holds or waits for at most: two close circles.
const CLAIMS_MAX: usize = 2;
/// Nanoseconds that an owner lives without a renewal: long enough to be renewed in most weathers, and short of a silence.
const TTL_NS: u64 = 400_000_000;

/// An owner and what it claims.
#[derive(Debug)]
pub(crate) struct Tenancy {
    /// 0 until it is open.
    pub(super) owner: OwnerId,
    holder: Holder,
    /// It was told that it is a victim.
    pub(super) aborted: bool,
    held: BTreeMap<LockId, Held>,
    /// What it waits for.
    waits: Option<(LockId, Mode)>,
}

/// A lock that it was told it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) token: Token,
    pub(crate) mode: Mode,
}

/// What it wants to know or to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Policy(Policy),
    Open,
    Renew,
    Restart,
    Close,
    Acquire(LockId, Mode),
    Try(LockId, Mode),
    Await(LockId, Mode),
    Withdraw(LockId),
    Release(LockId, Token),
    /// Gives back what somebody else holds.
    Steal(LockId, Token),
    Write(LockId, Token),
}

/// What an answer was, for the laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Nothing,
    /// A lock is held.
    Granted(LockId, Held),
    /// A write was taken.
    Written(LockId, Token),
    /// A write was refused as that of a stale holder.
    Fenced,
    /// It is a victim, and claims nothing any more.
    Aborted,
    /// Its owner is no more.
    Gone,
    /// Another's lock was given back, and the service did it.
    Stolen(LockId, Token),
}

impl Tenancy {
    /// One that is about to be opened.
    pub(super) fn new() -> Self {
        Self {
            owner: OwnerId(0),
            holder: Holder::new(TTL_NS),
            aborted: false,
            held: BTreeMap::new(),
            waits: None,
        }
    }

    /// What it believes to hold of a lock, by its own clock.
    pub(super) fn believes(&self, local: Time, id: LockId) -> Option<Held> {
        let held = self.held.get(&id).copied().filter(|_| !self.aborted)?;
        self.holder.may_believe(local).then_some(held)
    }

    /// A token that is another's, of some that were seen.
    pub(super) fn anothers(&self, seen: &[(LockId, Token)], chance: &mut Pcg32) -> Option<(LockId, Token)> {
        let (lock, token) = some(seen, chance)?;
        let is_own = self.held.get(lock).is_some_and(|held| held.token == *token);
        (!is_own).then_some((*lock, *token))
    }

    /// A renewal, or the opening, is about to be asked for.
    pub(super) fn ask_to_live(&mut self, number: Sequence, local: Time) {
        self.holder.ask(number, local);
    }

    /// What comes next for one that lives on.
    pub(super) fn question(&self, locks: u64, chance: &mut Pcg32) -> Question {
        let mode = if percent(chance, 70) { Mode::Exclusive } else { Mode::Shared };
        if let Some((lock, mode)) = self.waits {
            return if percent(chance, 10) { Question::Withdraw(lock) } else { Question::Await(lock, mode) };
        }
        let held: Vec<(LockId, Held)> = self.held.iter().map(|(id, held)| (*id, *held)).collect();
        match (some(&held, chance), chance.random_range(0..6)) {
            (Some((lock, held)), 0 | 1) => Question::Release(*lock, held.token),
            (Some((lock, held)), 2) => Question::Write(*lock, held.token),
            _ if self.held.len() >= CLAIMS_MAX => Question::Renew,
            (_, 3) => Question::Try(LockId(chance.random_range(0..locks)), mode),
            _ => Question::Acquire(LockId(chance.random_range(0..locks)), mode),
        }
    }

    /// Whoever is about to give something up relies on it no more.
    pub(super) fn leave(&mut self, question: Question) {
        match question {
            Question::Release(lock, _) => _ = self.held.remove(&lock),
            Question::Close | Question::Restart => self.held.clear(),
            _ => {}
        }
    }

    pub(super) fn hear(
        &mut self,
        number: Sequence,
        question: Question,
        outcome: Outcome,
        local: Time,
    ) -> News {
        match (question, outcome.status) {
            (Question::Open, lock::OPENED) => {
                self.owner = OwnerId(outcome.number);
                self.holder.hear(number, outcome, local);
            }
            (Question::Renew, _) => _ = self.holder.hear(number, outcome, local),
            (Question::Restart, lock::RESTARTED) => {
                (self.aborted, self.waits) = (false, None);
            }
            (
                Question::Acquire(lock, mode) | Question::Try(lock, mode) | Question::Await(lock, mode),
                lock::GRANTED,
            ) => {
                self.waits = None;
                let token = Token(outcome.number);
                // What is held exclusively is not held less for having been asked for to be shared.
                let known = self.held.get(&lock).filter(|held| held.token == token).copied();
                let held = known.unwrap_or(Held { token, mode });
                self.held.insert(lock, held);
                return News::Granted(lock, held);
            }
            (Question::Acquire(lock, mode), lock::QUEUED) => self.waits = Some((lock, mode)),
            (Question::Withdraw(_) | Question::Await(..), lock::WITHDRAWN | lock::NOT_HELD) => {
                self.waits = None
            }
            (_, lock::ABORTED) => {
                self.aborted = true;
                self.waits = None;
                self.held.clear();
                return News::Aborted;
            }
            (_, lock::NO_OWNER) => return News::Gone,
            (Question::Write(lock, token), lock::WRITTEN) => return News::Written(lock, token),
            (Question::Write(..), lock::FENCED) => return News::Fenced,
            (Question::Steal(lock, token), lock::RELEASED) => return News::Stolen(lock, token),
            _ => {}
        }
        News::Nothing
    }
}

impl Question {
    pub(super) fn command<'a>(self, owner: OwnerId, value: &'a [u8]) -> Command<'a> {
        match self {
            Self::Policy(policy) => Command::Policy(policy),
            Self::Open => Command::Open { ttl_ns: TTL_NS },
            Self::Renew => Command::Renew { owner },
            Self::Restart => Command::Restart { owner },
            Self::Close => Command::Close { owner },
            Self::Acquire(lock, mode) => Command::Acquire { owner, lock, mode },
            Self::Try(lock, mode) => Command::Try { owner, lock, mode },
            Self::Await(lock, _) => Command::Wait { owner, lock },
            Self::Withdraw(lock) => Command::Withdraw { owner, lock },
            Self::Release(lock, token) | Self::Steal(lock, token) => Command::Release { owner, lock, token },
            Self::Write(register, token) => Command::Write { register, token, value },
        }
    }
}

fn some<'a, T>(of: &'a [T], chance: &mut Pcg32) -> Option<&'a T> {
    if of.is_empty() { None } else { of.get(chance.random_range(0..of.len())) }
}
