//! Which objects can be judged, and which of them are others in disguise.

use std::fmt;
use std::str::FromStr;

use crate::operation::{ABSENT, Function, Operation, Outcome};

/// The kind of object behind each key. All of them begin absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// A key of a key-value store: get, put, delete, cas, and append to the value's text.
    Kv,
    /// A register: get and put.
    Register,
    /// A register with cas.
    CasRegister,
    /// A list: append adds an element to its end, get returns all of it (`null` for the empty list, too).
    Append,
    /// A set that only grows: add adds an element, get returns all of it in any order (`null` for the empty set, too).
    Set,
    /// A lock with an owner: acquire takes it if it is free, release gives it back and is only for the process that took it.
    Mutex,
    /// A register that takes one value for ever: get, and put, which fails if a value was written before.
    WriteOnce,
}

/// Every model, with its name on the command line.
const NAMES: [(Model, &str); 7] = [
    (Model::Kv, "kv"),
    (Model::Register, "register"),
    (Model::CasRegister, "cas-register"),
    (Model::Append, "append"),
    (Model::Set, "set"),
    (Model::Mutex, "mutex"),
    (Model::WriteOnce, "write-once"),
];

/// No model has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no model {0:?}; choose one of kv, register, cas-register, append, set, mutex, write-once")]
pub struct UnknownModel(pub String);

/// The history contains an operation that the model does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the model {model} has no {}: operation {place} of the history needs another model", function.name())]
pub struct Unsupported {
    /// The model asked for.
    pub model: Model,
    /// What it does not have.
    pub function: Function,
    /// Which operation of the history wants it, counted from 0.
    pub place: usize,
}

impl Model {
    /// Whether the object has this operation.
    pub fn supports(self, function: Function) -> bool {
        use Function::{Acquire, Add, Append, Cas, Delete, Get, Put, Release};
        match self {
            Model::Kv => matches!(function, Get | Put | Delete | Cas | Append),
            Model::Register | Model::WriteOnce => matches!(function, Get | Put),
            Model::CasRegister => matches!(function, Get | Put | Cas),
            Model::Append => matches!(function, Get | Append),
            Model::Set => matches!(function, Get | Add),
            Model::Mutex => matches!(function, Acquire | Release),
        }
    }

    /// The operation as the judges take it, or `None` if it says nothing about the object.
    ///
    /// A mutex is a register that holds its owner: to acquire is a cas from nothing to the process, to release is one back.
    /// A write-once register is one whose every put is a cas from nothing. So neither needs judges of its own.
    pub(crate) fn lower(self, operation: Operation) -> Option<Operation> {
        let cas = |expected, value| Some(Operation { function: Function::Cas, expected, value, ..operation });
        let owner = u64::from(operation.process);
        match (self, operation.function) {
            #[cfg(feature = "mutants")]
            (Model::Mutex, Function::Release)
                if crate::mutants::active("model: anyone may release a lock") =>
            {
                Some(Operation { function: Function::Delete, ..operation })
            }
            #[cfg(feature = "mutants")]
            (Model::WriteOnce, Function::Put)
                if operation.outcome == Outcome::Fail
                    && crate::mutants::active("model: a put that was refused says nothing") =>
            {
                None
            }
            (Model::Mutex, Function::Acquire) => cas(ABSENT, owner),
            (Model::Mutex, Function::Release) => cas(owner, ABSENT),
            (Model::WriteOnce, Function::Put) => cas(ABSENT, operation.value),
            (_, Function::Put) if operation.outcome == Outcome::Fail => None,
            _ => Some(operation),
        }
    }

    /// What was [lowered](Model::lower), in the words of the history again.
    pub(crate) fn raise(self, lowered: Operation) -> Operation {
        let raised = |function, value| Operation { function, expected: ABSENT, value, ..lowered };
        match (self, lowered.function) {
            (Model::Mutex, Function::Cas) if lowered.expected == ABSENT => raised(Function::Acquire, ABSENT),
            (Model::Mutex, Function::Cas) => raised(Function::Release, ABSENT),
            (Model::WriteOnce, Function::Cas) => raised(Function::Put, lowered.value),
            _ => lowered,
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = NAMES.iter().find(|(model, _)| model == self).expect("every model has a name");
        f.pad(name)
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(text: &str) -> Result<Self, UnknownModel> {
        let named = NAMES.iter().find(|(_, name)| *name == text);
        named.map(|(model, _)| *model).ok_or_else(|| UnknownModel(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_the_name_it_is_found_by() {
        for (model, name) in NAMES {
            assert_eq!(model.to_string(), name);
            assert_eq!(name.parse(), Ok(model));
        }
        assert!("list".parse::<Model>().is_err());
    }

    #[test]
    fn what_is_lowered_can_be_raised_again() {
        let lock = [Operation::acquire(3, 0).during(1, 2), Operation::release(0, 0).unknown_since(4)];
        for operation in lock {
            assert_eq!(Model::Mutex.lower(operation).map(|cas| Model::Mutex.raise(cas)), Some(operation));
        }
        let refused = Operation::put(3, 0, 7).failed_during(1, 2);
        assert_eq!(
            Model::WriteOnce.lower(refused),
            Some(Operation::cas(3, 0, ABSENT, 7).failed_during(1, 2))
        );
        assert_eq!(Model::WriteOnce.lower(refused).map(|cas| Model::WriteOnce.raise(cas)), Some(refused));
        assert_eq!(Model::Register.lower(refused), None, "it was not done");
    }
}
