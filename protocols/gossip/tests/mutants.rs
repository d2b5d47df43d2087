//! The kill matrix: every seeded bug breaks the law that is named for it.

#![cfg(feature = "mutants")]

mod common;

use std::panic::catch_unwind;

use common::laws::{LAWS, Law};
use qlab_kernel::mutants;

/// Seeds within which a mutant must be found.
const SEEDS: u64 = 20;

/// Each mutant and the laws of which one must notice it.
const MUTANTS: [(&str, &[&str]); 10] = [
    ("crdt: counters are merged by sum", &["C1"]),
    ("crdt: a removal takes concurrent additions along", &["C3"]),
    ("crdt: dots name no life", &["C4"]),
    ("crdt: a range does not join the one after it", &["C2"]),
    ("gossip: a digest takes the lower version", &["S3"]),
    ("gossip: what was deleted and forgotten comes back", &["C6"]),
    ("gossip: whoever begins anew listens to those who forgot less", &["C6"]),
    ("gossip: who knows the same is not compared", &["C6"]),
    ("swim: anyone raises an incarnation", &["S1"]),
    ("swim: a suspect does not object", &["S1"]),
];

/// The switch holds for the whole process: one test, one mutant after the other.
#[test]
#[expect(clippy::print_stdout, reason = "the table is what the test is for")]
fn every_seeded_bug_is_found_by_the_law_that_is_named_for_it() {
    let mut complaints = Vec::new();
    // What is sought are panics: they need not be printed.
    std::panic::set_hook(Box::new(|_| {}));
    for (mutant, named) in MUTANTS {
        let laws = || LAWS.iter().filter(|law| named.iter().any(|name| law.name.starts_with(name)));
        // A world that fails without the bug would prove nothing.
        let broken = laws().filter(|law| first_failure(law).is_some());
        complaints.extend(broken.map(|law| format!("{} does not hold without {mutant}", law.name)));
        mutants::activate(Some(mutant));
        let kill = laws().find_map(|law| Some((law.name, first_failure(law)? + 1)));
        mutants::activate(None);
        match kill {
            Some((law, seeds)) => println!("| {mutant} | {law} | {seeds} |"),
            None => complaints.push(format!("nothing notices {mutant}")),
        }
    }
    drop(std::panic::take_hook());
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn first_failure(law: &Law) -> Option<u64> {
    (0..SEEDS).find(|seed| catch_unwind(|| (law.hold)(*seed)).is_err())
}
