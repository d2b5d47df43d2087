//! What was written, and what its author had seen: V1, V2, V3. Clients never write the same value twice: values name writes.

use std::collections::HashMap;

use bytes::Bytes;
use qlab_clocks::{Dot, VectorClock};
use qlab_kernel::NodeId;
use qlab_quorum::dynamo::State;

use crate::laws::{Verdict, broken};

const NAMES: &str = "V1 a name is given to one write";
const LOST: &str = "V2 a value goes only for a write that had seen it";
const FALSE: &str = "V3 values side by side had not seen each other";

/// All keys.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    keys: HashMap<Bytes, Key>,
}

/// Everything that was ever written under a key.
#[derive(Debug, Default)]
struct Key {
    /// What the author of each value had seen, from when it was asked.
    seen: HashMap<Bytes, VectorClock>,
    /// What authors of deletions had seen: those have no value that tells them apart.
    deletions: Vec<VectorClock>,
    writes: HashMap<Dot, Write>,
    /// Names in the order in which they were given, and what those who gave them had seen; of deletions, that is not known.
    order: Vec<(Dot, VectorClock)>,
    dots: HashMap<Bytes, Dot>,
    /// Covers what was forgotten after it was deleted.
    buried: VectorClock,
}

/// A write that was named.
#[derive(Debug)]
struct Write {
    value: Option<Bytes>,
    /// Whether anybody else has heard of it: until then, a crash may have made it nothing, and its name free.
    is_told: bool,
}

/// Writes that are looked for in what a reader is told: the latest.
const RECENT: usize = 64;

impl Truth {
    /// A client asks to write this, having seen so much.
    pub(crate) fn ask(&mut self, key: &Bytes, value: Option<Bytes>, seen: VectorClock) {
        let key = self.keys.entry(key.clone()).or_default();
        match value {
            Some(value) => _ = key.seen.entry(value).or_insert(seen),
            None => key.deletions.push(seen),
        }
    }

    /// The name of the write of a value.
    pub(crate) fn dot_of(&self, key: &Bytes, value: &Bytes) -> Option<Dot> {
        self.keys.get(key)?.dots.get(value).copied()
    }

    /// Looks at a state that a replica writes down: its writes have names from now on, unless they had.
    pub(crate) fn note(&mut self, key: &Bytes, state: &State) {
        let known = self.keys.entry(key.clone()).or_default();
        for (dot, content) in state.dotted() {
            known.name(dot, content.value.as_ref());
        }
    }

    /// A crash left `node` with this: what it had named since, and told nobody of, was never written.
    pub(crate) fn unname(&mut self, key: &Bytes, node: NodeId, left: &State) {
        let Some(known) = self.keys.get_mut(key) else { return };
        let is_gone = |dot: &Dot, write: &Write| dot.node == node && !left.knows(*dot) && !write.is_told;
        for (dot, write) in known.writes.extract_if(|dot, write| is_gone(dot, write)) {
            known.order.retain(|(named, _)| *named != dot);
            known.dots.retain(|value, named| *named != dot || Some(value) != write.value.as_ref());
        }
    }

    /// V1 in what leaves a replica, and V3.
    pub(crate) fn check_names(&mut self, key: &Bytes, state: &State) -> Verdict {
        let Some(known) = self.keys.get_mut(key) else { return Ok(()) };
        for (dot, content) in state.dotted() {
            let Some(write) = known.writes.get_mut(&dot) else { continue };
            write.is_told = true;
            if write.value != content.value {
                return broken(
                    NAMES,
                    format!("{key:?}: {dot:?} is {:?}, and was another write's", content.value),
                );
            }
        }
        known.check_concurrency(key, state)
    }

    /// V2 and V3: what becomes of a state.
    pub(crate) fn check_change(&self, key: &Bytes, before: &State, after: &State) -> Verdict {
        let Some(known) = self.keys.get(key) else { return Ok(()) };
        for (dot, content) in before.dotted() {
            let stays = after.dotted().any(|(other, _)| other == dot);
            // A home that has forgotten a deletion names later writes as if it had seen it.
            let is_forgotten = content.is_deletion() && covers(&known.buried, dot);
            if !stays && !is_forgotten && !known.is_replaced(dot, |by| after.knows(by)) {
                return broken(
                    LOST,
                    format!("{key:?}: {:?} ({dot:?}) goes, and nobody had seen it", content.value),
                );
            }
        }
        known.check_concurrency(key, after)
    }

    /// V2 in what a client is told: what its context covers is there, or was replaced by something that the context covers.
    pub(crate) fn check_reading(&self, key: &Bytes, context: &VectorClock, values: &[Bytes]) -> Verdict {
        let Some(known) = self.keys.get(key) else { return Ok(()) };
        let is_covered = |dot: Dot| covers(context, dot);
        for dot in known.order.iter().rev().take(RECENT).map(|(dot, _)| *dot).filter(|dot| is_covered(*dot)) {
            let Some(Write { value: Some(value), .. }) = known.writes.get(&dot) else { continue };
            if !values.contains(value) && !known.is_replaced(dot, is_covered) {
                return broken(
                    LOST,
                    format!("{key:?}: a reader is told that it has seen {value:?} ({dot:?}), and has not"),
                );
            }
        }
        Ok(())
    }

    /// A home forgets this, which says that all is deleted.
    pub(crate) fn bury(&mut self, key: &Bytes, state: &State) {
        if let Some(known) = self.keys.get_mut(key) {
            known.buried.merge(state.context());
        }
    }

    /// Whether a write was forgotten after it was deleted.
    pub(crate) fn is_buried(&self, key: &Bytes, dot: Dot) -> bool {
        self.keys.get(key).is_some_and(|known| covers(&known.buried, dot))
    }
}

impl Key {
    fn name(&mut self, dot: Dot, value: Option<&Bytes>) {
        if self.writes.get(&dot).is_some_and(|write| write.is_told || write.value.as_ref() == value) {
            return;
        }
        if self.writes.insert(dot, Write { value: value.cloned(), is_told: false }).is_some() {
            self.order.retain(|(named, _)| *named != dot);
        }
        let seen = value.and_then(|value| self.seen.get(value)).cloned().unwrap_or_default();
        self.order.push((dot, seen));
        if let Some(value) = value {
            self.dots.insert(value.clone(), dot);
        }
    }

    /// What the author of a value had seen.
    fn seen_by(&self, dot: Dot) -> Option<&VectorClock> {
        self.seen.get(self.writes.get(&dot)?.value.as_ref()?)
    }

    /// Whether the author of a write that is known had seen it.
    fn is_replaced(&self, dot: Dot, is_known: impl Fn(Dot) -> bool) -> bool {
        self.order.iter().rev().any(|(by, seen)| covers(seen, dot) && is_known(*by))
            || self.deletions.iter().any(|seen| covers(seen, dot))
    }

    fn check_concurrency(&self, key: &Bytes, state: &State) -> Verdict {
        for (by, _) in state.dotted() {
            let Some(seen) = self.seen_by(by) else { continue };
            if let Some((dot, _)) = state.dotted().find(|(dot, _)| *dot != by && covers(seen, *dot)) {
                return broken(FALSE, format!("{key:?}: {by:?} had seen {dot:?}, and stands beside it"));
            }
        }
        Ok(())
    }
}

fn covers(context: &VectorClock, dot: Dot) -> bool {
    dot.count <= context.get(dot.node)
}
