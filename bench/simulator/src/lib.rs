//! Worlds without sockets: replicas driven in one thread, by a seed.
//!
//! The cores and the journal are those that run over QUIC; everything around them is simulated, in virtual time, and what
//! happens in it is decided by one seed: the same seed, the same world, byte for byte. Messages are lost, repeated, delayed and
//! reordered; disks forget what was not synced, tear, fail and fill up; clocks drift and jump; processes are killed, paused and
//! started again. Laws that no replica can see are kept here and checked after each burst, and what the clients saw is judged in
//! the end.
//!
//! | module | holds |
//! |---|---|
//! | [`subject`] | what can be simulated: a protocol, its configurations, its own laws |
//! | [`faults`] | what can go wrong, by name |
//! | [`schedule`] | what a seed decides before its world begins, as data |
//! | [`world`] | virtual time, processes, messages, clients; two phases: fire, then healing |
//! | [`laws`] | what must hold, a file each, named after their numbers |
//! | [`byzantine`] | replicas that lie: wrappers around the effects of a correct one |
//! | [`mod@campaign`] | many seeds in parallel; failing ones are cut down |
//! | [`marks`] | whether a campaign went where it was to go |
//! | [`scenario`] | the opposite of a random world: stories as text, in which nothing happens unless a line says so |
//! | [`epidemic`] | gossip among thousands: rounds until everybody knows, and false alarms |
//! | [`causality`] | executions, what truly happened before what in them, and what clocks say of it |
//! | [`pump`] | the calm world: nothing is lost, disks are instant; for measuring cores alone |
//! | `nemesis` | what a strike does |
//! | `hostile` | clients that do not play by the rules |
//! | `lockers` | clients of the lock service, where that is what is replicated |
//! | `agenda`, `network`, `clock`, `process`, `desk`, `clients` | the parts of a world |
//! | `shrink`, `story`, `panics` | the smallest failing world, told to people |
//!
//! Trade-offs. Frames are not encrypted and connections do not break: a message is lost or not. A process and its disk are one
//! thing after the other, in bursts. A state is small, so that a world of seconds takes milliseconds. Damage to the last frame of a
//! journal is not simulated: it looks like a torn write (see `qlab_journal`).

#![forbid(unsafe_code)]

mod agenda;
pub mod byzantine;
pub mod campaign;
pub mod causality;
mod clients;
mod clock;
mod desk;
pub mod epidemic;
pub mod faults;
mod hostile;
pub mod laws;
mod lockers;
pub mod marks;
mod nemesis;
mod network;
mod panics;
pub mod process;
pub mod pump;
pub mod scenario;
pub mod schedule;
mod shrink;
mod story;
pub mod subject;
pub mod world;

pub use campaign::{Failure, Summary, attempt, campaign, cut_down};
pub use faults::{Choice, Fault};
pub use pump::Pump;
pub use schedule::Schedule;
pub use subject::Subject;
pub use world::{Outcome, Setup};
