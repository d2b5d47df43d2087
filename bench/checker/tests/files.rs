//! History files: what is refused, with which words, and what comes back.

mod common;

use common::small::{Truth, kinds, small_history};
use common::{random, verdict};
use proptest::prelude::*;
use qlab_checker::{
    Function, History, HistoryError, Method, Model, NO_KEY, Operation, Outcome, Verdict, read_json_lines,
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

/// The operations in the words of a file, in an order of their own: what a get would have read, had it returned, is in no
/// file.
fn in_words(history: &History) -> Vec<(u32, u64, u64, String)> {
    let words = |operation: &Operation| {
        let known = !(operation.function == Function::Get && operation.is_unknown());
        let value = |id| history.values().value(id);
        let Operation { process, invoke_ns, complete_ns, key, function, outcome, .. } = *operation;
        let values = known.then(|| (value(operation.expected), value(operation.value)));
        (process, invoke_ns, complete_ns, format!("{function:?} {outcome:?} {} {values:?}", value(key)))
    };
    let mut words: Vec<_> = history.operations().iter().map(words).collect();
    words.sort();
    words
}

fn written(history: &History) -> Vec<u8> {
    let mut file = Vec::new();
    write_json_lines(history, &mut file).expect("a vector takes everything");
    file
}

#[test]
fn what_is_written_is_read_again() {
    for (seed, kind) in (0..200).flat_map(|seed| kinds().into_iter().map(move |kind| (seed, kind))) {
        let truth = if seed % 2 == 0 { Truth::Right } else { Truth::Random };
        let history = small_history(&kind, truth, &mut random(seed));
        let file = written(&history);
        let again =
            read_json_lines(&file[..]).unwrap_or_else(|error| panic!("{}, {seed}: {error}", kind.name));
        assert_eq!(in_words(&again), in_words(&history), "{}, {seed}", kind.name);
        assert_eq!(written(&again), file, "{}, {seed}", kind.name);
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

/// A change to the bytes of a file, at a place given as a share of its length.
#[derive(Clone, Debug)]
enum Change {
    Replace(f64, u8),
    Remove(f64, usize),
    Insert(f64, String),
    SwapLines(f64, f64),
    Repeat(f64, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let place = || 0.0..1.0;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (place(), 1..40usize).prop_map(|(at, bytes)| Change::Remove(at, bytes)),
        (place(), piece()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (place(), place()).prop_map(|(one, other)| Change::SwapLines(one, other)),
        (place(), 1..200usize).prop_map(|(at, bytes)| Change::Repeat(at, bytes)),
    ]
}

impl Change {
    fn make(&self, file: &mut Vec<u8>) {
        let length = file.len();
        let place = |share: f64| (share * length as f64) as usize;
        match self {
            _ if length == 0 => {}
            Change::Replace(at, byte) => file[place(*at)] = *byte,
            Change::Remove(at, bytes) => _ = file.drain(place(*at)..length.min(place(*at) + bytes)),
            Change::Insert(at, piece) => _ = file.splice(place(*at)..place(*at), piece.bytes()),
            Change::Repeat(at, bytes) => file.extend_from_within(place(*at)..length.min(place(*at) + bytes)),
            Change::SwapLines(one, other) => {
                let mut lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
                let line = |share: f64| (share * lines.len() as f64) as usize;
                let (one, other) = (line(*one), line(*other));
                lines.swap(one, other);
                *file = lines.join(&b'\n');
            }
        }
    }
}

/// Reads the file: what was read can be written and read again, what was refused is refused at one of its lines.
fn assert_read_or_refused(file: &[u8]) {
    match read_json_lines(file) {
        Ok(history) => {
            let again = written(&history);
            let history_again = read_json_lines(&again[..]).expect("what was read can be written and read");
            assert_eq!(in_words(&history_again), in_words(&history));
        }
        Err(error) => {
            let lines = file.split(|byte| *byte == b'\n').count() as u64;
            assert!((1..=lines).contains(&error.line), "{error} of {lines}");
            assert!(!error.reason.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        assert_read_or_refused(&bytes);
    }

    #[test]
    fn almost_events_are_read_or_refused(pieces in prop::collection::vec(piece(), 0..40)) {
        assert_read_or_refused(pieces.concat().as_bytes());
    }

    #[test]
    fn changed_histories_are_read_or_refused(
        seed in any::<u64>(),
        kind in 0..kinds().len(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut file = written(&small_history(&kinds()[kind], Truth::Right, &mut random(seed)));
        changes.iter().for_each(|change| change.make(&mut file));
        assert_read_or_refused(&file);
    }
}
