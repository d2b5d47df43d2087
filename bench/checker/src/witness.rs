//! The contradiction, for people and for files.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::model::Model;
use crate::operation::{Function, NEVER_NS, Operation, Outcome};
use crate::values::Values;

/// Operations of one key for which no legal order exists, ordered by invocation.
///
/// It was made by leaving out operations that a linearizable history can spare, so it contradicts the model on its own.
/// None of the reductions makes it smaller, unless the budget for making it ended first.
///
/// Written with `{}`, it draws the intervals under each other; columns are the order of the moments, not their distance. As
/// JSON it is the list of its operations.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Witness {
    /// The operations.
    pub operations: Vec<WitnessOperation>,
    /// The place of the operation that has none in any legal order of those that had completed when it did.
    #[serde(skip)]
    pub impossible: usize,
    /// Why that one is impossible, in a sentence.
    #[serde(skip)]
    pub explanation: String,
}

/// An operation of a witness, in the words of history files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WitnessOperation {
    /// The client.
    pub process: u32,
    /// How it ended: `ok`, `fail` or `info`.
    #[serde(rename = "type")]
    pub outcome: &'static str,
    /// What was asked for.
    pub f: &'static str,
    /// The object.
    pub key: Value,
    /// The value read or written; `[expected, new]` for a cas.
    pub value: Value,
    /// When it was invoked, in nanoseconds.
    pub invoke_ns: u64,
    /// When it completed, in nanoseconds, if it did.
    pub complete_ns: Option<u64>,
}

impl Witness {
    /// The contradiction of these operations, which shows at the one of place `impossible`.
    pub(crate) fn new(
        operations: &[Operation],
        impossible: usize,
        explanation: String,
        model: Model,
        values: &Values,
    ) -> Self {
        let in_words = |operation: &Operation| in_words(&model.raise(*operation), values);
        Witness { operations: operations.iter().map(in_words).collect(), impossible, explanation }
    }

    /// The first and last moments of all operations, sorted: the columns of the drawing.
    pub(crate) fn moments(&self) -> Vec<u64> {
        let ends = |operation: &WitnessOperation| [Some(operation.invoke_ns), operation.complete_ns];
        let mut moments: Vec<u64> = self.operations.iter().flat_map(ends).flatten().collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }
}

fn in_words(operation: &Operation, values: &Values) -> WitnessOperation {
    WitnessOperation {
        process: operation.process,
        outcome: operation.outcome.name(),
        f: operation.function.name(),
        key: values.value(operation.key),
        value: value_in_words(operation, values),
        invoke_ns: operation.invoke_ns,
        complete_ns: (operation.complete_ns != NEVER_NS).then_some(operation.complete_ns),
    }
}

/// The value of an operation as history files carry it.
pub(crate) fn value_in_words(operation: &Operation, values: &Values) -> Value {
    match operation.function {
        Function::Cas => Value::from(vec![values.value(operation.expected), values.value(operation.value)]),
        _ => values.value(operation.value),
    }
}

impl Outcome {
    /// The name in history files.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Unknown => "info",
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.operations.first().map_or(&Value::Null, |operation| &operation.key);
        writeln!(f, "key {key}: no legal order exists for")?;
        let moments = self.moments();
        let sentences: Vec<String> = self.operations.iter().map(ToString::to_string).collect();
        let width = sentences.iter().map(|sentence| sentence.chars().count()).max().unwrap_or(0);
        for (operation, sentence) in self.operations.iter().zip(sentences) {
            writeln!(f, "  {sentence:width$}  {}", operation.bar(&moments))?;
        }
        writeln!(f, "{}", self.explanation)
    }
}

impl WitnessOperation {
    /// `|--|` from the moment of the invocation to that of the completion; an arrow if it never came.
    fn bar(&self, moments: &[u64]) -> String {
        let column = |moment: u64| COLUMNS_PER_MOMENT * moments.partition_point(|other| *other < moment);
        let start = column(self.invoke_ns);
        let (end, tip) = match self.complete_ns {
            Some(complete_ns) => (column(complete_ns), '|'),
            None => (COLUMNS_PER_MOMENT * moments.len(), '>'),
        };
        match end - start {
            0 => format!("{:start$}|", ""),
            length => format!("{:start$}|{:-<dashes$}{tip}", "", "", dashes = length - 1),
        }
    }

    /// What was asked for and what came of it.
    pub(crate) fn deed(&self) -> String {
        let asked = match (self.f, self.outcome, &self.value) {
            ("get", "ok", value) => format!("get -> {value}"),
            ("get", ..) | (_, _, Value::Null) => self.f.to_owned(),
            (f, _, value) => format!("{f} {value}"),
        };
        let came = match self.outcome {
            "fail" => " failed",
            "info" => " (outcome unknown)",
            _ => "",
        };
        asked + came
    }

    fn interval(&self) -> String {
        match self.complete_ns {
            Some(complete_ns) => format!("{}..{complete_ns} ns", self.invoke_ns),
            None => format!("{}.. ns", self.invoke_ns),
        }
    }
}

/// The width of the drawing for each distinct moment, in characters.
const COLUMNS_PER_MOMENT: usize = 3;

impl fmt::Display for WitnessOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {:<3} {}  {}", self.process, self.deed(), self.interval())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(operations: &[Operation]) -> Witness {
        Witness::new(operations, 0, "It cannot be.".to_owned(), Model::Kv, &Values::default())
    }

    #[test]
    fn a_witness_draws_its_intervals() {
        let operations = [
            Operation::put(1, 7, 1).during(10, 20),
            Operation::cas(2, 7, 1, 2).unknown_since(15),
            Operation::get(3, 7, crate::ABSENT).during(30, 40),
        ];
        let text = witness(&operations).to_string();
        let expected = "\
key 7: no legal order exists for
  process 1   put 1  10..20 ns                      |-----|
  process 2   cas [1,2] (outcome unknown)  15.. ns     |----------->
  process 3   get -> null  30..40 ns                         |--|
It cannot be.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_witness_is_a_list_in_json() {
        let operations = [Operation::put(1, 7, 5).during(10, 20)];
        let json = serde_json::to_string(&witness(&operations)).unwrap();
        let expected =
            r#"[{"process":1,"type":"ok","f":"put","key":7,"value":5,"invoke_ns":10,"complete_ns":20}]"#;
        assert_eq!(json, expected);
    }
}
