//! The minimum-delay filter: of a source's last eight answers, the one that proves most (RFC 5905 §10).
//!
//! An answer that was quick says when it was written; one that waited in a queue somewhere does not, and averaging it with
//! others would only spread the harm. What counts is the delay *and* the age: an old answer proves less each second.

use qlab_kernel::{Time, mutant};

use super::exchange::Sample;
use super::interval::Interval;
use super::rate::Rate;

/// Answers remembered of each source (NSTAGE in RFC 5905).
pub const STAGES: usize = 8;

/// What is remembered of one source.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The oldest first.
    stages: Vec<Sample>,
}

impl Filter {
    /// Takes in the newest answer. One that contradicts those before it starts anew: the source or the oscillator jumped, and
    /// what was said before that is worth nothing.
    pub fn push(&mut self, sample: Sample, rate: Rate) {
        let expected = self.best(sample.at, rate);
        if expected.is_some_and(|interval| !interval.overlaps(sample.interval)) {
            self.clear();
        }
        if self.stages.len() == STAGES {
            self.stages.remove(0);
        }
        self.stages.push(sample);
    }

    /// What the source knows of the time at `now`: the least uncertain of what its answers prove.
    #[must_use]
    pub fn best(&self, now: Time, rate: Rate) -> Option<Interval> {
        let claims = self.stages.iter().map(|stage| stage.interval_at(now, rate));
        mutant!("filter: average instead of minimum", {
            let count = self.stages.len() as u64;
            let newest = self.stages.last()?.interval_at(now, rate).earliest_ns;
            let mean = |end: fn(Interval) -> u64| {
                let sum: i64 = claims.clone().map(|claim| end(claim).wrapping_sub(newest) as i64).sum();
                newest.wrapping_add((sum / count as i64) as u64)
            };
            let (earliest_ns, latest_ns) = (mean(|claim| claim.earliest_ns), mean(|claim| claim.latest_ns));
            return Some(Interval { earliest_ns, latest_ns });
        });
        claims.min_by_key(|claim| claim.width_ns())
    }

    /// Whether every stage is filled.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.stages.len() == STAGES
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.stages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const RATE: Rate = Rate { drift_ppb: 0, error_ppb: 15_000 };

    fn sample(second: u64, half_ns: u64) -> Sample {
        Sample { at: Time(second * SECOND), interval: Interval::around(second * SECOND, half_ns) }
    }

    #[test]
    fn a_quick_answer_counts_until_it_is_too_old() {
        let mut filter = Filter::default();
        filter.push(sample(0, 50_000), RATE);
        filter.push(sample(10, 300_000), RATE);
        let half_at = |second| filter.best(Time(second * SECOND), RATE).unwrap().half_ns();
        assert!((200_001..200_010).contains(&half_at(10)), "50 µs and ten seconds of 15 ppm");
        let mut filter = filter.clone();
        filter.push(sample(20, 300_000), RATE);
        assert_eq!(filter.best(Time(20 * SECOND), RATE).unwrap().half_ns(), 300_001);
    }

    #[test]
    fn eight_answers_fill_it_and_the_ninth_replaces_the_first() {
        let mut filter = Filter::default();
        assert_eq!(filter.best(Time(0), RATE), None);
        for second in 0..STAGES as u64 {
            assert!(!filter.is_full());
            filter.push(sample(second, 1000 + second), RATE);
        }
        filter.push(sample(8, 90_000), RATE);
        assert!(filter.is_full());
        assert_eq!(filter.stages[0], sample(1, 1001));
    }

    #[test]
    fn a_source_that_contradicts_itself_starts_anew() {
        let mut filter = Filter::default();
        filter.push(sample(0, 50_000), RATE);
        let jumped = Sample { at: Time(SECOND), interval: Interval::around(5 * SECOND, 50_000) };
        filter.push(jumped, RATE);
        assert_eq!(filter.stages, [jumped]);
    }
}
