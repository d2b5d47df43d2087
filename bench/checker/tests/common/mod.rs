//! Histories for tests and measurements: simulated objects, small random histories, and a judge by brute force.
#![allow(dead_code, reason = "each test binary and the throughput example use a part")]

use std::collections::HashMap;

use qlab_checker::{
    ABSENT, Function, History, Method, Model, Operation, Options, Outcome, Values, Verdict, Witness, check,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::Value;

/// A generator whose stream is the same everywhere.
pub(crate) fn random(seed: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed)
}

/// The verdict on a history, by this method.
pub(crate) fn verdict(history: &History, model: Model, method: Method) -> Verdict {
    let options = Options { method, ..Options::default() };
    check(history, model, &options).expect("the model has every operation of the history").verdict
}

/// A history of these operations with these values.
pub(crate) fn history_of(operations: &[Operation], values: &Values) -> History {
    let mut history = History::default();
    *history.values_mut() = values.clone();
    history.extend(operations);
    history
}

/// What clients ask a simulated store for.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    pub(crate) keys: u64,
    pub(crate) operations: usize,
    /// Chosen among with equal chance.
    pub(crate) functions: Vec<Function>,
    /// Written values are below this, or all different if there is none.
    pub(crate) values: Option<u64>,
    /// One in so many operations never completes, and half of these never take effect.
    pub(crate) unknown_one_in: u32,
}

impl Load {
    /// Gets and puts of values that are all different.
    pub(crate) fn unique(clients: u32, keys: u64, operations: usize) -> Self {
        let functions = vec![Function::Get, Function::Put];
        Load { clients, keys, operations, functions, values: None, unknown_one_in: 50 }
    }
}

/// What a linearizable store answers to this load: each operation takes effect at one moment of its interval.
pub(crate) fn simulate(load: &Load, random: &mut Pcg64Mcg) -> Vec<Operation> {
    let mut clocks = vec![0; load.clients as usize];
    let mut effects: Vec<(u64, usize)> = Vec::with_capacity(load.operations);
    let mut operations = Vec::with_capacity(load.operations);
    for number in 0..load.operations {
        let client = number % load.clients as usize;
        let invoke_ns = clocks[client] + random.random_range(0..20);
        let effect_ns = invoke_ns + random.random_range(0..60);
        clocks[client] = effect_ns + random.random_range(0..60);
        let operation = request(load, client as u32, number as u64, random).during(invoke_ns, clocks[client]);
        let is_unknown = random.random_ratio(1, load.unknown_one_in);
        if !is_unknown || random.random() {
            effects.push((effect_ns, number));
        }
        operations.push(if is_unknown { operation.unknown_since(invoke_ns) } else { operation });
    }
    effects.sort_unstable();
    let mut store = HashMap::new();
    for (_, number) in effects {
        apply(&mut operations[number], &mut store);
    }
    operations
}

fn request(load: &Load, client: u32, number: u64, random: &mut Pcg64Mcg) -> Operation {
    let key = random.random_range(0..load.keys);
    let mut value = || load.values.map_or(number, |values| random.random_range(0..values));
    let (expected, value) = (value(), value());
    match load.functions[random.random_range(0..load.functions.len())] {
        Function::Get => Operation::get(client, key, ABSENT),
        Function::Put => Operation::put(client, key, value),
        Function::Delete => Operation::delete(client, key),
        Function::Cas => Operation::cas(client, key, expected, value),
        Function::Append => Operation::append(client, key, value),
    }
}

/// Takes effect on the store, and notes what came of it.
fn apply(operation: &mut Operation, store: &mut HashMap<u64, u64>) {
    let state = store.entry(operation.key).or_insert(ABSENT);
    match operation.function {
        Function::Get => operation.value = *state,
        Function::Put | Function::Delete => *state = operation.value,
        Function::Cas if *state == operation.expected => *state = operation.value,
        Function::Cas if operation.outcome == Outcome::Ok => operation.outcome = Outcome::Fail,
        Function::Cas => {}
        Function::Append => panic!("the simulated store keeps numbers, not texts"),
    }
}

/// Whether a legal order exists, by trying all: independent of the crate's specifications.
pub(crate) fn is_linearizable_by_brute_force(
    operations: &[Operation],
    values: &Values,
    model: Model,
) -> bool {
    let initial = if model == Model::Append { Value::Array(Vec::new()) } else { Value::Null };
    any_order(&mut operations.to_vec(), &initial, values)
}

fn any_order(rest: &mut Vec<Operation>, state: &Value, values: &Values) -> bool {
    if rest.iter().all(|operation| operation.outcome == Outcome::Unknown) {
        return true;
    }
    for place in 0..rest.len() {
        let next = rest[place];
        if rest.iter().any(|other| other.complete_ns < next.invoke_ns) {
            continue;
        }
        if let Some(after) = step(state, &next, values) {
            rest.swap_remove(place);
            let found = any_order(rest, &after, values);
            rest.push(next);
            let last = rest.len() - 1;
            rest.swap(place, last);
            if found {
                return true;
            }
        }
    }
    false
}

fn step(state: &Value, operation: &Operation, values: &Values) -> Option<Value> {
    let (value, expected) = (values.value(operation.value), values.value(operation.expected));
    let read = if value.is_null() && state.is_array() { Value::Array(Vec::new()) } else { value.clone() };
    match (operation.function, operation.outcome) {
        (Function::Get, Outcome::Unknown) => Some(state.clone()),
        (Function::Get, _) => (read == *state).then(|| state.clone()),
        (Function::Put | Function::Delete, _) => Some(value),
        (Function::Cas, Outcome::Fail) => (expected != *state).then(|| state.clone()),
        (Function::Cas, _) => (expected == *state).then_some(value),
        (Function::Append, _) => Some(appended(state, value)),
    }
}

fn appended(state: &Value, added: Value) -> Value {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match state {
        Value::Array(elements) => elements.iter().cloned().chain([added]).collect(),
        Value::Null => Value::from(text(&added)),
        present => Value::from(text(present) + &text(&added)),
    }
}

/// The history a witness shows.
pub(crate) fn history_of_witness(witness: &Witness) -> History {
    let mut history = History::default();
    for shown in &witness.operations {
        let values = history.values_mut();
        let function = Function::from_name(shown.f).expect("a witness names functions as files do");
        let (process, key) = (shown.process, values.intern(&shown.key));
        let operation = match (function, &shown.value) {
            (Function::Get, value) => Operation::get(process, key, values.intern(value)),
            (Function::Put, value) => Operation::put(process, key, values.intern(value)),
            (Function::Delete, _) => Operation::delete(process, key),
            (Function::Append, value) => Operation::append(process, key, values.intern(value)),
            (Function::Cas, pair) => {
                Operation::cas(process, key, values.intern(&pair[0]), values.intern(&pair[1]))
            }
        };
        history.push(match (shown.outcome, shown.complete_ns) {
            ("ok", Some(complete_ns)) => operation.during(shown.invoke_ns, complete_ns),
            ("fail", Some(complete_ns)) => operation.failed_during(shown.invoke_ns, complete_ns),
            _ => operation.unknown_since(shown.invoke_ns),
        });
    }
    history
}
