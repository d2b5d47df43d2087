//! What an object does when it is used by one client at a time.

use std::collections::{BTreeSet, HashMap};

use crate::operation::{ABSENT, Function, Operation};
use crate::values::Values;

/// A sequential specification: the object as a state machine for one client.
///
/// States are numbers; a specification whose states are larger numbers them as it meets them. Equal states must have equal
/// numbers, because the search recognises by them where it has been.
pub(crate) trait Specification {
    /// The state before the first operation.
    fn initial(&self) -> u64;

    /// The state after `operation`, or `None` if it cannot end as it did in `state`. An operation of unknown outcome is
    /// asked for as one that takes effect.
    fn step(&mut self, state: u64, operation: &Operation) -> Option<u64>;
}

/// A key of a store, or a register: the state is the id of its value.
pub(crate) struct ValueSpecification<'a> {
    values: &'a Values,
    /// Texts made by appending that no operation names: the n-th has the id `DERIVED` + n.
    derived: Vec<String>,
    derived_ids: HashMap<String, u64>,
    /// What appending to a state gave before.
    appended: HashMap<(u64, u64), u64>,
}

/// Ids from here on belong to texts that only appending made; no table of values reaches so far.
const DERIVED: u64 = 3 << 62;

impl<'a> ValueSpecification<'a> {
    /// An absent value.
    pub(crate) fn new(values: &'a Values) -> Self {
        let (derived, derived_ids, appended) = Default::default();
        ValueSpecification { values, derived, derived_ids, appended }
    }

    fn append(&mut self, state: u64, added: u64) -> u64 {
        if let Some(known) = self.appended.get(&(state, added)) {
            return *known;
        }
        let text = self.text(state) + &self.values.text(added);
        let id = self.id(text);
        self.appended.insert((state, added), id);
        id
    }

    fn text(&self, state: u64) -> String {
        let derived =
            state.checked_sub(DERIVED).and_then(|place| self.derived.get(usize::try_from(place).ok()?));
        derived.cloned().unwrap_or_else(|| self.values.text(state))
    }

    fn id(&mut self, text: String) -> u64 {
        let text = match self.values.id_of_text(text) {
            Ok(id) => return id,
            Err(text) => text,
        };
        let next = DERIVED + self.derived.len() as u64;
        let id = *self.derived_ids.entry(text.clone()).or_insert(next);
        if id == next {
            self.derived.push(text);
        }
        id
    }
}

impl Specification for ValueSpecification<'_> {
    fn initial(&self) -> u64 {
        ABSENT
    }

    fn step(&mut self, state: u64, operation: &Operation) -> Option<u64> {
        match operation.function {
            Function::Get => (operation.value == state).then_some(state),
            Function::Put | Function::Delete => Some(operation.value),
            #[cfg(feature = "mutants")]
            Function::Cas
                if operation.only_observes()
                    && crate::mutants::active("specification: a cas may fail on the expected value") =>
            {
                Some(state)
            }
            Function::Cas if operation.only_observes() => (operation.expected != state).then_some(state),
            Function::Cas => (operation.expected == state).then_some(operation.value),
            Function::Append => Some(self.append(state, operation.value)),
            Function::Add | Function::Acquire | Function::Release => None,
        }
    }
}

/// A list: states number the lists met so far, the empty one is 0.
pub(crate) struct ListSpecification<'a> {
    values: &'a Values,
    /// The list that an element at the end of another list makes.
    longer: HashMap<(u64, u64), u64>,
    /// The list behind the id of a value, `None` if it is not a list.
    lists: HashMap<u64, Option<u64>>,
}

impl<'a> ListSpecification<'a> {
    /// An empty list.
    pub(crate) fn new(values: &'a Values) -> Self {
        ListSpecification { values, longer: HashMap::new(), lists: HashMap::new() }
    }

    fn append(&mut self, list: u64, element: u64) -> u64 {
        let next = self.longer.len() as u64 + 1;
        *self.longer.entry((list, element)).or_insert(next)
    }

    fn list(&mut self, value: u64) -> Option<u64> {
        if let Some(known) = self.lists.get(&value) {
            return *known;
        }
        let elements = self.values.elements(value);
        let follow = |ids: Vec<u64>| ids.into_iter().fold(0, |list, element| self.append(list, element));
        let list = elements.map(follow);
        self.lists.insert(value, list);
        list
    }
}

