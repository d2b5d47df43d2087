//! History files: one JSON object per line, in real-time order.
//!
//! ```text
//! {"process": 3, "type": "invoke", "f": "cas", "key": "k", "value": [1, 2], "time": 17}
//! {"process": 3, "type": "ok", "f": "cas", "key": "k", "value": [1, 2], "time": 42}
//! ```
//!
//! An operation is a line that invokes and, perhaps, a later line of the same process that completes it with `ok`, `fail` or
//! `info`. One that is never completed has an unknown outcome, as if it had ended in `info`: it may have taken effect at any
//! later time, or never. The completing line repeats the value or says `null`, but for a get, whose completing line carries
//! what was read. Other fields are ignored, and so are empty lines.
//!
//! | model | `f` and what `value` carries |
//! |---|---|
//! | `register` | `get` (or `read`): `null`, when ok what was read; `put` (or `write`): the value |
//! | `cas-register` | the same, and `cas`: `[expected, new]` |
//! | `kv` | the same, and `delete`: `null`; `append`: the text that it adds |
//! | `append` | `get`: when ok the whole list; `append`: the element |
//! | `set` | `get`: when ok the whole set, as a list in any order; `add`: the element |
//! | `mutex` | `acquire` and `release`: `null`; the owner is the process |
//! | `write-once` | `get` and `put` |
//!
//! All objects begin absent, which reads as `null`: an empty list, an empty set, a lock that is free, a register that may yet
//! be written. To write `null` is to write nothing.
//!
//! A `fail` means that the operation certainly was not done. It is left out, but for two that say something about the object: a
//! failed cas says that the value differed from the expected one, and the failed put of a write-once register that it had a
//! value before. One that failed for another reason must not end in `fail` but in `info`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::history::{History, OPERATIONS_MAX};
use crate::operation::{Function, Operation, Outcome};
use crate::values::PLAIN_NUMBER_MAX;
use crate::witness::value_in_words;

/// The longest line of a history file, in bytes: 16 MiB, room for a list of some million elements.
pub const LINE_BYTES_MAX: u64 = 16 << 20;

const EXAMPLE: &str =
    r#"{"process": 3, "type": "invoke", "f": "get", "key": "k", "value": null, "time": 17}"#;

/// A history file cannot be judged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {reason}")]
pub struct HistoryError {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it and what to do about it.
    pub reason: String,
}

/// Reads a history file to its end.
///
/// # Errors
///
/// If a line cannot be read, is no event, or does not fit to those before it.
pub fn read_json_lines(mut reader: impl BufRead) -> Result<History, HistoryError> {
    let mut events = Events::default();
    let mut buffer = Vec::new();
    for line in 1.. {
        buffer.clear();
        let refuse = |reason| HistoryError { line, reason };
        match read_line(&mut reader, &mut buffer).map_err(refuse)? {
            0 => break,
            _ if buffer.trim_ascii().is_empty() => {}
            _ => parse(&buffer).and_then(|event| events.take(event)).map_err(refuse)?,
        }
    }
    Ok(events.finish())
}

/// Writes a history as [`read_json_lines`] reads it. Unknown outcomes end in `info` at once, so that a process may go on.
///
/// # Errors
///
/// Those of the writer.
pub fn write_json_lines(history: &History, mut writer: impl Write) -> io::Result<()> {
    for (place, completes) in events_in_order(history.operations()) {
        let operation = &history.operations()[place as usize];
        serde_json::to_writer(&mut writer, &event(operation, completes, history))?;
        writer.write_all(b"\n")?;
    }
    writer.flush()
}

/// A line of the file.
#[derive(Debug, Deserialize, Serialize)]
struct Event<'a> {
    process: u32,
    #[serde(rename = "type")]
    kind: EventKind,
    #[serde(borrow)]
    f: Cow<'a, str>,
    #[serde(default)]
    key: Value,
    #[serde(default)]
    value: Value,
    time: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum EventKind {
    Invoke,
    Ok,
    Fail,
    Info,
}

