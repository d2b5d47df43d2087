//! History files: what is refused, with which words, and what comes back.

mod common;

use common::{Load, history_of, random, simulate, verdict};
use proptest::prelude::*;
use qlab_checker::{
    Function, HistoryError, Method, Model, NO_KEY, Operation, Outcome, Values, Verdict, read_json_lines,
    write_json_lines,
};
use serde_json::json;

/// A put that is done at time 2.
const DONE: &str = r#"{"process": 1, "type": "invoke", "f": "put", "key": "k", "value": "a", "time": 1}
{"process": 1, "type": "ok", "f": "put", "key": "k", "value": "a", "time": 2}
"#;

fn refusal(text: &str) -> HistoryError {
    read_json_lines(text.as_bytes()).expect_err("the file should be refused")
}

/// Expects the line after [`DONE`] to be refused with these words.
fn assert_refused(line: &str, words: &str) {
    let error = refusal(&format!("{DONE}{line}"));
    assert_eq!(error.line, 3, "{error}");
    assert!(error.reason.contains(words), "{error}");
}

fn event(kind: &str, function: &str, value: &str, time: u64) -> String {
    format!(
        r#"{{"process": 1, "type": "{kind}", "f": "{function}", "key": "k", "value": {value}, "time": {time}}}"#
    )
}

