//! Histories of operations on one object, for tests and studies, and what its value must be: a function of which operations are
//! visible, and of which each of them had seen (Burckhardt et al., "Replicated data types: specification, verification,
//! optimality", 2014). It looks at operations alone, never at a state.

use std::collections::BTreeSet;

use bytes::Bytes;
use qlab_kernel::NodeId;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg32;

use crate::key::Kind;
use crate::{Actor, Life, Object, Operation};

/// All kinds of objects.
pub const KINDS: [Kind; 6] =
    [Kind::GrowSet, Kind::GCounter, Kind::PnCounter, Kind::LwwRegister, Kind::MvRegister, Kind::OrSet];

/// Elements that operations are drawn about: few, so that they meet.
const ELEMENTS: u8 = 4;
/// Amounts and times are drawn below this: few, so that times meet.
const AMOUNTS: u64 = 10;
/// How many of the newest operations a delivery is drawn from: older ones have mostly arrived with states.
const RECENT: usize = 40;
/// Groups that deltas are dealt to where they are delivered in groups.
const GROUPS: usize = 8;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A replica does something.
    Operate(usize, Operation),
    /// A replica takes another's whole state in.
    Merge {
        /// Whose.
        from: usize,
        /// Who.
        to: usize,
    },
    /// A replica takes one operation's delta in, if it has seen what that operation had seen.
    Deliver {
        /// Which operation, counted back from the newest, 0.
        newest: usize,
        /// Who.
        to: usize,
    },
    /// A replica loses its state and begins another life.
    Restart(usize),
}

impl Step {
    /// Something that may happen to an object of this kind, which must be one, among so many replicas.
    pub fn draw(kind: Kind, replicas: usize, chance: &mut Pcg32) -> Self {
        let at = chance.random_range(0..replicas);
        match chance.random_range(0..11) {
            0..5 => Self::Operate(at, draw_operation(kind, chance)),
            5 | 6 => Self::Merge { from: chance.random_range(0..replicas), to: at },
            7..10 => Self::Deliver { newest: chance.random_range(0..RECENT), to: at },
            _ => Self::Restart(at),
        }
    }
}

fn draw_operation(kind: Kind, chance: &mut Pcg32) -> Operation {
    let element = Bytes::copy_from_slice(&[chance.random_range(0..ELEMENTS)]);
    let amount = chance.random_range(0..AMOUNTS);
    match kind {
        Kind::Own => unreachable!("own entries are no objects"),
        Kind::GrowSet => Operation::Grow(element),
        Kind::GCounter => Operation::Count(amount),
        Kind::PnCounter if chance.random_range(0..2) == 0 => Operation::Increment(amount),
        Kind::PnCounter => Operation::Decrement(amount),
        Kind::LwwRegister => Operation::WriteLast { time: amount, value: element },
        Kind::MvRegister => Operation::Write(element),
        Kind::OrSet if chance.random_range(0..5) < 3 => Operation::Add(element),
        Kind::OrSet => Operation::Remove(element),
    }
}

/// An operation that was done.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who did it.
    pub actor: Actor,
    /// What.
    pub operation: Operation,
    /// The operations that it had seen, by their numbers.
    pub seen: BTreeSet<usize>,
    /// What the data type made of it.
    pub delta: Object,
    /// The time of a write that has one, by the specification: later than that of every write it had seen.
    time: u64,
}

/// A replica: its state, and the operations that are in it.
#[derive(Clone, Debug)]
pub struct Replica {
    /// What the data type holds.
    pub state: Object,
    /// The operations that it has taken in, by their numbers.
    pub visible: BTreeSet<usize>,
    life: Life,
}

/// What happened to one object, and what came of it.
#[derive(Clone, Debug)]
pub struct History {
    /// What the object is.
    pub kind: Kind,
    /// Every operation. One that had seen another comes after it.
    pub events: Vec<Event>,
    /// The replicas as they are.
    pub replicas: Vec<Replica>,
    /// Those whose lives have ended, as they were then: what they did may be in no other state.
    pub ended: Vec<Replica>,
}

/// A way in which everything that happened reaches somebody who knows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Deltas, each after those that it had seen.
    Causal,
    /// Deltas in any order, each of them twice.
    Shuffled,
    /// Groups of deltas, each joined by itself first.
    Grouped,
    /// Whole states of replicas, in any order.
    States,
}

impl Delivery {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Causal, Self::Shuffled, Self::Grouped, Self::States];
}

impl History {
    /// Nothing has happened. Panics if own entries are meant, which are no objects.
    #[must_use]
    pub fn new(kind: Kind, replicas: usize) -> Self {
        let replica = Replica { state: bottom(kind), visible: BTreeSet::new(), life: Life::FIRST };
        Self { kind, events: Vec::new(), replicas: vec![replica; replicas], ended: Vec::new() }
    }

