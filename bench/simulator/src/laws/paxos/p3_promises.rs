//! P3: promises never go back, not across restarts either; nothing is accepted below them; promises and accepts are durable before
//! they are told; and a promise tells what was accepted.

use std::collections::HashMap;

use bytes::Bytes;
use qlab_paxos::Ballot;
use qlab_paxos::single::{Accepted, Change, Image, Record, Step};

use super::ledger::{Ledger, Register};
use crate::laws::{Verdict, broken};

const MONOTONE: &str = "P3 promises never go back";
const BELOW: &str = "P3 nothing is accepted below a promise";
const PROMISE: &str = "P3 a promise is durable before it is told";
const ACCEPT: &str = "P3 an accept is durable before it is told";
const COMPLETE: &str = "P3 a promise tells what was accepted";

/// What every process has promised and accepted, durable or not.
#[derive(Debug, Default)]
pub(crate) struct Promises(HashMap<(usize, Bytes), Written>);

/// What a process wrote of one instance.
#[derive(Clone, Debug, Default)]
struct Written {
    promised: Ballot,
    accepted: Option<Accepted>,
}

impl Promises {
    pub(crate) fn started(&mut self, process: usize, ledger: &Ledger) {
        self.0.retain(|(owner, _), _| *owner != process);
        for (key, register) in ledger.registers(process) {
            let written = Written { promised: register.promised, accepted: register.accepted.clone() };
            self.0.insert((process, key.clone()), written);
        }
    }

    /// What a process has accepted last, as it wrote down.
    pub(crate) fn accepted(&self, process: usize, key: &Bytes) -> Option<&Accepted> {
        self.0.get(&(process, key.clone()))?.accepted.as_ref()
    }

    /// Looks at what a process writes.
    pub(crate) fn check_record(&mut self, process: usize, record: &Record) -> Verdict {
        for (key, change) in super::changes(record) {
            let written = self.0.entry((process, key.clone())).or_default();
            written.check(process, key, change)?;
        }
        if let Record::Images { images } = record {
            images.iter().try_for_each(|(key, image)| self.check_image(process, key, image))?;
        }
        Ok(())
    }

    /// What is written anew is what was written before.
    fn check_image(&self, process: usize, key: &Bytes, image: &Image) -> Verdict {
        let promised = self.0.get(&(process, key.clone())).map_or(Ballot::ZERO, |written| written.promised);
        if image.promised == promised {
            return Ok(());
        }
        let again = image.promised;
        broken(MONOTONE, format!("process {process} wrote {promised} for {key:?} and writes {again} anew"))
    }

    /// Looks at what a process says.
    pub(crate) fn check_step(&self, process: usize, key: &Bytes, step: &Step, ledger: &Ledger) -> Verdict {
        match step {
            Step::Promise { ballot, accepted } => {
                let promised =
                    ledger.register(process, key).map_or(Ballot::ZERO, |register| register.promised);
                if promised < *ballot {
                    let what = format!(
                        "process {process} speaks of {ballot} for {key:?}, which it has not promised"
                    );
                    return broken(PROMISE, what);
                }
                is_durable(process, key, accepted.as_ref().map(|accepted| accepted.ballot), ledger)?;
                tells_what_was_accepted(process, key, *ballot, accepted.as_ref(), ledger)
            }
            Step::Accepted { ballot } => is_durable(process, key, Some(*ballot), ledger),
            Step::Told { accepted, .. } => {
                is_durable(process, key, accepted.as_ref().map(|accepted| accepted.ballot), ledger)
            }
            _ => Ok(()),
        }
    }
}

impl Written {
    fn check(&mut self, process: usize, key: &Bytes, change: &Change) -> Verdict {
        let promised = self.promised;
        match change {
            Change::Promise { ballot } if *ballot < promised => {
                broken(MONOTONE, format!("process {process} promises {ballot} for {key:?} after {promised}"))
            }
            Change::Accept { ballot, .. } if *ballot < promised => broken(
                BELOW,
                format!("process {process} accepts {ballot} for {key:?} after promising {promised}"),
            ),
            Change::Promise { ballot } => {
                self.promised = *ballot;
                Ok(())
            }
            Change::Accept { ballot, value } => {
                self.promised = *ballot;
                self.accepted = Some(Accepted { ballot: *ballot, value: value.clone() });
                Ok(())
            }
        }
    }
}

fn is_durable(process: usize, key: &Bytes, accepted_in: Option<Ballot>, ledger: &Ledger) -> Verdict {
    match accepted_in {
        Some(ballot) if !ledger.has_accepted(process, key, ballot) => {
            let what =
                format!("process {process} says that it accepted {key:?} in {ballot}; it has not, durably");
            broken(ACCEPT, what)
        }
        _ => Ok(()),
    }
}

fn tells_what_was_accepted(
    process: usize,
    key: &Bytes,
    ballot: Ballot,
    told: Option<&Accepted>,
    ledger: &Ledger,
) -> Verdict {
    let accepted_in = ledger.register(process, key).map_or(Ballot::ZERO, Register::accepted_in);
    // What it accepted in this ballot or later came after the promise.
    if accepted_in < ballot && told.map_or(Ballot::ZERO, |told| told.ballot) < accepted_in {
        let what =
            format!("process {process} conceals from {ballot} what it accepted for {key:?} in {accepted_in}");
        return broken(COMPLETE, what);
    }
    Ok(())
}
