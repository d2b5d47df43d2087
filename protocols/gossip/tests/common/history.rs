//! Histories of operations on one object, and what its value must be: a function of which operations are visible, and of which
//! each of them had seen (Burckhardt et al., "Replicated data types: specification, verification, optimality", 2014).

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use qlab_gossip::key::Kind;
use qlab_gossip::{Actor, Life, Object, Operation};
use qlab_kernel::NodeId;

pub(crate) const REPLICAS: usize = 3;

/// All kinds of objects.
pub(crate) const KINDS: [Kind; 6] =
    [Kind::GrowSet, Kind::GCounter, Kind::PnCounter, Kind::LwwRegister, Kind::MvRegister, Kind::OrSet];

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A replica does something.
    Operate(usize, Operation),
    /// A replica takes another's whole state in.
    Merge { from: usize, to: usize },
    /// A replica takes the delta of an earlier operation in, if it has seen what that operation had seen.
    Deliver { event: usize, to: usize },
    /// A replica loses its state and begins another life.
    Restart(usize),
}

/// Up to 40 steps with an object of this kind. Few elements, so that they meet.
pub(crate) fn steps(kind: Kind) -> impl Strategy<Value = Vec<Step>> {
    let replica = 0..REPLICAS;
    let step = prop_oneof![
        5 => (replica.clone(), operation(kind)).prop_map(|(replica, operation)| Step::Operate(replica, operation)),
        2 => (replica.clone(), replica.clone()).prop_map(|(from, to)| Step::Merge { from, to }),
        3 => (0_usize..40, replica.clone()).prop_map(|(event, to)| Step::Deliver { event, to }),
        1 => replica.prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..40)
}

fn operation(kind: Kind) -> BoxedStrategy<Operation> {
    let element = || (0_u8..4).prop_map(|element| Bytes::from(vec![element]));
    match kind {
        Kind::Own => unreachable!("own entries are no objects"),
        Kind::GrowSet => element().prop_map(Operation::Grow).boxed(),
        Kind::GCounter => (0_u64..10).prop_map(Operation::Count).boxed(),
        Kind::PnCounter => prop_oneof![
            (0_u64..10).prop_map(Operation::Increment),
            (0_u64..10).prop_map(Operation::Decrement)
        ]
        .boxed(),
        Kind::LwwRegister => {
            (0_u64..4, element()).prop_map(|(time, value)| Operation::WriteLast { time, value }).boxed()
        }
        Kind::MvRegister => element().prop_map(Operation::Write).boxed(),
        Kind::OrSet => {
            prop_oneof![3 => element().prop_map(Operation::Add), 2 => element().prop_map(Operation::Remove)]
                .boxed()
        }
    }
}

/// An operation that was done.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) actor: Actor,
    pub(crate) operation: Operation,
    /// What it had seen.
    pub(crate) seen: BTreeSet<usize>,
    pub(crate) delta: Object,
}

/// A replica: its state, and the operations that are in it.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) state: Object,
    pub(crate) visible: BTreeSet<usize>,
    life: Life,
}

/// What happened, and what came of it.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) kind: Kind,
    pub(crate) events: Vec<Event>,
    pub(crate) replicas: Vec<Replica>,
}

impl History {
    pub(crate) fn new(kind: Kind) -> Self {
        let replica = Replica { state: bottom(kind), visible: BTreeSet::new(), life: Life::FIRST };
        Self { kind, events: Vec::new(), replicas: vec![replica; REPLICAS] }
    }

    /// Everything that happens, and after every step `watch`.
    pub(crate) fn run(kind: Kind, steps: &[Step], mut watch: impl FnMut(&Self)) -> Self {
        let mut history = Self::new(kind);
        for step in steps {
            history.step(step);
            watch(&history);
        }
        history
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Operate(at, operation) => self.operate(*at, operation),
            Step::Merge { from, to } => {
                let Replica { state, visible, .. } = self.replicas[*from].clone();
                self.replicas[*to].state.merge(&state);
                self.replicas[*to].visible.extend(visible);
            }
            Step::Deliver { event, to } => {
                let Some(delivered) = self.events.get(*event) else { return };
                let replica = &mut self.replicas[*to];
                if delivered.seen.is_subset(&replica.visible) {
                    replica.state.merge(&delivered.delta);
                    replica.visible.insert(*event);
                }
            }
            Step::Restart(at) => {
                let life = self.replicas[*at].life.next();
                self.replicas[*at] = Replica { state: bottom(self.kind), visible: BTreeSet::new(), life };
            }
        }
    }

    fn operate(&mut self, at: usize, operation: &Operation) {
        let replica = &mut self.replicas[at];
        let actor = Actor { node: NodeId(at as u16), life: replica.life };
        let delta = replica.state.operate(actor, operation.clone());
        let before = replica.state.clone();
        replica.state.merge(&delta);
        assert!(is_within(&before, &replica.state), "C1: {operation:?} took something away");
        let seen = replica.visible.clone();
        replica.visible.insert(self.events.len());
        self.events.push(Event { actor, operation: operation.clone(), seen, delta });
    }

    /// The value that the visible operations come to.
    pub(crate) fn specification(&self, visible: &BTreeSet<usize>) -> Value {
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
                let maximal = |event: &&usize| !events().any(|later| later.seen.contains(event));
                elements(&mut visible.iter().filter(maximal))
            }
            Kind::OrSet => elements(&mut visible.iter().filter(|event| self.is_added(**event, visible))),
        }
    }

    /// An addition that no visible removal has seen.
    fn is_added(&self, event: usize, visible: &BTreeSet<usize>) -> bool {
        let Operation::Add(element) = &self.events[event].operation else { return false };
        let removed = |later: &usize| {
            let later = &self.events[*later];
            later.operation == Operation::Remove(element.clone()) && later.seen.contains(&event)
        };
        !visible.iter().any(removed)
    }

    /// Where a write stands among all: never before one that it has seen.
    fn order(&self, event: usize) -> (u64, Actor, Bytes) {
        let Event { actor, operation, seen, .. } = &self.events[event];
        let Operation::WriteLast { time, value } = operation else { panic!("{operation:?} writes nothing") };
        let after = seen.iter().map(|earlier| self.order(*earlier).0 + 1).max().unwrap_or(0);
        ((*time).max(after), *actor, value.clone())
    }
}

/// Nothing has happened.
pub(crate) fn bottom(kind: Kind) -> Object {
    Object::bottom(kind).expect("a kind of object")
}

/// Whether `small` ⊑ `large`.
pub(crate) fn is_within(small: &Object, large: &Object) -> bool {
    let mut join = large.clone();
    join.merge(small);
    join == *large
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

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Elements(BTreeSet<Bytes>),
    Sum(i128),
}

/// The value of a state.
pub(crate) fn value(object: &Object) -> Value {
    match object {
        Object::GrowSet(set) => Value::Elements(set.elements().cloned().collect()),
        Object::GCounter(counter) => Value::Sum(counter.value().try_into().expect("small")),
        Object::PnCounter(counter) => Value::Sum(counter.value()),
        Object::LwwRegister(register) => Value::Elements(register.value().cloned().into_iter().collect()),
        Object::MvRegister(register) => Value::Elements(register.values().cloned().collect()),
        Object::OrSet(set) => Value::Elements(set.elements().cloned().collect()),
    }
}
