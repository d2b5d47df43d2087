//! What must hold after every burst, as far as one replica can know. Assertions stay on: a replica that has gone wrong must stop.

use super::Paxos;

pub(crate) fn check(paxos: &Paxos) {
    assert_eq!(paxos.alarms.len(), paxos.attempts.len(), "each attempt has one alarm");
    assert!(paxos.waiting >= paxos.attempts.len(), "nobody waits for an attempt, or it is not counted");
    assert!(paxos.waiting > 0 || paxos.attempts.is_empty(), "attempts without anybody who waits");
    assert!(
        paxos.changes.is_empty() && paxos.own_new.is_empty(),
        "what was done is written in the same burst"
    );
    assert!(paxos.tidings.is_empty() == paxos.tell_at.is_none(), "decisions are told at a time that is set");
    let waits = paxos.own.front().is_none_or(|(lsn, _, _)| *lsn > paxos.durable);
    assert!(waits, "what is durable has been heard");
}
