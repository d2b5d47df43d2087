//! A candidate's knowledge: what its quorum accepted, and which values it lacks (Paxos Made Simple §2.2, P2c; §3).
//!
//! A promise names slots and ballots, not values: a slot has one value in a ballot, so a candidate that accepted the slot in the
//! same ballot has the value already. That is the rule, as leaders change hands among replicas that heard the same leader; what it
//! does lack, it fetches from whoever named it. What an acceptor knows to be chosen, the candidate learns like any replica that is
//! behind, before it leads.

use std::collections::{BTreeMap, BTreeSet};

use qlab_kernel::{Batch, Effects, Index, NodeId, Time, mutant};

use super::message::{Message, Run};
use super::{MultiPaxos, Role};
use crate::Ballot;

/// Values that are asked for at a time.
const FETCHES_IN_FLIGHT: usize = 16;

/// What only a candidate has.
#[derive(Debug)]
pub(crate) struct Candidacy {
    /// The first slot that it asks about.
    first: Index,
    /// The ballot whose leader asked it to take over; zero if it was nobody.
    handover: Ballot,
    /// When to ask again for whatever has not come.
    pub(crate) retry_at: Time,
    promises: BTreeMap<NodeId, Told>,
    /// A quorum has promised; who comes later is not listened to, so that what there is to learn does not grow any more.
    closed: bool,
    /// For every slot up to here it is known what to propose.
    known: Index,
    /// Values that were fetched.
    values: BTreeMap<Index, Batch>,
    /// Slots whose values are on their way.
    fetching: BTreeSet<Index>,
}

/// What one acceptor has told.
#[derive(Debug)]
struct Told {
    chosen: Index,
    runs: Vec<Run>,
    /// The first slot that it has not told of; `None` if it has told everything.
    next: Option<Index>,
}

impl Candidacy {
    pub(crate) fn new(first: Index, handover: Ballot, retry_at: Time) -> Self {
        Self {
            first,
            handover,
            retry_at,
            promises: BTreeMap::new(),
            closed: false,
            known: Index::ZERO,
            values: BTreeMap::new(),
            fetching: BTreeSet::new(),
        }
    }

    /// What to ask an acceptor next.
    pub(crate) fn question(&self, peer: NodeId, ballot: Ballot) -> Message {
        let first = self.promises.get(&peer).and_then(|told| told.next).unwrap_or(self.first);
        Message::Prepare { ballot, first, handover: self.handover }
    }

    /// The last slot in which any of the quorum has accepted something.
    pub(crate) fn last(&self) -> Index {
        let last = |told: &Told| told.runs.last().map_or(Index::ZERO, |run| run.last);
        self.promises.values().map(last).max().unwrap_or_default()
    }

    /// The values that were fetched.
    pub(crate) fn into_values(self) -> BTreeMap<Index, Batch> {
        self.values
    }

    fn has_told_everything(&self, peer: NodeId) -> bool {
        self.promises.get(&peer).is_some_and(|told| told.next.is_none())
    }

    /// Who knows most to be chosen, and up to where.
    fn furthest(&self) -> Option<(NodeId, Index)> {
        self.promises.iter().map(|(node, told)| (*node, told.chosen)).max_by_key(|(_, chosen)| *chosen)
    }

    /// Who accepted something in that slot in the highest ballot, and in which.
    fn highest(&self, index: Index) -> Option<(Ballot, NodeId)> {
        let accepted = |(node, told): (&NodeId, &Told)| told.ballot(index).map(|ballot| (ballot, *node));
        self.promises.iter().filter_map(accepted).max()
    }
}

impl Told {
    fn ballot(&self, index: Index) -> Option<Ballot> {
        let at = self.runs.partition_point(|run| run.last < index);
        self.runs.get(at).filter(|run| run.first <= index).map(|run| run.ballot)
    }
}

impl MultiPaxos {
    pub(super) fn on_promise(
        &mut self,
        from: NodeId,
        first: Index,
        until: Option<Index>,
        chosen: Index,
        runs: Vec<Run>,
        effects: &mut Effects<Self>,
    ) {
        let Role::Preparing(candidacy) = &mut self.role else { return };
        if candidacy.closed {
            return;
        }
        let nothing = Told { chosen, runs: Vec::new(), next: Some(candidacy.first) };
        let told = candidacy.promises.entry(from).or_insert(nothing);
        if told.next != Some(first) {
            return;
        }
        told.chosen = told.chosen.max(chosen);
        told.runs.extend(runs);
        told.next = until.map(Index::next);
        if until.is_some() {
            effects.send(from, candidacy.question(from, self.promised));
        }
    }

