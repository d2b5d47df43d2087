//! The host: one replica process around a pure core.
//!
//! One thread runs the replica and its QUIC endpoint, one the journal. Whoever started the process steers it with one line of
//! JSON at a time on its standard input and reads reports the same way from its standard output; when that pipe closes, the
//! replica ends: no replica outlives its laboratory.
//!
//! | module | holds |
//! |---|---|
//! | [`control`] | the lines between a replica and whoever started it |
//! | [`config`] | what a replica is told before it starts |
//! | [`systems`] | every protocol by name, and its options |
//! | [`keys`] | the keys of Byzantine systems, from identities |
//! | [`process`] | a replica process from its first line to its last |
//! | `host` | the loop: step, flush, carry out |
//! | `clients` | whose session is connected where, and the answers on their way |
//! | `state` | the state machine and what it is asked to do |
//! | [`clock`] | the one reader of monotonic time, and what a replica is made to take for it |
//! | `observed` | what observers are told of a replica |
//! | `usage` | processor time and memory |

#![forbid(unsafe_code)]

mod clients;
pub mod clock;
pub mod config;
pub mod control;
mod host;
pub mod keys;
mod observed;
pub mod process;
mod state;
pub mod systems;
mod usage;
