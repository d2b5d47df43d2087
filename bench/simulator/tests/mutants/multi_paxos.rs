//! Multi-Paxos.

use qlab_paxos::MultiPaxos;

use super::{LEADERS_CHANGE, Mutant, mutant};

pub(crate) const MUTANTS: &[Mutant<MultiPaxos>] = &[
    // Phase 1.
    mutant("multi-paxos: a promise is told before it is durable", &["P3"]),
    mutant("multi-paxos: ballots below the promise are accepted", &["P3", "panic"]),
    mutant("multi-paxos: ballots do not name their proposer", &["P4", "panic"]),
    mutant("multi-paxos: one promise too few is enough", &["P5"]).under(LEADERS_CHANGE),
    mutant("multi-paxos: what others accepted is not fetched", &["P5"]).under(LEADERS_CHANGE),
    // Phase 2.
    mutant("multi-paxos: an accept is told before it is durable", &["P3"]),
    mutant("multi-paxos: phase 2 proposes the leader's own value", &["P5"]).under(LEADERS_CHANGE),
    mutant("multi-paxos: gaps are filled by the leader alone", &["P6"]).under(LEADERS_CHANGE),
    mutant("multi-paxos: one accept too few is enough", &["P6"]),
    mutant("multi-paxos: a leader counts itself before its disk", &["P6"]),
    mutant("multi-paxos: slots of any ballot are taken as chosen", &["P6", "G5"]).under(LEADERS_CHANGE),
    // Reads.
    mutant("multi-paxos: reads are not confirmed", &["M8"]).under("partition,pause"),
    mutant("multi-paxos: reads come before what was inherited", &["M8"]),
    // Restarts and images.
    mutant("multi-paxos: a restart forgets its promise", &["P3", "P4"]),
    mutant("multi-paxos: a restart forgets what it accepted", &["P3", "P5"]),
    mutant("multi-paxos: the promise before an image is let go", &["P3", "P4"]),
    mutant("multi-paxos: accepts behind an image are let go", &["P3", "P5"]),
];
