//! One operation of a history.

/// The value of a key that holds nothing; `null` in files.
pub const ABSENT: u64 = u64::MAX;

/// The completion time of an operation that never completed, in nanoseconds.
pub const NEVER_NS: u64 = u64::MAX;

/// The key of operations on an object that needs none; `null` in files.
pub const NO_KEY: u64 = ABSENT;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// Reads the value.
    Get,
    /// Replaces the value.
    Put,
    /// Makes the value absent.
    Delete,
    /// Replaces the value if it equals the expected one.
    Cas,
    /// Adds to the end of the value.
    Append,
    /// Adds an element to the set.
    Add,
    /// Takes the lock.
    Acquire,
    /// Gives the lock back.
    Release,
}

impl Function {
    /// The name in history files.
    pub fn name(self) -> &'static str {
        match self {
            Function::Get => "get",
            Function::Put => "put",
            Function::Delete => "delete",
            Function::Cas => "cas",
            Function::Append => "append",
            Function::Add => "add",
            Function::Acquire => "acquire",
            Function::Release => "release",
        }
    }

    /// Whether its failure says something about the object, so that it stays in the history.
    pub(crate) fn can_fail(self) -> bool {
        matches!(self, Function::Cas | Function::Put)
    }

    /// The function called `name` in a history file; registers say `read` and `write` for `get` and `put`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "get" | "read" => Some(Function::Get),
            "put" | "write" => Some(Function::Put),
            "delete" => Some(Function::Delete),
            "cas" => Some(Function::Cas),
            "append" => Some(Function::Append),
            "add" => Some(Function::Add),
            "acquire" => Some(Function::Acquire),
            "release" => Some(Function::Release),
            _ => None,
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It took effect within its interval.
    Ok,
    /// It was refused within its interval, by what it found: a cas another value than the expected one, a put a write-once
    /// register that was written before. Any other operation known not to have been done does not belong into a history.
    Fail,
    /// It may have taken effect at any time after its invocation, or never.
    Unknown,
}

/// One operation: who did what to which key, in which interval, with which result.
///
/// Build it with [`Operation::get`] and its siblings and give it its interval with [`during`](Operation::during),
/// [`failed_during`](Operation::failed_during) or [`unknown_since`](Operation::unknown_since). Keys and values are ids as
/// [`Values`](crate::Values) gives them out: a number below 2⁶³ is its own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// When the client invoked it, in nanoseconds on the clock of the history.
    pub invoke_ns: u64,
    /// When the client knew the outcome, in nanoseconds; [`NEVER_NS`] exactly when the outcome is unknown.
    pub complete_ns: u64,
    /// The object.
    pub key: u64,
    /// What a get read, what a put or cas writes, what an append or add adds; [`ABSENT`] for all others.
    pub value: u64,
    /// What a cas compares with; [`ABSENT`] for all others.
    pub expected: u64,
    /// The client. It has at most one operation open at a time.
    pub process: u32,
    /// What was asked for.
    pub function: Function,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// A get that read `value`.
    pub fn get(process: u32, key: u64, value: u64) -> Self {
        Self::new(process, key, Function::Get, ABSENT, value)
    }

    /// A put of `value`.
    pub fn put(process: u32, key: u64, value: u64) -> Self {
        Self::new(process, key, Function::Put, ABSENT, value)
    }

    /// A delete.
    pub fn delete(process: u32, key: u64) -> Self {
        Self::new(process, key, Function::Delete, ABSENT, ABSENT)
    }

    /// A cas from `expected` to `new`.
    pub fn cas(process: u32, key: u64, expected: u64, new: u64) -> Self {
        Self::new(process, key, Function::Cas, expected, new)
    }

    /// An append of `value`.
    pub fn append(process: u32, key: u64, value: u64) -> Self {
        Self::new(process, key, Function::Append, ABSENT, value)
    }

    /// An add of `value` to a set.
    pub fn add(process: u32, key: u64, value: u64) -> Self {
        Self::new(process, key, Function::Add, ABSENT, value)
    }

    /// The process takes a lock.
    pub fn acquire(process: u32, key: u64) -> Self {
        Self::new(process, key, Function::Acquire, ABSENT, ABSENT)
    }

    /// The process gives a lock back.
    pub fn release(process: u32, key: u64) -> Self {
        Self::new(process, key, Function::Release, ABSENT, ABSENT)
    }

    fn new(process: u32, key: u64, function: Function, expected: u64, value: u64) -> Self {
        let (invoke_ns, complete_ns, outcome) = (0, NEVER_NS, Outcome::Unknown);
        Operation { invoke_ns, complete_ns, key, value, expected, process, function, outcome }
    }

    /// The same operation, done between these two times.
    pub fn during(self, invoke_ns: u64, complete_ns: u64) -> Self {
        Operation { invoke_ns, complete_ns, outcome: Outcome::Ok, ..self }
    }

    /// The same operation, refused between these two times.
    pub fn failed_during(self, invoke_ns: u64, complete_ns: u64) -> Self {
        Operation { invoke_ns, complete_ns, outcome: Outcome::Fail, ..self }
    }

    /// The same operation, invoked then and never known to have completed.
    pub fn unknown_since(self, invoke_ns: u64) -> Self {
        Operation { invoke_ns, complete_ns: NEVER_NS, outcome: Outcome::Unknown, ..self }
    }

    /// Whether the outcome is unknown.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }

    /// Whether, ended as it did, it leaves every state as it was.
    pub(crate) fn only_observes(&self) -> bool {
        self.function == Function::Get || self.outcome == Outcome::Fail
    }

    /// Whether what it leads to depends on more of the past than one value.
    pub(crate) fn accumulates(&self) -> bool {
        matches!(self.function, Function::Append | Function::Add)
    }

    /// Why no history can contain this operation, if so.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        if self.invoke_ns > self.complete_ns {
            return Some("it completes before it is invoked");
        }
        if self.is_unknown() != (self.complete_ns == NEVER_NS) {
            return Some("an outcome is unknown exactly when the operation never completes");
        }
        if self.outcome == Outcome::Fail && !self.function.can_fail() {
            return Some("only a cas or a put fails and stays in the history");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_takes_48_bytes() {
        assert_eq!(size_of::<Operation>(), 48);
    }

    #[test]
    fn every_name_leads_back_to_its_function() {
        let stored = [Function::Get, Function::Put, Function::Delete, Function::Cas];
        let others = [Function::Append, Function::Add, Function::Acquire, Function::Release];
        for function in stored.into_iter().chain(others) {
            assert_eq!(Function::from_name(function.name()), Some(function));
        }
    }
}
