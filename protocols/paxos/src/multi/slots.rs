//! What an acceptor has accepted, slot by slot, in no particular order.

use std::collections::BTreeMap;

use qlab_kernel::{Batch, Index, Lsn};

use super::message::Run;
use crate::Ballot;

/// Slots after `base`; any of them may be empty.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Everything up to here is in an image, and no longer here.
    base: Index,
    slots: BTreeMap<Index, Slot>,
}

/// A slot that holds a value.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The ballot it was accepted in; [`Ballot::CHOSEN`] if somebody said that it is chosen.
    pub(crate) ballot: Ballot,
    pub(crate) batch: Batch,
    /// The record of what was last accepted here. A value that was only told has none of its own: it is asked for again
    /// after a crash, and what was accepted before it must not be forgotten meanwhile.
    pub(crate) lsn: Option<Lsn>,
}

impl Slots {
    /// Nothing after `base`.
    #[cfg(feature = "mutants")]
    pub(crate) const fn after(base: Index) -> Self {
        Self { base, slots: BTreeMap::new() }
    }

    /// The last slot that is no longer here.
    pub(crate) const fn base(&self) -> Index {
        self.base
    }

    /// The last slot that holds something; the base if none does.
    pub(crate) fn last(&self) -> Index {
        self.slots.last_key_value().map_or(self.base, |(index, _)| *index)
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Slot> {
        self.slots.get(&index)
    }

    /// The ballot of what `index` holds; zero if that is nothing.
    pub(crate) fn ballot(&self, index: Index) -> Ballot {
        self.get(index).map_or(Ballot::ZERO, |slot| slot.ballot)
    }

    /// The value at `index`, which must be here.
    pub(crate) fn batch(&self, index: Index) -> Batch {
        self.get(index).expect("what is chosen is here until it is in an image").batch.clone()
    }

    /// Accepts a value, in the place of what was accepted there before.
    pub(crate) fn accept(&mut self, index: Index, ballot: Ballot, batch: Batch, lsn: Lsn) {
        self.put(index, Slot { ballot, batch, lsn: Some(lsn) });
    }

    /// Learns which value is chosen.
    pub(crate) fn learn(&mut self, index: Index, batch: Batch) {
        let lsn = self.get(index).and_then(|slot| slot.lsn);
        self.put(index, Slot { ballot: Ballot::CHOSEN, batch, lsn });
    }

    /// What is accepted from `first` on, as at most `runs_max` runs of slots of the same ballot, and the last slot that they
    /// speak of, if there are more.
    pub(crate) fn runs(&self, first: Index, runs_max: usize) -> (Vec<Run>, Option<Index>) {
        let mut runs: Vec<Run> = Vec::new();
        for (&index, slot) in self.slots.range(first..) {
            let is_full = runs.len() == runs_max;
            match runs.last_mut() {
                Some(run) if run.last.next() == index && run.ballot == slot.ballot => run.last = index,
                Some(run) if is_full => {
                    let until = run.last;
                    return (runs, Some(until));
                }
                _ => runs.push(Run { first: index, last: index, ballot: slot.ballot }),
            }
        }
        (runs, None)
    }

    /// Learns that everything up to `index` is in an image.
    pub(crate) fn forget_up_to(&mut self, index: Index) {
        if index > self.base {
            self.slots = self.slots.split_off(&index.next());
            self.base = index;
        }
    }

    /// Forgets slots up to `index`, but keeps the newest of them that fit into `retained_bytes`.
    pub(crate) fn compact(&mut self, index: Index, retained_bytes: usize) {
        let mut bytes = self.slots.range(index.next()..).map(|(_, slot)| slot.batch.len()).sum::<usize>();
        let too_old = self.slots.range(..=index).rev().find(|(_, slot)| {
            bytes += slot.batch.len();
            bytes > retained_bytes
        });
        if let Some(cut) = too_old.map(|(index, _)| *index) {
            self.forget_up_to(cut);
        }
    }

    /// The first of the records that hold what is accepted after `index`.
    pub(crate) fn first_record_after(&self, index: Index) -> Option<Lsn> {
        self.slots.range(index.next()..).filter_map(|(_, slot)| slot.lsn).min()
    }

    fn put(&mut self, index: Index, slot: Slot) {
        assert!(index > self.base, "slot {index} is in an image up to {}", self.base);
        self.slots.insert(index, slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use qlab_kernel::{NodeId, Term};

    proptest! {
        #[test]
        fn runs_tell_every_slot_page_by_page(
            accepted in prop::collection::btree_map(1_u64..60, 1_u64..4, 0..40), runs_max in 1_usize..5,
        ) {
            let mut slots = Slots::default();
            let ballot = |round| Ballot { round: Term(round), ..Ballot::ZERO };
            for (lsn, (&index, &round)) in accepted.iter().enumerate() {
                slots.accept(Index(index), ballot(round), Batch::default(), Lsn(lsn as u64));
            }
            let mut told = BTreeMap::new();
            let mut next = Some(Index(1));
            while let Some(first) = next {
                let (runs, until) = slots.runs(first, runs_max);
                prop_assert!(runs.len() <= runs_max);
                let of = |run: &Run| (run.first.0..=run.last.0).map(|index| (index, run.ballot.round.0)).collect::<Vec<_>>();
                told.extend(runs.iter().flat_map(of));
                next = until.map(Index::next);
            }
            prop_assert_eq!(told, accepted);
        }
    }

    #[test]
    fn a_value_that_is_only_told_does_not_let_go_of_the_record_before_it() {
        let mut slots = Slots::default();
        let ballot = Ballot::ZERO.next_of(NodeId(1));
        slots.accept(Index(5), ballot, Batch::default(), Lsn(9));
        slots.accept(Index(6), ballot, Batch::default(), Lsn(3));
        slots.learn(Index(6), Batch::default());
        slots.learn(Index(7), Batch::default());
        assert_eq!(slots.first_record_after(Index(4)), Some(Lsn(3)));
        slots.compact(Index(6), 0);
        assert_eq!((slots.base(), slots.last()), (Index::ZERO, Index(7)), "empty values take no room");
        slots.forget_up_to(Index(6));
        assert_eq!(slots.first_record_after(Index(6)), None);
    }
}
