//! Quorum storage: values under keys, each on its own, without a leader, a log or an order between keys.
//!
//! Whoever is asked coordinates: it asks all replicas, and goes on when enough of them have answered. How many are enough for a
//! read and for a write ([`Quorums`]) says what is promised.
//!
//! | module | holds |
//! |---|---|
//! | [`abd`] | linearizable registers: every read quorum meets every write quorum, and reads write back what they return |
//! | [`quorums`] | how many replicas are enough |
//! | [`steps`] | many keys in one message |
//! | `outbox` | what is said in one burst |
//! | `rewriting` | when to write everything anew, so that the journal can let go of the rest |

#![forbid(unsafe_code)]

pub mod abd;
mod outbox;
pub mod quorums;
mod rewriting;
pub mod steps;

pub use abd::Abd;
pub use quorums::Quorums;
