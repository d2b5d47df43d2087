//! The lock service: against a specification so plain that it cannot be wrong, under the laws of lock services, on clocks that
//! drift, and in stories.
//!
//! With the feature `mutants`, `lock_mutants.rs` shows that the laws bite.

mod clocks;
mod laws;
mod model;
mod properties;
mod steps;
mod stories;
