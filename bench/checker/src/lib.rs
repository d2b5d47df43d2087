//! Judges histories: is what the clients saw linearizable?
//!
//! A history is the list of operations that clients invoked, each with the interval in which it ran and what it
//! returned. It is *linearizable* (Herlihy & Wing 1990) when every completed operation, and any choice of those whose
//! outcome is unknown, can be put in one legal order that respects real time: if an operation completed before
//! another was invoked, it comes first.
//!
//! This crate is the referee of the laboratory and shares no code with what it judges.
//!
//! # The idea
//!
//! Linearizability is local: a history is linearizable exactly when the part of each object is. So [`check`] splits
//! the history by key and judges the keys in parallel, each by the cheapest method that is sound for it:
//!
//! - **Zones.** If the writer of every value read is certain, which holds when clients write unique values, the reads tell
//!   almost all of the order, and Gibbons & Korach's zones decide in O(n log n).
//! - **Levels.** What was read of a set that only grows, or of a list of different elements, forces the order up to choices
//!   that do not matter; to decide takes one sort.
//! - **Search.** Everything else goes through the search of Wing & Gong with Lowe's memoisation. It is exponential in
//!   the worst case and therefore has a budget; a spent budget is the verdict `Unknown`, never `Valid`.
//!
//! A violation is cut down to a [`Witness`]: a few operations of one key that contradict each other on their own.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | `operation` | one operation, 48 bytes, and its constructors |
//! | `values` | JSON values as 64-bit ids |
//! | `history` | the operations of a run, split by key |
//! | `json_lines` | history files: reading with reasons for refusal, writing |
//! | `model` | which objects can be judged, and which of them are others in disguise |
//! | `specification` | what the others do when they are used by one client at a time |
//! | `clusters` | who wrote what was read, if that is certain |
//! | `zones` | the method for certain writers, with its proof |
//! | `levels` | the method for sets and lists, with its proof |
//! | `search` | the general method |
//! | `timeline` | what remains to be linearized |
//! | `demand` | what the search must not throw away |
//! | `configurations` | the memory of the search: the set of configurations seen |
//! | `shrink` | the reductions that keep a violation honest |
//! | `explanation` | which operation of a contradiction is impossible, and why |
//! | `witness` | the contradiction, for people and for files |
//! | `exclusion` | who held a lock when, and with which token |
//! | `page` | contradictions drawn on an HTML page |
//! | `mutants` | seeded bugs, switched on by name; only with the feature `mutants` |
//! | `check` | keys in parallel, verdicts, the report |
//!
//! # Trade-offs
//!
//! - Intervals that touch in one instant count as concurrent. Clocks have a resolution, and accusing a correct system is
//!   worse than missing a violation one nanosecond wide.
//! - An operation that never completed may take effect at any time after its invocation, or never. It is never dropped
//!   because it timed out.
//! - The budget is counted in steps of the search and not in seconds, so that a history has the same verdict on every
//!   machine and on every run.
//! - The search is at its best where reads tell the values apart. Texts made by appending, with unknown outcomes and many
//!   clients on one key, can exhaust the budget: the verdict is then `Unknown`.
//! - Each key is copied while it is judged: one more copy of the largest keys in flight, for a loop without indirection.

mod check;
mod clusters;
mod configurations;
mod demand;
mod exclusion;
mod explanation;
mod history;
mod json_lines;
mod levels;
mod model;
#[cfg(feature = "mutants")]
pub mod mutants;
mod operation;
mod page;
mod search;
mod shrink;
mod specification;
mod timeline;
mod values;
mod witness;
mod zones;

pub use check::{Method, Options, Report, Verdict, check};
pub use exclusion::{Breach, BreachKind, Tenure, check_exclusion};
pub use history::{History, OPERATIONS_MAX};
pub use json_lines::{HistoryError, LINE_BYTES_MAX, read_json_lines, write_json_lines};
pub use model::{Model, UnknownModel, Unsupported};
pub use operation::{ABSENT, Function, NEVER_NS, NO_KEY, Operation, Outcome};
pub use page::{Section, page};
pub use values::{PLAIN_NUMBER_MAX, Values};
pub use witness::{Witness, WitnessOperation};
