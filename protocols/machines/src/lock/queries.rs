//! What is asked of the lock service without changing it.

use std::borrow::Cow;

use super::register::Register;
use super::{Command, FOUND, LockId, Locks, NOT_FOUND, NOT_HELD, OwnerId, Refused, Standing, outcome_of};
use crate::Value;

pub(super) fn answer<'a>(locks: &'a Locks, query: &[u8]) -> Value<'a> {
    match Command::parse(query) {
        Ok(Command::Wait { owner, lock }) => wait(locks, owner, lock),
        Ok(Command::Read { register }) => read(locks.register(register)),
        _ => Value::MALFORMED,
    }
}

/// Whether it is a *wait* of one whose claim is in a queue.
pub(super) fn is_pending(locks: &Locks, query: &[u8]) -> bool {
    let Ok(Command::Wait { owner, lock }) = Command::parse(query) else { return false };
    matches!(locks.standing(owner, lock), Ok(Some(Standing::Waits(..))))
}

fn wait(locks: &Locks, owner: OwnerId, id: LockId) -> Value<'_> {
    let outcome = match locks.standing(owner, id) {
        Ok(Some(standing)) => outcome_of(standing),
        Ok(None) => return Value::of(NOT_HELD),
        Err(Refused(status)) => return Value::of(status),
    };
    Value { status: outcome.status, bytes: Cow::Owned(outcome.number.to_le_bytes().to_vec()) }
}

fn read(register: Option<&Register>) -> Value<'_> {
    let Some(register) = register else { return Value::of(NOT_FOUND) };
    let bytes = [&register.token.0.to_le_bytes()[..], &register.value].concat();
    Value { status: FOUND, bytes: Cow::Owned(bytes) }
}
