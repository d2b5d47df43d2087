//! Was it right? The history of a run and the replicas' own hashes, judged.

use qlab_checker::{ABSENT, History, Model, NEVER_NS, Options, Report, Section, Tenure, Witness};
use qlab_loadgen::history::{self, End, Kind};
use qlab_node::control::Status;
use qlab_report::Verdict;

/// A value that no client wrote: outside the ids that clients draw.
const FOREIGN: u64 = qlab_checker::PLAIN_NUMBER_MAX;

/// What the judges found.
#[derive(Debug)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// Operations that it rests on.
    pub judged_ops: u64,
    /// What was wrong, for people; empty if nothing was.
    pub explanation: String,
    /// The contradiction in the history, if it has one.
    pub witness: Option<Witness>,
}

impl Judgement {
    fn unknown(explanation: String) -> Self {
        Self { verdict: Verdict::Unknown, judged_ops: 0, explanation, witness: None }
    }

    /// What was judged held, but not all that should have been was judged.
    pub fn doubt(&mut self, why: &str) {
        if self.verdict.holds() {
            self.verdict = Verdict::Unknown;
        }
        self.explanation += why;
    }
}

/// Judges a history as that of linearizable objects, one behind each key.
pub fn judge(history: &history::History, model: Model) -> Judgement {
    if history.overflowed() > 0 {
        let overflowed = history.overflowed();
        return Judgement::unknown(format!("{overflowed} operations did not fit into the history"));
    }
    match qlab_checker::check(&judged(history), model, &Options::default()) {
        Ok(report) => sum_up(report),
        Err(error) => Judgement::unknown(error.to_string()),
    }
}

/// Judges a history of locks: nobody held one beside another, and tokens followed the order of grants.
pub fn judge_locks(history: &history::History) -> Judgement {
    if history.overflowed() > 0 {
        let overflowed = history.overflowed();
        return Judgement::unknown(format!("{overflowed} operations did not fit into the history"));
    }
    let tenures: Vec<Tenure> = history.iter().filter_map(tenure).collect();
    let (verdict, explanation) = match qlab_checker::check_exclusion(&tenures) {
        Ok(()) => (Verdict::Exclusive, String::new()),
        Err(breach) => (Verdict::Violated, breach.to_string()),
    };
    Judgement { verdict, judged_ops: tenures.len() as u64, explanation, witness: None }
}

/// A judgement as a part of a page.
pub fn section(heading: String, judgement: &Judgement) -> Section {
    // Where the contradiction is drawn, words about it would say the same again.
    let verdict = match judgement.witness {
        Some(_) => format!("Not linearizable; {} operations were judged.", judgement.judged_ops),
        None => judgement.explanation.clone(),
    };
    Section { heading, verdict, witness: judgement.witness.clone() }
}

/// The history as the judge takes it: without operations that certainly had no effect.
pub fn judged(history: &history::History) -> History {
    let mut judged = History::with_capacity(history.len());
    history.iter().filter_map(convert).for_each(|operation| judged.push(operation));
    judged
}

/// Whether all replicas hold the same, where they say what that comes to. `None` as long as they do not.
pub fn convergence(statuses: &[Status]) -> Option<()> {
    let contents = || statuses.iter().map(|status| status.counters.get("content"));
    contents().next().filter(|first| contents().all(|content| content == *first)).map(drop)
}

/// Whether all replicas applied the same: equal hashes at the same index. `None` as long as they are not level. Replicas without a
/// log have neither: that they hold the same is for the judge of what clients read, and for the simulator's laws.
pub fn agreement(statuses: &[Status]) -> Option<Result<(), String>> {
    let first = statuses.first()?;
    if statuses.iter().any(|status| status.applied_index != first.applied_index) {
        return None;
    }
    let odd = statuses.iter().find(|status| status.chain != first.chain);
    Some(odd.map_or(Ok(()), |odd| {
        let index = first.applied_index;
        Err(format!(
            "replicas {} and {} applied different histories up to index {index}",
            first.node, odd.node
        ))
    }))
}

fn sum_up(report: Report) -> Judgement {
    let (verdict, explanation) = match report.verdict {
        qlab_checker::Verdict::Valid => (Verdict::Linearizable, String::new()),
        qlab_checker::Verdict::Unknown => {
            (Verdict::Unknown, format!("the judge's budget was spent on {} keys", report.keys_undecided))
        }
        qlab_checker::Verdict::Invalid => {
            let witness = report.witness.as_ref().map(ToString::to_string).unwrap_or_default();
            (
                Verdict::Violated,
                format!(
                    "{} keys are not linearizable; the smallest window:\n{witness}",
                    report.keys_violated
                ),
            )
        }
    };
    Judgement { verdict, judged_ops: report.operations, explanation, witness: report.witness }
}

fn tenure(operation: &history::Operation) -> Option<Tenure> {
    (operation.kind == Kind::Acquire && operation.end == End::Ok).then_some(Tenure {
        lock: operation.key.into(),
        token: operation.value,
        asked_ns: operation.sent_ns,
        granted_ns: operation.completed_ns,
        until_ns: operation.expected,
    })
}

fn convert(operation: &history::Operation) -> Option<qlab_checker::Operation> {
    let (process, key) = (operation.process, u64::from(operation.key));
    let value = value(operation.value);
    let (begun, ended) = (operation.sent_ns, operation.completed_ns);
    let asked = match operation.kind {
        Kind::Get => qlab_checker::Operation::get(process, key, value),
        Kind::Put => qlab_checker::Operation::put(process, key, value),
        Kind::CompareAndSet => {
            qlab_checker::Operation::cas(process, key, self::value(operation.expected), value)
        }
        // No register's: judged as tenures.
        Kind::Open | Kind::Renew | Kind::Acquire | Kind::Await | Kind::Release => return None,
    };
    match operation.end {
        End::Ok => Some(asked.during(begun, ended)),
        End::Mismatch if operation.kind != Kind::Get => Some(asked.failed_during(begun, ended)),
        End::Mismatch | End::Unknown => Some(asked.unknown_since(begun)),
        // Certainly without effect.
        End::Failed => None,
    }
}

fn value(id: u64) -> u64 {
    match id {
        history::ABSENT => ABSENT,
        history::FOREIGN => FOREIGN,
        id => id,
    }
}

const _: () = assert!(history::NEVER == NEVER_NS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_has_a_page_and_what_has_no_drawing_has_words() {
        let mut stale = History::default();
        stale.push(qlab_checker::Operation::put(1, 7, 1).during(0, 1));
        stale.push(qlab_checker::Operation::get(2, 7, ABSENT).during(2, 3));
        let report = qlab_checker::check(&stale, Model::Kv, &Options::default()).unwrap();
        let violated = sum_up(report);
        assert_eq!(violated.verdict, Verdict::Violated);
        let page = |judgement| qlab_checker::page("run", &[section("round 1".into(), judgement)]);
        assert!(page(&violated).contains("<svg"));
        let odd = Judgement { verdict: Verdict::Violated, ..Judgement::unknown("replicas differ".into()) };
        assert!(page(&odd).contains("<p>replicas differ</p>"));
    }
}
