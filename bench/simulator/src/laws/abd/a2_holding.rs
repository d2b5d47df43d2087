//! A2: what a replica holds never goes back, not across restarts either, and is durable before the replica says so.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use qlab_kernel::{Lsn, NodeId, NodeSet};
use qlab_quorum::abd::{Record, Tag};

use crate::laws::{Verdict, broken};

const MONOTONE: &str = "A2 tags never go back";
const DURABLE: &str = "A2 what is told is durable";

/// The disks of all processes.
#[derive(Debug)]
pub(crate) struct Holding {
    nodes: usize,
    disks: Vec<Disk>,
    /// The highest tag of each key that a node's disk ever held.
    ever: HashMap<(NodeId, Bytes), Tag>,
}

/// A disk: what it holds for certain, and what is on its way there.
#[derive(Debug, Default)]
struct Disk {
    held: HashMap<Bytes, Tag>,
    on_the_way: VecDeque<(Lsn, Bytes, Tag)>,
    written: HashMap<Bytes, Tag>,
}

impl Holding {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes, disks: (0..2 * nodes).map(|_| Disk::default()).collect(), ever: HashMap::new() }
    }

    /// Replicas whose disks ever held this tag or a later one.
    pub(crate) fn holders(&self, key: &Bytes, tag: Tag) -> NodeSet {
        let nodes = (0..self.nodes).map(|node| NodeId(node as u16));
        nodes.filter(|node| self.ever.get(&(*node, key.clone())).is_some_and(|held| *held >= tag)).collect()
    }

    /// Looks at what a process writes.
    pub(crate) fn check_record(&mut self, process: usize, lsn: Lsn, record: &Record) -> Verdict {
        let disk = &mut self.disks[process];
        match record {
            Record::Life { .. } | Record::Opened { .. } => Ok(()),
            Record::Stored { key, version } => {
                let before = disk.written.insert(key.clone(), version.tag).unwrap_or_default();
                disk.on_the_way.push_back((lsn, key.clone(), version.tag));
                goes_on(process, key, before, version.tag)
            }
            Record::Images { images } => images.iter().try_for_each(|(key, version)| {
                let written = disk.written.get(key).copied().unwrap_or_default();
                if written == version.tag { Ok(()) } else { goes_on(process, key, written, version.tag) }
            }),
        }
    }

    /// Looks at what a process says that it holds.
    pub(crate) fn check_word(&self, process: usize, key: &Bytes, tag: Tag) -> Verdict {
        let held = self.disks[process].held.get(key).copied().unwrap_or_default();
        if held >= tag {
            return Ok(());
        }
        broken(
            DURABLE,
            format!("process {process} says that it holds {tag} for {key:?}; its disk holds {held}"),
        )
    }

    pub(crate) fn synced(&mut self, process: usize, durable: Lsn) {
        let node = NodeId((process % self.nodes) as u16);
        let disk = &mut self.disks[process];
        while let Some((_, key, tag)) = disk.on_the_way.pop_front_if(|(lsn, _, _)| *lsn <= durable) {
            let ever = self.ever.entry((node, key.clone())).or_default();
            *ever = tag.max(*ever);
            disk.held.insert(key, tag);
        }
    }

    /// A journal that ends with `last` was opened: what was on its way and is not there never will be.
    pub(crate) fn started(&mut self, process: usize, last: Lsn) {
        self.synced(process, last);
        let disk = &mut self.disks[process];
        if last == Lsn::ZERO {
            // Another disk, or nothing was ever written.
            *disk = Disk::default();
        }
        disk.on_the_way.clear();
        disk.written = disk.held.clone();
    }
}

fn goes_on(process: usize, key: &Bytes, before: Tag, tag: Tag) -> Verdict {
    if tag > before {
        return Ok(());
    }
    broken(MONOTONE, format!("process {process} writes {tag} for {key:?} after {before}"))
}
