//! Paxos (Lamport, "The Part-Time Parliament", 1998, and "Paxos Made Simple", 2001).
//!
//! A value is *chosen* once a quorum of acceptors has accepted it in one [`Ballot`]. Whoever proposes in a later ballot first asks
//! a quorum what it has accepted before (phase 1), and proposes that again (phase 2): so what is chosen stays chosen, whatever is
//! lost, late or forgotten in memory. Everything else is about making that cheap.
//!
//! | module | holds |
//! |---|---|
//! | [`ballot`] | numbers of attempts, each proposer's own |
//! | [`single`] | Paxos itself, once for each key: registers that are written once |
//! | [`multi`] | Multi-Paxos: a log of values under a stable leader, who runs phase 1 once for all slots |

#![forbid(unsafe_code)]

pub mod ballot;
pub mod multi;
pub mod single;

pub use ballot::Ballot;
pub use multi::MultiPaxos;
pub use single::Paxos;
