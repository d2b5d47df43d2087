//! The protected resource: registers that take a write only from the latest grant they know of.
//!
//! A register knows nothing of locks. It remembers the largest token that wrote it and refuses smaller ones: that alone makes
//! mutual exclusion hold where it matters, whatever clocks, pauses and networks do to those who believe they hold the lock.

use std::collections::BTreeMap;

use qlab_kernel::{Outcome, mutant};

use super::ids::{LockId, Token};
use super::{FENCED, FULL, Refused, TOO_LARGE, WRITTEN};

/// Registers that are kept.
pub const REGISTERS_MAX: usize = 1 << 16;
/// Bytes of a register's value.
pub const REGISTER_BYTES_MAX: usize = 1024;

/// One register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The largest token that wrote it; 0 if none did.
    pub token: Token,
    /// What was written last.
    pub value: Vec<u8>,
}

/// All registers that were ever written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) registers: BTreeMap<LockId, Register>,
}

impl Registers {
    pub(super) fn get(&self, id: LockId) -> Option<&Register> {
        self.registers.get(&id)
    }

    pub(super) fn write(&mut self, id: LockId, token: Token, value: &[u8]) -> Result<Outcome, Refused> {
        let register = self.room(id, value)?;
        let stale = mutant!(token < register.token, "locks: an old token is as good as a new one", false);
        if stale {
            return Ok(Outcome { status: FENCED, number: register.token.0 });
        }
        register.token = token;
        register.value = value.to_vec();
        Ok(Outcome { status: WRITTEN, number: token.0 })
    }

    pub(super) fn write_unfenced(&mut self, id: LockId, value: &[u8]) -> Result<Outcome, Refused> {
        let register = self.room(id, value)?;
        register.value = value.to_vec();
        Ok(Outcome { status: WRITTEN, number: register.token.0 })
    }

    fn room(&mut self, id: LockId, value: &[u8]) -> Result<&mut Register, Refused> {
        if value.len() > REGISTER_BYTES_MAX {
            return Err(Refused(TOO_LARGE));
        }
        if self.registers.len() >= REGISTERS_MAX && !self.registers.contains_key(&id) {
            return Err(Refused(FULL));
        }
        Ok(self.registers.entry(id).or_default())
    }
}
