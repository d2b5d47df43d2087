//! Linearizability of any object, by search.
//!
//! Wing & Gong, "Testing and verifying concurrent objects" (1993), with the memoisation of Lowe, "Testing for
//! linearizability" (2017): linearize, one after the other, an operation that no remaining operation must precede and
//! that the specification allows; when stuck, take the last choice back. A *configuration* is the set of operations
//! linearized and the state they led to. What lies ahead depends on it alone, so none is entered twice.
//!
//! Four additions, each of which only leaves out work:
//!
//! - **Observers first.** An operation that changes no state (a get, a failed cas) and is possible now is linearized at
//!   once, and no alternative is tried: any legal order of the rest stays legal when it moves to the front.
//! - **Unknown outcomes last.** An operation that may never have happened is tried when no completed one leads on.
//!   Tried in the order of invocation it would be spent at once, to be missed much later.
//! - **Unknown outcomes nobody saw are left out**, if no operation of the key could have been affected: a put or cas whose
//!   value no get returned and no cas expects. Taken out of a legal order, it leaves a legal order, unless a failed cas,
//!   an append or an add was there to notice; then it is kept.
//! - **No value is replaced that is still needed** and cannot be written again (see [`Demand`]).

use std::collections::HashSet;

use crate::configurations::Configurations;
use crate::demand::Demand;
use crate::operation::{Function, Operation};
use crate::specification::Specification;
use crate::timeline::{Kind, Timeline};

/// What the search found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A legal order exists.
    Linearizable,
    /// None exists.
    NotLinearizable,
    /// Not known: the steps were used up.
    BudgetSpent,
}

/// Looks for a legal order of the operations of one key. Each operation tried takes one from `steps_left`.
pub(crate) fn search(
    operations: &[Operation],
    object: &mut impl Specification,
    steps_left: &mut u64,
) -> Found {
    let (operations, completed) = arrange(operations);
    let state = object.initial();
    let mut search = Search {
        timeline: Timeline::new(&operations, completed),
        demand: Demand::of(&operations),
        linearized: Members::new(completed),
        effected: Members::new(operations.len() - completed),
        seen: Configurations::default(),
        words: Vec::new(),
        path: Vec::new(),
        operations,
        completed,
        object,
        state,
    };
    search.run(steps_left)
}

/// The operations that matter, completed ones first, both parts in the order of invocation; and how many are completed.
fn arrange(operations: &[Operation]) -> (Vec<Operation>, usize) {
    let seen = Seen::by(operations);
    let matters = |operation: &&Operation| !operation.is_unknown() || seen.may_notice(operation);
    let mut arranged: Vec<Operation> = operations.iter().filter(matters).copied().collect();
    arranged.sort_by_key(|operation| (operation.is_unknown(), operation.invoke_ns));
    let completed = arranged.partition_point(|operation| !operation.is_unknown());
    (arranged, completed)
}

/// What the operations of a key could notice of a write.
struct Seen {
    values: HashSet<u64>,
    /// Someone could notice a write whose value nobody names.
    indirectly: bool,
}

impl Seen {
    fn by(operations: &[Operation]) -> Self {
        let mut seen = Seen { values: HashSet::new(), indirectly: false };
        if operations.iter().any(Operation::is_unknown) {
            operations.iter().for_each(|operation| seen.note(operation));
        }
        seen
    }

    fn note(&mut self, operation: &Operation) {
        match operation.function {
            Function::Get if !operation.is_unknown() => _ = self.values.insert(operation.value),
            Function::Cas if !operation.only_observes() => _ = self.values.insert(operation.expected),
            Function::Cas | Function::Append | Function::Add => self.indirectly = true,
            _ => {}
        }
    }

    fn may_notice(&self, unknown: &Operation) -> bool {
        #[cfg(feature = "mutants")]
        if crate::mutants::active("search: an unknown outcome has no effect") {
            return false;
        }
        !unknown.only_observes() && (self.indirectly || self.values.contains(&unknown.value))
    }
}

