//! Which operation of a contradiction is impossible, and why.
//!
//! A contradiction lies in all its operations together. But in the order of their completions it shows at one of them: what
//! was known before that moment has a legal order, and with this one there is none. So this is the operation to name. What
//! it could have returned instead is found by asking the judge about other results.

use crate::model::Model;
use crate::operation::{ABSENT, Function, Operation, Outcome};
use crate::shrink::prefix;
use crate::values::Values;

/// How many other results of a get are tried.
const ALTERNATIVES_MAX: usize = 16;

/// The place of the operation at which the contradiction shows, and a sentence that says why.
///
/// `is_violation` must be true of `operations`, and may say false when it does not know.
pub(crate) fn explain(
    operations: &[Operation],
    model: Model,
    values: &Values,
    is_violation: &mut impl FnMut(&[Operation]) -> bool,
) -> (usize, String) {
    let place = impossible(operations, is_violation);
    let operation = &operations[place];
    let reason = match (model, operation.function, operation.outcome) {
        (Model::Mutex, Function::Cas, _) if operation.expected == ABSENT => {
            "it acquired the lock, which was not free at any moment of that time".to_owned()
        }
        (Model::Mutex, ..) => {
            "it released the lock, which it did not hold at any moment of that time".to_owned()
        }
        (Model::WriteOnce, Function::Cas, Outcome::Fail) => {
            "its put was refused, but the register had no value at any moment of that time".to_owned()
        }
        (Model::WriteOnce, Function::Cas, _) => {
            "its put was accepted, but the register had a value at every moment of that time".to_owned()
        }
        (_, Function::Get, _) => reason_of_get(operations, place, model, values, is_violation),
        (_, Function::Cas, Outcome::Fail) => {
            let expected = values.value(operation.expected);
            format!("its cas failed, but the value was {expected} at every moment of that time")
        }
        (_, Function::Cas, _) => {
            let expected = values.value(operation.expected);
            format!("its cas succeeded, but the value was not {expected} at any moment of that time")
        }
        _ => "no moment of that time is left for it".to_owned(),
    };
    let Operation { process, invoke_ns, complete_ns, .. } = operation;
    (place, format!("Process {process}, {invoke_ns}..{complete_ns} ns: {reason}."))
}

/// The first operation in the order of completion that contradicts what is known by then.
fn impossible(operations: &[Operation], is_violation: &mut impl FnMut(&[Operation]) -> bool) -> usize {
    let is_completed = |place: &usize| !operations[*place].is_unknown();
    let mut places: Vec<usize> = (0..operations.len()).filter(is_completed).collect();
    places.sort_by_key(|place| operations[*place].complete_ns);
    let mut contradicts = |place: &usize| {
        let moment_ns = operations[*place].complete_ns;
        is_violation(&prefix(operations, moment_ns))
            && !is_violation(&prefix(&with(operations, *place, Operation::opened), moment_ns))
    };
    let last = places.last().copied();
    places.into_iter().find(&mut contradicts).or(last).unwrap_or(0)
}

impl Operation {
    /// The same operation, its outcome not known.
    fn opened(self) -> Self {
        self.unknown_since(self.invoke_ns)
    }
}

/// The operations with this one changed.
fn with(operations: &[Operation], place: usize, change: impl Fn(Operation) -> Operation) -> Vec<Operation> {
    let mut changed = operations.to_vec();
    changed[place] = change(changed[place]);
    changed
}

fn reason_of_get(
    operations: &[Operation],
    place: usize,
    model: Model,
    values: &Values,
    is_violation: &mut impl FnMut(&[Operation]) -> bool,
) -> String {
    let get = operations[place];
    let read = values.value(get.value);
    if is_phantom(operations, &get, model) {
        return format!("it read {read}, which nobody wrote");
    }
    let mut is_possible = |value: &u64| {
        let other = with(operations, place, |get| Operation { value: *value, ..get });
        !is_violation(&prefix(&other, get.complete_ns))
    };
    let mut candidates: Vec<u64> =
        operations.iter().map(|operation| operation.value).chain([ABSENT]).collect();
    candidates.sort_unstable();
    candidates.dedup();
    candidates.truncate(ALTERNATIVES_MAX);
    candidates.retain(&mut is_possible);
    let possible: Vec<String> = candidates.iter().map(|value| values.value(*value).to_string()).collect();
    match possible.as_slice() {
        [] => format!("it read {read}, which the object was not at any moment of that time"),
        _ => format!("it read {read}, but could have read {} only", possible.join(" or ")),
    }
}

