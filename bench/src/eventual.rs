//! Was it right, where nobody promised that reads are fresh? No update may be lost, and how stale reads were is told.
//!
//! An update is not lost if its value is among those that the last read of its key found, or somebody wrote who had read it. A read is
//! stale if a write had been answered before it was sent that it neither found nor found replaced.

use std::collections::{HashMap, HashSet};

use qlab_loadgen::history::{End, FOREIGN, History, Kind};
use qlab_loadgen::sightings::{Sighting, Sightings};
use qlab_report::{Freshness, Verdict};

use crate::verdict::Judgement;

/// Writes before a read that are looked for in it, the latest: what is older has been replaced long since.
const WRITES_MAX: usize = 16;
/// Writes that are followed from one to the one that replaced it.
const STEPS_MAX: usize = 64;
/// Ends of the ages by which staleness is told, in nanoseconds: those of [`Freshness`].
const AGES_NS: [u64; 6] = [1_000_000, 2_000_000, 5_000_000, 10_000_000, 50_000_000, u64::MAX];

/// Judges what clients saw, of a store that may lose updates or may not.
pub fn judge(history: &History, sightings: &Sightings, may_lose: bool) -> Judgement {
    let replaced: HashSet<u64> = sightings.writes().flat_map(|(_, read)| read.iter().copied()).collect();
    let mut last: HashMap<u32, &Sighting> = HashMap::new();
    sightings.reads().iter().for_each(|read| _ = last.insert(read.key, read));
    let is_there =
        |key: u32, value: u64| last.get(&key).is_some_and(|read| sightings.values(read).contains(&value));
    let answered = history.iter().filter(|operation| operation.kind == Kind::Put && operation.end == End::Ok);
    let lost = answered.filter(|put| !replaced.contains(&put.value) && !is_there(put.key, put.value)).count();
    let foreign =
        sightings.reads().iter().flat_map(|read| sightings.values(read)).filter(|id| **id == FOREIGN).count();
    let explanation = match (lost, foreign) {
        (0, 0) => String::new(),
        (lost, foreign) => {
            format!("{lost} updates that were answered are lost; {foreign} values are nobody's")
        }
    };
    let is_right = foreign == 0 && (lost == 0 || may_lose);
    let verdict = if is_right { Verdict::Converged } else { Verdict::Violated };
    Judgement { verdict, judged_ops: history.len() as u64, explanation, witness: None }
}

/// How stale reads were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Staleness {
    /// Reads of keys that had been written.
    pub reads: u64,
    /// Values that they found.
    pub values: u64,
    /// Those that missed a write, and how many writes they missed in all.
    pub stale: u64,
    /// Writes that were missed.
    pub missed: u64,
    /// Reads, and stale ones, by the time since the last write of the key had been answered.
    by_age: [(u64, u64); AGES_NS.len()],
}

impl Staleness {
    /// Of all reads of a run.
    pub fn of(history: &History, sightings: &Sightings) -> Self {
        let writes = Writes::of(history, sightings);
        let mut staleness = Self::default();
        for read in sightings.reads() {
            staleness.count(read, sightings.values(read), &writes);
        }
        staleness
    }

    fn count(&mut self, read: &Sighting, values: &[u64], writes: &Writes) {
        let before = writes.before(read.key, read.sent_ns);
        let Some((last_ns, _)) = before.last() else { return };
        let missed =
            before.iter().rev().take(WRITES_MAX).filter(|(_, value)| !writes.is_seen(*value, values)).count();
        let age_ns = read.sent_ns - last_ns;
        let bin = AGES_NS.iter().position(|end_ns| age_ns < *end_ns).unwrap_or(AGES_NS.len() - 1);
        self.reads += 1;
        self.values += values.len() as u64;
        self.missed += missed as u64;
        self.by_age[bin].0 += 1;
        if missed > 0 {
            self.stale += 1;
            self.by_age[bin].1 += 1;
        }
    }
}

impl Staleness {
    /// The figures of a row of a store that promises this; those that nothing was counted for are absent.
    pub fn told(&self, promise: &str) -> Freshness {
        let share = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        let fresh = |bin: usize| {
            let (reads, stale) = self.by_age[bin];
            share(reads - stale, reads)
        };
        Freshness {
            promise: Some(promise.to_owned()),
            stale: share(self.stale, self.reads),
            missed_writes: share(self.missed, self.stale),
            values_per_read: share(self.values, self.reads),
            repairs_per_op: None,
            below_1ms: fresh(0),
            below_2ms: fresh(1),
            below_5ms: fresh(2),
            below_10ms: fresh(3),
            below_50ms: fresh(4),
            later: fresh(5),
        }
    }
}

