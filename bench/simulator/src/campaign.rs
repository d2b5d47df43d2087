//! Many seeds, in parallel, and what became of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rayon::prelude::*;

use crate::faults::{Choice, Tally};
use crate::laws::Violation;
use crate::marks::Marks;
use crate::panics::catch;
use crate::schedule::Schedule;
use crate::shrink::shrink;
use crate::subject::Subject;
use crate::world::{Outcome, Setup, run};

const PANIC: &str = "panic";

/// What became of many worlds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Worlds that were run.
    pub seeds: u64,
    /// Events in all of them.
    pub events: u64,
    /// Messages delivered: between replicas, from clients and to them.
    pub messages: u64,
    /// Time that passed in them.
    pub simulated: Duration,
    /// Operations of clients that were judged.
    pub operations: u64,
    /// Faults that took effect.
    pub tally: Tally,
    /// Remarkable things that happened.
    pub marks: Marks,
    /// The failures with the smallest seeds, at most [`FAILURES_MAX`].
    pub failures: Vec<Failure>,
}

/// Failures that a summary keeps.
pub const FAILURES_MAX: usize = 10;

/// A world in which a law was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// Which law.
    pub law: String,
    /// How.
    pub what: String,
}

impl Summary {
    fn of(seed: u64, outcome: Outcome) -> Self {
        let failure = |Violation { law, what }| Failure { seed, law: law.to_owned(), what };
        Self {
            seeds: 1,
            events: outcome.events,
            messages: outcome.messages,
            simulated: outcome.simulated,
            operations: outcome.operations,
            tally: outcome.tally,
            marks: outcome.marks,
            failures: outcome.violation.map(failure).into_iter().collect(),
        }
    }

    /// Adds another summary.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.seeds += other.seeds;
        self.events += other.events;
        self.messages += other.messages;
        self.simulated += other.simulated;
        self.operations += other.operations;
        self.tally.add(&other.tally);
        self.marks.merge(&other.marks);
        self.failures.extend(other.failures);
        self.failures.sort_by_key(|failure| failure.seed);
        self.failures.truncate(FAILURES_MAX);
        self
    }

    /// Faults that took effect, by name.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.tally.iter().map(|(fault, count)| (fault.name(), count)).collect()
    }
}

/// Runs the worlds of all seeds on the threads of the current rayon pool. `progress` hears of each; `stop` ends the campaign
/// early.
pub fn campaign<S: Subject>(
    seeds: Range<u64>,
    choice: Choice,
    setup: impl Fn() -> Setup<S> + Sync,
    stop: &AtomicBool,
    progress: impl Fn() + Sync,
) -> Summary {
    let one = |seed| {
        if stop.load(Ordering::Relaxed) {
            return Summary::default();
        }
        let outcome = attempt(&schedule::<S>(seed, choice), &setup());
        progress();
        Summary::of(seed, outcome)
    };
    seeds.into_par_iter().map(one).reduce(Summary::default, Summary::merge)
}

/// The world of a seed for this system.
pub fn schedule<S: Subject>(seed: u64, choice: Choice) -> Schedule {
    let mut schedule = Schedule::of(seed, choice, S::nodes);
    S::shape(&mut schedule);
    schedule
}

/// Runs one world; a panic is a broken law, too.
pub fn attempt<S: Subject>(schedule: &Schedule, setup: &Setup<S>) -> Outcome {
    catch(|| run(schedule, setup)).unwrap_or_else(|said| Outcome {
        violation: Some(Violation { law: PANIC, what: said }),
        ..Outcome::default()
    })
}

/// A failing world cut down to the smallest found in which the same law is broken, with its story.
pub fn cut_down<S: Subject>(schedule: &Schedule, setup: &Setup<S>) -> Option<(Schedule, Outcome)> {
    let law = attempt(schedule, setup).violation?.law;
    let smallest = shrink(schedule, |candidate| {
        attempt(candidate, setup).violation.is_some_and(|violation| violation.law == law)
    });
    let outcome = attempt(&smallest, setup);
    Some((smallest, outcome))
}