struct Search<'a, S> {
    /// Completed operations, then unknown ones.
    operations: Vec<Operation>,
    completed: usize,
    object: &'a mut S,
    state: u64,
    timeline: Timeline,
    demand: Demand,
    /// Which completed operations are linearized.
    linearized: Members,
    /// Which unknown operations took effect.
    effected: Members,
    seen: Configurations,
    /// The words of a configuration, kept for their memory.
    words: Vec<u64>,
    path: Vec<Step>,
}

/// An operation linearized.
struct Step {
    operation: u32,
    /// Whether there were alternatives; an observer has none.
    choice: bool,
    state_before: u64,
    /// The present value before, for [`Demand`].
    present_before: u32,
}

impl<S: Specification> Search<'_, S> {
    fn run(&mut self, steps_left: &mut u64) -> Found {
        self.absorb_observers();
        let mut node = self.timeline.first();
        while !self.timeline.is_finished() {
            let Some(candidate) = self.candidate(node) else {
                let Some(taken_back) = self.take_back() else { return Found::NotLinearizable };
                node = self.timeline.after(taken_back);
                continue;
            };
            let Some(fewer) = steps_left.checked_sub(1) else { return Found::BudgetSpent };
            *steps_left = fewer;
            let advanced = self.try_to_linearize(candidate);
            node = if advanced { self.timeline.first() } else { self.timeline.after(candidate) };
        }
        Found::Linearizable
    }

    /// The next operation that could change the state, from `node` on: of the completed ones those before the first return,
    /// then of the unknown ones those invoked by then.
    fn candidate(&self, mut node: u32) -> Option<u32> {
        loop {
            match self.timeline.kind(node) {
                Kind::Call if self.operations[node as usize].only_observes() => {
                    node = self.timeline.after(node)
                }
                Kind::Call => return Some(node),
                #[cfg(feature = "mutants")]
                Kind::Return if crate::mutants::active("search: nobody waits for the first return") => {
                    node = self.timeline.after(node);
                }
                Kind::Return => node = self.timeline.first_unknown(),
                Kind::UnknownCall => return self.is_invoked(node).then_some(node),
                Kind::End => return None,
            }
        }
    }

    /// Whether the unknown operation was invoked before, or when, the first remaining return came.
    fn is_invoked(&self, operation: u32) -> bool {
        let first_return = self.timeline.first_return() as usize;
        self.operations[operation as usize].invoke_ns <= self.operations[first_return].complete_ns
    }

    /// Linearizes the operation if that is legal and leads to where the search has not been.
    fn try_to_linearize(&mut self, operation: u32) -> bool {
        if self.demand.would_be_unmet(operation) {
            return false;
        }
        let Some(state) = self.object.step(self.state, &self.operations[operation as usize]) else {
            return false;
        };
        self.advance(operation, state, true);
        self.absorb_observers();
        if self.is_new() {
            return true;
        }
        self.take_back();
        false
    }

    /// Linearizes every observer that the present state satisfies.
    fn absorb_observers(&mut self) {
        let mut node = self.timeline.first();
        while self.timeline.kind(node) == Kind::Call {
            let operation = &self.operations[node as usize];
            if operation.only_observes() && self.object.step(self.state, operation).is_some() {
                self.advance(node, self.state, false);
                // Its return may have been what hid the operations after it.
                node = self.timeline.first_from(node);
            } else {
                node = self.timeline.after(node);
            }
        }
    }

    fn advance(&mut self, operation: u32, state: u64, choice: bool) {
        let present_before = self.demand.advance(operation);
        self.path.push(Step { operation, choice, state_before: self.state, present_before });
        self.state = state;
        self.timeline.lift(operation);
        match (operation as usize).checked_sub(self.completed) {
            None => self.linearized.insert(operation as usize),
            Some(unknown) => self.effected.insert(unknown),
        }
    }

    /// Undoes everything back to the last choice and returns it, if there was one.
    fn take_back(&mut self) -> Option<u32> {
        while let Some(Step { operation, choice, state_before, present_before }) = self.path.pop() {
            self.demand.take_back(operation, present_before);
            self.state = state_before;
            self.timeline.put_back(operation);
            match (operation as usize).checked_sub(self.completed) {
                None => self.linearized.remove(operation as usize),
                Some(unknown) => self.effected.remove(unknown),
            }
            if choice {
                return Some(operation);
            }
        }
        None
    }

    fn is_new(&mut self) -> bool {
        self.words.clear();
        self.words.extend([self.state, self.linearized.full as u64]);
        #[cfg(feature = "mutants")]
        if crate::mutants::active("search: configurations are told apart by their state") {
            return self.seen.insert(&self.words);
        }
        self.words.extend_from_slice(self.linearized.window());
        // Always of the same length, so that no two configurations have the same words.
        self.words.extend_from_slice(&self.effected.words);
        self.seen.insert(&self.words)
    }
}

