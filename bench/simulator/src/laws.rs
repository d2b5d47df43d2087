//! What must hold, ever: laws across replicas, kept here and not in any replica, and checked after each burst.
//!
//! | law | holds for | file |
//! |---|---|---|
//! | G1 linearizability | what clients saw | [`g1_linearizability`] |
//! | G3 exactly once | answers of one request | [`g3_exactly_once`] |
//! | G5 chain hash | histories that replicas applied | [`g5_chain_hash`] |
//! | R1 … R16 | Raft | [`raft`] |
//! | R13, R14, M8 fresh reads | Raft, Multi-Paxos | `fresh_reads` |
//! | P1 … P8 | Paxos | [`paxos`] |
//! | A1 … A6 | ABD | [`abd`] |
//! | V1 … V7 | Dynamo | [`dynamo`] |
//! | P1 … P8, M1 … M8 | Multi-Paxos | [`multi_paxos`] |
//! | B1 … B14 | PBFT | [`pbft`] |
//! | L1 … L7 | the lock service, whatever carries it | [`locks`] |
//! | C2, C6, S1 | gossip, its members and objects | [`gossip`] |
//! | T1, T2 | clocks that follow others | [`clock`] |
//!
//! G2 (no phantom) and G4 (durability) are part of G1: a value that nobody wrote has no writer in any order, and after healing
//! every key is read once more. G6 (state and applied index are one) is refused by the state machine when an image is restored.
//! G7 (senders are who they are) belongs to the transport. G8 (determinism) is a property of worlds: the same seed, the same digest.

pub mod abd;
pub mod clock;
pub mod common;
pub mod dynamo;
mod fresh_reads;
pub mod g1_linearizability;
pub mod g3_exactly_once;
pub mod g5_chain_hash;
pub mod gossip;
pub mod locks;
pub mod multi_paxos;
pub mod paxos;
pub mod pbft;
pub mod raft;

use qlab_kernel::{Lsn, NodeId, Protocol, Request, SessionId, Time};

use crate::desk::ClientNumber;
use crate::process::Harvest;

/// A law was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: its number and name.
    pub law: &'static str,
    /// How.
    pub what: String,
}

/// The answer of every check.
pub type Verdict = Result<(), Violation>;

/// A broken law, in a sentence.
pub(crate) fn broken(law: &'static str, what: impl Into<String>) -> Verdict {
    Err(Violation { law, what: what.into() })
}

/// What a law sees of a burst: the replica after it, and what it brought about.
#[derive(Debug)]
pub struct Glimpse<'a, P: Protocol> {
    /// The world's time.
    pub now: Time,
    /// What the replica's clock shows.
    pub clock: Time,
    /// Which process.
    pub process: usize,
    /// Which replica it is: twins have the same.
    pub node: NodeId,
    /// The replica.
    pub core: &'a P,
    /// What it brought about.
    pub harvest: &'a Harvest<P>,
}

/// The laws of one system. All of them see everything; each says what it needs.
pub trait Laws<P: Protocol> {
    /// After each burst, before anything it brought about leaves the process.
    fn after_burst(&mut self, glimpse: &Glimpse<'_, P>) -> Verdict;

    /// A process's disk holds every record up to `durable`.
    fn synced(&mut self, _process: usize, _durable: Lsn) {}

    /// A process ended; records that were not synced may be gone.
    fn ended(&mut self, _process: usize) {}

    /// A process is about to start for the first time with this record on its disk: a story gave it one.
    fn given(&mut self, _node: NodeId, _process: usize, _lsn: Lsn, _record: &P::Record) -> Verdict {
        Ok(())
    }

    /// From now on no law holds for what this replica does.
    fn lies(&mut self, _node: NodeId) {}

    /// A process starts; its journal ends with `last`.
    fn started(&mut self, _process: usize, _last: Lsn) -> Verdict {
        Ok(())
    }

    /// What is still not right in a healed world, among the replicas that run, each with what its clock shows; `None` if
    /// nothing is.
    fn missing(&mut self, _replicas: &[(NodeId, Time, &P)]) -> Result<Option<String>, Violation> {
        Ok(None)
    }

    /// A client asks a query for the first time.
    fn queried(&mut self, _session: SessionId, _sequence: u64) {}

    /// A replica's frame has come to a client.
    fn answered(&mut self, _client: ClientNumber, _from: NodeId, _frame: &[u8]) {}

    /// A client believes this frame, where it does not believe each replica alone.
    fn believed(&mut self, _client: ClientNumber, _frame: &[u8]) -> Verdict {
        Ok(())
    }

    /// A client asks this, for the first time or again.
    fn asked(&mut self, _request: &Request) {}

    /// Everything has come right, and these replicas run, each with what its clock shows.
    fn concluded(&mut self, _replicas: &[(NodeId, Time, &P)]) -> Verdict {
        Ok(())
    }
}

/// A system without laws of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLaws;

impl<P: Protocol> Laws<P> for NoLaws {
    fn after_burst(&mut self, _: &Glimpse<'_, P>) -> Verdict {
        Ok(())
    }
}