    /// Leads, once a quorum has told everything and every value that may have been chosen is here.
    pub(super) fn conclude_phase_1(&mut self, now: Time, effects: &mut Effects<Self>) {
        if self.close_phase_1(now, effects) && self.know_what_to_propose(effects) {
            self.lead(now, effects);
        }
    }

    /// Whether a quorum has told everything, and what it knows to be chosen is known here, too.
    fn close_phase_1(&mut self, now: Time, effects: &mut Effects<Self>) -> bool {
        // A candidate's own promise counts like any other: once it is durable.
        let own = usize::from(self.durable >= self.promise_lsn);
        let Role::Preparing(candidacy) = &mut self.role else { return false };
        let complete = candidacy.promises.values().filter(|told| told.next.is_none()).count();
        let quorum = self.quorums.phase_1;
        mutant!("multi-paxos: one promise too few is enough", quorum = quorum - 1);
        if complete + own < quorum {
            return false;
        }
        let is_first = !std::mem::replace(&mut candidacy.closed, true);
        candidacy.promises.retain(|_, told| told.next.is_none());
        let Some((source, chosen)) = candidacy.furthest().filter(|(_, chosen)| *chosen > self.chosen) else {
            return true;
        };
        if is_first {
            self.note_behind(now, source, chosen);
            self.learn_now(now, effects);
        }
        false
    }

    /// Whether every value is here that must be proposed again; fetches what is not.
    fn know_what_to_propose(&mut self, effects: &mut Effects<Self>) -> bool {
        let Role::Preparing(candidacy) = &mut self.role else { return false };
        let slots = &self.slots;
        let last = slots.last().max(candidacy.last());
        mutant!("multi-paxos: what others accepted is not fetched", { return true });
        let missing = |candidacy: &Candidacy, index: Index| {
            candidacy
                .highest(index)
                .filter(|(ballot, _)| *ballot > slots.ballot(index) && !candidacy.values.contains_key(&index))
        };
        candidacy.known = candidacy.known.max(self.chosen);
        while candidacy.known < last && missing(candidacy, candidacy.known.next()).is_none() {
            candidacy.known = candidacy.known.next();
        }
        if candidacy.known >= last {
            return true;
        }
        if candidacy.fetching.is_empty() {
            let lacking = (candidacy.known.next().0..=last.0).map(Index).filter_map(|index| {
                missing(candidacy, index).map(|(ballot, holder)| (index, ballot, holder))
            });
            for (index, accepted_in, holder) in lacking.take(FETCHES_IN_FLIGHT).collect::<Vec<_>>() {
                candidacy.fetching.insert(index);
                effects.send(holder, Message::Fetch { ballot: self.promised, index, accepted_in });
            }
        }
        false
    }

    /// Asks again for whatever has not come.
    pub(super) fn retry_phase_1(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Preparing(candidacy) = &mut self.role else { return };
        candidacy.fetching.clear();
        if candidacy.closed {
            self.learn_patiently(now, effects);
        } else if self.durable >= self.promise_lsn {
            let silent = self.seat.peers().iter().filter(|peer| !candidacy.has_told_everything(*peer));
            for peer in silent {
                effects.send(peer, candidacy.question(peer, self.promised));
            }
        }
    }

    pub(super) fn on_fetch(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        index: Index,
        accepted_in: Ballot,
        effects: &mut Effects<Self>,
    ) {
        let Some(slot) = self.slots.get(index) else { return };
        let known = if index <= self.chosen { Ballot::CHOSEN } else { slot.ballot };
        if known == accepted_in || known == Ballot::CHOSEN {
            let batch = slot.batch.clone();
            // Early: which value it is in that ballot was decided when it was proposed; that it was accepted, the promise said.
            effects.send_early(from, Message::Value { ballot, index, accepted_in: known, batch });
        }
    }

    pub(super) fn on_value(&mut self, now: Time, index: Index, accepted_in: Ballot, batch: Batch) {
        let Role::Preparing(candidacy) = &mut self.role else { return };
        let is_wanted = candidacy.highest(index).is_some_and(|(ballot, _)| ballot <= accepted_in);
        if candidacy.closed && candidacy.fetching.remove(&index) && is_wanted {
            candidacy.values.insert(index, batch);
            self.draw_election_deadline(now);
        }
    }
}
