//! Remarkable things that happened: whether a campaign went where it was to go.

use std::collections::BTreeMap;

use qlab_kernel::Event;

use crate::lockers::News;
use crate::process::Done;

/// How often each remarkable thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    pub(crate) fn add(&mut self, mark: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(mark).or_default() += count;
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        let mark = match event {
            Event::Elected(_) => "elected",
            Event::Deposed(_) => "deposed",
            Event::ViewEntered(_) => "view entered",
            Event::Campaigned(_) => "campaigned",
            Event::Truncated(_) => "truncated its log",
            Event::Compacted(_) => "compacted its log",
            Event::Installed(_) => "installed an image",
            Event::Misbehaved(_) => "saw misbehaviour",
            Event::Learned { .. } => "learned what others wrote",
            Event::FoundAlive(_) => "found somebody alive after all",
            Event::Suspected(_) => "suspected somebody",
            Event::DeclaredDead(_) => "declared somebody dead",
        };
        self.add(mark, 1);
    }

    pub(crate) fn done(&mut self, done: &[Done]) {
        for done in done {
            match done {
                Done::Applied { .. } => self.add("entries applied", 1),
                Done::Queried { .. } => self.add("queries answered", 1),
                Done::Captured { .. } => {}
                Done::Restored { .. } => self.add("restored an image", 1),
            }
        }
    }

    pub(crate) fn news(&mut self, news: News) {
        match news {
            News::Granted(..) => self.add("locks granted", 1),
            News::Written(..) => self.add("registers written", 1),
            News::Fenced => self.add("stale holders fenced off", 1),
            News::Aborted => self.add("victims of deadlocks", 1),
            News::Gone => self.add("owners outlived their lease", 1),
            News::Nothing | News::Stolen(..) => {}
        }
    }

    /// Adds another world's.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(mark, count)| self.add(mark, *count));
    }

    /// Each with its count, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(mark, count)| (*mark, *count))
    }

    /// How often this happened.
    #[must_use]
    pub fn count(&self, mark: &str) -> u64 {
        self.0.get(mark).copied().unwrap_or_default()
    }
}
