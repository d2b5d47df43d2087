//! The lock service's image, and everything that must hold of one.
//!
//! ```text
//! image    := policy u8, ticks u64, now_ns u64, last_owner u64, last_token u64,
//!             owners u64, owner*, locks u64, lock*, registers u64, register*          each by number
//! owner    := id u64, ttl_ns u64, lease_end_ns option u64, aborted bool
//! lock     := id u64, mode u8, holders u32, (owner u64, token u64)*, waiters u32, (owner u64, mode u8)*
//! register := id u64, token u64, value_bytes u32, value
//! ```
//!
//! What an owner claims is not in it: the locks say.

use qlab_kernel::{Reader, Sink, Wire, WireError, mutant};

use super::holding::{Grant, Lock, Mode, Waiter};
use super::ids::{LockId, OwnerId, Token};
use super::lease::{TTL_NS_MAX, TTL_NS_MIN};
use super::owners::Owner;
use super::register::{REGISTER_BYTES_MAX, REGISTERS_MAX, Register};
use super::{CLAIMS_MAX, LOCKS_MAX, Locks, OWNERS_MAX, Policy, WAITERS_MAX};
use crate::machine::MACHINE_BYTES_MAX;

// A claim takes 16 bytes at most, a lock 17 besides, an owner 26, a register 20 and its value.
const _: () = assert!(
    64 + OWNERS_MAX * (26 + 16 * CLAIMS_MAX) + 17 * LOCKS_MAX + REGISTERS_MAX * (20 + REGISTER_BYTES_MAX)
        <= MACHINE_BYTES_MAX
);

pub(super) fn write(locks: &Locks, sink: &mut impl Sink) {
    locks.policy.code().encode(sink);
    for number in [locks.ticks, locks.now_ns, locks.last_owner.0, locks.last_token.0] {
        number.encode(sink);
    }
    (locks.owners.len() as u64).encode(sink);
    for (id, owner) in &locks.owners {
        id.encode(sink);
        owner.ttl_ns.encode(sink);
        owner.lease_end_ns.encode(sink);
        owner.aborted.encode(sink);
    }
    (locks.locks.len() as u64).encode(sink);
    for (id, lock) in &locks.locks {
        id.encode(sink);
        write_lock(lock, sink);
    }
    (locks.registers.registers.len() as u64).encode(sink);
    for (id, register) in &locks.registers.registers {
        id.encode(sink);
        register.token.encode(sink);
        count(register.value.len()).encode(sink);
        sink.put(&register.value);
    }
}

