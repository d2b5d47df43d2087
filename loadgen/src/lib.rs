//! Load: arrivals, keys, mixes, sessions, targets, recorder.
//!
//! A generator that can be trusted says what it asked for, when it meant to ask, when it did, and what came back, for every
//! single operation. The core is a fold: the [`driver`] is told what happened and what time it is, and answers in actions. The
//! shell ([`run`]) is one loop on one thread around it: wait, read the clock once, hand over what came, carry out what is wanted.
//!
//! ```text
//!  seed ─▶ tape ─▶ driver ─▶ requests ─▶ target (memory, QUIC, etcd)
//!                    ▲  │                  │
//!          clock ────┘  └─▶ recorder       └─▶ answers, connections up and down ─▶ driver
//!                           history
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`arrivals`] | closed and open loop, written as `closed:64`, `open:20000`, `open:20000/constant` |
//! | [`workload`] | operations of a store, or of the lock service |
//! | [`mix`], [`keys`], [`values`] | which operation, on which key, writing what |
//! | [`tape`] | all of that drawn from a seed beforehand: two arms hear the same tape |
//! | [`driver`] | the pure core: sessions, numbers, windows, retries, redirects |
//! | [`recorder`] | response, service and lag histograms for each class; slices; mergeable |
//! | [`history`] | every operation, for the judges |
//! | [`sightings`] | what every read found and every write followed, where several values stand side by side |
//! | [`run`] | one run from connecting to verifying |
//! | [`target`], [`targets`] | what can be put under load |
//! | [`pace`], [`clock`] | waiting for a moment, and the only place that reads clocks |
//!
//! Trade-offs. One thread: a worker never shares its driver, and results of several workers merge. What falls due within 50 µs
//! of a wake is sent together, as a wake costs several microseconds of a machine that the replicas may share; the lag histogram
//! shows what that adds. The tape is bounded, so a long run hears it again. The history keeps every operation in memory, 48
//! bytes each, because a number without a verdict is not a result.

#![forbid(unsafe_code)]

pub mod arrivals;
pub mod clock;
pub mod driver;
pub mod history;
pub mod keys;
pub mod mix;
pub mod pace;
pub mod recorder;
pub mod run;
pub mod sightings;
pub mod tape;
pub mod target;
pub mod targets;
pub mod values;
pub mod workload;
