//! The operations of a run.

use std::collections::HashMap;

use crate::operation::Operation;
use crate::values::Values;

/// How many operations a history may hold: 2³¹ − 2, because the search numbers their calls and returns with 32 bits.
pub const OPERATIONS_MAX: usize = u32::MAX as usize / 2 - 1;

/// The operations of a run, in any order, and the values they name.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    values: Values,
}

impl History {
    /// An empty history with room for `operations`.
    pub fn with_capacity(operations: usize) -> Self {
        History { operations: Vec::with_capacity(operations), values: Values::default() }
    }

    /// Adds an operation.
    ///
    /// # Panics
    ///
    /// If no client can have seen the operation: it completes before it is invoked, its outcome and its completion
    /// contradict each other, it failed and is neither cas nor put; or if the history is full ([`OPERATIONS_MAX`]).
    pub fn push(&mut self, operation: Operation) {
        if let Some(contradiction) = operation.contradiction() {
            panic!("{operation:?} cannot be in a history: {contradiction}");
        }
        assert!(
            self.operations.len() < OPERATIONS_MAX,
            "a history holds at most {OPERATIONS_MAX} operations"
        );
        self.operations.push(operation);
    }

    /// The operations, in the order in which they were added.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The values behind the ids of keys and values.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The values, to intern another one.
    pub fn values_mut(&mut self) -> &mut Values {
        &mut self.values
    }

    /// Appends the operations of `other`, whose ids must mean the same: plain numbers, or taken from these same values.
    pub fn extend(&mut self, other: &[Operation]) {
        other.iter().for_each(|operation| self.push(*operation));
    }

    /// Takes operations that [`push`](Self::push) would take, without a copy; there must be none yet.
    pub(crate) fn adopt(&mut self, operations: Vec<Operation>) {
        assert!(
            self.operations.is_empty() && operations.len() <= OPERATIONS_MAX,
            "one history is one adoption"
        );
        debug_assert!(operations.iter().all(|operation| operation.contradiction().is_none()));
        self.operations = operations;
    }

    /// The operations, ordered by key: which they are, and where each key ends.
    pub(crate) fn by_key(&self) -> ByKey {
        let mut key_numbers = HashMap::new();
        let mut counts: Vec<u32> = Vec::new();
        let numbers: Vec<u32> =
            self.operations.iter().map(|o| number(&mut key_numbers, &mut counts, o.key)).collect();
        let mut ends = starts(&counts);
        let mut order = vec![0; self.operations.len()];
        for (place, number) in numbers.iter().enumerate() {
            let end = &mut ends[*number as usize];
            order[*end as usize] = place as u32;
            *end += 1;
        }
        ByKey { order, ends }
    }
}

/// Places of operations, ordered by key; keys in the order of their first operation.
pub(crate) struct ByKey {
    order: Vec<u32>,
    ends: Vec<u32>,
}

impl ByKey {
    /// How many keys there are.
    pub(crate) fn keys(&self) -> usize {
        self.ends.len()
    }

    /// The places of the operations of the key with this number.
    pub(crate) fn places(&self, key: usize) -> &[u32] {
        let start = if key == 0 { 0 } else { self.ends[key - 1] };
        &self.order[start as usize..self.ends[key] as usize]
    }
}

/// The number of `key`, counting one more operation of it.
fn number(key_numbers: &mut HashMap<u64, u32>, counts: &mut Vec<u32>, key: u64) -> u32 {
    let number = *key_numbers.entry(key).or_insert(counts.len() as u32);
    if number as usize == counts.len() {
        counts.push(0);
    }
    counts[number as usize] += 1;
    number
}

/// Where each key starts.
fn starts(counts: &[u32]) -> Vec<u32> {
    let next = |sum: &mut u32, count: &u32| {
        let start = *sum;
        *sum += count;
        Some(start)
    };
    counts.iter().scan(0, next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_grouped_by_key_and_keep_their_order() {
        let mut history = History::default();
        for (place, key) in [7, 9, 7, 8, 9, 7].into_iter().enumerate() {
            history.push(Operation::put(0, key, place as u64).during(0, 1));
        }
        let by_key = history.by_key();
        let groups: Vec<&[u32]> = (0..by_key.keys()).map(|key| by_key.places(key)).collect();
        assert_eq!(groups, [&[0, 2, 5][..], &[1, 4], &[3]]);
    }

    #[test]
    #[should_panic(expected = "it completes before it is invoked")]
    fn an_operation_from_the_future_is_refused() {
        History::default().push(Operation::put(0, 1, 1).during(5, 4));
    }

    #[test]
    #[should_panic(expected = "only a cas or a put fails")]
    fn a_failed_delete_is_refused() {
        History::default().push(Operation::delete(0, 1).failed_during(4, 5));
    }
}
