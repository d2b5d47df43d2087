//! Vector clocks: exactly who knew what (Fidge 1988; Mattern, "Virtual Time and Global States of Distributed Systems", 1989).
//!
//! Entry p of an event's clock counts the events of process p that happened before it or are it. So one clock is below
//! another if and only if its event happened before the other.

use std::cmp::Ordering;

use qlab_kernel::{NodeId, Reader, Sink, Wire, WireError, mutant};

use crate::varint;

/// Largest number of processes, which are numbered from 0: as many as [`NodeId`] tells apart.
pub const PROCESSES_MAX: usize = 1 << 16;

/// Largest count that is taken from outside. A process that goes on from there has as many ticks left again before counts
/// reach 2⁶³: nobody can bring another to the end of its numbers, and the sign of a difference says which count is larger.
pub const COUNT_MAX: u64 = u64::MAX >> 2;

/// Entries that are compared before it is asked whether more are needed: few enough to stop early, enough for the loop over
/// them to have no branches.
const COMPARED_AT_ONCE: usize = 32;

/// How two events, or two versions, stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The first happened before the second.
    Before,
    /// They are the same.
    Equal,
    /// The second happened before the first.
    After,
    /// Neither knew of the other.
    Concurrent,
}

impl Order {
    const fn of(some_less: bool, some_greater: bool) -> Self {
        match (some_less, some_greater) {
            (false, false) => Self::Equal,
            (true, false) => Self::Before,
            (false, true) => Self::After,
            (true, true) => Self::Concurrent,
        }
    }
}

/// A vector clock over processes numbered from 0, as long as the highest process that has an event.
///
/// Equal clocks are equal as values and have equal encodings. A process's number belongs to it for good: one that comes back
/// without its memory needs another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VectorClock {
    /// What is missing is zero; the last one is not.
    entries: Vec<u64>,
}

impl VectorClock {
    /// The clock before every event.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// How many events of `process` are known.
    #[must_use]
    pub fn get(&self, process: NodeId) -> u64 {
        self.entries.get(usize::from(process.0)).copied().unwrap_or(0)
    }

    /// An event of `process`; its number, from 1. Sending and receiving are events: a receiver merges, then ticks.
    pub fn tick(&mut self, process: NodeId) -> u64 {
        let at = usize::from(process.0);
        if at >= self.entries.len() {
            self.entries.resize(at + 1, 0);
        }
        self.entries[at] += 1;
        self.entries[at]
    }

    /// Knows of `count` events of `process` at least.
    pub fn raise(&mut self, process: NodeId, count: u64) {
        let at = usize::from(process.0);
        if count > self.get(process) {
            self.entries.resize(self.entries.len().max(at + 1), 0);
            self.entries[at] = count;
        }
    }

    /// Takes in everything that `other` knows. Allocates only if `other` is longer.
    pub fn merge(&mut self, other: &Self) {
        if self.entries.len() < other.entries.len() {
            self.entries.resize(other.entries.len(), 0);
        }
        for (mine, theirs) in self.entries.iter_mut().zip(&other.entries) {
            let known = (*mine).max(*theirs);
            mutant!("vector clock: merge takes the minimum", known = (*mine).min(*theirs));
            *mine = known;
        }
    }

    /// How the event of this clock stands to that of `other`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Order {
        // The last entry is never zero: whoever has one that the other lacks knows more there.
        let by_length = self.entries.len().cmp(&other.entries.len());
        mutant!("vector clock: compare ignores missing entries", by_length = Ordering::Equal);
        let (mut less, mut greater) = (by_length == Ordering::Less, by_length == Ordering::Greater);
        let chunks = self.entries.chunks(COMPARED_AT_ONCE).zip(other.entries.chunks(COMPARED_AT_ONCE));
        for (mine, theirs) in chunks {
            // Signs of differences instead of comparisons: every processor subtracts 64-bit numbers several at a time.
            let (mut below, mut above) = (0, 0);
            for (mine, theirs) in mine.iter().zip(theirs) {
                below |= mine.wrapping_sub(*theirs);
                above |= theirs.wrapping_sub(*mine);
            }
            less |= is_negative(below);
            greater |= is_negative(above);
            if less && greater {
                break;
            }
        }
        Order::of(less, greater)
    }

    /// Entries held: one more than the highest process that has an event.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no event is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

const fn is_negative(difference: u64) -> bool {
    (difference as i64) < 0
}