/// Whether no operation can have written the value before the get was over.
fn is_phantom(operations: &[Operation], get: &Operation, model: Model) -> bool {
    let wrote = |operation: &Operation| {
        !operation.only_observes()
            && (operation.accumulates() || operation.value == get.value)
            && operation.invoke_ns <= get.complete_ns
    };
    let is_value = !matches!(model, Model::Append | Model::Set) && get.value != ABSENT;
    is_value && !operations.iter().any(wrote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Found, search};
    use crate::specification::ValueSpecification;

    /// Where the contradiction shows, and the reason without its frame.
    fn explained(model: Model, operations: &[Operation]) -> (usize, String) {
        let values = Values::default();
        let lowered: Vec<Operation> = operations.iter().filter_map(|o| model.lower(*o)).collect();
        let mut is_violation = |operations: &[Operation]| {
            let found = search(operations, &mut ValueSpecification::new(&values), &mut 10_000);
            found == Found::NotLinearizable
        };
        assert!(is_violation(&lowered));
        let (place, sentence) = explain(&lowered, model, &values, &mut is_violation);
        let reason = sentence.split_once(" ns: ").unwrap().1.strip_suffix(".").unwrap();
        (place, reason.to_owned())
    }

    fn assert_explained(model: Model, operations: &[Operation], place: usize, reason: &str) {
        assert_eq!(explained(model, operations), (place, reason.to_owned()));
    }

    #[test]
    fn a_get_is_told_what_it_could_have_read() {
        let [one, two] =
            [(1, 0), (2, 20)].map(|(value, start)| Operation::put(0, 0, value).during(start, start + 5));
        let read = |value| Operation::get(1, 0, value).during(22, 40);
        let stale = [one, two, read(ABSENT)];
        assert_explained(Model::Kv, &stale, 2, "it read null, but could have read 1 or 2 only");
        assert_explained(Model::Kv, &[one, two, read(7)], 2, "it read 7, which nobody wrote");
    }

    #[test]
    fn the_impossible_one_is_the_first_to_complete_that_contradicts() {
        let early = Operation::get(1, 0, 1).during(0, 9);
        let operations =
            [early, Operation::put(0, 0, 1).during(10, 20), Operation::get(2, 0, 1).during(12, 15)];
        assert_explained(Model::Register, &operations, 0, "it read 1, which nobody wrote");
        let at_once = [Operation::put(0, 0, 1).during(0, 30), Operation::get(1, 0, 2).during(10, 30)];
        assert_explained(Model::Register, &at_once, 1, "it read 2, which nobody wrote");
    }

    #[test]
    fn a_cas_is_told_about_the_value() {
        let put = Operation::put(0, 0, 1).during(0, 5);
        let succeeded = "its cas succeeded, but the value was not 2 at any moment of that time";
        assert_explained(Model::CasRegister, &[put, Operation::cas(1, 0, 2, 3).during(6, 7)], 1, succeeded);
        let failed = "its cas failed, but the value was 1 at every moment of that time";
        assert_explained(
            Model::CasRegister,
            &[put, Operation::cas(1, 0, 1, 3).failed_during(6, 7)],
            1,
            failed,
        );
    }

    #[test]
    fn a_lock_and_a_register_for_one_value_have_their_own_words() {
        let held = [Operation::acquire(1, 0).during(0, 5), Operation::acquire(2, 0).during(6, 9)];
        let acquired = "it acquired the lock, which was not free at any moment of that time";
        assert_explained(Model::Mutex, &held, 1, acquired);
        let foreign = [held[0], Operation::release(2, 0).during(6, 9)];
        let released = "it released the lock, which it did not hold at any moment of that time";
        assert_explained(Model::Mutex, &foreign, 1, released);
        let [one, two] = [1, 2].map(|value| Operation::put(0, 0, value).during(10 * value, 10 * value + 1));
        let accepted = "its put was accepted, but the register had a value at every moment of that time";
        assert_explained(Model::WriteOnce, &[one, two], 1, accepted);
        let refused = "its put was refused, but the register had no value at any moment of that time";
        assert_explained(Model::WriteOnce, &[one.failed_during(1, 2), two], 0, refused);
    }
}
