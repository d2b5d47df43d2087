//! Who takes locks: an owner for each process, opened when it is first needed and renewed by whatever operation comes next.

use std::collections::HashMap;

use qlab_machines::lock::lease::{TTL_NS_MAX, TTL_NS_MIN, believed_ns};
use qlab_machines::lock::{Command, LockId, Mode, OwnerId, Token};

use super::lane::Op;
use super::nanoseconds;
use crate::history::Kind;
use crate::workload::LockLoad;

/// An owner is renewed when so much of its belief is over, as a divisor: an operation that waits long must not outlive it.
const RENEWAL_DIVISOR: u64 = 3;

/// Every owner of this generator, and who left which lock when.
#[derive(Debug)]
pub(crate) struct Tenants {
    load: LockLoad,
    ttl_ns: u64,
    /// By process.
    owners: Vec<Option<Tenant>>,
    grants: u64,
    left: HashMap<u32, Left>,
    command: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Tenant {
    owner: OwnerId,
    /// When its last renewal that was answered had first been sent.
    renewed_ns: u64,
}

/// How a lock was left by the last one who held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) at_ns: u64,
    /// Its holder died.
    pub(crate) dead: bool,
}

/// What a grant means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Until when its holder relies on it, at most.
    pub(crate) until_ns: u64,
    /// The holder dies now.
    pub(crate) dies: bool,
    /// How the lock was left before, if its holder waited for that.
    pub(crate) left: Option<Left>,
}

impl Tenants {
    pub(crate) fn new(load: LockLoad) -> Self {
        let ttl_ns = nanoseconds(load.lease).clamp(TTL_NS_MIN, TTL_NS_MAX);
        Self { load, ttl_ns, owners: Vec::new(), grants: 0, left: HashMap::new(), command: Vec::new() }
    }

    /// What an operation is to ask next: first that it has an owner whose lease is young.
    pub(crate) fn next_kind(&self, op: &Op, now_ns: u64) -> Kind {
        match self.tenant(op.process) {
            None => Kind::Open,
            Some(tenant) if self.is_old(tenant, now_ns) => Kind::Renew,
            Some(_) if op.queued => Kind::Await,
            Some(_) => Kind::Acquire,
        }
    }

    /// The present command of an operation.
    pub(crate) fn command(&mut self, op: &Op) -> &[u8] {
        let owner = self.tenant(op.process).map_or(OwnerId(0), |tenant| tenant.owner);
        let lock = LockId(op.key.into());
        let command = match op.kind {
            Kind::Open => Command::Open { ttl_ns: self.ttl_ns },
            Kind::Renew => Command::Renew { owner },
            Kind::Await => Command::Wait { owner, lock },
            Kind::Release => Command::Release { owner, lock, token: Token(op.value) },
            Kind::Acquire | Kind::Get | Kind::Put | Kind::CompareAndSet => {
                Command::Acquire { owner, lock, mode: Mode::Exclusive }
            }
        };
        self.command.clear();
        command.encode(&mut self.command);
        &self.command
    }

    /// The operation's owner is open.
    pub(crate) fn open(&mut self, op: &Op, owner: OwnerId) {
        let process = op.process as usize;
        if self.owners.len() <= process {
            self.owners.resize(process + 1, None);
        }
        self.owners[process] = Some(Tenant { owner, renewed_ns: op.sent_ns });
    }

    /// The operation's owner is renewed.
    pub(crate) fn renew(&mut self, op: &Op) {
        if let Some(tenant) = self.owners.get_mut(op.process as usize).and_then(Option::as_mut) {
            tenant.renewed_ns = op.sent_ns;
        }
    }

    /// The operation's owner is no more.
    pub(crate) fn forget(&mut self, op: &Op) {
        self.owners.get_mut(op.process as usize).into_iter().for_each(|tenant| *tenant = None);
    }

    /// The operation holds its lock, and leaves it at once: alive, or not.
    pub(crate) fn grant(&mut self, op: &Op, now_ns: u64) -> Granted {
        self.grants += 1;
        let dies = self.load.deaths_every.is_some_and(|every| self.grants.is_multiple_of(every.get()));
        let renewed_ns = self.tenant(op.process).map_or(0, |tenant| tenant.renewed_ns);
        let believed_until_ns = renewed_ns + believed_ns(self.ttl_ns);
        let left = self.left.insert(op.key, Left { at_ns: now_ns, dead: dies });
        Granted {
            // The dead rely on what they hold as long as the living would.
            until_ns: if dies { believed_until_ns } else { believed_until_ns.min(now_ns) },
            dies,
            left: left.filter(|_| op.queued),
        }
    }

    fn tenant(&self, process: u32) -> Option<Tenant> {
        self.owners.get(process as usize).copied().flatten()
    }

    fn is_old(&self, tenant: Tenant, now_ns: u64) -> bool {
        now_ns.saturating_sub(tenant.renewed_ns) > believed_ns(self.ttl_ns) / RENEWAL_DIVISOR
    }
}