impl Specification for ListSpecification<'_> {
    fn initial(&self) -> u64 {
        0
    }

    fn step(&mut self, state: u64, operation: &Operation) -> Option<u64> {
        match operation.function {
            Function::Get => (self.list(operation.value)? == state).then_some(state),
            Function::Append => Some(self.append(state, operation.value)),
            _ => None,
        }
    }
}

/// A set: states number the sets met so far, the empty one is 0.
pub(crate) struct SetSpecification<'a> {
    values: &'a Values,
    /// The n-th set has the number n.
    sets: Vec<BTreeSet<u64>>,
    numbers: HashMap<BTreeSet<u64>, u64>,
}

impl<'a> SetSpecification<'a> {
    /// An empty set.
    pub(crate) fn new(values: &'a Values) -> Self {
        let empty = BTreeSet::new();
        SetSpecification { values, sets: vec![empty.clone()], numbers: HashMap::from([(empty, 0)]) }
    }

    fn add(&mut self, state: u64, element: u64) -> u64 {
        let mut set = self.sets[state as usize].clone();
        if !set.insert(element) {
            return state;
        }
        let next = self.sets.len() as u64;
        let number = *self.numbers.entry(set.clone()).or_insert(next);
        if number == next {
            self.sets.push(set);
        }
        number
    }
}

impl Specification for SetSpecification<'_> {
    fn initial(&self) -> u64 {
        0
    }

    fn step(&mut self, state: u64, operation: &Operation) -> Option<u64> {
        match operation.function {
            Function::Get => {
                let read: BTreeSet<u64> = self.values.elements(operation.value)?.into_iter().collect();
                (read == self.sets[state as usize]).then_some(state)
            }
            Function::Add => Some(self.add(state, operation.value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn appending_reaches_a_text_that_was_read() {
        let mut values = Values::default();
        let [a, b, ab] = [json!("a"), json!("b"), json!("ab")].map(|value| values.intern(&value));
        let mut object = ValueSpecification::new(&values);
        let after_a = object.step(ABSENT, &Operation::append(0, 0, a)).unwrap();
        assert_eq!(after_a, a);
        assert_eq!(object.step(after_a, &Operation::append(0, 0, b)), Some(ab));
    }

    #[test]
    fn texts_that_nobody_read_are_told_apart() {
        let mut values = Values::default();
        let [a, b] = [json!("a"), json!("b")].map(|value| values.intern(&value));
        let mut object = ValueSpecification::new(&values);
        let [ab, ba] = [(a, b), (b, a)].map(|(first, second)| object.append(first, second));
        assert_ne!(ab, ba);
        assert_eq!(object.text(ba), "ba");
    }

    #[test]
    fn a_text_is_one_state_however_it_was_made() {
        let mut values = Values::default();
        let [a, aa] = [json!("a"), json!("aa")].map(|value| values.intern(&value));
        let mut object = ValueSpecification::new(&values);
        assert_eq!(object.append(a, aa), object.append(aa, a));
    }

    #[test]
    fn a_list_is_read_in_the_order_of_its_appends() {
        let mut values = Values::default();
        let [list, reversed] = [json!(["a", 2]), json!([2, "a"])].map(|value| values.intern(&value));
        let a = values.intern(&json!("a"));
        let mut object = ListSpecification::new(&values);
        let state = [a, 2].into_iter().fold(object.initial(), |state, element| object.append(state, element));
        assert_eq!(object.step(state, &Operation::get(0, 0, list)), Some(state));
        assert_eq!(object.step(state, &Operation::get(0, 0, reversed)), None);
        assert_eq!(object.step(state, &Operation::get(0, 0, ABSENT)), None);
        assert_eq!(object.step(0, &Operation::get(0, 0, ABSENT)), Some(0));
    }

    #[test]
    fn a_set_is_read_in_any_order() {
        let mut values = Values::default();
        let [both, reversed] = [json!(["a", 2]), json!([2, "a", "a"])].map(|value| values.intern(&value));
        let a = values.intern(&json!("a"));
        let mut object = SetSpecification::new(&values);
        let [forth, back] = [[a, 2], [2, a]].map(|ids| ids.iter().fold(0, |set, id| object.add(set, *id)));
        assert_eq!((forth, object.add(forth, a)), (back, back));
        for read in [both, reversed] {
            assert_eq!(object.step(forth, &Operation::get(0, 0, read)), Some(forth));
            assert_eq!(object.step(0, &Operation::get(0, 0, read)), None);
        }
        assert_eq!(object.step(0, &Operation::get(0, 0, ABSENT)), Some(0));
    }
}
