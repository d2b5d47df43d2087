//! ABD.

use qlab_quorum::Abd;
use qlab_quorum::abd::Config;

use super::{Mutant, mutant};

pub(crate) const MUTANTS: &[Mutant<Abd>] = &[
    mutant("abd: a tag without its writer", &["A1"]),
    mutant("abd: a restart is the same life", &["A1"]).under("power-loss,disk-stall,kill").within(800),
    mutant("abd: sessions outlive their replica", &["A1", "G1"])
        .under("kill,delay,duplicate,loss")
        .with(Config::default)
        .within(6_000),
    mutant("abd: an older version takes a later one's place", &["A2"]),
    mutant("abd: a replica speaks before its disk", &["A2"]),
    mutant("abd: one replica too few stores it", &["A3"]),
    mutant("abd: reads do not write back", &["A4", "G1"]),
    mutant("abd: one holder too few and nothing is written back", &["A4", "G1"]),
    mutant("abd: a write goes above its own replica's tag alone", &["A5", "G1"]),
];
