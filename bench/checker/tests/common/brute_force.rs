//! The judge of judges: all orders are tried, and the objects are written a second time, as plainly as possible.

use qlab_checker::{Function, History, Model, Operation, Outcome};
use serde_json::Value;

/// The state of any object: nothing, or the number of a register, the letters of a text, the elements of a list or of a set
/// in ascending order, the owner of a lock.
pub(crate) type State = Vec<u64>;

/// What an object answers.
#[derive(PartialEq)]
pub(crate) enum Answer {
    Done,
    Refused,
    Read(State),
}

/// Something asked of an object.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) function: Function,
    pub(crate) process: u32,
    pub(crate) value: State,
    pub(crate) expected: State,
}

/// What the object becomes, and what it answers.
pub(crate) fn apply(model: Model, state: &State, request: &Request) -> (State, Answer) {
    let Request { function, process, value, expected } = request;
    let becomes = |state: State| (state, Answer::Done);
    let owner = vec![u64::from(*process)];
    match function {
        Function::Get => (state.clone(), Answer::Read(state.clone())),
        Function::Put if model != Model::WriteOnce || state.is_empty() => becomes(value.clone()),
        Function::Delete => becomes(Vec::new()),
        Function::Cas if state == expected => becomes(value.clone()),
        Function::Append => becomes([&state[..], value].concat()),
        Function::Add => becomes(as_set([&state[..], value].concat())),
        Function::Acquire if state.is_empty() => becomes(owner),
        Function::Release if *state == owner => becomes(Vec::new()),
        Function::Put | Function::Cas | Function::Acquire | Function::Release => {
            (state.clone(), Answer::Refused)
        }
    }
}

pub(crate) fn as_set(mut elements: State) -> State {
    elements.sort_unstable();
    elements.dedup();
    elements
}

/// The state that a value of a history file stands for.
pub(crate) fn state_of(value: &Value) -> State {
    match value {
        Value::Null => Vec::new(),
        Value::Number(number) => vec![number.as_u64().expect("small histories are of whole numbers")],
        Value::String(text) => text.bytes().map(u64::from).collect(),
        Value::Array(elements) => elements.iter().flat_map(state_of).collect(),
        other => panic!("{other} is not in small histories"),
    }
}

/// Whether a legal order of the operations of one key exists.
pub(crate) fn is_linearizable(history: &History, model: Model) -> bool {
    let says_nothing = |operation: &&Operation| {
        operation.outcome == Outcome::Fail && operation.function == Function::Put && model != Model::WriteOnce
    };
    let operations = history.operations().iter().filter(|operation| !says_nothing(operation));
    let mut rest = operations.map(|operation| (*operation, request_of(operation, history))).collect();
    any_order(&mut rest, &Vec::new(), model)
}

fn request_of(operation: &Operation, history: &History) -> Request {
    let [value, expected] =
        [operation.value, operation.expected].map(|id| state_of(&history.values().value(id)));
    Request { function: operation.function, process: operation.process, value, expected }
}

/// Whether what is left can follow in some order when the object is in this state.
fn any_order(rest: &mut Vec<(Operation, Request)>, state: &State, model: Model) -> bool {
    if rest.iter().all(|(operation, _)| operation.outcome == Outcome::Unknown) {
        return true;
    }
    (0..rest.len()).any(|place| {
        let (operation, request) = rest[place].clone();
        let must_wait = rest.iter().any(|(other, _)| other.complete_ns < operation.invoke_ns);
        let (next, answer) = apply(model, state, &request);
        if must_wait || answer != expected_answer(&operation, &request, model) {
            return false;
        }
        rest.remove(place);
        let found = any_order(rest, &next, model);
        rest.insert(place, (operation, request));
        found
    })
}

/// The only answer after which the operation can have ended as it did, having taken effect.
fn expected_answer(operation: &Operation, request: &Request, model: Model) -> Answer {
    match (operation.outcome, operation.function) {
        (Outcome::Fail, _) => Answer::Refused,
        (Outcome::Ok, Function::Get) if model == Model::Set => Answer::Read(as_set(request.value.clone())),
        (Outcome::Ok, Function::Get) => Answer::Read(request.value.clone()),
        (Outcome::Ok | Outcome::Unknown, _) => Answer::Done,
    }
}
