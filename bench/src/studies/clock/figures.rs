//! From readings of clocks to a row.

use std::collections::BTreeMap;

use qlab_clocks::sync::Interval;
use qlab_node::control::Status;
use qlab_report::Verdict;
use qlab_report::study::{ClockRun, Share, Tail};
use qlab_simulator::epidemic::{Z_95, wilson};

use super::{Point, Slot};

/// What a clock may be slewed by, in parts per million.
const SLEW_PPM: u64 = 500;
/// Rounding of a reading, at both ends of a span.
const ROUNDING_NS: u64 = 4;

/// One reading of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// The true time.
    at_ns: u64,
    /// What the clock showed.
    reading_ns: u64,
    /// The span that it claimed the true time to be in, if it claimed any.
    claim: Option<Interval>,
}

/// What was claimed wrongly, and by how much clocks erred.
#[derive(Debug, Default)]
struct Tally {
    samples: u64,
    bounds_ns: Vec<u64>,
    errors_ns: Vec<u64>,
    outside: u64,
    steps: u64,
}

/// The row.
pub(super) fn row(point: &Point, slot: Slot<'_>, statuses: &[Vec<Status>]) -> ClockRun {
    let mut by_clock: BTreeMap<u16, Vec<Sample>> = BTreeMap::new();
    for status in statuses.iter().flatten() {
        by_clock.entry(status.node).or_default().push(Sample::of(status));
    }
    let mut tally = Tally::default();
    by_clock.values().for_each(|samples| tally.add(samples, u64::from(point.frequency_error_ppm_max)));
    let all = || statuses.iter().flatten();
    let last =
        |name: &str| statuses.last().map_or(0, |last| last.iter().map(|status| count(status, name)).sum());
    let claims = tally.bounds_ns.len() as u64;
    let disputed = all().map(|status| count(status, "disputed")).sum();
    ClockRun {
        cell: point.cell.clone(),
        round: slot.round.into(),
        seed: slot.seed,
        followers: point.followers.into(),
        references: point.references.into(),
        false_by_us: point.false_by_us.clone(),
        poll_interval_ms: point.poll_interval_ms,
        delay_ms: point.delay_ms,
        jitter_ms: point.jitter_ms,
        loss_percent: point.loss_percent.into(),
        busy_threads: point.busy_threads.into(),
        isolated: point.isolated,
        measure_ms: u64::try_from(slot.measure.as_millis()).unwrap_or(u64::MAX),
        samples: tally.samples,
        claims,
        outside: share(tally.outside, claims),
        steps: tally.steps,
        questions: last("questions"),
        answers: last("answers"),
        out_voted_max: all().map(|status| count(status, "falsetickers")).max().unwrap_or(0),
        disputed,
        expected: point.expected,
        verdict: verdict(&tally, disputed),
        bound_ns: Tail::of(tally.bounds_ns),
        error_ns: Tail::of(tally.errors_ns),
    }
}

/// Whoever claims nothing is right if the references are known to disagree; else nobody knows what the silence means.
const fn verdict(tally: &Tally, disputed: u64) -> Verdict {
    if tally.outside > 0 || tally.steps > 0 {
        Verdict::Violated
    } else if tally.bounds_ns.is_empty() && disputed == 0 {
        Verdict::Unknown
    } else {
        Verdict::Sound
    }
}

impl Sample {
    fn of(status: &Status) -> Self {
        let at = |name| status.counters.get(name).copied();
        let claim = at("earliest_ns").zip(at("latest_ns"));
        Self {
            at_ns: status.at_ns,
            reading_ns: at("reading_ns").unwrap_or_default(),
            claim: claim.map(|(earliest_ns, latest_ns)| Interval { earliest_ns, latest_ns }),
        }
    }
}

impl Tally {
    /// The readings of one clock, in the order of time.
    fn add(&mut self, samples: &[Sample], frequency_error_ppm: u64) {
        self.samples += samples.len() as u64;
        for Sample { at_ns, reading_ns, claim } in samples {
            let Some(claim) = claim else { continue };
            let (bound_ns, error_ns) = (claim.error_ns(*reading_ns), reading_ns.abs_diff(*at_ns));
            self.bounds_ns.push(bound_ns);
            self.errors_ns.push(error_ns);
            self.outside += u64::from(!claim.contains(*at_ns) || error_ns > bound_ns);
        }
        // Before its first claim a clock may be set, once.
        let first = samples.iter().position(|sample| sample.claim.is_some()).unwrap_or(samples.len());
        // What its oscillator strays by, what it takes that for, and the slew.
        let strays_ppm_max = 2 * frequency_error_ppm + SLEW_PPM;
        for pair in samples[first..].windows(2) {
            let elapsed_ns = pair[1].at_ns - pair[0].at_ns;
            let passed_ns = pair[1].reading_ns.wrapping_sub(pair[0].reading_ns).cast_signed();
            let strayed_ns = passed_ns.abs_diff(elapsed_ns.cast_signed());
            let bound_ns = u128::from(elapsed_ns) * u128::from(strays_ppm_max) / 1_000_000;
            let is_step = u128::from(strayed_ns) > bound_ns + u128::from(ROUNDING_NS);
            self.steps += u64::from(is_step || passed_ns < 0);
        }
    }
}

fn count(status: &Status, name: &str) -> u64 {
    status.counters.get(name).copied().unwrap_or_default()
}

fn share(events: u64, trials: u64) -> Share {
    let (low, high) = if trials == 0 { (0.0, 1.0) } else { wilson(events, trials, Z_95) };
    Share { events, low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sample(at_ns: u64, ahead_ns: i64, half_ns: u64) -> Sample {
        let reading_ns = at_ns.wrapping_add_signed(ahead_ns);
        Sample { at_ns, reading_ns, claim: Some(Interval::around(reading_ns, half_ns)) }
    }

    fn tally(samples: &[Sample]) -> Tally {
        let mut tally = Tally::default();
        tally.add(samples, 500);
        tally
    }

    #[test]
    fn claims_that_the_truth_is_not_in_are_counted() {
        let tally = tally(&[sample(SECOND, 40, 50), sample(2 * SECOND, -40, 50), sample(3 * SECOND, 60, 50)]);
        assert_eq!((tally.outside, tally.steps), (1, 0));
        assert_eq!((tally.errors_ns, tally.bounds_ns), (vec![40, 40, 60], vec![50, 50, 50]));
    }

    #[test]
    fn a_step_is_found_whichever_way_and_however_long_after() {
        let half_ns = 10 * SECOND;
        let slewed = [sample(SECOND, 0, half_ns), sample(2 * SECOND, 1_400_000, half_ns)];
        assert_eq!(tally(&slewed).steps, 0);
        for ahead_ns in [1_600_000, -1_600_000] {
            assert_eq!(tally(&[sample(SECOND, 0, half_ns), sample(2 * SECOND, ahead_ns, half_ns)]).steps, 1);
        }
        let unset = Sample { claim: None, ..sample(SECOND, -5_000_000, 0) };
        assert_eq!(tally(&[unset, sample(2 * SECOND, 0, half_ns)]).steps, 0, "it was set");
    }

    #[test]
    fn silence_is_right_only_where_references_disagree() {
        assert_eq!(verdict(&Tally::default(), 0), Verdict::Unknown);
        assert_eq!(verdict(&Tally::default(), 3), Verdict::Sound);
        assert_eq!(verdict(&tally(&[sample(SECOND, 60, 50)]), 0), Verdict::Violated);
    }
}