fn read_line(reader: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<usize, String> {
    let bytes = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', buffer);
    match bytes.map_err(|error| format!("the file cannot be read: {error}"))? {
        bytes if bytes as u64 > LINE_BYTES_MAX => {
            Err(format!("the line is longer than {LINE_BYTES_MAX} bytes; a history has one event per line"))
        }
        bytes => Ok(bytes),
    }
}

fn parse(line: &[u8]) -> Result<Event<'_>, String> {
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        format!("this is no event: {what}, at column {}; an event looks like {EXAMPLE}", error.column())
    })
}

/// The events read so far.
#[derive(Default)]
struct Events {
    history: History,
    operations: Vec<Operation>,
    /// Where the operation is that a process has open.
    open: HashMap<u32, usize>,
    time: u64,
}

impl Events {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        self.check_time(event.time)?;
        let function = Function::from_name(&event.f).ok_or_else(|| {
            format!(
                "there is no function {:?}; choose get, put, delete, cas, append, add, acquire or release",
                event.f
            )
        })?;
        match event.kind {
            EventKind::Invoke => self.invoke(function, &event),
            EventKind::Ok | EventKind::Fail | EventKind::Info => self.complete(function, &event),
        }
    }

    fn check_time(&mut self, time: u64) -> Result<(), String> {
        if time < self.time {
            return Err(format!("time goes back from {} to {time}; sort the events by time", self.time));
        }
        if time > PLAIN_NUMBER_MAX {
            return Err(format!(
                "the time {time} is beyond {PLAIN_NUMBER_MAX}; count nanoseconds from a later start"
            ));
        }
        self.time = time;
        Ok(())
    }

    fn invoke(&mut self, function: Function, event: &Event<'_>) -> Result<(), String> {
        let process = event.process;
        if let Some(open) = self.open.get(&process) {
            let since = self.operations[*open].invoke_ns;
            return Err(format!(
                "process {process} invokes while its operation of time {since} is open; complete that one first or use another process"
            ));
        }
        if self.operations.len() == OPERATIONS_MAX {
            return Err(format!("the history has more than {OPERATIONS_MAX} operations; split the run"));
        }
        let key = self.key(&event.key)?;
        let operation = self.operation(process, function, key, &event.value)?;
        self.open.insert(process, self.operations.len());
        self.operations.push(operation.unknown_since(event.time));
        Ok(())
    }

    fn key(&mut self, key: &Value) -> Result<u64, String> {
        match key {
            Value::Null | Value::String(_) | Value::Number(_) => Ok(self.history.values_mut().intern(key)),
            _ => Err(format!("the key {key} is neither a string nor a number")),
        }
    }

    fn operation(
        &mut self,
        process: u32,
        function: Function,
        key: u64,
        value: &Value,
    ) -> Result<Operation, String> {
        match (function, value) {
            (Function::Get, Value::Null) => Ok(Operation::get(process, key, crate::ABSENT)),
            (Function::Get, _) => {
                Err("a get carries null when invoked, and what it read when it is ok".to_owned())
            }
            (Function::Delete, Value::Null) => Ok(Operation::delete(process, key)),
            (Function::Acquire, Value::Null) => Ok(Operation::acquire(process, key)),
            (Function::Release, Value::Null) => Ok(Operation::release(process, key)),
            (Function::Delete | Function::Acquire | Function::Release, _) => {
                Err(format!("the {} must carry null", function.name()))
            }
            (Function::Cas, Value::Array(pair)) if pair.len() == 2 => {
                let (expected, new) = (self.value(&pair[0])?, self.value(&pair[1])?);
                Ok(Operation::cas(process, key, expected, new))
            }
            (Function::Cas, _) => Err("a cas carries two values, [expected, new]".to_owned()),
            (Function::Put, value) => Ok(Operation::put(process, key, self.value(value)?)),
            (Function::Append | Function::Add, Value::Null) => {
                Err(format!("the {} must carry what it adds, which cannot be null", function.name()))
            }
            (Function::Append, value) => Ok(Operation::append(process, key, self.value(value)?)),
            (Function::Add, value) => Ok(Operation::add(process, key, self.value(value)?)),
        }
    }

    fn value(&mut self, value: &Value) -> Result<u64, String> {
        let is_scalar = |value: &Value| !value.is_object() && !value.is_array();
        match value {
            Value::Array(elements) if !elements.iter().all(is_scalar) => {
                Err("a list holds strings, numbers, booleans and null only".to_owned())
            }
            Value::Object(_) => {
                Err("a value is a string, a number, a boolean, null or a list of these".to_owned())
            }
            _ => Ok(self.history.values_mut().intern(value)),
        }
    }

    fn complete(&mut self, function: Function, event: &Event<'_>) -> Result<(), String> {
        let process = event.process;
        let Some(place) = self.open.remove(&process) else {
            return Err(format!(
                "process {process} completes an operation and has none open; its invoke line is missing"
            ));
        };
        let invoked = self.operations[place];
        if invoked.function != function || invoked.key != self.key(&event.key)? {
            let (name, key) = (invoked.function.name(), self.history.values().value(invoked.key));
            return Err(format!(
                "process {process} has a {name} of key {key} open, which is not what completes here"
            ));
        }
        let result = self.result(invoked, event)?;
        self.operations[place] = match event.kind {
            EventKind::Ok => result.during(invoked.invoke_ns, event.time),
            EventKind::Fail => invoked.failed_during(invoked.invoke_ns, event.time),
            EventKind::Info | EventKind::Invoke => invoked,
        };
        Ok(())
    }

    /// The operation with what it returned.
    fn result(&mut self, invoked: Operation, event: &Event<'_>) -> Result<Operation, String> {
        if invoked.function == Function::Get && event.kind == EventKind::Ok {
            return Ok(Operation { value: self.value(&event.value)?, ..invoked });
        }
        let words = value_in_words(&invoked, self.history.values());
        if event.value.is_null() || event.value == words {
            return Ok(invoked);
        }
        Err(format!(
            "the {} was invoked with {words}; complete it with the same value or null",
            invoked.function.name()
        ))
    }

    fn finish(mut self) -> History {
        let not_done = |o: &Operation| o.outcome == Outcome::Fail && !o.function.can_fail();
        self.operations.retain(|operation| !not_done(operation));
        self.history.adopt(self.operations);
        self.history
    }
}

