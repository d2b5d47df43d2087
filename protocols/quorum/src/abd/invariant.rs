//! What must hold after every burst, as far as one replica can know. Assertions stay on: a replica that has gone wrong must stop.

use super::Abd;

pub(crate) fn check(abd: &Abd) {
    assert_eq!(abd.waiting.len(), abd.operations.len(), "each command that waits has one operation");
    assert!(abd.alarms.len() >= abd.operations.len(), "each operation is looked at some time");
    let waits = abd.own.front().is_none_or(|(lsn, _)| *lsn > abd.durable);
    assert!(waits, "what is durable has been heard");
    let reachable = abd
        .operations
        .first_key_value()
        .is_none_or(|(_, operation)| operation.phase.heard().len() < abd.quorums.read.max(abd.quorums.write));
    assert!(reachable, "an operation that a quorum has answered goes on");
}
