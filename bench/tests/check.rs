//! `qlab check` from outside: verdicts, exit codes, and what is said about bad input.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const VALID: &str = r#"{"process": 1, "type": "invoke", "f": "put", "key": "k", "value": 1, "time": 10}
{"process": 2, "type": "invoke", "f": "get", "key": "k", "value": null, "time": 12}
{"process": 1, "type": "ok", "f": "put", "key": "k", "value": 1, "time": 20}
{"process": 2, "type": "ok", "f": "get", "key": "k", "value": 1, "time": 22}
{"process": 3, "type": "invoke", "f": "put", "key": "k", "value": 2, "time": 30}
"#;

/// A read after an acknowledged write that does not see it, beside operations of another key that are fine.
const INVALID: &str = r#"{"process": 1, "type": "invoke", "f": "put", "key": "k", "value": 1, "time": 10}
{"process": 2, "type": "invoke", "f": "put", "key": "other", "value": 5, "time": 11}
{"process": 1, "type": "ok", "f": "put", "key": "k", "value": 1, "time": 20}
{"process": 2, "type": "ok", "f": "put", "key": "other", "value": 5, "time": 21}
{"process": 3, "type": "invoke", "f": "get", "key": "k", "value": null, "time": 30}
{"process": 3, "type": "ok", "f": "get", "key": "k", "value": null, "time": 40}
"#;

fn check(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qlab"));
    command.arg("check").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = command.spawn().expect("the program was built for this test");
    let mut stdin = program.stdin.take().expect("it was asked for");
    // The program may refuse its arguments without listening.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    program.wait_with_output().unwrap()
}

fn check_file(history: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    fs::write(&file, history).unwrap();
    check(&[&[path(&file)], arguments].concat(), "")
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn printed(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn complaint(output: &Output) -> &str {
    assert_eq!((output.status.code(), printed(output)), (Some(2), ""));
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn a_valid_history_is_counted_and_ends_with_code_0() {
    let output = check_file(VALID, &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = printed(&output);
    assert!(text.starts_with("valid: 3 operations judged, 1 of unknown outcome"), "{text}");
}

#[test]
fn an_invalid_history_shows_its_contradiction_and_ends_with_code_1() {
    let output = check_file(INVALID, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = printed(&output);
    assert!(text.starts_with("INVALID: 3 operations judged"), "{text}");
    assert!(text.contains("key \"k\": no legal order exists for\n  process 1"), "{text}");
    assert!(!text.contains("other"), "a witness is of one key: {text}");
}

#[test]
fn json_carries_the_verdict_the_operations_and_a_list() {
    let json = |output: &Output| serde_json::from_str::<Value>(printed(output)).unwrap();
    let valid = json(&check_file(VALID, &["--json"]));
    assert_eq!(
        (&valid["verdict"], &valid["operations"], &valid["witness"]),
        (&json!("valid"), &json!(3), &json!([]))
    );
    let output = check_file(INVALID, &["--json"]);
    let invalid = json(&output);
    assert_eq!((output.status.code(), &invalid["verdict"]), (Some(1), &json!("invalid")));
    let witness = invalid["witness"].as_array().unwrap();
    assert!(!witness.is_empty() && witness.iter().all(|operation| operation["key"] == "k"), "{invalid}");
}

#[test]
fn a_page_shows_the_contradiction_and_a_valid_history_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.html");
    let page = |history| {
        let output = check_file(history, &["--html", path(&out)]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        fs::read_to_string(&out).unwrap()
    };
    let invalid = page(INVALID);
    assert!(invalid.starts_with("<!DOCTYPE html>") && invalid.contains("<svg"), "{invalid}");
    assert!(invalid.contains("Process 3, 30..40 ns: it read null, but could have read 1 only."), "{invalid}");
    let valid = page(VALID);
    assert!(valid.contains("<p>valid: 3 operations judged") && !valid.contains("<svg"), "{valid}");
}

#[test]
fn a_dash_reads_standard_input() {
    assert_eq!(check(&["-"], VALID).status.code(), Some(0));
    assert_eq!(check(&["-", "--model", "register"], INVALID).status.code(), Some(1));
    assert!(complaint(&check(&["-"], "nonsense\n")).starts_with("qlab: standard input: line 1: "));
}

#[test]
fn a_malformed_line_is_named_by_file_number_and_reason() {
    let torn = VALID.replace(r#""type": "ok", "f": "get""#, r#""type": "okay", "f": "get""#);
    let output = check_file(&torn, &[]);
    let complaint = complaint(&output);
    assert!(complaint.contains("history.jsonl: line 4: "), "{complaint}");
    assert!(complaint.contains("okay"), "{complaint}");
}

#[test]
fn what_cannot_be_judged_ends_with_code_2() {
    let output = check(&["no/such/history.jsonl"], "");
    assert!(complaint(&output).contains("no/such/history.jsonl: No such file"));
    let deletes = r#"{"process": 1, "type": "invoke", "f": "delete", "key": "k", "value": null, "time": 1}"#;
    let output = check_file(deletes, &["--model", "register"]);
    assert!(complaint(&output).contains("the model register has no delete"));
}

#[test]
fn a_model_that_is_not_there_is_answered_with_those_that_are() {
    let output = check(&["-", "--model", "queue"], VALID);
    let models = "choose one of kv, register, cas-register, append, set, mutex, write-once";
    assert!(complaint(&output).contains(models));
}

/// Events one nanosecond apart: process, type, function, value.
fn events(events: &[(u32, &str, &str, Value)]) -> String {
    let line = |(time, (process, kind, f, value)): (usize, &(u32, &str, &str, Value))| {
        json!({"process": process, "type": kind, "f": f, "key": "k", "value": value, "time": time})
            .to_string()
    };
    events.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn code(model: &str, history: &[(u32, &str, &str, Value)]) -> Option<i32> {
    check(&["-", "--model", model], &events(history)).status.code()
}

#[test]
fn a_lock_a_set_and_a_register_for_one_value_are_judged() {
    let done = |process, f, value: Value| {
        let asked = if f == "read" { Value::Null } else { value.clone() };
        [(process, "invoke", f, asked), (process, "ok", f, value)]
    };
    let null = Value::Null;
    let held = [done(1, "acquire", null.clone()), done(2, "acquire", null.clone())].concat();
    assert_eq!(code("mutex", &held), Some(1));
    assert_eq!(code("mutex", &[&held[..2], &done(1, "release", null), &held[2..]].concat()), Some(0));
    let added = [done(1, "add", json!(7)), done(2, "read", json!([7]))].concat();
    assert_eq!(code("set", &added), Some(0));
    assert_eq!(code("set", &[&added[..], &done(3, "read", json!([]))].concat()), Some(1));
    let mut written =
        [done(1, "write", json!(7)), done(2, "write", json!(8)), done(3, "read", json!(7))].concat();
    assert_eq!(code("write-once", &written), Some(1));
    written[3].1 = "fail";
    assert_eq!(code("write-once", &written), Some(0));
}
