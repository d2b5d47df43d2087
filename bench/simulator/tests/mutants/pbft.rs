//! PBFT.

use qlab_pbft::Pbft;

use super::{LEADERS_CHANGE, Mutant, mutant};

/// Faults that make replicas forget what is not durable.
const RESTARTS: &str = "kill,power-loss,blackout,partition";

pub(crate) const MUTANTS: &[Mutant<Pbft>] = &[
    // The three phases.
    mutant("pbft: a duplicate sender is counted", &["B4", "B1"]),
    mutant("pbft: a bad signature in a batch passes", &["B3", "B5", "B7"]),
    mutant("pbft: prepares are not verified", &["B3"]),
    mutant("pbft: commit is sent before the certificate is durable", &["B4", "B11"]),
    mutant("pbft: 2f commits suffice", &["B4", "B1"]),
    // Views.
    mutant("pbft: a pre-prepare is accepted while the view changes", &["B8", "panic"]).under(LEADERS_CHANGE),
    mutant("pbft: a view-change omits what is prepared", &["B6", "B1"]).under(LEADERS_CHANGE),
    mutant("pbft: gaps are skipped instead of filled with null requests", &["B5"]).within(1_000),
    mutant("pbft: what a new view proposes is not recomputed", &["B5", "B6"]).within(1_000),
    mutant("pbft: the timer never doubles", &["B13"]).under(LEADERS_CHANGE),
    // Checkpoints, restarts.
    mutant("pbft: f + 1 make a checkpoint stable", &["B7"]),
    mutant("pbft: a restart forgets that it must keep silent", &["B11"]).under(RESTARTS).within(1_000),
    // Clients.
    mutant("votes: one answer is enough", &["B9", "G1", "G3"]),
];