    /// So many steps, drawn.
    #[must_use]
    pub fn drawn(kind: Kind, replicas: usize, steps: usize, chance: &mut Pcg32) -> Self {
        let mut history = Self::new(kind, replicas);
        for _ in 0..steps {
            history.step(&Step::draw(kind, replicas, chance));
        }
        history
    }

    /// Something happens. Panics if it happens to a replica or an object that there is not.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Operate(at, operation) => self.operate(*at, operation),
            Step::Merge { from, to } => {
                let Replica { state, visible, .. } = self.replicas[*from].clone();
                self.replicas[*to].state.merge(&state);
                self.replicas[*to].visible.extend(visible);
            }
            Step::Deliver { newest, to } => self.deliver(*newest, *to),
            Step::Restart(at) => {
                let life = self.replicas[*at].life.next();
                let fresh = Replica { state: bottom(self.kind), visible: BTreeSet::new(), life };
                self.ended.push(std::mem::replace(&mut self.replicas[*at], fresh));
            }
        }
    }

    fn operate(&mut self, at: usize, operation: &Operation) {
        let replica = &mut self.replicas[at];
        let actor = Actor { node: NodeId(at as u16), life: replica.life };
        let delta = replica.state.operate(actor, operation.clone());
        replica.state.merge(&delta);
        let seen = replica.visible.clone();
        replica.visible.insert(self.events.len());
        let time = match operation {
            Operation::WriteLast { time, .. } => {
                let after = seen.iter().map(|earlier| self.events[*earlier].time + 1).max();
                after.unwrap_or(0).max(*time)
            }
            _ => 0,
        };
        self.events.push(Event { actor, operation: operation.clone(), seen, delta, time });
    }

    fn deliver(&mut self, newest: usize, to: usize) {
        let Some(number) = self.events.len().checked_sub(newest + 1) else { return };
        let (delivered, replica) = (&self.events[number], &mut self.replicas[to]);
        if delivered.seen.is_subset(&replica.visible) {
            replica.state.merge(&delivered.delta);
            replica.visible.insert(number);
        }
    }

    /// What somebody who knew nothing holds when everything has reached them in this way.
    #[must_use]
    pub fn delivered(&self, delivery: Delivery, chance: &mut Pcg32) -> Object {
        let deltas = self.events.iter().map(|event| &event.delta);
        match delivery {
            Delivery::Causal => joined(self.kind, deltas),
            Delivery::Shuffled => {
                let mut twice: Vec<&Object> = deltas.clone().chain(deltas).collect();
                twice.shuffle(chance);
                joined(self.kind, twice)
            }
            Delivery::Grouped => {
                let mut groups = vec![bottom(self.kind); GROUPS];
                deltas.for_each(|delta| groups[chance.random_range(0..GROUPS)].merge(delta));
                joined(self.kind, &groups)
            }
            Delivery::States => {
                let mut states: Vec<&Replica> = self.replicas.iter().chain(&self.ended).collect();
                states.shuffle(chance);
                joined(self.kind, states.into_iter().map(|replica| &replica.state))
            }
        }
    }

    /// The join of these operations' deltas.
    #[must_use]
    pub fn join_of<'a>(&'a self, events: impl IntoIterator<Item = &'a usize>) -> Object {
        joined(self.kind, events.into_iter().map(|event| &self.events[*event].delta))
    }

    /// The value that these operations come to.
    #[must_use]
    pub fn specification(&self, visible: &BTreeSet<usize>) -> Value {
        let events = || visible.iter().map(|event| &self.events[*event]);
        let elements = |events: &mut dyn Iterator<Item = &usize>| {
            Value::Elements(events.map(|event| element(&self.events[*event])).collect())
        };
        match self.kind {
            Kind::Own => unreachable!("own entries are no objects"),
            Kind::GrowSet => elements(&mut visible.iter()),
            Kind::GCounter | Kind::PnCounter => Value::Sum(events().map(amount).sum()),
            Kind::LwwRegister => {
                elements(&mut visible.iter().max_by_key(|event| self.order(**event)).into_iter())
            }
            Kind::MvRegister => {
                let is_current = |event: &&usize| !self.later(**event, visible).any(|_| true);
                elements(&mut visible.iter().filter(is_current))
            }
            Kind::OrSet => elements(&mut visible.iter().filter(|event| self.is_added(**event, visible))),
        }
    }

    /// The visible operations that had seen this one.
    fn later<'a>(&'a self, event: usize, visible: &'a BTreeSet<usize>) -> impl Iterator<Item = &'a Event> {
        let after = visible.range(event + 1..).map(|later| &self.events[*later]);
        after.filter(move |later| later.seen.contains(&event))
    }

    /// An addition that no visible removal had seen.
    fn is_added(&self, event: usize, visible: &BTreeSet<usize>) -> bool {
        let Operation::Add(element) = &self.events[event].operation else { return false };
        let removal = Operation::Remove(element.clone());
        !self.later(event, visible).any(|later| later.operation == removal)
    }

    /// Where a write stands among all.
    fn order(&self, event: usize) -> (u64, Actor, Bytes) {
        let event = &self.events[event];
        (event.time, event.actor, element(event))
    }
}

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of sets and registers.
    Elements(BTreeSet<Bytes>),
    /// Of counters.
    Sum(i128),
}

