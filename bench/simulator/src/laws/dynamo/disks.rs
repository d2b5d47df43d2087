//! What everybody's disk holds, and ever held: V4 and V6.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use qlab_clocks::{Dot, VectorClock};
use qlab_kernel::{Lsn, NodeId, NodeSet};
use qlab_quorum::dynamo::State;

use crate::laws::{Verdict, broken};

const HANDED: &str = "V4 what is held for others is handed over";
const GRAVES: &str = "V6 deletions are forgotten where nobody holds anything older";

/// The disks of all processes.
#[derive(Debug)]
pub(crate) struct Disks {
    nodes: usize,
    disks: Vec<Disk>,
    /// What a node's disk ever knew of each key.
    ever: HashMap<(NodeId, Bytes), VectorClock>,
    /// Writes so far: time, as far as disks are concerned.
    clock: u64,
}

/// A disk: what it holds for certain, and what is on its way there.
#[derive(Debug, Default)]
struct Disk {
    held: HashMap<Bytes, State>,
    on_the_way: VecDeque<(Lsn, Bytes, Option<State>)>,
    written: HashMap<Bytes, State>,
    /// When a deletion was written last, and when there was a value where there had been none.
    died: HashMap<Bytes, u64>,
    revived: HashMap<Bytes, u64>,
}

impl Disks {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            disks: (0..2 * nodes).map(|_| Disk::default()).collect(),
            ever: HashMap::new(),
            clock: 0,
        }
    }

    /// What a process wrote last about a key.
    pub(crate) fn written(&self, process: usize, key: &Bytes) -> State {
        self.disks[process].written.get(key).cloned().unwrap_or_default()
    }

    /// A process writes what it holds, or that it forgets.
    pub(crate) fn write(&mut self, process: usize, lsn: Lsn, key: &Bytes, state: Option<State>) {
        self.clock += 1;
        let disk = &mut self.disks[process];
        let was_there = disk.written.get(key).is_some_and(has_values);
        match &state {
            Some(state) if has_values(state) && !was_there => {
                _ = disk.revived.insert(key.clone(), self.clock)
            }
            Some(state) if !has_values(state) => _ = disk.died.insert(key.clone(), self.clock),
            _ => {}
        }
        disk.on_the_way.push_back((lsn, key.clone(), state.clone()));
        put(&mut disk.written, key, state);
    }

    /// Nodes whose disks ever knew of a write.
    pub(crate) fn knowers(&self, key: &Bytes, dot: Dot) -> NodeSet {
        (0..self.nodes).map(|node| NodeId(node as u16)).filter(|node| self.knew(*node, key, dot)).collect()
    }

    fn knew(&self, node: NodeId, key: &Bytes, dot: Dot) -> bool {
        self.ever.get(&(node, key.clone())).is_some_and(|ever| dot.count <= ever.get(dot.node))
    }

    /// A node forgets what it held under a key.
    pub(crate) fn check_forgotten(
        &self,
        node: NodeId,
        key: &Bytes,
        state: &State,
        homes: NodeSet,
    ) -> Verdict {
        if homes.contains(node) {
            self.check_buried(node, key, state, homes)
        } else {
            self.check_handed(key, state, homes)
        }
    }

    fn check_handed(&self, key: &Bytes, state: &State, homes: NodeSet) -> Verdict {
        for (dot, _) in state.dotted() {
            if let Some(home) = homes.iter().find(|home| !self.knew(*home, key, dot)) {
                return broken(HANDED, format!("{key:?}: {dot:?} is forgotten, and {home} does not hold it"));
            }
        }
        Ok(())
    }

    fn check_buried(&self, node: NodeId, key: &Bytes, state: &State, homes: NodeSet) -> Verdict {
        let died = self.disks[usize::from(node.0)].died.get(key).copied().unwrap_or_default();
        for home in homes.without(node).iter() {
            // What was there again after the deletion had been on its way for longer than the grace: nobody promised that it would not.
            let revived = self.disks[usize::from(home.0)].revived.get(key).copied().unwrap_or_default();
            if revived > died {
                continue;
            }
            let held = self.disks[usize::from(home.0)].held.get(key).cloned().unwrap_or_default();
            let older = held.dotted().find(|(dot, content)| !content.is_deletion() && state.knows(*dot));
            if let Some((dot, _)) = older {
                return broken(
                    GRAVES,
                    format!("{key:?}: {node} forgets its deletion, and {home} holds {dot:?}"),
                );
            }
        }
        Ok(())
    }

    pub(crate) fn synced(&mut self, process: usize, durable: Lsn) {
        let node = self.node(process);
        let disk = &mut self.disks[process];
        while let Some((_, key, state)) = disk.on_the_way.pop_front_if(|(lsn, _, _)| *lsn <= durable) {
            if let Some(state) = &state {
                self.ever.entry((node, key.clone())).or_default().merge(state.context());
            }
            put(&mut disk.held, &key, state);
        }
    }

    /// Whose process it is.
    pub(crate) fn node(&self, process: usize) -> NodeId {
        NodeId((process % self.nodes) as u16)
    }

    /// A journal that ends with `last` was opened: what was on its way and is not there never will be. Under which keys that was is
    /// the answer.
    pub(crate) fn started(&mut self, process: usize, last: Lsn) -> Vec<Bytes> {
        self.synced(process, last);
        let disk = &mut self.disks[process];
        if last == Lsn::ZERO {
            // Another disk, or nothing was ever written.
            *disk = Disk::default();
        }
        disk.written = disk.held.clone();
        disk.on_the_way.drain(..).map(|(_, key, _)| key).collect()
    }
}

fn has_values(state: &State) -> bool {
    state.values().any(|content| !content.is_deletion())
}

fn put(states: &mut HashMap<Bytes, State>, key: &Bytes, state: Option<State>) {
    match state {
        Some(state) => _ = states.insert(key.clone(), state),
        None => _ = states.remove(key),
    }
}
