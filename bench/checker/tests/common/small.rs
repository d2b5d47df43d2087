//! Small random histories of a few processes on one object: right ones, tampered ones, and ones with answers by chance.

use qlab_checker::{ABSENT, Function, History, Model, Operation, Outcome};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

use super::brute_force::{Answer, Request, State, apply, state_of};

/// Processes of a small history.
const PROCESSES: std::ops::RangeInclusive<u32> = 2..=4;
/// Its operations.
const OPERATIONS: std::ops::RangeInclusive<usize> = 2..=8;
/// The longest pause and half interval; so short that many moments coincide.
const SPAN_NS: u64 = 5;

/// What small histories are made of.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) model: Model,
    /// Chosen among with equal chance.
    pub(crate) functions: &'static [Function],
    /// Written values come from here, one after the other if they are unique.
    pub(crate) written: Vec<Value>,
    pub(crate) unique: bool,
    /// What a get may claim to have read if it lies, and a cas may expect.
    pub(crate) read: Vec<Value>,
}

/// Every model, with values that have one writer and with values that have many.
pub(crate) fn kinds() -> Vec<Kind> {
    use Function::{Acquire, Add, Append, Cas, Delete, Get, Put, Release};
    let numbers = |count: u64| (1..=count).map(Value::from).collect::<Vec<_>>();
    let or_null = |values: Vec<Value>| [values, vec![Value::Null]].concat();
    let texts = ["a", "b", "ab"].map(Value::from).to_vec();
    let long_texts = ["ba", "aab", "abb"].map(Value::from).to_vec();
    let lists = vec![json!([]), json!([1]), json!([1, 2]), json!([2, 1]), json!([1, 2, 3]), json!([1, 1])];
    let kind = |name, model, functions, written: &[Value], unique, read: Vec<Value>| Kind {
        name,
        model,
        functions,
        written: written.to_vec(),
        unique,
        read,
    };
    vec![
        kind("kv, unique", Model::Kv, &[Get, Put], &numbers(8), true, or_null(numbers(8))),
        kind("register, few", Model::Register, &[Get, Put], &numbers(2), false, or_null(numbers(2))),
        kind("kv, few", Model::Kv, &[Get, Put, Delete, Cas], &numbers(2), false, or_null(numbers(2))),
        kind("cas, unique", Model::CasRegister, &[Get, Put, Cas], &numbers(8), true, or_null(numbers(4))),
        kind("cas, few", Model::CasRegister, &[Get, Put, Cas, Cas], &numbers(3), false, or_null(numbers(3))),
        kind(
            "text",
            Model::Kv,
            &[Get, Append, Put, Cas, Delete],
            &texts,
            false,
            [texts.clone(), long_texts].concat(),
        ),
        kind("list, unique", Model::Append, &[Get, Append], &numbers(8), true, lists.clone()),
        kind("list, few", Model::Append, &[Get, Append], &numbers(2), false, or_null(lists.clone())),
        kind("set, unique", Model::Set, &[Get, Add], &numbers(8), true, or_null(lists.clone())),
        kind("set, few", Model::Set, &[Get, Add], &numbers(3), false, or_null(lists)),
        kind("mutex", Model::Mutex, &[Acquire, Release], &[json!(null)], false, or_null(Vec::new())),
        kind(
            "write-once, unique",
            Model::WriteOnce,
            &[Get, Get, Put],
            &numbers(8),
            true,
            or_null(numbers(4)),
        ),
        kind("write-once, few", Model::WriteOnce, &[Get, Get, Put], &numbers(2), false, or_null(numbers(2))),
    ]
}

/// Where the answers of a small history come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Truth {
    /// From the object.
    Right,
    /// From the object, but one or two things were changed.
    Tampered,
    /// From nowhere.
    Random,
}

/// A small history of this kind.
pub(crate) fn small_history(kind: &Kind, truth: Truth, random: &mut Pcg64Mcg) -> History {
    let written = kind.written.iter().rev().cloned().collect();
    let mut maker = Maker { kind, history: History::default(), written, random };
    let mut operations = maker.operations(truth);
    if truth == Truth::Tampered {
        for _ in 0..maker.random.random_range(1..=2) {
            maker.tamper(&mut operations);
        }
    }
    maker.history.extend(&operations);
    maker.history
}

struct Maker<'a> {
    kind: &'a Kind,
    history: History,
    /// What is left to be written, if that is unique, the next one last.
    written: Vec<Value>,
    random: &'a mut Pcg64Mcg,
}

/// An operation, the moment of its effect, and whether it has one.
struct Planned {
    operation: Operation,
    effect_ns: u64,
    happens: bool,
}

