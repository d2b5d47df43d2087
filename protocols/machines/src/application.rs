//! Which machine a replica keeps, and all that a host does for it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use qlab_kernel::{Batch, Chain, Index, Time};

use crate::lock::Metronome;
use crate::parked::Parked;
use crate::{Answers, Kv, Locks, RestoreError, Service};

/// What is replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachineKind {
    /// The [key-value store](crate::kv).
    #[default]
    Kv,
    /// The [lock service](crate::lock).
    Locks,
}

/// No machine has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no machine {0:?}; there are kv and locks")]
pub struct UnknownMachine(String);

impl MachineKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Kv, Self::Locks];

    /// Its name on the command line, in plans and in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Locks => "locks",
        }
    }
}

impl FromStr for MachineKind {
    type Err = UnknownMachine;

    fn from_str(text: &str) -> Result<Self, UnknownMachine> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == text);
        known.ok_or_else(|| UnknownMachine(text.to_owned()))
    }
}

impl fmt::Display for MachineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A machine of either kind with its sessions, and what a replica keeps beside it.
#[derive(Clone, Debug)]
pub struct Application(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Kv(Service<Kv>),
    Locks(Box<LockKeeper>),
}

/// The lock service, those who wait for its locks, and the clock that its leases run by.
#[derive(Clone, Debug, Default)]
struct LockKeeper {
    service: Service<Locks>,
    parked: Parked,
    metronome: Metronome,
}

impl Application {
    /// A machine of this kind to which nothing has happened yet.
    #[must_use]
    pub fn new(kind: MachineKind) -> Self {
        Self(match kind {
            MachineKind::Kv => Kept::Kv(Service::default()),
            MachineKind::Locks => Kept::Locks(Box::default()),
        })
    }

    /// Executes an entry: [`Service::apply`].
    pub fn apply(&mut self, index: Index, batch: &Batch, answers: &mut impl Answers) {
        match &mut self.0 {
            Kept::Kv(service) => service.apply(index, batch, answers),
            Kept::Locks(keeper) => keeper.service.apply(index, batch, answers),
        }
    }

    /// Answers queries: [`Service::query`], or later if that is worth waiting for.
    pub fn query(&mut self, batch: &Batch, now: Time, answers: &mut impl Answers) {
        match &mut self.0 {
            Kept::Kv(service) => service.query(batch, answers),
            Kept::Locks(keeper) => keeper.parked.query(&keeper.service, batch, now, answers),
        }
    }

    /// After each burst, with a reading of the clock that was taken after everything above.
    pub fn conclude(&mut self, now: Time, answers: &mut impl Answers) {
        if let Kept::Locks(keeper) = &mut self.0 {
            keeper.metronome.hear(keeper.service.machine().ticks(), now);
            keeper.parked.answer(&keeper.service, now, answers);
        }
    }

    /// What this replica asks for on its own account if it leads.
    pub fn propose(&mut self, now: Time) -> Option<Batch> {
        match &mut self.0 {
            Kept::Locks(keeper) if keeper.service.machine().needs_time() => keeper.metronome.propose(now),
            _ => None,
        }
    }

    /// When a replica that leads is to be asked for that again.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match &self.0 {
            Kept::Locks(keeper) if keeper.service.machine().needs_time() => keeper.metronome.due(),
            _ => None,
        }
    }

    /// An image of the state: [`Service::capture`].
    #[must_use]
    pub fn capture(&self) -> Bytes {
        match &self.0 {
            Kept::Kv(service) => service.capture(),
            Kept::Locks(keeper) => keeper.service.capture(),
        }
    }

    /// Becomes what an image holds: [`Service::restore`].
    pub fn restore(&mut self, index: Index, image: Bytes) -> Result<(), RestoreError> {
        match &mut self.0 {
            Kept::Kv(service) => service.restore(index, image),
            Kept::Locks(keeper) => keeper.service.restore(index, image),
        }
    }

    /// The hash of everything applied, and how far that goes.
    #[must_use]
    pub const fn chain(&self) -> Chain {
        match &self.0 {
            Kept::Kv(service) => service.chain(),
            Kept::Locks(keeper) => keeper.service.chain(),
        }
    }

    /// The key-value store, if that is what it is.
    #[must_use]
    pub const fn kv(&self) -> Option<&Kv> {
        match &self.0 {
            Kept::Kv(service) => Some(service.machine()),
            Kept::Locks(_) => None,
        }
    }

    /// The lock service, if that is what it is.
    #[must_use]
    pub const fn locks(&self) -> Option<&Locks> {
        match &self.0 {
            Kept::Kv(_) => None,
            Kept::Locks(keeper) => Some(keeper.service.machine()),
        }
    }
}
