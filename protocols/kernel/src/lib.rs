//! The shared vocabulary of all protocols.
//!
//! A replica is a fold: `state' = step(state, input)`. It is given time, chance and order, never reads them, and it answers
//! in data: what to persist, to send, to execute, to reply. Hosts (a process over QUIC, a simulator, a microbenchmark) carry
//! that data out. This crate holds the words both sides speak, and nothing that does anything.
//!
//! | module | holds |
//! |---|---|
//! | [`ids`] | newtypes: who, when, where in the log, where in the journal |
//! | [`node_set`] | sets of nodes as one word, and majorities of them |
//! | [`wire`] | the codec: little-endian, bounded, shared bytes stay shared |
//! | [`batch`] | the unit of everything: the immutable bytes that client bursts were packed into |
//! | [`protocol`] | the one trait, its inputs, and a replica's seat |
//! | [`effects`] | what a replica wants done: its lanes and the durability gate |
//! | [`command`] | what clients ask of a store: the commands and their statuses |
//! | [`cursor`] | borrows pieces off the front of a command |
//! | [`intake`] | writes on their way into an entry |
//! | [`reads`] | reads that wait until their leader is sure of itself |
//! | [`session`] | exactly-once execution of numbered client requests |
//! | [`client`] | what clients and replicas say to each other |
//! | [`votes`] | what several replicas answered to one client, where none is believed alone |
//! | [`snapshot`] | state images cut into chunks and put together again |
//! | [`images`] | which image a replica keeps, and when to make the next |
//! | [`chain`] | a running hash of everything a replica applied |
//! | [`limits`] | every bound that is not a protocol's own, by name and unit |
//! | [`mutants`] | seeded bugs, switched on by name; compiled only with the feature `mutants` |

#![forbid(unsafe_code)]

pub mod batch;
pub mod chain;
pub mod client;
pub mod command;
pub mod cursor;
pub mod effects;
pub mod ids;
pub mod images;
pub mod intake;
pub mod limits;
pub mod mutants;
pub mod node_set;
pub mod protocol;
pub mod reads;
pub mod session;
pub mod snapshot;
pub mod votes;
pub mod wire;

pub use batch::{Batch, BatchBuilder, BatchError, Burst};
pub use chain::Chain;
pub use command::Command;
pub use cursor::Cursor;
pub use effects::{Commit, Effects, Event, Lane, Outgoing, Refusal, Refused, Reply, ReplyBody};
pub use ids::{Index, Lsn, NodeId, Sequence, SessionId, Term, Ticket, Time};
pub use images::Images;
pub use intake::Intake;
pub use node_set::NodeSet;
pub use protocol::{Input, Message, Protocol, Request, Seat};
pub use reads::WaitingReads;
pub use session::{Outcome, Sessions};
pub use snapshot::Snapshot;
pub use votes::Votes;
pub use wire::{Reader, Sink, Wire, WireError};
