//! Keys in parallel, verdicts, the report.

use rayon::prelude::*;
use serde::Serialize;

use crate::explanation::explain;
use crate::history::{ByKey, History};
use crate::levels;
use crate::model::{Model, Unsupported};
use crate::operation::Operation;
use crate::search::{Found, search};
use crate::shrink::shrink;
use crate::specification::{ListSpecification, SetSpecification, ValueSpecification};
use crate::values::Values;
use crate::witness::Witness;
use crate::zones;

/// How many violated keys are cut down at most; the smallest witness among them is reported.
const WITNESS_KEYS_MAX: usize = 8;

/// How to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// By which method.
    pub method: Method,
    /// How many operations the search may try for one key before it gives up with [`Verdict::Unknown`], and as many again
    /// for cutting a violation down. A step takes some tens of nanoseconds and some tens of bytes.
    pub search_steps_per_key_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { method: Method::Cheapest, search_steps_per_key_max: 20_000_000 }
    }
}

/// By which method to judge a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By zones where every value read has one certain writer, by levels where a set or a list allows it, by search elsewhere.
    Cheapest,
    /// By search, always: the cross-check of the other methods.
    Search,
}

/// Was it right?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every key is linearizable.
    Valid,
    /// Some key is not.
    Invalid,
    /// No violation was found, but the search of some key was given up.
    Unknown,
}

/// What a history was found to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Was it right?
    pub verdict: Verdict,
    /// How many operations were judged: all those of keys that got a verdict.
    pub operations: u64,
    /// How many operations of the history have an unknown outcome.
    pub unknown_outcomes: u64,
    /// How many keys were judged without search: by zones or levels.
    pub keys_without_search: u64,
    /// How many keys were judged by search.
    pub keys_by_search: u64,
    /// How many keys are not linearizable.
    pub keys_violated: u64,
    /// How many keys have no verdict because their search was given up.
    pub keys_undecided: u64,
    /// A few operations that contradict each other, if a key is not linearizable.
    pub witness: Option<Witness>,
}

/// Judges a history whose keys are objects of this model, on the threads of the current rayon pool.
///
/// # Errors
///
/// If the history contains an operation that the model does not have.
pub fn check(history: &History, model: Model, options: &Options) -> Result<Report, Unsupported> {
    refuse_unsupported(history, model)?;
    let judge = Judge { model, method: options.method, values: history.values() };
    let by_key = history.by_key();
    let judge_key = |key| {
        let operations = gather(history, model, &by_key, key);
        judge.judge(&operations, &mut { options.search_steps_per_key_max })
    };
    let judgements: Vec<Judgement> = (0..by_key.keys()).into_par_iter().map(judge_key).collect();
    let mut report = summarize(history, &by_key, &judgements);
    report.witness = witness(history, &by_key, &judgements, &judge, options.search_steps_per_key_max);
    Ok(report)
}

fn refuse_unsupported(history: &History, model: Model) -> Result<(), Unsupported> {
    match history.operations().iter().position(|operation| !model.supports(operation.function)) {
        Some(place) => Err(Unsupported { model, function: history.operations()[place].function, place }),
        None => Ok(()),
    }
}

/// The operations of one key, side by side, as the judges take them.
fn gather(history: &History, model: Model, by_key: &ByKey, key: usize) -> Vec<Operation> {
    let places = by_key.places(key);
    let mut operations = Vec::with_capacity(places.len());
    operations.extend(places.iter().filter_map(|place| model.lower(history.operations()[*place as usize])));
    #[cfg(feature = "mutants")]
    let operations = crate::mutants::misread(operations);
    operations
}

/// Judges the operations of one key.
struct Judge<'a> {
    model: Model,
    method: Method,
    values: &'a Values,
}

/// What was found out about a key, and how.
#[derive(Clone, Copy)]
struct Judgement {
    found: Found,
    by_search: bool,
}

impl Judge<'_> {
    fn judge(&self, operations: &[Operation], steps_left: &mut u64) -> Judgement {
        match self.without_search(operations) {
            Some(true) => Judgement { found: Found::Linearizable, by_search: false },
            Some(false) => Judgement { found: Found::NotLinearizable, by_search: false },
            None => Judgement { found: self.by_search(operations, steps_left), by_search: true },
        }
    }

    /// Whether operations are certainly not linearizable; all questions together have so many steps.
    fn is_violation(&self, mut steps_left: u64) -> impl FnMut(&[Operation]) -> bool {
        move |operations| self.judge(operations, &mut steps_left).found == Found::NotLinearizable
    }

    fn without_search(&self, operations: &[Operation]) -> Option<bool> {
        match (self.method, self.model) {
            (Method::Search, _) => None,
            (Method::Cheapest, Model::Set) => Some(levels::set_is_linearizable(operations, self.values)),
            (Method::Cheapest, Model::Append) => levels::list_is_linearizable(operations, self.values),
            (Method::Cheapest, _) => zones::linearizable(operations),
        }
    }

    fn by_search(&self, operations: &[Operation], steps_left: &mut u64) -> Found {
        match self.model {
            Model::Append => search(operations, &mut ListSpecification::new(self.values), steps_left),
            Model::Set => search(operations, &mut SetSpecification::new(self.values), steps_left),
            _ => search(operations, &mut ValueSpecification::new(self.values), steps_left),
        }
    }
}

