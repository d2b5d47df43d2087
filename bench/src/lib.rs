//! The laboratory: plans in, judged and measured rows out.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line: verbs, flags, help |
//! | [`plan`] | experiments as data, and their expansion |
//! | [`check`] | the judgement of a history file |
//! | [`inspect`] | what a replica's journal holds, and whether it would open |
//! | [`machine`], [`code`] | what a result must say about where and of what it was made |
//! | [`runner`] | a plan carried out, slot by slot |
//! | [`measure`], [`row`], [`validity`] | one measurement, the row it becomes, and whether it is one |
//! | [`byzantine`] | replicas that lie when they are told to |
//! | [`nemesis`], [`effects`] | faults while it is measured, and what clients noticed of them |
//! | [`cluster`], [`fleet`], [`etcd`], [`used`] | the processes under test, and what they use |
//! | [`sim`] | worlds of the simulator: campaigns, one seed, its story |
//! | [`study`] | questions to simulated worlds and to data types |
//! | [`studies`] | processes that gossip and processes that keep time |
//! | [`verdict`] | was it right? |
//! | [`interrupt`] | Ctrl-C |
//! | [`doctor`] | what this machine can do, and what to change |
//! | [`clock`] | the one reader of monotonic time |
//!
//! The program `qlab` is a dispatcher over these modules; they form a library so that the criterion suite can use them.

#![forbid(unsafe_code)]

pub mod byzantine;
pub mod check;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod code;
pub mod doctor;
pub mod effects;
pub mod etcd;
pub mod eventual;
pub mod fleet;
pub mod inspect;
pub mod interrupt;
pub mod machine;
pub mod measure;
pub mod nemesis;
pub mod plan;
pub mod row;
pub mod runner;
pub mod sim;
pub mod studies;
pub mod study;
pub mod used;
pub mod validity;
pub mod verdict;