/// The value of a state.
#[must_use]
pub fn value(object: &Object) -> Value {
    match object {
        Object::GrowSet(set) => Value::Elements(set.elements().cloned().collect()),
        Object::GCounter(counter) => {
            Value::Sum(counter.value().try_into().expect("2^48 actors of 2^64 each stay below 2^127"))
        }
        Object::PnCounter(counter) => Value::Sum(counter.value()),
        Object::LwwRegister(register) => Value::Elements(register.value().cloned().into_iter().collect()),
        Object::MvRegister(register) => Value::Elements(register.values().cloned().collect()),
        Object::OrSet(set) => Value::Elements(set.elements().cloned().collect()),
    }
}

fn bottom(kind: Kind) -> Object {
    Object::bottom(kind).expect("a kind of object")
}

fn joined<'a>(kind: Kind, states: impl IntoIterator<Item = &'a Object>) -> Object {
    let mut join = bottom(kind);
    states.into_iter().for_each(|state| join.merge(state));
    join
}

fn element(event: &Event) -> Bytes {
    match &event.operation {
        Operation::Grow(bytes)
        | Operation::Write(bytes)
        | Operation::Add(bytes)
        | Operation::Remove(bytes) => bytes.clone(),
        Operation::WriteLast { value, .. } => value.clone(),
        other => panic!("{other:?} names no element"),
    }
}

fn amount(event: &Event) -> i128 {
    match event.operation {
        Operation::Count(by) | Operation::Increment(by) => by.into(),
        Operation::Decrement(by) => -i128::from(by),
        ref other => panic!("{other:?} counts nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(kind: Kind, steps: &[Step]) -> History {
        let mut history = History::new(kind, 3);
        steps.iter().for_each(|step| history.step(step));
        history
    }

    fn letter(letter: &'static str) -> Bytes {
        Bytes::from_static(letter.as_bytes())
    }

    fn elements(letters: &[&'static str]) -> Value {
        Value::Elements(letters.iter().map(|name| letter(name)).collect())
    }

    #[test]
    fn the_specification_of_a_set_lets_additions_win_over_removals_that_had_not_seen_them() {
        let steps = [
            Step::Operate(0, Operation::Add(letter("a"))),
            Step::Deliver { newest: 0, to: 1 },
            Step::Operate(1, Operation::Remove(letter("a"))),
            Step::Operate(0, Operation::Add(letter("a"))),
            Step::Operate(0, Operation::Add(letter("b"))),
        ];
        let history = history(Kind::OrSet, &steps);
        let specified = |visible: &[usize]| history.specification(&visible.iter().copied().collect());
        assert_eq!(specified(&[0]), elements(&["a"]));
        assert_eq!(specified(&[0, 1]), elements(&[]));
        assert_eq!(specified(&[0, 1, 2, 3]), elements(&["a", "b"]));
    }

    #[test]
    fn the_specification_of_a_register_keeps_what_no_write_had_seen() {
        let steps = [
            Step::Operate(0, Operation::Write(letter("a"))),
            Step::Operate(1, Operation::Write(letter("b"))),
            Step::Merge { from: 0, to: 1 },
            Step::Operate(1, Operation::Write(letter("c"))),
            Step::Operate(2, Operation::Write(letter("d"))),
        ];
        let history = history(Kind::MvRegister, &steps);
        assert_eq!(history.specification(&(0..2).collect()), elements(&["a", "b"]));
        assert_eq!(history.specification(&(0..4).collect()), elements(&["c", "d"]));
    }

    #[test]
    fn a_write_that_had_seen_another_comes_after_it_whatever_its_clock_said() {
        let write = |time, value| Operation::WriteLast { time, value: letter(value) };
        let steps = [
            Step::Operate(1, write(9, "a")),
            Step::Deliver { newest: 0, to: 0 },
            Step::Operate(0, write(2, "b")),
            Step::Operate(2, write(9, "c")),
        ];
        let history = history(Kind::LwwRegister, &steps);
        assert_eq!(history.specification(&(0..3).collect()), elements(&["b"]));
        assert_eq!(history.specification(&[0, 2].into()), elements(&["c"]), "actors break ties");
    }

    #[test]
    fn what_a_lost_replica_did_is_still_delivered_in_states() {
        let steps =
            [Step::Operate(0, Operation::Count(3)), Step::Restart(0), Step::Operate(0, Operation::Count(4))];
        let history = history(Kind::GCounter, &steps);
        for delivery in Delivery::ALL {
            let delivered = history.delivered(delivery, &mut Pcg32::new(1, 1));
            assert_eq!(value(&delivered), Value::Sum(7), "{delivery:?}");
        }
        assert_eq!(value(&history.replicas[0].state), Value::Sum(4), "it had forgotten");
    }
}
