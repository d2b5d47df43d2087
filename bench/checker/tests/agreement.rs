//! The methods agree: with each other, with brute force, and with objects known to be linearizable.

mod common;

use common::{
    Load, history_of, history_of_witness, is_linearizable_by_brute_force, random, simulate, verdict,
};
use qlab_checker::{ABSENT, Function, Method, Model, Operation, Options, Values, Verdict, check};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

/// Small random histories of each kind in one run of the tests.
const SMALL_HISTORIES: u64 = 8_000;

/// What small random histories are made of.
struct Kind {
    model: Model,
    functions: &'static [Function],
    /// Written values come from here; each but once if they are to be unique.
    written: Vec<Value>,
    unique: bool,
    read: Vec<Value>,
}

#[test]
fn zones_and_search_and_brute_force_agree_on_unique_puts() {
    let values: Vec<Value> = (1..=4).map(Value::from).collect();
    let read = [values.clone(), vec![Value::Null]].concat();
    let functions = &[Function::Get, Function::Put];
    let by_zones =
        judge_small_histories(&Kind { model: Model::Kv, functions, written: values, unique: true, read });
    assert_eq!(by_zones, SMALL_HISTORIES);
}

#[test]
fn zones_and_search_and_brute_force_agree_on_puts_of_few_values() {
    let written = vec![json!(1), json!(2), json!(null)];
    let functions = &[Function::Get, Function::Put, Function::Delete];
    let by_zones = judge_small_histories(&Kind {
        model: Model::Kv,
        functions,
        read: written.clone(),
        written,
        unique: false,
    });
    assert!(by_zones > SMALL_HISTORIES / 4, "only {by_zones}");
}

#[test]
fn zones_and_search_and_brute_force_agree_on_cas_to_unique_values() {
    let written: Vec<Value> = (1..=6).map(Value::from).collect();
    let read = vec![json!(4), json!(5), json!(6), json!(null)];
    let functions = &[Function::Get, Function::Put, Function::Cas];
    let by_zones =
        judge_small_histories(&Kind { model: Model::CasRegister, functions, written, unique: true, read });
    assert!(by_zones > SMALL_HISTORIES / 4, "only {by_zones}");
}

#[test]
fn search_and_brute_force_agree_on_cas() {
    let written = vec![json!(1), json!(2), json!(3), json!(null)];
    let functions = &[Function::Get, Function::Put, Function::Cas, Function::Cas];
    judge_small_histories(&Kind {
        model: Model::CasRegister,
        functions,
        read: written.clone(),
        written,
        unique: false,
    });
}

#[test]
fn search_and_brute_force_agree_on_texts() {
    let written = vec![json!("a"), json!("b"), json!("ab")];
    let read = [written.clone(), vec![json!("ba"), json!("aab"), json!("abb"), json!(null)]].concat();
    let functions =
        &[Function::Get, Function::Append, Function::Append, Function::Put, Function::Cas, Function::Delete];
    judge_small_histories(&Kind { model: Model::Kv, functions, written, unique: false, read });
}

#[test]
fn search_and_brute_force_agree_on_lists() {
    let written = vec![json!(1), json!("x"), json!(3)];
    let read = vec![json!([]), json!([1]), json!([1, "x"]), json!(["x", 1]), json!([1, 3, "x"]), json!(null)];
    judge_small_histories(&Kind {
        model: Model::Append,
        functions: &[Function::Get, Function::Append],
        written,
        unique: true,
        read,
    });
}

/// Judges many, and returns how many were judged by zones.
fn judge_small_histories(kind: &Kind) -> u64 {
    let (mut invalid, mut by_zones) = (0, 0);
    for seed in 0..SMALL_HISTORIES {
        let mut values = Values::default();
        let operations = small_history(kind, &mut values, &mut random(seed));
        let history = history_of(&operations, &values);
        let legal = is_linearizable_by_brute_force(&operations, &values, kind.model);
        let expected = if legal { Verdict::Valid } else { Verdict::Invalid };
        let report = check(&history, kind.model, &Options::default()).unwrap();
        assert_eq!(report.verdict, expected, "seed {seed}: {operations:#?}");
        assert_eq!(verdict(&history, kind.model, Method::Search), expected, "seed {seed}: {operations:#?}");
        by_zones += report.keys_by_zones;
        if let Some(witness) = report.witness {
            invalid += 1;
            let alone = history_of_witness(&witness);
            let stands = !is_linearizable_by_brute_force(alone.operations(), alone.values(), kind.model);
            assert!(stands, "seed {seed}: the witness is no contradiction:\n{witness}");
        }
    }
    let both_happen = SMALL_HISTORIES / 10..SMALL_HISTORIES * 9 / 10;
    assert!(
        both_happen.contains(&invalid),
        "{invalid} of {SMALL_HISTORIES} are invalid, too lopsided for a test"
    );
    by_zones
}

fn small_history(kind: &Kind, values: &mut Values, random: &mut Pcg64Mcg) -> Vec<Operation> {
    let mut written = kind.written.clone();
    let count = random.random_range(2..=6);
    (0..count).map(|process| small_operation(kind, process, &mut written, values, random)).collect()
}

fn small_operation(
    kind: &Kind,
    process: u32,
    written: &mut Vec<Value>,
    values: &mut Values,
    random: &mut Pcg64Mcg,
) -> Operation {
    let mut pick = |from: &[Value]| values.intern(&from[random.random_range(0..from.len())]);
    let (read, expected, mut value) = (pick(&kind.read), pick(&kind.read), pick(&kind.written));
    let mut function = kind.functions[random.random_range(0..kind.functions.len())];
    if kind.unique && function != Function::Get {
        match written.pop() {
            Some(next) => value = values.intern(&next),
            None => function = Function::Get,
        }
    }
    let operation = match function {
        Function::Get => Operation::get(process, 0, read),
        Function::Put => Operation::put(process, 0, value),
        Function::Delete => Operation::delete(process, 0),
        Function::Cas => Operation::cas(process, 0, expected, value),
        Function::Append if value == ABSENT => Operation::delete(process, 0),
        Function::Append => Operation::append(process, 0, value),
    };
    let invoke_ns = random.random_range(0..12);
    let complete_ns = invoke_ns + random.random_range(0..6);
    match random.random_range(0..6) {
        0 => operation.unknown_since(invoke_ns),
        1 | 2 if function == Function::Cas => operation.failed_during(invoke_ns, complete_ns),
        _ => operation.during(invoke_ns, complete_ns),
    }
}

#[test]
fn a_simulated_register_is_valid_by_both_methods() {
    for seed in 0..60 {
        let load = Load::unique(1 + seed as u32 % 12, 3, 400);
        assert_valid(&load, Model::Kv, seed);
    }
}

#[test]
fn a_simulated_store_with_few_values_and_every_function_is_valid() {
    for seed in 0..60 {
        let functions = vec![Function::Get, Function::Put, Function::Cas, Function::Delete];
        let clients = 1 + seed as u32 % 8;
        let load = Load { functions, values: Some(4), ..Load::unique(clients, 3, 300) };
        assert_valid(&load, Model::Kv, seed);
    }
}

fn assert_valid(load: &Load, model: Model, seed: u64) {
    let history = history_of(&simulate(load, &mut random(seed)), &Values::default());
    for method in [Method::Cheapest, Method::Search] {
        assert_eq!(verdict(&history, model, method), Verdict::Valid, "seed {seed}, {method:?}");
    }
}
