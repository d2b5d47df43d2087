//! What is known of each sequence number between the watermarks.

use std::collections::BTreeMap;

use qlab_kernel::{Index, Lsn, NodeId, Term, Time, mutant};

use crate::keys::{Digest, Signature};
use crate::message::{PrePrepare, Prepared, Signed};
use crate::request::Requests;

/// Bodies kept for one sequence number: the prepared one, and the newest of others that primaries proposed.
const BODIES_MAX: usize = 4;

/// Sequence numbers after the last stable checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    base: Index,
    slots: BTreeMap<Index, Slot>,
}

/// One sequence number. Whatever is not said to be of another view is of the replica's own.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) accepted: Option<Accepted>,
    /// The primary's word that is not accepted yet, as it holds a request whose proof shows nothing here.
    pub(crate) doubted: Option<PrePrepare>,
    prepares: BTreeMap<NodeId, Vote>,
    commits: BTreeMap<NodeId, Vote>,
    /// The certificate of the highest view, and its record.
    pub(crate) prepared: Option<(Prepared, Lsn)>,
    /// What is committed, whatever the view.
    pub(crate) committed: Option<Digest>,
    /// What others say is committed, whatever their view.
    told: BTreeMap<NodeId, Digest>,
    bodies: Vec<Requests>,
    /// The first record about it.
    first_lsn: Option<Lsn>,
}

/// The primary's word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) digest: Digest,
    pub(crate) signature: Signature,
    pub(crate) at: Time,
}

/// A prepare or commit. Signatures are verified when they are needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vote {
    pub(crate) digest: Digest,
    pub(crate) signature: Option<Signature>,
    pub(crate) verified: bool,
}

/// Prepares or commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Prepare,
    Commit,
}

impl Slots {
    /// The last sequence number that is no longer here.
    pub(crate) const fn base(&self) -> Index {
        self.base
    }

    pub(crate) fn last(&self) -> Index {
        self.slots.last_key_value().map_or(self.base, |(seq, _)| *seq)
    }

    pub(crate) fn get(&self, seq: Index) -> Option<&Slot> {
        self.slots.get(&seq)
    }

    pub(crate) fn get_mut(&mut self, seq: Index) -> Option<&mut Slot> {
        self.slots.get_mut(&seq)
    }

    /// The slot of a sequence number after the base, made if need be.
    pub(crate) fn at(&mut self, seq: Index) -> &mut Slot {
        assert!(seq > self.base, "entry {seq} is in an image up to {}", self.base);
        self.slots.entry(seq).or_default()
    }

    pub(crate) fn after(&self, seq: Index) -> impl Iterator<Item = (Index, &Slot)> {
        self.slots.range(seq.next()..).map(|(seq, slot)| (*seq, slot))
    }

    pub(crate) fn forget_up_to(&mut self, seq: Index) {
        if seq > self.base {
            self.slots = self.slots.split_off(&seq.next());
            self.base = seq;
        }
    }

    /// What was said in the view that ends here counts no more.
    pub(crate) fn leave_view(&mut self) {
        for slot in self.slots.values_mut() {
            slot.accepted = None;
            slot.doubted = None;
            slot.prepares.clear();
            slot.commits.clear();
        }
    }

    /// The first of the records about what comes after `seq`.
    pub(crate) fn first_record_after(&self, seq: Index) -> Option<Lsn> {
        self.after(seq).filter_map(|(_, slot)| slot.first_lsn).min()
    }

    /// The paper's *P*.
    pub(crate) fn prepared_after(&self, seq: Index) -> Vec<Prepared> {
        self.after(seq)
            .filter_map(|(_, slot)| slot.prepared.as_ref().map(|(prepared, _)| prepared.clone()))
            .collect()
    }

    /// When the oldest entry was accepted that is not executed.
    pub(crate) fn oldest_after(&self, executed: Index) -> Option<Time> {
        self.after(executed).filter_map(|(_, slot)| slot.accepted.map(|accepted| accepted.at)).min()
    }
}

