//! The systems that can be put under load.

pub mod etcd;
mod links;
pub mod memory;
pub mod quic;
pub mod voting;
