//! What the tests share.

#![allow(dead_code, reason = "no test uses all of it")]

pub mod epidemic;
pub mod history;
pub mod laws;
pub mod statistics;
pub mod world;
