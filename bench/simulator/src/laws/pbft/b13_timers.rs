//! B13: a replica that nobody else honest went ahead of leaves its view only after it waited: the configured time, doubled for each
//! view in which it executed nothing, on its own clock (OSDI '99 §4.5.2).

use std::collections::HashMap;
use std::time::Duration;

use qlab_kernel::{NodeId, Term, Time};
use qlab_pbft::{Pbft, Record};

use crate::laws::{Glimpse, Verdict, broken};
use crate::process::Done;

const LAW: &str = "B13 patience doubles";
/// The core's own bound.
const DOUBLINGS_MAX: u32 = 10;

/// How patient every process must be.
#[derive(Debug)]
pub(crate) struct Timers {
    timeout: Duration,
    patience: HashMap<usize, Patience>,
    /// The highest view that each honest replica ever voted for.
    voted: HashMap<NodeId, Term>,
}

#[derive(Clone, Copy, Debug)]
struct Patience {
    /// When it came to where it is: on its own clock.
    since: Time,
    /// Views since it executed something.
    fruitless: u32,
    view: Term,
    /// It began as a primary that must keep silent in its own view: it had better leave.
    began_as_primary: bool,
    /// Whether its view has begun.
    active: bool,
}

impl Timers {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, patience: HashMap::new(), voted: HashMap::new() }
    }

    pub(crate) fn begin(&mut self, glimpse: &Glimpse<'_, Pbft>) {
        let began = || Patience {
            since: glimpse.clock,
            fruitless: 0,
            view: glimpse.core.view(),
            began_as_primary: glimpse.core.is_primary(),
            active: glimpse.core.is_active(),
        };
        self.patience.entry(glimpse.process).or_insert_with(began);
    }

    pub(crate) fn check_record(&mut self, glimpse: &Glimpse<'_, Pbft>, record: &Record) -> Verdict {
        let (clock, node) = (glimpse.clock, glimpse.node);
        let patience = self.patience.get_mut(&glimpse.process).expect("its burst has begun");
        match record {
            // Said again behind each image, too.
            Record::Entered { view } if *view > patience.view || !patience.active => {
                (patience.view, patience.since) = (*view, clock);
                (patience.active, patience.began_as_primary) = (true, false);
            }
            Record::Voted(vote) if vote.view > patience.view || self.voted.get(&node) < Some(&vote.view) => {
                let others = self.voted.iter().filter(|(other, _)| **other != node);
                let is_joining = others.map(|(_, view)| *view).max() >= Some(vote.view);
                let waits = self.timeout * 2_u32.pow(patience.fruitless.min(DOUBLINGS_MAX));
                let is_early = clock < patience.since + waits;
                if is_early && !is_joining && !patience.began_as_primary {
                    let (view, fruitless) = (vote.view, patience.fruitless);
                    let waited = Duration::from_nanos(clock.0.saturating_sub(patience.since.0));
                    let what = format!(
                        "{node} asks for view {view} after {waited:?}, with {fruitless} views in vain behind it"
                    );
                    return broken(LAW, what);
                }
                *patience = Patience {
                    since: clock,
                    fruitless: patience.fruitless + 1,
                    view: vote.view,
                    began_as_primary: false,
                    active: false,
                };
                let voted = self.voted.entry(node).or_default();
                *voted = (*voted).max(vote.view);
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, glimpse: &Glimpse<'_, Pbft>) {
        let patience = self.patience.get_mut(&glimpse.process).expect("its burst has begun");
        if glimpse.harvest.done.iter().any(|done| matches!(done, Done::Applied { .. })) {
            patience.fruitless = 0;
        }
    }

    pub(crate) fn ended(&mut self, process: usize) {
        self.patience.remove(&process);
    }
}
