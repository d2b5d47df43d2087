//! Linearizability of sets that only grow and of lists of different elements.
//!
//! Each get saw the whole object, so a legal order puts the gets in the order of what they saw, each including the one
//! before: their sizes are *levels*. An element first seen at some level was added after all gets of lower levels and before
//! those of this one. Of a list the gets also tell at which place an element stands, so each place is a level of its own.
//! An element that nobody saw was added after all gets.
//!
//! *Theorem.* The history is linearizable exactly when the gets form such a chain, every element seen was added, and no
//! operation completed before one of a lower level was invoked.
//!
//! *Proof.* Necessity was argued above. Sufficiency: put lower levels first, and within a level earlier invocations. This
//! respects real time, and every get sees the elements added before it, which are exactly those it saw. ∎
//!
//! An element may be added to a set more than once. The first add counts, and the one invoked first can be it: it must
//! come before the gets that see the element, and that is easiest for the one that may start earliest. All others have
//! no effect; they only have to come after the gets that do not see the element, as late as real time allows. In a list
//! a second append of an element that was seen leaves its place uncertain.
//!
//! An add of unknown outcome whose element nobody saw, or that is not the first of its element, is left out.

use std::collections::HashMap;

use crate::operation::{Function, Operation};
use crate::values::Values;

/// Whether the operations on one set, all of them gets and adds, are linearizable.
pub(crate) fn set_is_linearizable(operations: &[Operation], values: &Values) -> bool {
    let Some(mut seen) = seen(operations, values) else { return false };
    for sight in &mut seen {
        sight.elements.sort_unstable();
        sight.elements.dedup();
    }
    seen.sort_by_key(|sight| sight.elements.len());
    set_levels(&seen).is_some_and(|levels| levels.can_be_ordered(operations))
}

/// Whether the operations on one list, all of them gets and appends, are linearizable, or `None` if this method cannot tell:
/// an element that was seen has two places or two appends.
pub(crate) fn list_is_linearizable(operations: &[Operation], values: &Values) -> Option<bool> {
    let Some(mut seen) = seen(operations, values) else { return Some(false) };
    seen.sort_by_key(|sight| sight.elements.len());
    if seen.windows(2).any(|pair| !pair[1].elements.starts_with(&pair[0].elements)) {
        return Some(false);
    }
    let levels = list_levels(&seen)?;
    if levels.has_second_adds(operations) { None } else { Some(levels.can_be_ordered(operations)) }
}

/// What a get saw.
struct Sight {
    /// The id of all of it.
    value: u64,
    elements: Vec<u64>,
}

/// What was seen, each once, or `None` if something else than a list was.
fn seen(operations: &[Operation], values: &Values) -> Option<Vec<Sight>> {
    let gets = operations.iter().filter(|operation| is_completed_get(operation));
    let mut ids: Vec<u64> = gets.map(|get| get.value).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(|value| Some(Sight { value, elements: values.elements(value)? })).collect()
}

fn is_completed_get(operation: &Operation) -> bool {
    operation.function == Function::Get && !operation.is_unknown()
}

/// The levels of what was seen of a set, ordered by size, or `None` if one does not include all those before it.
fn set_levels(seen: &[Sight]) -> Option<Levels> {
    let mut levels = Levels::default();
    for Sight { value, elements } in seen {
        let before = levels.of_element.len();
        let known = elements.iter().filter(|element| levels.of_element.contains_key(element)).count();
        #[cfg(feature = "mutants")]
        let before = match crate::mutants::active("levels: what is seen need not include what was seen") {
            true => 0,
            false => before,
        };
        if known < before {
            return None;
        }
        let level = 2 * elements.len() as u64;
        levels.of_sight.insert(*value, level);
        for element in elements {
            levels.of_element.entry(*element).or_insert(level - 1);
        }
    }
    Some(levels)
}

/// The levels of what was seen of a list, ordered by size, or `None` if an element has two places.
fn list_levels(seen: &[Sight]) -> Option<Levels> {
    let longest = seen.last().map_or(&[][..], |sight| &sight.elements);
    let of_sight = seen.iter().map(|sight| (sight.value, 2 * sight.elements.len() as u64)).collect();
    let of_element: HashMap<u64, u64> = longest.iter().copied().zip((1..).step_by(2)).collect();
    if of_element.len() == longest.len() { Some(Levels { of_sight, of_element }) } else { None }
}

/// A sight of n elements has the level 2n; elements have those between.
#[derive(Default)]
struct Levels {
    of_sight: HashMap<u64, u64>,
    of_element: HashMap<u64, u64>,
}

/// The level of elements that nobody saw.
const UNSEEN: u64 = u64::MAX;

/// An operation with its place among the levels.
struct Placed {
    level: u64,
    invoke_ns: u64,
    complete_ns: u64,
    /// Whether it may as well come later, having no effect.
    floats: bool,
}

impl Levels {
    fn has_second_adds(&self, operations: &[Operation]) -> bool {
        let adds = operations.iter().filter(|operation| operation.accumulates());
        let seen = adds.filter(|add| self.of_element.contains_key(&add.value)).count();
        seen > self.first_adds(operations).len()
    }

