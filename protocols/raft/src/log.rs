//! The log in memory: a window of entries behind a base.

use std::collections::VecDeque;

use qlab_kernel::{Batch, Index, Lsn, Term, mutant};

use crate::message::{Entry, Place};

/// Entries `base + 1 ..= last`, and how far they are durable here.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The place just before the first entry.
    base: Place,
    entries: VecDeque<Stored>,
    bytes: usize,
    /// Those of them in entries past `durable`: asked for with every write, and many where the disk is slow.
    undurable_bytes: usize,
    /// The last entry that is durable here.
    durable: Index,
}

#[derive(Debug)]
struct Stored {
    entry: Entry,
    lsn: Lsn,
}

impl Log {
    /// An empty log whose first entry will be at `index`; what came before is not known yet.
    pub(crate) fn starting_at(index: Index) -> Self {
        Self::after(Place { index: index.previous(), term: Term::ZERO })
    }

    /// The place just before the first entry.
    pub(crate) const fn base(&self) -> Place {
        self.base
    }

    /// Where the log ends.
    pub(crate) fn last(&self) -> Place {
        let term = self.entries.back().map_or(self.base.term, |stored| stored.entry.term);
        Place { index: self.last_index(), term }
    }

    /// The last index.
    pub(crate) fn last_index(&self) -> Index {
        Index(self.base.index.0 + self.entries.len() as u64)
    }

    /// The last entry that is durable here.
    pub(crate) const fn durable(&self) -> Index {
        self.durable
    }

    /// Bytes of the entries that are not durable here.
    pub(crate) const fn undurable_bytes(&self) -> usize {
        self.undurable_bytes
    }

    /// The term at `index`; `None` outside the window.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.get(index).map(|entry| entry.term) }
    }

    /// Whether `place` is a place of this log. Before the base everything is committed, and so the same everywhere.
    pub(crate) fn holds(&self, place: Place) -> bool {
        let same_term = self.term_at(place.index) == Some(place.term);
        mutant!("raft: places match by index alone", same_term = place.index <= self.last_index());
        place.index < self.base.index || same_term
    }

    /// The entry at `index`; `None` outside the window.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        self.offset(index).and_then(|offset| self.entries.get(offset)).map(|stored| &stored.entry)
    }

    /// The batch at `index`, which must be in the window.
    pub(crate) fn batch(&self, index: Index) -> Batch {
        self.get(index).expect("only entries in the window are asked for").batch.clone()
    }

    /// Puts an entry at `index` and drops everything that stood there or beyond; whether anything did.
    pub(crate) fn put(&mut self, index: Index, entry: Entry, lsn: Lsn) -> bool {
        let offset = self.offset(index).expect("entries follow the base");
        assert!(offset <= self.entries.len(), "entries leave no gap");
        let truncated = offset < self.entries.len();
        for (place, dropped) in (index.0..).zip(self.entries.drain(offset..)) {
            let bytes = dropped.entry.batch.len();
            self.bytes -= bytes;
            self.undurable_bytes -= if Index(place) > self.durable { bytes } else { 0 };
        }
        self.durable = self.durable.min(index.previous());
        self.bytes += entry.batch.len();
        self.undurable_bytes += entry.batch.len();
        self.entries.push_back(Stored { entry, lsn });
        truncated
    }

    /// Learns that every record up to `lsn` is durable.
    pub(crate) fn mark_durable(&mut self, lsn: Lsn) {
        while let Some(stored) = self.offset(self.durable.next()).and_then(|offset| self.entries.get(offset))
        {
            if stored.lsn > lsn {
                break;
            }
            self.undurable_bytes -= stored.entry.batch.len();
            self.durable = self.durable.next();
        }
    }

    /// The last place at or before `from` whose term is not above `term`; before the window nothing is known, and `from` it is.
    pub(crate) fn last_up_to_term(&self, from: Index, term: Term) -> Place {
        let mut index = from.min(self.last_index());
        while self.term_at(index).is_some_and(|standing| standing > term) {
            index = index.previous();
        }
        Place { index, term: self.term_at(index).unwrap_or(term) }
    }

    /// An empty log that goes on after `place`.
    pub(crate) fn after(place: Place) -> Self {
        Self { base: place, durable: place.index, ..Self::default() }
    }

    /// Learns that everything up to `place` is in an image: the log begins after it, if it did not begin later already.
    pub(crate) fn forget_up_to(&mut self, place: Place) {
        if place.index == self.base.index {
            self.base.term = place.term;
        } else if place.index > self.last_index() {
            *self = Self::after(place);
        } else if place.index > self.base.index {
            self.drop_up_to(place.index);
        }
    }

    /// Drops entries up to `index`, but keeps the newest of them that fit into `retained_bytes`.
    pub(crate) fn compact(&mut self, index: Index, retained_bytes: usize) {
        let mut beyond: usize = self.bytes
            - self.range(self.base.index.next(), index).map(|entry| entry.batch.len()).sum::<usize>();
        let mut cut = index;
        while let Some(entry) = self.get(cut) {
            beyond += entry.batch.len();
            if beyond > retained_bytes {
                break;
            }
            cut = cut.previous();
        }
        self.drop_up_to(cut);
    }

    /// The record that holds the first entry after `index`, if there is one.
    pub(crate) fn lsn_after(&self, index: Index) -> Option<Lsn> {
        self.offset(index.next()).and_then(|offset| self.entries.get(offset)).map(|stored| stored.lsn)
    }

    /// Entries `first ..= last`, as far as they are in the window.
    pub(crate) fn range(&self, first: Index, last: Index) -> impl Iterator<Item = &Entry> {
        (first.0..=last.0).map_while(|index| self.get(Index(index)))
    }

    fn drop_up_to(&mut self, index: Index) {
        let Some(term) = self.term_at(index) else { return };
        while self.base.index < index {
            let dropped = self.entries.pop_front().expect("within the window");
            let bytes = dropped.entry.batch.len();
            self.bytes -= bytes;
            self.base.index = self.base.index.next();
            self.undurable_bytes -= if self.base.index > self.durable { bytes } else { 0 };
        }
        self.base.term = term;
        self.durable = self.durable.max(index);
    }

    fn offset(&self, index: Index) -> Option<usize> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        usize::try_from(offset).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qlab_kernel::{BatchBuilder, Sequence, SessionId};

    fn entry(bytes: usize) -> Entry {
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(1), Sequence(1), Sequence(1));
        builder.push_bytes(&vec![0; bytes]);
        Entry { term: Term(1), batch: builder.finish() }
    }

    /// The bytes past `durable`, counted anew.
    fn counted(log: &Log) -> usize {
        log.range(log.durable.next(), log.last_index()).map(|entry| entry.batch.len()).sum()
    }

    #[test]
    fn the_bytes_that_are_not_durable_are_kept_count_of() {
        let mut log = Log::default();
        let expect = |log: &Log| assert_eq!(log.undurable_bytes(), counted(log));
        for index in 1..=9 {
            log.put(Index(index), entry(10 * index as usize), Lsn(index));
            expect(&log);
        }
        log.mark_durable(Lsn(4));
        expect(&log);
        // What replaces entries on both sides of what is durable.
        assert!(log.put(Index(7), entry(500), Lsn(10)));
        expect(&log);
        assert!(log.put(Index(3), entry(50), Lsn(11)));
        expect(&log);
        log.put(Index(4), entry(60), Lsn(12));
        log.mark_durable(Lsn(11));
        expect(&log);
        log.compact(Index(4), 0);
        expect(&log);
        assert_eq!((log.undurable_bytes(), log.durable()), (0, Index(4)));
    }
}
