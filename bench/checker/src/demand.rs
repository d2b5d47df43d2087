//! Which values are still asked for, and who could still provide them.
//!
//! The search follows an operation that replaces the value v into a dead end if completed operations remain that need v,
//! and none that could write it again: whatever it tries after, those have no place. Without this the search notices only
//! when the first of them has to return, after it has tried all orders of everything in between.

use std::collections::HashMap;

use crate::operation::{ABSENT, Function, Operation};

/// No value.
const NONE: u32 = u32::MAX;

/// Counts, for each value, the operations not yet linearized that need it and those that could write it.
///
/// It works for objects that hold one value. What an append or an add leads to nobody can know beforehand, so if there is
/// one, no operation needs or provides anything.
pub(crate) struct Demand {
    /// By operation: the number of the value that it needs.
    needed: Vec<u32>,
    /// By operation: the number of the value that it writes.
    provided: Vec<u32>,
    /// By number of a value.
    left: Vec<Left>,
    /// The number of the present value.
    present: u32,
}

/// Operations not yet linearized.
#[derive(Clone, Copy, Default)]
struct Left {
    need: u32,
    provide: u32,
}

impl Demand {
    /// Before any of the operations is linearized.
    pub(crate) fn of(operations: &[Operation]) -> Self {
        let none = vec![NONE; operations.len()];
        let mut demand =
            Demand { needed: none.clone(), provided: none, left: vec![Left::default()], present: 0 };
        if operations.iter().any(Operation::accumulates) {
            return demand;
        }
        let mut numbers = HashMap::from([(ABSENT, demand.present)]);
        let mut number = |value: Option<u64>| {
            let next = numbers.len() as u32;
            value.map_or(NONE, |value| *numbers.entry(value).or_insert(next))
        };
        for (place, operation) in operations.iter().enumerate() {
            demand.needed[place] = number(needs(operation));
            demand.provided[place] = number(provides(operation));
        }
        demand.left = vec![Left::default(); numbers.len()];
        for place in 0..operations.len() {
            demand.count(place as u32, u32::wrapping_add);
        }
        demand
    }

    /// Whether linearizing this operation now would leave others without the value that they need.
    pub(crate) fn would_be_unmet(&self, operation: u32) -> bool {
        let Left { need, provide } = self.left[self.present as usize];
        #[cfg(feature = "mutants")]
        let provide = if crate::mutants::active("demand: values are written once") { 0 } else { provide };
        let needs_itself = u32::from(self.needed[operation as usize] == self.present);
        let provided = self.provided[operation as usize];
        provided != NONE && provided != self.present && need > needs_itself && provide == 0
    }

    /// Linearizes an operation, and returns what [`take_back`](Demand::take_back) wants to know.
    pub(crate) fn advance(&mut self, operation: u32) -> u32 {
        self.count(operation, u32::wrapping_sub);
        let provided = self.provided[operation as usize];
        if provided == NONE { self.present } else { std::mem::replace(&mut self.present, provided) }
    }

    /// Undoes the last linearization.
    pub(crate) fn take_back(&mut self, operation: u32, present_before: u32) {
        self.count(operation, u32::wrapping_add);
        self.present = present_before;
    }

    fn count(&mut self, operation: u32, change: fn(u32, u32) -> u32) {
        if let Some(left) = self.left.get_mut(self.needed[operation as usize] as usize) {
            left.need = change(left.need, 1);
        }
        if let Some(left) = self.left.get_mut(self.provided[operation as usize] as usize) {
            left.provide = change(left.provide, 1);
        }
    }
}

/// The value that a completed operation needs. One of unknown outcome needs nothing: it may never have happened.
fn needs(operation: &Operation) -> Option<u64> {
    match operation.function {
        _ if operation.is_unknown() => None,
        Function::Get => Some(operation.value),
        Function::Cas if !operation.only_observes() => Some(operation.expected),
        _ => None,
    }
}

fn provides(operation: &Operation) -> Option<u64> {
    (!operation.only_observes()).then_some(operation.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_still_needed_is_not_replaced_unless_it_can_be_written_again() {
        let [one, two] = [1, 2].map(|value| Operation::put(0, 0, value).during(0, 9));
        let [read_one, cas] = [Operation::get(0, 0, 1).during(0, 9), Operation::cas(0, 0, 1, 3).during(0, 9)];
        let mut demand = Demand::of(&[one, two, read_one]);
        assert!(!demand.would_be_unmet(1), "the value is absent, and nobody needs that");
        let before = demand.advance(0);
        assert!(demand.would_be_unmet(1));
        demand.advance(2);
        assert!(!demand.would_be_unmet(1), "it was read");
        demand.take_back(2, 1);
        demand.take_back(0, before);
        assert!(!demand.would_be_unmet(1));

        let mut written_twice = Demand::of(&[one, two, read_one, one.unknown_since(0)]);
        written_twice.advance(0);
        assert!(!written_twice.would_be_unmet(1));

        let mut needed_by_itself = Demand::of(&[one, two, cas]);
        needed_by_itself.advance(0);
        assert!(!needed_by_itself.would_be_unmet(2));
        assert!(needed_by_itself.would_be_unmet(1));
    }
}