fn summarize(history: &History, by_key: &ByKey, judgements: &[Judgement]) -> Report {
    let count =
        |condition: &dyn Fn(&Judgement) -> bool| judgements.iter().filter(|j| condition(j)).count() as u64;
    let keys_violated = count(&|judgement| judgement.found == Found::NotLinearizable);
    let keys_undecided = count(&|judgement| judgement.found == Found::BudgetSpent);
    let decided = (0..).zip(judgements).filter(|(_, judgement)| judgement.found != Found::BudgetSpent);
    Report {
        verdict: match (keys_violated, keys_undecided) {
            (0, 0) => Verdict::Valid,
            (0, _) => Verdict::Unknown,
            _ => Verdict::Invalid,
        },
        operations: decided.map(|(key, _)| by_key.places(key).len() as u64).sum(),
        unknown_outcomes: history.operations().iter().filter(|operation| operation.is_unknown()).count()
            as u64,
        keys_without_search: count(&|judgement| !judgement.by_search),
        keys_by_search: count(&|judgement| judgement.by_search && judgement.found != Found::BudgetSpent),
        keys_violated,
        keys_undecided,
        witness: None,
    }
}

/// The smallest witness of the violated keys with the fewest operations.
fn witness(
    history: &History,
    by_key: &ByKey,
    judgements: &[Judgement],
    judge: &Judge<'_>,
    steps_max: u64,
) -> Option<Witness> {
    let violated = |key: &usize| judgements[*key].found == Found::NotLinearizable;
    let mut keys: Vec<usize> = (0..by_key.keys()).filter(violated).collect();
    keys.sort_by_key(|key| by_key.places(*key).len());
    keys.truncate(WITNESS_KEYS_MAX);
    let contradiction = |key| {
        let operations = gather(history, judge.model, by_key, key);
        shrink(&operations, judge.model, judge.values, &mut judge.is_violation(steps_max))
    };
    let contradictions: Vec<Vec<Operation>> = keys.into_par_iter().map(contradiction).collect();
    let smallest = contradictions.into_iter().min_by_key(Vec::len)?;
    let (impossible, explanation) =
        explain(&smallest, judge.model, judge.values, &mut judge.is_violation(steps_max));
    Some(Witness::new(&smallest, impossible, explanation, judge.model, judge.values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contended_puts(key: u64) -> impl Iterator<Item = Operation> {
        (0..12).map(move |process| Operation::put(process, key, 1).during(0, 10))
    }

    #[test]
    fn a_spent_budget_is_unknown_and_its_key_is_not_counted_as_judged() {
        let mut history = History::default();
        contended_puts(1).for_each(|put| history.push(put));
        history.push(Operation::get(0, 1, 1).during(20, 21));
        history.push(Operation::put(0, 2, 5).during(0, 1));
        let options = Options { search_steps_per_key_max: 3, ..Options::default() };
        let report = check(&history, Model::Kv, &options).unwrap();
        assert_eq!((report.verdict, report.operations, report.keys_undecided), (Verdict::Unknown, 1, 1));
        let report = check(&history, Model::Kv, &Options::default()).unwrap();
        assert_eq!((report.verdict, report.operations), (Verdict::Valid, 14));
        assert_eq!((report.keys_without_search, report.keys_by_search), (1, 1));
    }

    #[test]
    fn an_operation_the_model_lacks_is_named() {
        let mut history = History::default();
        history.push(Operation::put(0, 1, 1).during(0, 1));
        history.push(Operation::delete(0, 1).during(2, 3));
        let refusal = check(&history, Model::Register, &Options::default()).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the model register has no delete: operation 1 of the history needs another model"
        );
    }

    #[test]
    fn an_empty_history_is_valid() {
        let report = check(&History::default(), Model::Kv, &Options::default()).unwrap();
        assert_eq!((report.verdict, report.operations), (Verdict::Valid, 0));
    }
}
