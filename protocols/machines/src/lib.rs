//! Deterministic applications that run on a replicated log.
//!
//! A [`Machine`] is a fold as well: the same commands in the same order give the same state and the same outcomes on every
//! replica. It knows nothing of logs, clients or retries. A [`Service`] puts it on a log: it executes what protocols
//! commit, each numbered command of a session exactly once, and packs the answers for the clients that this replica holds.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | the trait, and the bounds it sets |
//! | [`service`] | a machine with its sessions and its chain: what a host drives |
//! | [`answers`] | where a service's answers go, frame by frame |
//! | [`application`] | which machine a replica keeps, and all that a host does for it |
//! | [`parked`] | queries whose answers are worth waiting for |
//! | [`kv`] | the key-value store |
//! | [`lock`] | the lock service |
//!
//! Trade-offs. An image is captured in one go and sorted, so that equal states give equal bytes: the replica stands still
//! for as long as its state takes to copy. Everything lives in memory, bounded so that an image never outgrows
//! [`SNAPSHOT_BYTES_MAX`](qlab_kernel::limits::SNAPSHOT_BYTES_MAX). Bad commands have outcomes like good ones: replicas must
//! agree on those, too.

#![forbid(unsafe_code)]

pub mod answers;
pub mod application;
pub mod kv;
pub mod lock;
pub mod machine;
pub mod parked;
pub mod service;

pub use answers::Answers;
pub use application::{Application, MachineKind};
pub use kv::Kv;
pub use lock::Locks;
pub use machine::{Machine, Value};
pub use qlab_kernel::{Command, command};
pub use service::{RestoreError, Service};
