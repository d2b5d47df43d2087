//! Gossip, its members and its objects. Copies that stay apart break L where summaries say so: then nobody claims to know the same.

use qlab_gossip::Gossip;

use super::{Mutant, mutant};

pub(crate) const MUTANTS: &[Mutant<Gossip>] = &[
    mutant("crdt: counters are merged by sum", &["C2"]),
    mutant("crdt: a removal takes concurrent additions along", &["C2"]),
    mutant("crdt: dots name no life", &["C2"]),
    mutant("crdt: a range does not join the one after it", &["C2", "L"]),
    mutant("gossip: a digest takes the lower version", &["panic", "L"]),
    mutant("gossip: what was deleted and forgotten comes back", &["C6", "L"]),
    mutant("gossip: whoever begins anew listens to those who forgot less", &["C6", "L"]).within(1_000),
    mutant("gossip: who knows the same is not compared", &["C6", "L"]),
    mutant("swim: anyone raises an incarnation", &["S1"]),
    mutant("swim: a suspect does not object", &["L"]),
];
