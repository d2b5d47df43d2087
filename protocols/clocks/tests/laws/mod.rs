//! The laws, as functions of a seed that panic when a law is broken: what holds for right code must fail for seeded bugs.

pub(crate) mod causality;
pub(crate) mod siblings;
pub(crate) mod timekeeping;
mod world;
