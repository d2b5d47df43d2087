//! What every process's disk holds for certain, as its records say; not as anybody believes.

use std::collections::{BTreeMap, VecDeque};

use qlab_kernel::{Index, Lsn, NodeId, Term};
use qlab_raft::Record;

/// The disks of all processes.
#[derive(Debug)]
pub(crate) struct Ledger {
    nodes: usize,
    disks: Vec<Disk>,
}

/// The durable part of one journal, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    on_the_way: VecDeque<(Lsn, Item)>,
    /// The last term and vote.
    pub(crate) vote: (Term, Option<NodeId>),
    /// The last index of the newest image.
    image: Index,
    terms: BTreeMap<Index, Term>,
}

#[derive(Debug)]
enum Item {
    Vote(Term, Option<NodeId>),
    Append(Index, Term),
    Image {
        index: Index,
        replaces_log: bool,
    },
    /// A piece of an image that is not its last.
    Piece,
}

impl Ledger {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes, disks: (0..2 * nodes).map(|_| Disk::default()).collect() }
    }

    pub(crate) fn disk(&self, process: usize) -> &Disk {
        &self.disks[process]
    }

    pub(crate) fn write(&mut self, process: usize, lsn: Lsn, record: &Record) {
        let item = match record {
            Record::Vote { term, voted_for } => Item::Vote(*term, *voted_for),
            Record::Append { index, entry } => Item::Append(*index, entry.term),
            Record::Snapshot { chunk, replaces_log } if chunk.end() == chunk.total_bytes => {
                Item::Image { index: chunk.index, replaces_log: *replaces_log }
            }
            Record::Snapshot { .. } => Item::Piece,
        };
        self.disks[process].on_the_way.push_back((lsn, item));
    }

    pub(crate) fn synced(&mut self, process: usize, durable: Lsn) {
        let disk = &mut self.disks[process];
        while let Some((_, item)) = disk.on_the_way.pop_front_if(|(lsn, _)| *lsn <= durable) {
            disk.keep(&item);
        }
    }

    /// A journal that ends with `last` was opened: what was on its way and is not there never will be.
    pub(crate) fn recovered(&mut self, process: usize, last: Lsn) {
        self.synced(process, last);
        self.disks[process].on_the_way.clear();
        if last == Lsn::ZERO {
            // Another disk, or nothing was ever written.
            self.disks[process] = Disk::default();
        }
    }

    /// How many replicas hold the entry of `term` at `index` for certain; a twin does not count twice.
    pub(crate) fn holders(&self, index: Index, term: Term) -> usize {
        (0..self.nodes).filter(|node| self.holds(*node, index, term)).count()
    }

    /// Whether a replica, or its twin, holds that entry for certain.
    pub(crate) fn holds(&self, node: usize, index: Index, term: Term) -> bool {
        [node, node + self.nodes].into_iter().any(|process| self.disks[process].holds(index, term))
    }

    pub(crate) fn majority(&self) -> usize {
        self.nodes / 2 + 1
    }
}

impl Disk {
    /// Whether it holds that entry, or an image that covers it.
    fn holds(&self, index: Index, term: Term) -> bool {
        index <= self.image || self.terms.get(&index) == Some(&term)
    }

    /// Where its log ends.
    pub(crate) fn last(&self) -> Index {
        self.terms.last_key_value().map_or(self.image, |(last, _)| self.image.max(*last))
    }

    fn keep(&mut self, item: &Item) {
        match item {
            Item::Vote(term, voted_for) => self.vote = (*term, *voted_for),
            Item::Append(index, term) => {
                self.terms.split_off(index);
                self.terms.insert(*index, *term);
            }
            Item::Image { index, replaces_log } => {
                self.image = self.image.max(*index);
                if *replaces_log {
                    self.terms.clear();
                }
                self.terms = self.terms.split_off(index);
            }
            Item::Piece => {}
        }
    }
}
