//! Seeded bugs: proof that the harness catches what it claims to catch.
//!
//! A mutant is one wrong line at the place where the right one stands, compiled only with the feature `mutants` and switched
//! on by name at run time, so that one build carries them all. A name says where and what: `"raft: quorum is half"`.

use std::sync::RwLock;

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