fn write_lock(lock: &Lock, sink: &mut impl Sink) {
    lock.mode.code().encode(sink);
    count(lock.holders.len()).encode(sink);
    for grant in &lock.holders {
        grant.owner.encode(sink);
        grant.token.encode(sink);
    }
    count(lock.queue.len()).encode(sink);
    for waiter in &lock.queue {
        waiter.owner.encode(sink);
        waiter.mode.code().encode(sink);
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("limits are far below 4 Gi")
}

pub(super) fn read(reader: &mut Reader) -> Result<Locks, WireError> {
    let mut locks = Locks {
        policy: Policy::of_code(reader.u8()?)?,
        ticks: reader.u64()?,
        now_ns: reader.u64()?,
        last_owner: OwnerId::decode(reader)?,
        last_token: Token::decode(reader)?,
        ..Locks::default()
    };
    read_owners(&mut locks, reader)?;
    for _ in 0..bounded(reader.u64()?, "locks", LOCKS_MAX)? {
        let id = LockId::decode(reader)?;
        in_order("order of locks", locks.locks.last_key_value(), id.0, |(last, _)| *last < id)?;
        let lock = read_lock(&mut locks, id, reader)?;
        locks.locks.insert(id, lock);
    }
    read_registers(&mut locks, reader)?;
    mutant!("locks: tokens begin again after a snapshot", {
        let held = locks.locks.values().flat_map(Lock::holders).map(|grant| grant.token);
        locks.last_token = held.max().unwrap_or_default();
    });
    Ok(locks)
}

fn read_owners(locks: &mut Locks, reader: &mut Reader) -> Result<(), WireError> {
    for _ in 0..bounded(reader.u64()?, "owners", OWNERS_MAX)? {
        let id = OwnerId::decode(reader)?;
        in_order("order of owners", locks.owners.last_key_value(), id.0, |(last, _)| *last < id)?;
        valid("owner", id.0, OwnerId(0) < id && id <= locks.last_owner)?;
        let ttl_ns = reader.u64()?;
        valid("time to live in nanoseconds", ttl_ns, (TTL_NS_MIN..=TTL_NS_MAX).contains(&ttl_ns))?;
        let (lease_end_ns, aborted) = (Option::decode(reader)?, reader.bool("aborted")?);
        locks.owners.insert(id, Owner { lease_end_ns, aborted, ..Owner::new(ttl_ns) });
    }
    Ok(())
}

fn read_lock(locks: &mut Locks, id: LockId, reader: &mut Reader) -> Result<Lock, WireError> {
    let mut lock = Lock { mode: Mode::of_code(reader.u8()?)?, ..Lock::new() };
    for _ in 0..bounded(reader.u32()?.into(), "holders", OWNERS_MAX)? {
        let grant = Grant { owner: OwnerId::decode(reader)?, token: Token::decode(reader)? };
        in_order("order of tokens", lock.holders.last(), grant.token.0, |last| last.token < grant.token)?;
        valid("token", grant.token.0, Token(0) < grant.token && grant.token <= locks.last_token)?;
        valid("holder", grant.owner.0, locks.restore_claim(grant.owner, id))?;
        lock.holders.push(grant);
    }
    let alone = lock.holders.len() == 1;
    valid(
        "holders",
        lock.holders.len() as u64,
        alone || lock.mode == Mode::Shared && !lock.holders.is_empty(),
    )?;
    for _ in 0..bounded(reader.u32()?.into(), "waiters", WAITERS_MAX)? {
        let waiter = Waiter { owner: OwnerId::decode(reader)?, mode: Mode::of_code(reader.u8()?)? };
        valid("waiter", waiter.owner.0, locks.restore_claim(waiter.owner, id))?;
        lock.queue.push_back(waiter);
    }
    let waits_for_nobody = lock.queue.front().is_some_and(|first| lock.admits(first.mode));
    valid("waiters", lock.queue.len() as u64, !waits_for_nobody)?;
    Ok(lock)
}

fn read_registers(locks: &mut Locks, reader: &mut Reader) -> Result<(), WireError> {
    for _ in 0..bounded(reader.u64()?, "registers", REGISTERS_MAX)? {
        let id = LockId::decode(reader)?;
        let registers = &mut locks.registers.registers;
        in_order("order of registers", registers.last_key_value(), id.0, |(last, _)| *last < id)?;
        let token = Token::decode(reader)?;
        valid("token", token.0, token <= locks.last_token)?;
        let value = reader.take_bytes("value", REGISTER_BYTES_MAX)?.to_vec();
        registers.insert(id, Register { token, value });
    }
    Ok(())
}

impl Locks {
    /// Notes a claim of an image with its owner; false if that cannot have it.
    fn restore_claim(&mut self, owner: OwnerId, lock: LockId) -> bool {
        let owner = self.owners.get_mut(&owner);
        owner.is_some_and(|owner| {
            !owner.aborted && owner.claims.len() < CLAIMS_MAX && owner.claims.insert(lock)
        })
    }
}

fn in_order<T>(
    what: &'static str,
    last: Option<T>,
    value: u64,
    precedes: impl FnOnce(T) -> bool,
) -> Result<(), WireError> {
    valid(what, value, last.is_none_or(precedes))
}

fn bounded(value: u64, what: &'static str, limit: usize) -> Result<u64, WireError> {
    valid(what, value, value <= limit as u64).map(|()| value)
}

fn valid(what: &'static str, value: u64, valid: bool) -> Result<(), WireError> {
    if valid { Ok(()) } else { Err(WireError::Invalid { what, value }) }
}