impl Slot {
    pub(crate) fn votes(&self, phase: Phase) -> &BTreeMap<NodeId, Vote> {
        match phase {
            Phase::Prepare => &self.prepares,
            Phase::Commit => &self.commits,
        }
    }

    fn votes_mut(&mut self, phase: Phase) -> &mut BTreeMap<NodeId, Vote> {
        match phase {
            Phase::Prepare => &mut self.prepares,
            Phase::Commit => &mut self.commits,
        }
    }

    /// The first word of each replica counts; whether this one fits it.
    pub(crate) fn vote(&mut self, phase: Phase, from: NodeId, vote: Vote) -> bool {
        let votes = self.votes_mut(phase);
        mutant!("pbft: a duplicate sender is counted", {
            if phase == Phase::Commit && votes.contains_key(&from) {
                let nobody = (0..64).map(NodeId).find(|node| !votes.contains_key(node));
                votes.insert(nobody.unwrap_or(from), vote);
                return true;
            }
        });
        votes.entry(from).or_insert(vote).digest == vote.digest
    }

    /// How many said this.
    pub(crate) fn count(&self, phase: Phase, digest: &Digest) -> usize {
        self.votes(phase).values().filter(|vote| vote.digest == *digest).count()
    }

    /// Those of them whose signatures are verified.
    pub(crate) fn verified(&self, phase: Phase, digest: &Digest) -> impl Iterator<Item = (NodeId, &Vote)> {
        let is_so = |(_, vote): &(&NodeId, &Vote)| vote.verified && vote.digest == *digest;
        self.votes(phase).iter().filter(is_so).map(|(node, vote)| (*node, vote))
    }

    /// Verified prepares, as a certificate holds them.
    pub(crate) fn signed_prepares(&self, digest: &Digest, count: usize) -> Vec<Signed> {
        let signed = |(node, vote): (NodeId, &Vote)| vote.signature.map(|signature| (node, signature));
        self.verified(Phase::Prepare, digest).filter_map(signed).take(count).collect()
    }

    /// The verdict on a vote's signature: a bad one is thrown away.
    pub(crate) fn judge(&mut self, phase: Phase, node: NodeId, good: bool) {
        let votes = self.votes_mut(phase);
        if !good {
            votes.remove(&node);
        } else if let Some(vote) = votes.get_mut(&node) {
            vote.verified = true;
        }
    }

    /// Somebody says that this is committed; how many say so now.
    pub(crate) fn hear_committed(&mut self, from: NodeId, digest: Digest) -> usize {
        self.told.insert(from, digest);
        self.told.values().filter(|told| **told == digest).count()
    }

    pub(crate) fn is_prepared_in(&self, view: Term) -> bool {
        self.prepared.as_ref().is_some_and(|(prepared, _)| prepared.view == view)
    }

    pub(crate) fn body(&self, digest: &Digest) -> Option<&Requests> {
        self.bodies.iter().find(|body| body.digest() == digest)
    }

    /// What is agreed on here, or to be agreed on, whose requests are not here.
    pub(crate) fn lacks(&self) -> Option<Digest> {
        let wanted = self.committed.or(self.accepted.map(|accepted| accepted.digest))?;
        self.body(&wanted).is_none().then_some(wanted)
    }

    pub(crate) fn keep_body(&mut self, requests: Requests) {
        if self.body(requests.digest()).is_some() {
            return;
        }
        if self.bodies.len() == BODIES_MAX {
            let prepared = self.prepared.as_ref().map(|(prepared, _)| prepared.digest);
            let oldest = self.bodies.iter().position(|body| Some(*body.digest()) != prepared);
            self.bodies.remove(oldest.unwrap_or(0));
        }
        self.bodies.push(requests);
    }

    pub(crate) fn recorded(&mut self, lsn: Lsn) {
        self.first_lsn = Some(self.first_lsn.map_or(lsn, |first| first.min(lsn)));
    }
}
