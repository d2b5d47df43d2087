//! Conflict-free replicated data types: states that form a join-semilattice (Shapiro et al., "A comprehensive study of
//! convergent and commutative replicated data types", 2011), with delta mutators (Almeida, Shoker, Baquero, "Delta state
//! replicated data types", 2018).
//!
//! Every operation answers a *delta*, a small state of the same type, and changes nothing; the operation is done by merging the
//! delta, here first and then elsewhere. So one `merge` serves deltas, groups of deltas and full states alike, and replicas that
//! merged the same deltas, in whatever order, grouping and number, hold equal states: equal to the byte, as every state has
//! exactly one encoding.
//!
//! | module | holds | value |
//! |---|---|---|
//! | `grow_set` | [`GrowSet`] | everything that was ever added |
//! | `counters` | [`GCounter`], [`PnCounter`] | the sum of all increments, less that of all decrements |
//! | `lww_register` | [`LwwRegister`] | the write with the largest (time, actor, value) |
//! | `mv_register` | [`MvRegister`] | all writes that no write has seen |
//! | `or_set` | [`OrSet`] | elements with an addition that no removal has seen: additions win |
//! | `causal` | what the last two share: dots, and which of them are alive | |
//! | `context` | sets of dots as ranges: what has been seen | |
//! | `canonical` | decoding that takes ascending lists only | |
//!
//! # Trade-offs
//!
//! Removed elements leave no tombstone (Bieniusa et al., "An optimized conflict-free replicated set", 2012): that their dots have
//! been seen is enough, and seen dots are ranges, one for each writer once all its dots have come. The ranges need no causal
//! delivery, other than a version vector would. Counters and contexts keep an item for each life of each writer for ever.

mod canonical;
mod causal;
mod context;
mod counters;
mod grow_set;
mod lww_register;
mod mv_register;
mod or_set;

use qlab_kernel::Wire;

pub use context::{Dot, DotContext};
pub use counters::{GCounter, PnCounter};
pub use grow_set::GrowSet;
pub use lww_register::LwwRegister;
pub use mv_register::MvRegister;
pub use or_set::OrSet;

/// Bytes of an element or value.
pub const ELEMENT_BYTES_MAX: usize = 4096;

/// A state that can be joined with another. The default is the bottom: nothing has happened.
///
/// Laws: `merge` is commutative, associative and idempotent, and never loses anything; equal states have equal encodings and
/// no others decode.
pub trait Crdt: Wire + Clone + Default + Eq {
    /// The least state that holds both: `self` becomes it.
    fn merge(&mut self, other: &Self);
}
