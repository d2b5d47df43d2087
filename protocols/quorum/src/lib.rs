//! Quorum storage: values under keys, each on its own, without a leader, a log or an order between keys.
//!
//! Whoever is asked coordinates: it asks all replicas, and goes on when enough of them have answered. How many are enough for a
//! read and for a write ([`Quorums`]) says what is promised.
//!
//! | module | holds |
//! |---|---|
//! | [`abd`] | linearizable registers: every read quorum meets every write quorum, and reads write back what they return |
//! | [`dynamo`] | values that are available first: quorums need not meet, nothing that was written is lost, all copies become the same |
//! | [`quorums`] | how many replicas are enough |
//! | [`steps`] | many keys in one message |
//! | `sessions` | who writes here |
//! | `outbox` | what is said in one burst |
//! | `rewriting` | when to write everything anew, so that the journal can let go of the rest |

#![forbid(unsafe_code)]

pub mod abd;
pub mod dynamo;
mod outbox;
pub mod quorums;
mod rewriting;
mod sessions;
pub mod steps;

pub use abd::Abd;
pub use dynamo::Dynamo;
pub use quorums::Quorums;
