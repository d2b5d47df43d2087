//! What the tests share.

#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod epidemic;
pub(crate) mod history;
pub(crate) mod laws;
pub(crate) mod membership;
pub(crate) mod statistics;
pub(crate) mod world;
