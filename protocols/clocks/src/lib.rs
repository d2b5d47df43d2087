//! Clocks: logical ones that tell what could have caused what, and physical ones that tell the time within a bound.
//!
//! Both answer "which came first?" for events on different hosts, each in its way. A logical clock counts events and needs no
//! time: it travels with messages, so it knows exactly what was known. A synchronised clock needs no messages between those who
//! read it: it knows the time within an interval, and orders events whose intervals do not meet. A hybrid clock reads the one
//! and keeps the promise of the other.
//!
//! | module | tells | costs |
//! |---|---|---|
//! | [`lamport`] | an order that respects causes | a number |
//! | [`vector`] | exactly which events knew of which | a number for each process |
//! | [`dotted`] | which written values are still current | a vector clock for each key, a dot for each value |
//! | [`hybrid`] | an order that respects causes, near the physical time | a time and a counter |
//! | [`sync`] | what time it is, and how wrong that may be | a question to each source from time to time |
//!
//! Everything here is a fold: no clock is read and nothing is sent. Whoever drives it gives the readings of an oscillator that
//! never goes back, and carries the messages.
//!
//! Trade-offs. Processes are numbered densely by [`NodeId`](qlab_kernel::NodeId), so a vector clock is an array: comparing a
//! thousand entries takes less than a microsecond, and a process that never spoke costs nothing unless one with a higher number
//! did. A process that loses its memory must come back under another number; nothing here prunes those that are gone.
//! Times are 64-bit nanoseconds that wrap; intervals of them are sound rather than small.

#![forbid(unsafe_code)]

pub mod dotted;
pub mod hybrid;
pub mod lamport;
pub mod sync;
mod varint;
pub mod vector;

pub use dotted::{Dot, Siblings, TooManySiblings};
pub use hybrid::{HybridClock, HybridTime, TooFarAhead};
pub use lamport::LamportClock;
pub use vector::{Order, VectorClock};