/// Writes that were answered, and what replaced them.
struct Writes {
    /// By key: when each was answered, and its value, in that order.
    answered: HashMap<u32, Vec<(u64, u64)>>,
    /// By value: those whose authors had read it.
    followers: HashMap<u64, Vec<u64>>,
}

impl Writes {
    fn of(history: &History, sightings: &Sightings) -> Self {
        let (mut answered, mut followers) = (HashMap::<u32, Vec<_>>::new(), HashMap::<u64, Vec<u64>>::new());
        for put in history.iter().filter(|put| put.kind == Kind::Put && put.end == End::Ok) {
            answered.entry(put.key).or_default().push((put.completed_ns, put.value));
        }
        answered.values_mut().for_each(|writes| writes.sort_unstable());
        for (value, read) in sightings.writes() {
            read.iter().for_each(|seen| followers.entry(*seen).or_default().push(value));
        }
        Self { answered, followers }
    }

    /// Writes of a key that had been answered by then.
    fn before(&self, key: u32, at_ns: u64) -> &[(u64, u64)] {
        let writes = self.answered.get(&key).map_or(&[][..], Vec::as_slice);
        &writes[..writes.partition_point(|(answered_ns, _)| *answered_ns < at_ns)]
    }

    /// Whether a write is among those that were found, or replaced by one of them.
    fn is_seen(&self, value: u64, found: &[u64]) -> bool {
        let (mut next, mut steps) = (vec![value], 0);
        while let Some(value) = next.pop() {
            if found.contains(&value) {
                return true;
            }
            steps += 1;
            if steps > STEPS_MAX {
                // So much has replaced it that it was long ago.
                return true;
            }
            next.extend(self.followers.get(&value).into_iter().flatten());
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qlab_loadgen::history::Operation;

    fn put(value: u64, sent_ns: u64, completed_ns: u64) -> Operation {
        let (kind, end) = (Kind::Put, End::Ok);
        Operation { sent_ns, completed_ns, value, expected: 0, key: 7, process: 0, kind, end }
    }

    fn history(puts: &[Operation]) -> History {
        let mut history = History::default();
        puts.iter().for_each(|put| history.push(*put));
        history
    }

    #[test]
    fn an_update_is_lost_that_is_not_there_and_that_nobody_had_read_who_wrote() {
        let history = history(&[put(1, 0, 10), put(2, 20, 30), put(3, 20, 30)]);
        let mut sightings = Sightings::default();
        let read = sightings.saw(7, 15, [1].into_iter());
        sightings.wrote(2, read);
        sightings.saw(7, 100, [2, 3].into_iter());
        assert_eq!(judge(&history, &sightings, false).verdict, Verdict::Converged, "both stand side by side");
        sightings.saw(7, 200, [2].into_iter());
        let judgement = judge(&history, &sightings, false);
        assert_eq!(judgement.verdict, Verdict::Violated);
        assert!(judgement.explanation.contains("1 updates"), "{}", judgement.explanation);
        let tolerant = judge(&history, &sightings, true);
        assert_eq!(tolerant.verdict, Verdict::Converged, "that was not promised");
        assert!(!tolerant.explanation.is_empty());
        sightings.saw(7, 300, [2, 3, FOREIGN].into_iter());
        assert_eq!(judge(&history, &sightings, true).verdict, Verdict::Violated, "somebody else's");
    }

    #[test]
    fn a_read_is_stale_that_neither_finds_a_write_nor_what_replaced_it() {
        let history =
            history(&[put(1, 0, 1_000_000), put(2, 2_000_000, 3_000_000), put(3, 9_000_000, 99_000_000)]);
        let mut sightings = Sightings::default();
        let first = sightings.saw(7, 1_500_000, [1].into_iter());
        sightings.wrote(2, first);
        sightings.saw(7, 3_100_000, [1].into_iter());
        sightings.saw(7, 3_200_000, [2].into_iter());
        sightings.saw(7, 10_000_000, [2].into_iter());
        let staleness = Staleness::of(&history, &sightings);
        assert_eq!((staleness.reads, staleness.stale, staleness.missed), (4, 1, 1));
        let told = staleness.told("no lost update");
        let expected = Freshness {
            promise: Some("no lost update".to_owned()),
            stale: Some(0.25),
            missed_writes: Some(1.0),
            values_per_read: Some(1.0),
            below_1ms: Some(2.0 / 3.0),
            below_10ms: Some(1.0),
            ..Freshness::default()
        };
        assert_eq!(told, expected);
    }
}
