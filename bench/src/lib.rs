//! The laboratory: plans in, judged and measured rows out.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line: verbs, flags, help |
//! | [`plan`] | experiments as data, and their expansion |
//! | [`check`] | the judgement of a history file |
//! | [`inspect`] | what a replica's journal holds, and whether it would open |
//! | [`machine`], [`code`] | what a result must say about where and of what it was made |
//! | [`doctor`] | what this machine can do, and what to change |
//! | [`clock`] | the one reader of monotonic time |
//!
//! The program `qlab` is a dispatcher over these modules; they form a library so that the criterion suite can use them.

#![forbid(unsafe_code)]

pub mod check;
pub mod cli;
pub mod clock;
pub mod code;
pub mod doctor;
pub mod inspect;
pub mod machine;
pub mod plan;
