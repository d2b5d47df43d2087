//! P3: promises never go back, not across restarts either; nothing is accepted below them; promises and accepts are durable before
//! they are told; and a promise tells everything that was accepted.

use std::collections::HashMap;

use qlab_kernel::Index;
use qlab_paxos::multi::{Message, Record, Run, Span};
use qlab_paxos::{Ballot, MultiPaxos};

use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};

const MONOTONE: &str = "P3 promises never go back";
const BELOW: &str = "P3 nothing is accepted below a promise";
const PROMISE: &str = "P3 a promise is durable before it is told";
const ACCEPT: &str = "P3 an accept is durable before it is told";
const COMPLETE: &str = "P3 a promise tells everything accepted";

/// What every process has promised, durable or not.
#[derive(Debug, Default)]
pub(crate) struct Promises(HashMap<usize, Ballot>);

impl Promises {
    pub(crate) fn started(&mut self, process: usize, ledger: &Ledger) {
        self.0.insert(process, ledger.disk(process).promised);
    }

    /// Looks at what a process writes.
    pub(crate) fn check_record(&mut self, process: usize, record: &Record) -> Verdict {
        let promised = self.0.entry(process).or_default();
        match record {
            Record::Promise { ballot } if ballot < promised => {
                broken(MONOTONE, format!("process {process} promises {ballot} after {promised}"))
            }
            Record::Accept { ballot, index, .. } if ballot < promised => broken(
                BELOW,
                format!("process {process} accepts {index} in {ballot} after promising {promised}"),
            ),
            Record::Promise { ballot } | Record::Accept { ballot, .. } => {
                *promised = *ballot;
                Ok(())
            }
            Record::Image { .. } => Ok(()),
        }
    }

    /// Looks at what a process says.
    pub(crate) fn check_message(&self, process: usize, message: &Message, ledger: &Ledger) -> Verdict {
        match message {
            Message::Prepare { ballot, .. } | Message::Promise { ballot, .. }
                if ledger.disk(process).promised < *ballot =>
            {
                broken(
                    PROMISE,
                    format!("process {process} speaks of {ballot}, which it has not promised durably"),
                )
            }
            Message::Promise { ballot, first, until, chosen, runs } => {
                tells_everything(process, *ballot, *first, *until, *chosen, runs, ledger)
            }
            Message::Accepted { ballot, spans } => is_durable(process, *ballot, spans, ledger),
            _ => Ok(()),
        }
    }

    /// Looks at where a process stands.
    pub(crate) fn check_state(&self, glimpse: &Glimpse<'_, MultiPaxos>, ledger: &Ledger) -> Verdict {
        let (process, promised) = (glimpse.process, glimpse.core.promised());
        let durable = ledger.disk(process).promised;
        let written = self.0.get(&process).copied().unwrap_or_default();
        if promised < durable || promised != written {
            let what =
                format!("process {process} keeps to {promised}; it wrote {written}, {durable} is durable");
            return broken(MONOTONE, what);
        }
        Ok(())
    }
}

fn tells_everything(
    process: usize,
    ballot: Ballot,
    first: Index,
    until: Option<Index>,
    chosen: Index,
    runs: &[Run],
    ledger: &Ledger,
) -> Verdict {
    let told = |index: Index| {
        let run = runs.iter().find(|run| (run.first..=run.last).contains(&index));
        run.map_or(Ballot::ZERO, |run| run.ballot)
    };
    let from = first.max(chosen.next());
    for (&index, &accepted_in) in ledger.disk(process).accepted.range(from..) {
        // What it accepted in this ballot or later came after the promise.
        if accepted_in < ballot && until.is_none_or(|until| index <= until) && told(index) < accepted_in {
            let what = format!(
                "process {process} conceals from {ballot} what it accepted in {accepted_in} at {index}"
            );
            return broken(COMPLETE, what);
        }
    }
    Ok(())
}

fn is_durable(process: usize, ballot: Ballot, spans: &[Span], ledger: &Ledger) -> Verdict {
    for index in spans.iter().flat_map(|span| span.first.0..=span.last.0).map(Index) {
        // What is chosen anyhow may be acknowledged without being written again.
        if !ledger.has_accepted(process, index, ballot) && ledger.chosen(index).is_none() {
            let what =
                format!("process {process} says that it accepted {index} in {ballot}; it has not, durably");
            return broken(ACCEPT, what);
        }
    }
    Ok(())
}
