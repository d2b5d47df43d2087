//! What every process's disk holds and ever held for certain, as its records say, and what is chosen by that.

use std::collections::{BTreeMap, HashMap, VecDeque};

use qlab_kernel::{Batch, Chain, Index, Lsn, NodeId, NodeSet};
use qlab_paxos::Ballot;
use qlab_paxos::multi::Record;

use super::p1_agreement;
use crate::laws::Verdict;

/// The disks of all processes.
#[derive(Debug)]
pub(crate) struct Ledger {
    nodes: usize,
    quorum: usize,
    disks: Vec<Disk>,
    /// Who ever accepted something in a slot and ballot; a twin does not count twice.
    accepted_by: HashMap<(Index, Ballot), NodeSet>,
    chosen: BTreeMap<Index, Chosen>,
    /// The hash of everything chosen, at every index up to the first that is not.
    prefix: Chain,
    hashes: HashMap<Index, [u8; 32]>,
}

/// A value that is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// The first ballot it was found chosen in.
    pub(crate) ballot: Ballot,
    pub(crate) batch: Batch,
}

/// The durable part of one journal, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    on_the_way: VecDeque<(Lsn, Record)>,
    pub(crate) promised: Ballot,
    /// What was last accepted in every slot that no image covers.
    pub(crate) accepted: BTreeMap<Index, Ballot>,
}

impl Ledger {
    pub(crate) fn new(nodes: usize, quorum: usize) -> Self {
        Self {
            nodes,
            quorum,
            disks: (0..2 * nodes).map(|_| Disk::default()).collect(),
            accepted_by: HashMap::new(),
            chosen: BTreeMap::new(),
            prefix: Chain::default(),
            hashes: HashMap::new(),
        }
    }

    pub(crate) fn disk(&self, process: usize) -> &Disk {
        &self.disks[process]
    }

    /// What is chosen at `index`, whether anybody knows or not.
    pub(crate) fn chosen(&self, index: Index) -> Option<&Chosen> {
        self.chosen.get(&index)
    }

    /// The last slot up to which all are chosen.
    pub(crate) fn prefix(&self) -> Index {
        self.prefix.index
    }

    /// The hash of everything chosen up to `index`, if all of it is.
    pub(crate) fn hash(&self, index: Index) -> Option<&[u8; 32]> {
        self.hashes.get(&index)
    }

    /// Whether the node of this process has durably accepted something there in that ballot, at any time.
    pub(crate) fn has_accepted(&self, process: usize, index: Index, ballot: Ballot) -> bool {
        self.accepted_by.get(&(index, ballot)).is_some_and(|nodes| nodes.contains(self.node(process)))
    }

    pub(crate) fn write(&mut self, process: usize, lsn: Lsn, record: &Record) {
        self.disks[process].on_the_way.push_back((lsn, record.clone()));
    }

    pub(crate) fn synced(&mut self, process: usize, durable: Lsn) -> Verdict {
        while let Some((_, record)) = self.disks[process].on_the_way.pop_front_if(|(lsn, _)| *lsn <= durable)
        {
            self.keep(process, record)?;
        }
        Ok(())
    }

    /// A journal that ends with `last` was opened: what was on its way and is not there never will be.
    pub(crate) fn recovered(&mut self, process: usize, last: Lsn) -> Verdict {
        self.synced(process, last)?;
        self.disks[process].on_the_way.clear();
        if last == Lsn::ZERO {
            // Another disk, or nothing was ever written.
            self.disks[process] = Disk::default();
        }
        Ok(())
    }

    fn keep(&mut self, process: usize, record: Record) -> Verdict {
        let disk = &mut self.disks[process];
        match record {
            Record::Promise { ballot } => disk.promised = ballot,
            Record::Accept { ballot, index, batch } => {
                disk.promised = disk.promised.max(ballot);
                disk.accepted.insert(index, ballot);
                return self.count(process, index, ballot, batch);
            }
            Record::Image { chunk } if chunk.end() == chunk.total_bytes => {
                disk.accepted = disk.accepted.split_off(&chunk.index.next());
            }
            Record::Image { .. } => {}
        }
        Ok(())
    }

    /// **Chosen**: durably accepted by a quorum in one ballot (Paxos Made Simple §2.2).
    fn count(&mut self, process: usize, index: Index, ballot: Ballot, batch: Batch) -> Verdict {
        let node = self.node(process);
        let acceptors = self.accepted_by.entry((index, ballot)).or_default();
        acceptors.insert(node);
        if acceptors.len() < self.quorum {
            return Ok(());
        }
        let chosen = self.chosen.entry(index).or_insert_with(|| Chosen { ballot, batch: batch.clone() });
        p1_agreement::check(index, chosen, ballot, &batch)?;
        while let Some(chosen) = self.chosen.get(&self.prefix.index.next()) {
            self.prefix.extend(self.prefix.index.next(), &chosen.batch);
            self.hashes.insert(self.prefix.index, self.prefix.hash);
        }
        Ok(())
    }

    fn node(&self, process: usize) -> NodeId {
        NodeId((process % self.nodes) as u16)
    }
}
