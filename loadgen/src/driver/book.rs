//! How operations end: what the recorder, the history and the counters are told.

use super::Counters;
use super::lane::Op;
use super::tenants::Granted;
use crate::history::{ABSENT, End, History, Kind, NEVER, Operation, Processes};
use crate::mix::Class;
use crate::recorder::{Recorder, Times, Window};

/// Everything a run leaves behind.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) recorder: Recorder,
    pub(crate) history: History,
    pub(crate) counters: Counters,
    pub(crate) processes: Processes,
}

impl Book {
    pub(crate) fn new() -> Self {
        Self {
            recorder: Recorder::new(Window::NONE, 1),
            history: History::default(),
            counters: Counters::default(),
            processes: Processes::default(),
        }
    }

    /// The operation was answered; `value` is what it wrote or read.
    pub(crate) fn answered(&mut self, op: &Op, value: u64, end: End, now_ns: u64) {
        self.enter(op, value, end, now_ns);
        self.processes.give_back(op.process);
        self.count(op, end, now_ns);
    }

    /// A lock is held from now on.
    pub(crate) fn acquired(&mut self, op: &Op, token: u64, granted: Granted, now_ns: u64) {
        let Op { started_ns: sent_ns, key, process, .. } = *op;
        let (kind, end, expected) = (Kind::Acquire, End::Ok, granted.until_ns);
        self.history.push(Operation {
            sent_ns,
            completed_ns: now_ns,
            value: token,
            expected,
            key,
            process,
            kind,
            end,
        });
        granted.left.into_iter().for_each(|left| self.recorder.handed_over(left.at_ns, left.dead, now_ns));
    }

    /// A lock was given back, or could not be had.
    pub(crate) fn lock_ended(&mut self, op: &Op, end: End, now_ns: u64) {
        self.processes.give_back(op.process);
        self.count(op, end, now_ns);
    }

    /// Whoever took a lock died. Its process is never used again.
    pub(crate) fn died(&mut self, op: &Op, now_ns: u64) {
        self.count(op, End::Ok, now_ns);
    }

    fn count(&mut self, op: &Op, end: End, now_ns: u64) {
        if end == End::Failed {
            self.counters.errors += 1;
            self.recorder.failed(op.class, times(op, now_ns));
        } else {
            self.counters.completed += 1;
            self.recorder.answered(op.class, times(op, now_ns), end == End::Mismatch);
        }
    }

    /// The reading half of a read-modify-write was answered; the operation goes on.
    pub(crate) fn read_half(&mut self, op: &Op, value: u64, now_ns: u64) {
        self.enter(op, value, End::Ok, now_ns);
    }

    /// The operation was sent and is given up. Its process is never used again.
    pub(crate) fn unknown(&mut self, op: &Op, now_ns: u64) {
        let value = if op.kind == Kind::Get { ABSENT } else { op.value };
        if op.class != Class::Lock {
            self.enter(op, value, End::Unknown, NEVER);
        }
        self.counters.unknown += 1;
        self.recorder.unknown(op.class, times(op, now_ns));
    }

    /// The operation's present command was never sent and never will be.
    pub(crate) fn never_sent(&mut self, op: &Op, now_ns: u64) {
        self.processes.give_back(op.process);
        if op.started_ns == 0 {
            self.unsent(op.class, op.intended_ns, now_ns);
        } else {
            // A read-modify-write that stopped half way: it was begun, and nobody saw its end.
            self.counters.unknown += 1;
            self.recorder.unknown(op.class, times(op, now_ns));
        }
    }

    /// An arrival was due and never sent.
    pub(crate) fn unsent(&mut self, class: Class, intended_ns: u64, now_ns: u64) {
        self.counters.unsent += 1;
        self.recorder.unsent(class, intended_ns, now_ns);
    }

    fn enter(&mut self, op: &Op, value: u64, end: End, completed_ns: u64) {
        let Op { sent_ns, expected, key, process, kind, .. } = *op;
        self.history.push(Operation { sent_ns, completed_ns, value, expected, key, process, kind, end });
    }
}

fn times(op: &Op, completed_ns: u64) -> Times {
    Times { intended_ns: op.intended_ns, sent_ns: op.started_ns, completed_ns }
}