/// `length, entry*`, each entry as its difference to the one before: processes that talk are about equally far.
///
/// Every entry takes a byte at least, zeros as well: an encoding in which few bytes stand for many entries would let a peer
/// allocate with them.
impl Wire for VectorClock {
    fn encode(&self, sink: &mut impl Sink) {
        varint::put(sink, self.entries.len() as u64);
        let mut before = 0_u64;
        for &entry in &self.entries {
            varint::put(sink, varint::zigzag(entry.wrapping_sub(before) as i64));
            before = entry;
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let len = decode_length(reader)?;
        let mut entries = Vec::with_capacity(len);
        let mut before = 0_u64;
        for _ in 0..len {
            let difference = varint::unzigzag(varint::take(reader, "vector clock entry")?);
            before = before.wrapping_add(difference as u64);
            if before > COUNT_MAX {
                return Err(WireError::Invalid { what: "vector clock entry", value: before });
            }
            entries.push(before);
        }
        if entries.last() == Some(&0) {
            return Err(WireError::Invalid { what: "last entry of a vector clock", value: 0 });
        }
        Ok(Self { entries })
    }
}

/// A length that the limit and the bytes that are left allow.
fn decode_length(reader: &mut Reader) -> Result<usize, WireError> {
    let len = varint::take(reader, "vector clock length")?;
    if len > PROCESSES_MAX as u64 {
        return Err(WireError::Invalid { what: "vector clock length", value: len });
    }
    let (wanted, left) = (len as usize, reader.left());
    if wanted > left { Err(WireError::Short { wanted, left }) } else { Ok(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(mut entries: Vec<u64>) -> VectorClock {
        while entries.last() == Some(&0) {
            entries.pop();
        }
        VectorClock { entries }
    }

    fn clocks() -> impl Strategy<Value = VectorClock> {
        prop::collection::vec(0_u64..4, 0..70).prop_map(clock)
    }

    fn encoded(clock: &VectorClock) -> Vec<u8> {
        let mut bytes = Vec::new();
        clock.encode(&mut bytes);
        bytes
    }

    fn merged(a: &VectorClock, b: &VectorClock) -> VectorClock {
        let mut merged = a.clone();
        merged.merge(b);
        merged
    }

    /// The definition, entry by entry.
    fn is_below(a: &VectorClock, b: &VectorClock) -> bool {
        (0..100).map(NodeId).all(|process| a.get(process) <= b.get(process))
    }

    #[test]
    fn a_merge_that_brings_no_process_keeps_its_memory() {
        let (mut mine, theirs) = (clock(vec![1, 5, 3]), clock(vec![4, 2]));
        let before = (mine.entries.as_ptr(), mine.entries.capacity());
        mine.merge(&theirs);
        assert_eq!(mine, clock(vec![4, 5, 3]));
        assert_eq!((mine.entries.as_ptr(), mine.entries.capacity()), before);
    }

    #[test]
    fn neighbours_cost_a_byte_each() {
        let close = clock((0..1000).map(|i| 1_000_000 + i % 50).collect());
        assert_eq!(encoded(&close).len(), 2 + 3 + 999);
    }

    #[test]
    fn what_could_be_written_otherwise_is_refused() {
        for (bytes, why) in [
            (vec![2, 2, 1], "the last entry is zero"),
            (vec![1, 0x82, 0x00], "a padded entry"),
            (vec![0x80, 0x00], "a padded length"),
            (vec![1, 1], "an entry of −1"),
            (vec![3, 2], "more entries than bytes"),
            (vec![0xff, 0xff, 0x7f], "more processes than there are"),
        ] {
            assert!(VectorClock::decode_all(bytes.into()).is_err(), "{why}");
        }
    }

    proptest! {
        #[test]
        fn comparing_follows_the_definition(a in clocks(), b in clocks()) {
            let order = match (is_below(&a, &b), is_below(&b, &a)) {
                (true, true) => Order::Equal,
                (true, false) => Order::Before,
                (false, true) => Order::After,
                (false, false) => Order::Concurrent,
            };
            prop_assert_eq!(a.compare(&b), order);
            prop_assert_eq!(a == b, order == Order::Equal);
        }

        #[test]
        fn merging_is_a_join(a in clocks(), b in clocks(), c in clocks()) {
            prop_assert_eq!(merged(&a, &a), a.clone());
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert!(is_below(&a, &merged(&a, &b)));
        }

        #[test]
        fn a_tick_comes_after_everything_known(a in clocks(), process in 0_u16..80) {
            let mut later = a.clone();
            let number = later.tick(NodeId(process));
            prop_assert_eq!(a.compare(&later), Order::Before);
            prop_assert_eq!(number, a.get(NodeId(process)) + 1);
        }

        #[test]
        fn raising_knows_that_much_and_no_less(a in clocks(), process in 0_u16..80, count in 0_u64..6) {
            let mut raised = a.clone();
            raised.raise(NodeId(process), count);
            prop_assert_eq!(raised.get(NodeId(process)), count.max(a.get(NodeId(process))));
            prop_assert!(is_below(&a, &raised));
            prop_assert!(raised.entries.last() != Some(&0));
        }

        #[test]
        fn what_is_encoded_is_decoded(entries in prop::collection::vec(0..=COUNT_MAX, 0..20)) {
            let clock = clock(entries);
            prop_assert_eq!(VectorClock::decode_all(encoded(&clock).into()), Ok(clock));
        }

        #[test]
        fn accepted_bytes_are_the_only_encoding(bytes in prop::collection::vec(0_u8..8, 0..12)) {
            if let Ok(clock) = VectorClock::decode_all(bytes.clone().into()) {
                prop_assert_eq!(encoded(&clock), bytes);
            }
        }
    }
}
