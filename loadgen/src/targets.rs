//! The systems that can be put under load.

pub mod memory;
pub mod quic;
