//! What every process's disk holds and ever held for certain, as its records say, and what is chosen by that.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use qlab_kernel::{Lsn, NodeId, NodeSet};
use qlab_paxos::Ballot;
use qlab_paxos::single::{Accepted, Change, Image, Record, Value};

use super::{changes, p1_agreement, p6_learning};
use crate::laws::Verdict;

/// The disks of all processes.
#[derive(Debug)]
pub(crate) struct Ledger {
    nodes: usize,
    quorum: usize,
    disks: Vec<Disk>,
    /// Who ever accepted something in an instance and ballot; a twin does not count twice.
    accepted_by: HashMap<(Bytes, Ballot), NodeSet>,
    chosen: HashMap<Bytes, Chosen>,
}

/// A value that is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// The first ballot it was found chosen in.
    pub(crate) ballot: Ballot,
    pub(crate) value: Value,
}

/// The durable part of one journal, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    on_the_way: VecDeque<(Lsn, Record)>,
    registers: HashMap<Bytes, Register>,
}

/// What a disk says of an instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    pub(crate) promised: Ballot,
    /// What was accepted last.
    pub(crate) accepted: Option<Accepted>,
}

impl Register {
    /// The ballot of what was accepted last; zero if nothing was.
    pub(crate) fn accepted_in(&self) -> Ballot {
        self.accepted.as_ref().map_or(Ballot::ZERO, |accepted| accepted.ballot)
    }
}

impl Ledger {
    pub(crate) fn new(nodes: usize, quorum: usize) -> Self {
        Self {
            nodes,
            quorum,
            disks: (0..2 * nodes).map(|_| Disk::default()).collect(),
            accepted_by: HashMap::new(),
            chosen: HashMap::new(),
        }
    }

    /// What a process's disk holds for certain.
    pub(crate) fn register(&self, process: usize, key: &Bytes) -> Option<&Register> {
        self.disks[process].registers.get(key)
    }

    /// All that a process's disk holds for certain.
    pub(crate) fn registers(&self, process: usize) -> impl Iterator<Item = (&Bytes, &Register)> {
        self.disks[process].registers.iter()
    }

    /// What is chosen, whether anybody knows or not.
    pub(crate) fn chosen(&self, key: &Bytes) -> Option<&Chosen> {
        self.chosen.get(key)
    }

    /// Whether the node of this process has durably accepted something there in that ballot, at any time.
    pub(crate) fn has_accepted(&self, process: usize, key: &Bytes, ballot: Ballot) -> bool {
        let place = (key.clone(), ballot);
        self.accepted_by.get(&place).is_some_and(|nodes| nodes.contains(self.node(process)))
    }

    pub(crate) fn write(&mut self, process: usize, lsn: Lsn, record: &Record) {
        self.disks[process].on_the_way.push_back((lsn, record.clone()));
    }

    pub(crate) fn synced(&mut self, process: usize, durable: Lsn) -> Verdict {
        while let Some((_, record)) = self.disks[process].on_the_way.pop_front_if(|(lsn, _)| *lsn <= durable)
        {
            self.keep(process, &record)?;
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

    fn keep(&mut self, process: usize, record: &Record) -> Verdict {
        for (key, change) in changes(record) {
            let register = self.disks[process].registers.entry(key.clone()).or_default();
            let (Change::Promise { ballot } | Change::Accept { ballot, .. }) = change;
            register.promised = register.promised.max(*ballot);
            if let Change::Accept { ballot, value } = change {
                register.accepted = Some(Accepted { ballot: *ballot, value: value.clone() });
                self.count(process, key, *ballot, value)?;
            }
        }
        if let Record::Images { images } = record {
            images.iter().try_for_each(|(key, image)| self.check_image(key, image))?;
        }
        Ok(())
    }

    /// Registers are written anew as they were; and that one is decided is only written if it is.
    fn check_image(&self, key: &Bytes, image: &Image) -> Verdict {
        let decided = image.accepted.as_ref().filter(|accepted| accepted.ballot == Ballot::CHOSEN);
        decided.map_or(Ok(()), |accepted| p6_learning::is_chosen("a disk", key, &accepted.value, self))
    }

    /// **Chosen**: durably accepted by a quorum in one ballot (Paxos Made Simple §2.2).
    fn count(&mut self, process: usize, key: &Bytes, ballot: Ballot, value: &Value) -> Verdict {
        let node = self.node(process);
        let acceptors = self.accepted_by.entry((key.clone(), ballot)).or_default();
        acceptors.insert(node);
        if acceptors.len() < self.quorum {
            return Ok(());
        }
        let first = || Chosen { ballot, value: value.clone() };
        let chosen = self.chosen.entry(key.clone()).or_insert_with(first);
        p1_agreement::check(key, chosen, ballot, value)
    }

    fn node(&self, process: usize) -> NodeId {
        NodeId((process % self.nodes) as u16)
    }
}