/// The calls and completions of all operations in real-time order, those of a process one after the other.
fn events_in_order(operations: &[Operation]) -> impl Iterator<Item = (u32, bool)> {
    let mut order: Vec<u32> = (0..operations.len() as u32).collect();
    order.sort_by_key(|place| {
        let operation = &operations[*place as usize];
        (operation.invoke_ns, end_ns(operation))
    });
    let mut events = Vec::with_capacity(2 * order.len());
    for (rank, place) in (0u32..).zip(order) {
        let operation = &operations[place as usize];
        events.push((operation.invoke_ns, rank, false, place));
        events.push((end_ns(operation), rank, true, place));
    }
    events.sort_unstable();
    events.into_iter().map(|(_, _, completes, place)| (place, completes))
}

/// When the completing line comes.
fn end_ns(operation: &Operation) -> u64 {
    if operation.is_unknown() { operation.invoke_ns } else { operation.complete_ns }
}

fn event(operation: &Operation, completes: bool, history: &History) -> Event<'static> {
    let kind = match (completes, operation.outcome) {
        (false, _) => EventKind::Invoke,
        (true, Outcome::Ok) => EventKind::Ok,
        (true, Outcome::Fail) => EventKind::Fail,
        (true, Outcome::Unknown) => EventKind::Info,
    };
    let is_result = operation.function != Function::Get || kind == EventKind::Ok;
    Event {
        process: operation.process,
        kind,
        f: Cow::Borrowed(operation.function.name()),
        key: history.values().value(operation.key),
        value: if is_result { value_in_words(operation, history.values()) } else { Value::Null },
        time: if completes { end_ns(operation) } else { operation.invoke_ns },
    }
}
