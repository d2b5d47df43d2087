//! What must hold after every burst, as far as one replica can know. Assertions stay on: a replica that has gone wrong must stop.

use super::Dynamo;

pub(crate) fn check(dynamo: &Dynamo) {
    assert!(dynamo.waiting.len() <= dynamo.operations.len(), "each command that waits has an operation");
    assert!(dynamo.alarms.len() >= dynamo.operations.len(), "each operation is looked at some time");
    let waits = dynamo.own.front().is_none_or(|(lsn, _)| *lsn > dynamo.durable);
    assert!(waits, "what is durable has been heard");
}
