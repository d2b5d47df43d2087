//! Seeded bugs: proof that the harness catches what it claims to catch.
//!
//! A mutant is one wrong line at the place where the right one stands, compiled only with the feature `mutants` and switched
//! on by name at run time, so that one build carries them all. A name says where and what: `"raft: quorum is half"`.
//! [`mutant!`](crate::mutant) puts one there; without the feature it leaves nothing but the right line.

#[cfg(feature = "mutants")]
mod switch {
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
}

#[cfg(feature = "mutants")]
pub use switch::{activate, active};

/// A seeded bug. `mutant!(right, "place: what is wrong", wrong)` is the right value unless that mutant is on; if it is,
/// `mutant!("place: what is wrong", variable = wrong)` replaces a value, and `mutant!("place: what is wrong", { … })` does
/// something wrong.
///
/// Whether bugs are compiled at all is the kernel's feature, whichever crate they stand in.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($name:literal, $wrong:block) => {
        if $crate::mutants::active($name) $wrong
    };
    ($name:literal, $variable:ident = $wrong:expr) => {
        let $variable = if $crate::mutants::active($name) { $wrong } else { $variable };
    };
    ($right:expr, $name:literal, $wrong:expr) => {
        if $crate::mutants::active($name) { $wrong } else { $right }
    };
}

/// Where a seeded bug stands in other builds: it is the right value, or nothing.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($name:literal, $wrong:block) => {};
    ($name:literal, $variable:ident = $wrong:expr) => {};
    ($right:expr, $name:literal, $wrong:expr) => {
        $right
    };
}
