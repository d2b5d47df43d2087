//! Worlds without sockets: replicas driven in one thread.
//!
//! | module | holds |
//! |---|---|
//! | [`pump`] | the calm world: nothing is lost, disks are instant; for measuring cores alone |

#![forbid(unsafe_code)]

pub mod pump;

pub use pump::Pump;