    /// For each element that was seen and added: when its first add was invoked, and which operation that is.
    fn first_adds(&self, operations: &[Operation]) -> HashMap<u64, (u64, usize)> {
        let mut first = HashMap::with_capacity(self.of_element.len());
        for (place, add) in operations.iter().enumerate().filter(|(_, operation)| operation.accumulates()) {
            if self.of_element.contains_key(&add.value) {
                let this = (add.invoke_ns, place);
                first.entry(add.value).and_modify(|first| *first = this.min(*first)).or_insert(this);
            }
        }
        first
    }

    /// Whether every element seen was added, and the operations can be ordered by level.
    fn can_be_ordered(&self, operations: &[Operation]) -> bool {
        let first = self.first_adds(operations);
        let is_first =
            |place, add: &Operation| first.get(&add.value).is_some_and(|(_, first)| *first == place);
        let placed = |(place, operation)| self.place(operation, is_first(place, operation));
        let mut placed: Vec<Placed> = operations.iter().enumerate().filter_map(placed).collect();
        placed.sort_unstable_by_key(|operation| operation.level);
        first.len() == self.of_element.len() && can_follow_each_other(&placed)
    }

    /// The place of an operation, `None` if it is left out.
    fn place(&self, operation: &Operation, is_first: bool) -> Option<Placed> {
        let Operation { value, invoke_ns, complete_ns, .. } = *operation;
        let (level, floats) = match operation.function {
            Function::Get => (*self.of_sight.get(&value).filter(|_| !operation.is_unknown())?, false),
            #[cfg(feature = "mutants")]
            _ if operation.is_unknown()
                && crate::mutants::active("levels: an add of unknown outcome has no effect") =>
            {
                return None;
            }
            _ if operation.is_unknown() && !is_first => return None,
            _ => (self.of_element.get(&value).copied().unwrap_or(UNSEEN), !is_first),
        };
        Some(Placed { level, invoke_ns, complete_ns, floats })
    }
}

/// Whether none of the operations, which are ordered by level, completed before one of a lower level was invoked.
fn can_follow_each_other(placed: &[Placed]) -> bool {
    let mut lower_last_ns = 0;
    for level in placed.chunk_by(|a, b| a.level == b.level) {
        if level.iter().any(|operation| operation.complete_ns < lower_last_ns) {
            return false;
        }
        let effective = level.iter().filter(|operation| !operation.floats);
        lower_last_ns = effective.map(|operation| operation.invoke_ns).fold(lower_last_ns, u64::max);
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Adds of 1, then reads, each in an interval of its own.
    fn one_after_the_other(reads: &[Value], values: &mut Values) -> Vec<Operation> {
        let add = Operation::add(0, 0, 1).during(0, 5);
        let get = |(start, read)| Operation::get(1, 0, values.intern(read)).during(start, start + 5);
        [add].into_iter().chain((10..).step_by(10).zip(reads).map(get)).collect()
    }

    #[test]
    fn reads_of_a_set_include_each_other() {
        let judge = |reads: &[Value]| {
            let mut values = Values::default();
            let mut operations = one_after_the_other(reads, &mut values);
            operations.extend([2, 3].map(|element| Operation::add(2, 0, element).unknown_since(0)));
            set_is_linearizable(&operations, &values)
        };
        assert!(judge(&[json!([1]), json!([2, 1]), json!([1, 2]), json!([3, 2, 1, 1])]));
        assert!(!judge(&[json!([1, 2]), json!([1])]), "an element vanished");
        assert!(!judge(&[json!([1, 2]), json!([1, 3])]), "neither includes the other");
        assert!(!judge(&[json!(null)]), "the first add was missed");
        assert!(!judge(&[json!([1, 7])]), "nobody added 7");
        assert!(!judge(&[json!(1)]), "a number is no set");
    }

    #[test]
    fn a_second_add_of_an_element_binds_nobody() {
        let values = &mut Values::default();
        let mut operations = one_after_the_other(&[json!([1]), json!([1, 2])], values);
        let two = Operation::add(2, 0, 2);
        operations.extend([two.during(12, 18), two.during(40, 45)]);
        assert!(set_is_linearizable(&operations, values));
        operations.push(two.during(2, 3));
        assert!(!set_is_linearizable(&operations, values), "the first read should have seen it");
    }

    #[test]
    fn a_list_with_two_appends_of_an_element_is_left_to_the_search() {
        let values = &mut Values::default();
        let append = |start| Operation::append(0, 0, 1).during(start, start + 5);
        let get =
            |list: Value, values: &mut Values| Operation::get(1, 0, values.intern(&list)).during(20, 25);
        let [once, twice] = [json!([1]), json!([1, 1])].map(|list| get(list, values));
        assert_eq!(list_is_linearizable(&[append(0), once], values), Some(true));
        assert_eq!(list_is_linearizable(&[append(30), once], values), Some(false));
        assert_eq!(list_is_linearizable(&[append(0), append(30), once], values), None);
        assert_eq!(list_is_linearizable(&[append(0), append(30), twice], values), None);
    }
}