#[test]
fn what_is_no_event_is_refused() {
    assert_refused("{", "this is no event: EOF while parsing an object, at column 1; an event looks like {");
    assert_refused("[]", "this is no event");
    assert_refused(r#"{"process": 1, "type": "invoke", "f": "get"}"#, "missing field `time`");
    assert_refused(r#"{"process": -1, "type": "invoke", "f": "get", "time": 3}"#, "expected u32");
    assert_refused(
        &event("begin", "get", "null", 3),
        "unknown variant `begin`, expected one of `invoke`, `ok`",
    );
    assert_refused(&event("invoke", "got", "null", 3), "there is no function \"got\"; choose get, put");
}

#[test]
fn an_event_that_does_not_fit_is_refused() {
    assert_refused(&event("invoke", "get", "null", 1), "time goes back from 2 to 1; sort the events");
    assert_refused(&event("invoke", "get", "null", u64::MAX), "count nanoseconds from a later start");
    assert_refused(&event("ok", "get", "null", 3), "has none open; its invoke line is missing");
    let get = event("invoke", "get", "null", 3);
    let overlapping = refusal(&format!("{DONE}{get}\n{get}"));
    assert_eq!(overlapping.line, 4);
    assert!(overlapping.reason.contains("its operation of time 3 is open"), "{overlapping}");
    let other = refusal(&format!("{DONE}{get}\n{}", event("ok", "put", "1", 4)));
    assert!(other.reason.contains("has a get of key \"k\" open, which is not what completes"), "{other}");
    let changed =
        refusal(&format!("{DONE}{}\n{}", event("invoke", "put", "1", 3), event("ok", "put", "2", 4)));
    assert!(changed.reason.contains("the put was invoked with 1"), "{changed}");
}

#[test]
fn values_that_do_not_fit_their_function_are_refused() {
    assert_refused(&event("invoke", "get", "1", 3), "a get carries null when invoked");
    assert_refused(&event("invoke", "delete", "1", 3), "the delete must carry null");
    assert_refused(&event("invoke", "acquire", "1", 3), "the acquire must carry null");
    assert_refused(
        &event("invoke", "add", "null", 3),
        "the add must carry what it adds, which cannot be null",
    );
    assert_refused(&event("invoke", "cas", "[1]", 3), "a cas carries two values, [expected, new]");
    assert_refused(&event("invoke", "append", "null", 3), "cannot be null");
    assert_refused(&event("invoke", "put", "{}", 3), "a value is a string, a number");
    assert_refused(&event("invoke", "put", "[[1]]", 3), "a list holds strings, numbers");
    assert_refused(
        r#"{"process": 1, "type": "invoke", "f": "get", "key": true, "time": 3}"#,
        "neither a string nor",
    );
}

#[test]
fn outcomes_are_read_as_they_are_meant() {
    let lines = [
        event("invoke", "cas", "[null, 1.5]", 3),
        event("fail", "cas", "null", 4),
        event("invoke", "put", "7", 5),
        event("fail", "put", "7", 6),
        event("invoke", "delete", "null", 6),
        event("fail", "delete", "null", 6),
        event("invoke", "put", "8", 7),
        event("info", "put", "null", 8),
        event("invoke", "get", "null", 9),
        event("ok", "get", "true", 9),
        r#"{"process": 2, "type": "invoke", "f": "read", "time": 9, "index": 5}"#.to_owned(),
        String::new(),
    ];
    let history = read_json_lines(format!("{DONE}{}", lines.join("\n")).as_bytes()).unwrap();
    let read: Vec<_> = history.operations().iter().map(|o| (o.function, o.outcome, o.invoke_ns)).collect();
    let expected = [
        (Function::Put, Outcome::Ok, 1),
        (Function::Cas, Outcome::Fail, 3),
        (Function::Put, Outcome::Fail, 5),
        (Function::Put, Outcome::Unknown, 7),
        (Function::Get, Outcome::Ok, 9),
        (Function::Get, Outcome::Unknown, 9),
    ];
    assert_eq!(read, expected);
    let values: Vec<_> = history.operations().iter().map(|o| history.values().value(o.value)).collect();
    assert_eq!(values, [json!("a"), json!(1.5), json!(7), json!(8), json!(true), json!(null)]);
    assert_eq!(history.operations()[5].key, NO_KEY);
}

#[test]
fn a_file_is_judged_to_its_last_line() {
    let stale = format!("{DONE}{}\n{}\n", event("invoke", "get", "null", 3), event("ok", "get", "null", 4));
    let history = read_json_lines(stale.as_bytes()).unwrap();
    assert_eq!(verdict(&history, Model::Kv, Method::Cheapest), Verdict::Invalid);
}

#[test]
fn what_is_written_is_read_again() {
    for seed in 0..20 {
        let functions = vec![Function::Get, Function::Put, Function::Cas, Function::Delete];
        let load = Load { functions, values: Some(5), ..Load::unique(7, 3, 200) };
        let mut values = Values::default();
        let text = values.intern(&json!("text"));
        let mut operations = simulate(&load, &mut random(seed));
        operations.push(Operation::append(99, text, text).during(3, 3));
        let mut file = Vec::new();
        write_json_lines(&history_of(&operations, &values), &mut file).unwrap();
        let history = read_json_lines(&file[..]).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let sorted = |operations: &[Operation]| {
            let mut sorted = operations.to_vec();
            sorted.sort_by_key(|o| (o.process, o.invoke_ns, o.complete_ns));
            // What a get would have read, had it returned, is not in the file; neither is the id of a text.
            sorted.retain(|o| {
                o.process != 99 && !(o.function == Function::Get && o.outcome == Outcome::Unknown)
            });
            sorted
        };
        assert_eq!(sorted(history.operations()), sorted(&operations), "seed {seed}");
    }
}

/// Pieces of which almost-events are made.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\n",
        "null",
        "1",
        "-1",
        "1e400",
        "\"process\":1",
        "\"type\":\"invoke\"",
        "\"type\":\"ok\"",
        "\"f\":\"get\"",
        "\"f\":\"cas\"",
        "\"key\":\"k\"",
        "\"value\":[1,2]",
        "\"time\":5",
        "\\u0000",
        "{\"process\":1,\"type\":\"invoke\",\"f\":\"get\",\"time\":5}\n",
    ];
    proptest::sample::select(pieces.map(str::to_owned).to_vec())
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = read_json_lines(&bytes[..]);
    }

    #[test]
    fn almost_events_are_read_or_refused(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        if let Err(error) = read_json_lines(text.as_bytes()) {
            prop_assert!(error.line as usize <= text.split('\n').count());
            prop_assert!(!error.reason.is_empty());
        }
    }
}