impl Maker<'_> {
    fn operations(&mut self, truth: Truth) -> Vec<Operation> {
        let processes = self.random.random_range(PROCESSES);
        let mut clocks = vec![0; processes as usize];
        let count = self.random.random_range(OPERATIONS);
        let mut planned: Vec<Planned> = (0..count).map(|_| self.plan(&mut clocks)).collect();
        planned.sort_by_key(|planned| planned.effect_ns);
        let mut state = State::new();
        for planned in &mut planned {
            if truth == Truth::Random {
                self.answer_by_chance(&mut planned.operation);
            } else {
                self.answer(planned, &mut state);
            }
        }
        planned.into_iter().map(|planned| planned.operation).collect()
    }

    fn plan(&mut self, clocks: &mut [u64]) -> Planned {
        let process = self.random.random_range(0..clocks.len());
        let invoke_ns = clocks[process] + self.random.random_range(0..SPAN_NS);
        let effect_ns = invoke_ns + self.random.random_range(0..SPAN_NS);
        clocks[process] = effect_ns + self.random.random_range(0..SPAN_NS);
        let operation = self.request(process as u32);
        let is_unknown = self.random.random_ratio(1, 6);
        let happens = !is_unknown || self.random.random();
        let operation = match is_unknown {
            true => operation.unknown_since(invoke_ns),
            false => operation.during(invoke_ns, clocks[process]),
        };
        Planned { operation, effect_ns, happens }
    }

    fn request(&mut self, process: u32) -> Operation {
        let mut function = self.kind.functions[self.random.random_range(0..self.kind.functions.len())];
        let mut value = self.pick(&self.kind.written);
        if self.kind.unique && function != Function::Get {
            match self.written.pop() {
                Some(next) => value = self.history.values_mut().intern(&next),
                None => function = Function::Get,
            }
        }
        let expected = self.pick(&self.kind.read);
        match function {
            Function::Get => Operation::get(process, 0, ABSENT),
            Function::Put => Operation::put(process, 0, value),
            Function::Delete => Operation::delete(process, 0),
            Function::Cas => Operation::cas(process, 0, expected, value),
            Function::Append => Operation::append(process, 0, value),
            Function::Add => Operation::add(process, 0, value),
            Function::Acquire => Operation::acquire(process, 0),
            Function::Release => Operation::release(process, 0),
        }
    }

    fn pick(&mut self, from: &[Value]) -> u64 {
        let value = &from[self.random.random_range(0..from.len())];
        self.history.values_mut().intern(value)
    }

    /// What the object answers; one that waits for what never comes has an unknown outcome.
    fn answer(&mut self, planned: &mut Planned, state: &mut State) {
        if !planned.happens {
            return;
        }
        let operation = planned.operation;
        let state_of = |id| state_of(&self.history.values().value(id));
        let (value, expected) = (state_of(operation.value), state_of(operation.expected));
        let request = Request { function: operation.function, process: operation.process, value, expected };
        let (next, answer) = apply(self.kind.model, state, &request);
        *state = next;
        match answer {
            Answer::Read(read) => {
                let read = self.value_of(&read);
                planned.operation.value = self.history.values_mut().intern(&read);
            }
            Answer::Refused if operation.outcome == Outcome::Ok => planned.operation = refused(operation),
            Answer::Done | Answer::Refused => {}
        }
    }

    fn value_of(&self, state: &State) -> Value {
        let is_text = self.kind.written.iter().any(Value::is_string);
        match (self.kind.model, state.as_slice()) {
            (Model::Append | Model::Set, elements) => Value::from(elements),
            (_, []) => Value::Null,
            (_, letters) if is_text => {
                letters.iter().map(|letter| char::from(*letter as u8)).collect::<String>().into()
            }
            (_, numbers) => Value::from(numbers[0]),
        }
    }

    fn answer_by_chance(&mut self, operation: &mut Operation) {
        if operation.function == Function::Get {
            operation.value = self.pick(&self.kind.read);
        } else if operation.outcome == Outcome::Ok && self.random.random_ratio(1, 3) {
            *operation = refused(*operation);
        }
    }

    /// Changes one thing.
    fn tamper(&mut self, operations: &mut Vec<Operation>) {
        let place = self.random.random_range(0..operations.len());
        let operation = operations[place];
        let end_ns = operation.invoke_ns + self.random.random_range(0..2 * SPAN_NS);
        match self.random.random_range(0..6) {
            0 if operations.len() > 1 => _ = operations.remove(place),
            1 => operations[place] = operation.during(operation.invoke_ns, end_ns),
            2 => operations[place] = operation.unknown_since(operation.invoke_ns),
            3 if !operation.is_unknown() => operations[place] = refused(operation),
            4 => operations[place].process = self.random.random_range(PROCESSES),
            _ if operation.function == Function::Get => operations[place].value = self.pick(&self.kind.read),
            _ => {}
        }
    }
}

/// The completed operation refused, if it can be; otherwise it is not known what became of it.
fn refused(operation: Operation) -> Operation {
    match operation.function {
        Function::Cas | Function::Put => operation.failed_during(operation.invoke_ns, operation.complete_ns),
        _ => operation.unknown_since(operation.invoke_ns),
    }
}
