//! Histories for tests and measurements: a simulated store, small random histories, and a judge by brute force.
#![allow(dead_code, reason = "each test binary and the benchmark use a part")]

pub(crate) mod brute_force;
pub(crate) mod small;

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

/// What a linearizable store answers to this load: each operation takes effect at one moment of its interval. Texts that
/// appending makes are added to the values.
pub(crate) fn simulate(load: &Load, values: &mut Values, random: &mut Pcg64Mcg) -> Vec<Operation> {
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
        apply(&mut operations[number], &mut store, values);
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
        other => panic!("the simulated store has no {}", other.name()),
    }
}

/// Takes effect on the store, and notes what came of it.
fn apply(operation: &mut Operation, store: &mut HashMap<u64, u64>, values: &mut Values) {
    let state = store.entry(operation.key).or_insert(ABSENT);
    match operation.function {
        Function::Get => operation.value = *state,
        Function::Put | Function::Delete => *state = operation.value,
        Function::Cas if *state == operation.expected => *state = operation.value,
        Function::Cas if operation.outcome == Outcome::Ok => operation.outcome = Outcome::Fail,
        Function::Cas => {}
        Function::Append => {
            let text = text(&values.value(*state)) + &text(&values.value(operation.value));
            *state = values.intern(&Value::from(text));
        }
        other => panic!("the simulated store has no {}", other.name()),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
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
            (Function::Add, value) => Operation::add(process, key, values.intern(value)),
            (Function::Acquire, _) => Operation::acquire(process, key),
            (Function::Release, _) => Operation::release(process, key),
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