/// A set of numbers that fills from below.
struct Members {
    words: Vec<u64>,
    /// The words before this one are full.
    full: usize,
    /// The words from this one on are empty.
    used: usize,
}

impl Members {
    fn new(capacity: usize) -> Self {
        Members { words: vec![0; capacity.div_ceil(64)], full: 0, used: 0 }
    }

    fn insert(&mut self, member: usize) {
        self.words[member / 64] |= 1 << (member % 64);
        self.used = self.used.max(member / 64 + 1);
        while self.words.get(self.full) == Some(&u64::MAX) {
            self.full += 1;
        }
    }

    fn remove(&mut self, member: usize) {
        self.words[member / 64] &= !(1 << (member % 64));
        self.full = self.full.min(member / 64);
        while self.used > 0 && self.words[self.used - 1] == 0 {
            self.used -= 1;
        }
    }

    /// The words that are neither surely full nor surely empty.
    fn window(&self) -> &[u64] {
        &self.words[self.full..self.used.max(self.full)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::ABSENT;
    use crate::specification::ValueSpecification;
    use crate::values::Values;

    fn found(operations: &[Operation], steps: u64) -> Found {
        let values = Values::default();
        search(operations, &mut ValueSpecification::new(&values), &mut { steps })
    }

    #[test]
    fn overlapping_writes_are_ordered_as_the_reads_say() {
        let (one, two) = (Operation::put(0, 0, 1).during(0, 10), Operation::put(1, 0, 2).during(0, 10));
        let read = |value, time| Operation::get(2, 0, value).during(time, time + 1);
        assert_eq!(found(&[one, two, read(1, 11)], 100), Found::Linearizable);
        assert_eq!(found(&[one, two, read(2, 11)], 100), Found::Linearizable);
        assert_eq!(found(&[one, two, read(2, 11), read(1, 13)], 100), Found::NotLinearizable);
    }

    #[test]
    fn a_cas_of_unknown_outcome_explains_a_value_or_its_absence() {
        let unknown = Operation::cas(0, 0, ABSENT, 1).unknown_since(0);
        let read = |value, time| Operation::get(1, 0, value).during(time, time + 1);
        assert_eq!(found(&[unknown, read(ABSENT, 5), read(1, 7)], 100), Found::Linearizable);
        assert_eq!(found(&[unknown, read(1, 5), read(ABSENT, 7)], 100), Found::NotLinearizable);
        let failed = Operation::cas(1, 0, ABSENT, 2).failed_during(5, 6);
        assert_eq!(found(&[unknown, failed], 100), Found::Linearizable);
        assert_eq!(found(&[failed], 100), Found::NotLinearizable);
    }

    #[test]
    fn a_spent_budget_is_no_verdict() {
        let puts: Vec<_> = (0..9).map(|value| Operation::put(value as u32, 0, value).during(0, 10)).collect();
        assert_eq!(found(&puts, 3), Found::BudgetSpent);
        assert_eq!(found(&puts, 9), Found::Linearizable);
    }

    #[test]
    fn members_keep_a_window_between_full_and_empty() {
        let mut members = Members::new(200);
        (0..70).for_each(|member| members.insert(member));
        members.insert(199);
        assert_eq!((members.full, members.window().len()), (1, 3));
        members.remove(199);
        assert_eq!(members.window(), &[(1 << 6) - 1]);
        members.remove(3);
        assert_eq!((members.full, members.window().len()), (0, 2));
    }
}
