//! Seeded bugs: proof that the tests of the judge would notice a wrong judge.
//!
//! A mutant is one wrong line at the place where the right one stands, compiled only with the feature `mutants` and switched
//! on by name at run time, so that one build carries them all. A name says where and what.

use std::collections::HashSet;
use std::sync::RwLock;

use crate::operation::{ABSENT, Function, NEVER_NS, Operation};

/// The names of all mutants.
pub const ALL: [&str; 16] = [
    "history: unknown outcomes are taken as ok",
    "history: operations without completion are dropped",
    "history: ties in time are ordered",
    "history: reads of values nobody wrote are ignored",
    "model: anyone may release a lock",
    "model: a put that was refused says nothing",
    "specification: a cas may fail on the expected value",
    "clusters: a get may end before its put begins",
    "zones: the initial value may come late",
    "zones: a backward zone may lie inside a forward one",
    "levels: what is seen need not include what was seen",
    "levels: an add of unknown outcome has no effect",
    "search: configurations are told apart by their state",
    "search: an unknown outcome has no effect",
    "search: nobody waits for the first return",
    "demand: values are written once",
];

static ACTIVE: RwLock<Option<&str>> = RwLock::new(None);

/// Switches one mutant on and all others off; `None` makes everything right again. It holds for the whole process.
pub fn activate(mutant: Option<&'static str>) {
    *ACTIVE.write().expect("nothing panics while it is held") = mutant;
}

/// Whether this mutant is the one that is on.
#[must_use]
pub fn active(mutant: &str) -> bool {
    *ACTIVE.read().expect("nothing panics while it is held") == Some(mutant)
}

/// The operations of one key as the mutants of the history see them.
pub(crate) fn misread(mut operations: Vec<Operation>) -> Vec<Operation> {
    if active("history: unknown outcomes are taken as ok") {
        operations
            .iter_mut()
            .filter(|o| o.is_unknown())
            .for_each(|o| *o = o.during(o.invoke_ns, NEVER_NS - 1));
    }
    if active("history: operations without completion are dropped") {
        operations.retain(|operation| !operation.is_unknown());
    }
    if active("history: ties in time are ordered") {
        operations.iter_mut().for_each(order_ties);
    }
    if active("history: reads of values nobody wrote are ignored") {
        let writes = operations.iter().filter(|operation| !operation.only_observes());
        let written: HashSet<u64> = writes.map(|write| write.value).chain([ABSENT]).collect();
        operations.retain(|o| o.function != Function::Get || written.contains(&o.value));
    }
    operations
}

/// Moves invocations between the nanoseconds, so that they come after all completions of the same one.
fn order_ties(operation: &mut Operation) {
    operation.invoke_ns = 2 * operation.invoke_ns + 1;
    if !operation.is_unknown() {
        operation.complete_ns = operation.invoke_ns.max(2 * operation.complete_ns);
    }
}
