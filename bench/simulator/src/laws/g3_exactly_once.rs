//! G3: each request of a session is executed once, so all answers to it are the same; and none is executed in a session that is
//! not open: whoever forgets to open one, or is forgotten, is told so.

use std::collections::{HashMap, HashSet};

use qlab_kernel::client::{AnswerBody, answers};
use qlab_kernel::{Outcome, SessionId};

use super::{Verdict, broken};

const LAW: &str = "G3 exactly once";

/// The outcome of every write, as first answered.
#[derive(Debug, Default)]
pub(crate) struct ExactlyOnce {
    outcomes: HashMap<(SessionId, u64), Outcome>,
    /// Clients ask nothing else before they are told that their session is open …
    opened: HashSet<SessionId>,
    /// … where that is needed.
    opens_sessions: bool,
}

impl ExactlyOnce {
    pub(crate) fn new(opens_sessions: bool) -> Self {
        Self { opens_sessions, ..Self::default() }
    }

    pub(crate) fn check(&mut self, frame: &[u8]) -> Verdict {
        for answer in answers(frame) {
            let answer = answer.expect("replicas send what can be read");
            let AnswerBody::Written(outcomes) = answer.body else { continue };
            for (sequence, outcome) in (answer.first.0..).zip(outcomes.iter()) {
                if is_final(outcome) {
                    self.executed(answer.session, sequence, outcome)?;
                }
            }
        }
        Ok(())
    }
}

impl ExactlyOnce {
    fn executed(&mut self, session: SessionId, sequence: u64, outcome: Outcome) -> Verdict {
        if outcome.status == Outcome::OPENED {
            self.opened.insert(session);
        }
        if self.opens_sessions && !self.opened.contains(&session) {
            return broken(
                LAW,
                format!("request {sequence} of session {session}, which is not open: {outcome:?}"),
            );
        }
        let first = *self.outcomes.entry((session, sequence)).or_insert(outcome);
        if first != outcome {
            let what = format!("request {sequence} of session {session}: first {first:?}, then {outcome:?}");
            return broken(LAW, what);
        }
        Ok(())
    }
}

/// Whether the request was executed, rather than not looked at.
fn is_final(outcome: Outcome) -> bool {
    !matches!(outcome.status, Outcome::EXPIRED | Outcome::SETTLED | Outcome::OUT_OF_WINDOW)
}
