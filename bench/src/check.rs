//! Judges a history file: the verdict, what it rests on, and the contradiction if there is one.

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use qlab_checker::{HistoryError, Model, Options, Report, Section, Unsupported, Verdict, WitnessOperation};
use serde::Serialize;

/// The path that means standard input.
const STANDARD_INPUT: &str = "-";

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The file cannot be opened: give the path of one that can.
    #[error("{origin}: {source}")]
    Open {
        /// Where the history was to come from.
        origin: Origin,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no event or contradicts those before it: mend the line.
    #[error("{origin}: {source}")]
    Line {
        /// Where the history came from.
        origin: Origin,
        /// The line and its fault.
        source: HistoryError,
    },
    /// There is nothing to judge: an empty history would be valid whatever was done.
    #[error("{origin}: no operation is in it, so there is nothing to judge")]
    Empty {
        /// Where the history was to come from.
        origin: Origin,
    },
    /// The model lacks an operation of the history: choose another one.
    #[error("{origin}: {source}")]
    Model {
        /// Where the history came from.
        origin: Origin,
        /// The operation.
        source: Unsupported,
    },
}

/// Where a history comes from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Standard input.
    StandardInput,
    /// A file.
    File(PathBuf),
}

impl Origin {
    /// `-` is standard input, everything else a file.
    pub fn of(path: &Path) -> Self {
        if path == Path::new(STANDARD_INPUT) { Self::StandardInput } else { Self::File(path.to_owned()) }
    }

    fn open(&self) -> io::Result<Box<dyn BufRead>> {
        Ok(match self {
            Self::StandardInput => Box::new(io::stdin().lock()),
            Self::File(path) => Box::new(BufReader::new(File::open(path)?)),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardInput => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Reads a history and judges it.
pub fn judge(origin: &Origin, model: Model) -> Result<Report, CheckError> {
    let named = || origin.clone();
    let reader = origin.open().map_err(|source| CheckError::Open { origin: named(), source })?;
    let history = qlab_checker::read_json_lines(reader)
        .map_err(|source| CheckError::Line { origin: named(), source })?;
    if history.operations().is_empty() {
        return Err(CheckError::Empty { origin: named() });
    }
    qlab_checker::check(&history, model, &Options::default())
        .map_err(|source| CheckError::Model { origin: named(), source })
}

/// The report for people: a line, and the witness drawn below it.
pub fn text(report: &Report) -> String {
    let mut text = sentence(report) + "\n";
    if let Some(witness) = &report.witness {
        write!(text, "\n{witness}").expect("a string takes everything");
    }
    text
}

fn sentence(report: &Report) -> String {
    let verdict = match report.verdict {
        Verdict::Valid => "valid",
        Verdict::Invalid => "INVALID",
        Verdict::Unknown => "unknown",
    };
    let Report { operations, unknown_outcomes, keys_without_search, keys_by_search, .. } = report;
    let mut sentence = format!(
        "{verdict}: {operations} operations judged, {unknown_outcomes} of unknown outcome in the history; \
         keys: {keys_without_search} decided without search, {keys_by_search} by search"
    );
    for (keys, what) in [(report.keys_violated, "violated"), (report.keys_undecided, "given up undecided")] {
        if keys > 0 {
            sentence += &format!(", {keys} {what}");
        }
    }
    sentence
}

/// The report as an HTML page, with the witness drawn if there is one.
pub fn page(report: &Report, origin: &Origin) -> String {
    let section =
        Section { heading: origin.to_string(), verdict: sentence(report), witness: report.witness.clone() };
    qlab_checker::page("Is this history linearizable?", &[section])
}

/// The report for machines: one object on one line.
pub fn json(report: &Report) -> serde_json::Result<String> {
    let Report { verdict, operations, unknown_outcomes, keys_violated, keys_undecided, .. } = *report;
    let witness = report.witness.as_ref().map_or(&[][..], |witness| &witness.operations);
    let explanation = report.witness.as_ref().map(|witness| witness.explanation.as_str());
    let json =
        Json { verdict, operations, witness, explanation, unknown_outcomes, keys_violated, keys_undecided };
    Ok(serde_json::to_string(&json)? + "\n")
}

/// What `--json` prints; the first three fields are a contract.
#[derive(Serialize)]
struct Json<'a> {
    verdict: Verdict,
    operations: u64,
    /// Empty unless the history is invalid.
    witness: &'a [WitnessOperation],
    /// Why there is no legal order; null unless the history is invalid.
    explanation: Option<&'a str>,
    unknown_outcomes: u64,
    keys_violated: u64,
    keys_undecided: u64,
}

#[cfg(test)]
mod tests {
    use qlab_checker::{History, Operation};

    use super::*;

    fn report(operations: &[Operation], steps_max: u64) -> Report {
        let mut history = History::default();
        operations.iter().for_each(|operation| history.push(*operation));
        let options = Options { search_steps_per_key_max: steps_max, ..Options::default() };
        qlab_checker::check(&history, Model::Kv, &options).unwrap()
    }

    #[test]
    fn a_verdict_that_was_given_up_says_so() {
        let puts = (0..12).map(|process| Operation::put(process, 1, 1).during(0, 10));
        let ambiguous: Vec<_> = puts.chain([Operation::get(0, 1, 1).during(20, 21)]).collect();
        let spent = report(&ambiguous, 3);
        assert_eq!(
            text(&spent),
            "unknown: 0 operations judged, 0 of unknown outcome in the history; \
             keys: 0 decided without search, 0 by search, 1 given up undecided\n"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&spent).unwrap()).unwrap();
        assert_eq!((&json["verdict"], &json["keys_undecided"]), (&"unknown".into(), &1.into()));
    }

    #[test]
    fn a_witness_stands_below_the_verdict() {
        let stale = [Operation::put(1, 7, 1).during(0, 1), Operation::get(2, 7, 9).during(2, 3)];
        let text = text(&report(&stale, 1000));
        assert!(text.starts_with("INVALID: ") && text.contains("1 violated\n\nkey 7: "), "{text}");
    }
}
