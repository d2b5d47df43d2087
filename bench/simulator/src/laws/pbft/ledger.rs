//! What every honest process's disk holds and ever held for certain, as its records say, and what is committed by that.

use std::collections::{BTreeMap, HashMap, VecDeque};

use qlab_kernel::{Index, Lsn, NodeId, NodeSet, Term};
use qlab_pbft::Record;
use qlab_pbft::keys::{Claim, Digest, Keyring, Signature, Signer, Statement};

/// The disks of all honest processes.
#[derive(Debug)]
pub(crate) struct Ledger {
    nodes: usize,
    keys: Keyring,
    /// Who was ever started under the eyes of the laws: the others lie.
    honest: NodeSet,
    disks: Vec<Disk>,
    /// Who ever held a certificate durably.
    holders: HashMap<(Index, Term, Digest), NodeSet>,
    committed: BTreeMap<Index, Lock>,
}

/// Something is committed for good: 2f + 1 hold its certificate, liars counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) seq: Index,
    pub(crate) view: Term,
    pub(crate) digest: Digest,
}

/// The durable part of one journal, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    on_the_way: VecDeque<(Lsn, Note)>,
    /// The last view entered.
    pub(crate) entered: Option<Term>,
    /// The last view voted for.
    pub(crate) voted: Option<Term>,
    /// The last stable checkpoint.
    pub(crate) stable: Index,
    /// The last image that is here to its end.
    pub(crate) image: Index,
    /// What is prepared, in the highest view.
    pub(crate) prepared: BTreeMap<Index, (Term, Digest)>,
}

/// What a record says that laws want to know.
#[derive(Clone, Copy, Debug)]
enum Note {
    Entered(Term),
    Voted(Term),
    Prepared(Lock),
    Stable(Index),
    Image(Index),
}

impl Ledger {
    pub(crate) fn new(nodes: usize, keys: Keyring) -> Self {
        Self {
            nodes,
            keys,
            honest: NodeSet::EMPTY,
            disks: (0..2 * nodes).map(|_| Disk::default()).collect(),
            holders: HashMap::new(),
            committed: BTreeMap::new(),
        }
    }

    /// The paper's *f*.
    pub(crate) const fn faulty(&self) -> usize {
        (self.nodes - 1) / 3
    }

    pub(crate) const fn certificate(&self) -> usize {
        2 * self.faulty() + 1
    }

    pub(crate) fn primary(&self, view: Term) -> NodeId {
        NodeId((view.0 % self.nodes as u64) as u16)
    }

    pub(crate) fn disk(&self, process: usize) -> &Disk {
        &self.disks[process]
    }

    /// What is committed at `seq`, whether anybody knows or not.
    pub(crate) fn committed(&self, seq: Index) -> Option<&Lock> {
        self.committed.get(&seq)
    }

    pub(crate) fn all_committed(&self) -> impl Iterator<Item = &Lock> {
        self.committed.values()
    }

    /// Whether a replica signed this: asked of the keys one by one, not in a batch.
    pub(crate) fn is_signed(&self, node: NodeId, statement: &Statement, signature: Signature) -> bool {
        let claim = Claim { signer: Signer::Replica(node), statement: *statement, signature };
        usize::from(node.0) < self.nodes && self.keys.verify(&claim)
    }

    /// What a process's record says, once it is durable.
    pub(crate) fn write(&mut self, process: usize, lsn: Lsn, record: &Record) {
        let note = match record {
            Record::Entered { view } => Note::Entered(*view),
            Record::Voted(vote) => Note::Voted(vote.view),
            Record::Prepared(it) => Note::Prepared(Lock { seq: it.seq, view: it.view, digest: it.digest }),
            Record::Stable(stable) => Note::Stable(stable.seq),
            Record::Image { chunk } if chunk.end() == chunk.total_bytes => Note::Image(chunk.index),
            Record::Accepted(_) | Record::Body { .. } | Record::Image { .. } => return,
        };
        self.disks[process].on_the_way.push_back((lsn, note));
    }

    /// Everything prepared at a process after `seq`, durable or on its way: what it must tell of.
    pub(crate) fn prepared_after(&self, process: usize, seq: Index) -> BTreeMap<Index, (Term, Digest)> {
        let disk = &self.disks[process];
        let mut prepared = disk.prepared.clone();
        for (_, note) in &disk.on_the_way {
            if let Note::Prepared(lock) = note {
                prepared.insert(lock.seq, (lock.view, lock.digest));
            }
        }
        prepared.split_off(&seq.next())
    }

    /// Takes in what has become durable; the certificates among it, and whether their entries are committed by that.
    pub(crate) fn synced(&mut self, process: usize, durable: Lsn) -> Vec<(Lock, bool)> {
        let mut certified = Vec::new();
        while let Some((_, note)) = self.disks[process].on_the_way.pop_front_if(|(lsn, _)| *lsn <= durable) {
            certified.extend(self.keep(process, note));
        }
        certified
    }

    /// A journal that ends with `last` was opened: what was on its way and is not there never will be.
    pub(crate) fn recovered(&mut self, process: usize, last: Lsn) {
        self.honest.insert(self.node(process));
        self.disks[process].on_the_way.clear();
        if last == Lsn::ZERO {
            // Another disk, or nothing was ever written.
            self.disks[process] = Disk::default();
        }
    }

    pub(crate) fn lies(&mut self, node: NodeId) {
        self.honest = self.honest.without(node);
    }

    fn keep(&mut self, process: usize, note: Note) -> Option<(Lock, bool)> {
        let disk = &mut self.disks[process];
        match note {
            Note::Entered(view) => disk.entered = disk.entered.max(Some(view)),
            Note::Voted(view) => disk.voted = disk.voted.max(Some(view)),
            Note::Image(index) => disk.image = disk.image.max(index),
            Note::Stable(seq) => {
                disk.stable = seq;
                disk.prepared = disk.prepared.split_off(&seq.next());
            }
            Note::Prepared(lock) => {
                disk.prepared.insert(lock.seq, (lock.view, lock.digest));
                return Some((lock, self.count(process, lock)));
            }
        }
        None
    }

    /// **Committed**: 2f + 1 replicas hold the certificate of one view durably (OSDI '99 §4.2). Liars may hold anything.
    fn count(&mut self, process: usize, lock: Lock) -> bool {
        let liars = self.nodes - self.honest.len();
        let (node, needed) = (self.node(process), self.certificate());
        let holders = self.holders.entry((lock.seq, lock.view, lock.digest)).or_default();
        let is_new = !holders.contains(node);
        holders.insert(node);
        if !is_new || holders.len() + liars < needed {
            return false;
        }
        self.committed.entry(lock.seq).or_insert(lock);
        true
    }

    fn node(&self, process: usize) -> NodeId {
        NodeId((process % self.nodes) as u16)
    }
}
