//! Quantiles of a histogram, absent where there are too few samples to speak of one.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Samples that must lie beyond a quantile before it is printed: q is known only when n·(1−q) is at least this.
pub const SAMPLES_BEYOND_MIN: u64 = 10;

/// Quantiles of one latency histogram, in nanoseconds; `None` where there are too few samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<u64>,
    /// Nine of ten are no larger.
    pub p90: Option<u64>,
    /// 99 of 100 are no larger.
    pub p99: Option<u64>,
    /// 999 of 1000 are no larger.
    pub p999: Option<u64>,
    /// The largest sample, to the histogram's precision; `None` only of an empty histogram.
    pub max: Option<u64>,
    /// Samples.
    pub count: u64,
}

impl Quantiles {
    /// Reads the quantiles off a histogram. Histograms are merged first and read once: quantiles are never averaged.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let count = histogram.len();
        let at = |per_mille| {
            is_known(count, per_mille).then(|| histogram.value_at_quantile(per_mille as f64 / 1000.0))
        };
        let max = (count > 0).then(|| histogram.max());
        Self { p50: at(500), p90: at(900), p99: at(990), p999: at(999), max, count }
    }

    /// The printed quantiles in rising order, each with its share in thousandths.
    pub fn ladder(&self) -> [(u64, Option<u64>); 4] {
        [(500, self.p50), (900, self.p90), (990, self.p99), (999, self.p999)]
    }

    /// What is wrong with these numbers, if anything: not rising, or printed without enough samples.
    pub fn problem(&self) -> Option<String> {
        let printed =
            self.ladder().into_iter().find(|&(share, value)| value.is_some() && !is_known(self.count, share));
        if let Some((share, _)) = printed {
            return Some(format!(
                "quantile {:.3} is printed with only {} samples",
                share as f64 / 1000.0,
                self.count
            ));
        }
        let values: Vec<u64> =
            self.ladder().into_iter().map(|(_, value)| value).chain([self.max]).flatten().collect();
        if !values.is_sorted() {
            return Some(format!("quantiles do not rise: {values:?}"));
        }
        (self.max.is_some() != (self.count > 0))
            .then(|| "max and count disagree about being empty".to_owned())
    }
}

/// Whether `count` samples are enough for the quantile of this many thousandths. In integers: 100·(1−0.9) is less than
/// 10 in floating point.
pub fn is_known(count: u64, per_mille: u64) -> bool {
    count.saturating_mul(1000 - per_mille) >= SAMPLES_BEYOND_MIN * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_count(count: u64) -> Quantiles {
        let mut histogram = Histogram::new(3).expect("3 digits are allowed");
        (1..=count).for_each(|value| histogram.record(value).expect("the histogram grows"));
        Quantiles::of(&histogram)
    }

    #[test]
    fn a_quantile_is_printed_from_the_tenth_sample_beyond_it() {
        assert_eq!(of_count(0), Quantiles::default());
        assert_eq!((of_count(19).p50, of_count(20).p50), (None, Some(10)));
        assert_eq!((of_count(99).p90, of_count(100).p90), (None, Some(90)));
        assert_eq!((of_count(999).p99, of_count(1000).p99), (None, Some(990)));
        assert!(of_count(9_999).p999.is_none() && of_count(10_000).p999.is_some());
    }

    #[test]
    fn the_largest_sample_is_known_from_the_first() {
        assert_eq!(of_count(1).max, Some(1));
    }

    #[test]
    fn quantiles_read_off_a_histogram_have_no_problem() {
        [0, 1, 25, 500, 20_000]
            .map(of_count)
            .iter()
            .for_each(|quantiles| assert_eq!(quantiles.problem(), None));
    }

    #[test]
    fn falling_or_unfounded_quantiles_are_a_problem() {
        let falling =
            Quantiles { p50: Some(9), p90: Some(8), max: Some(10), count: 100, ..Quantiles::default() };
        assert!(falling.problem().expect("it falls").contains("do not rise"));
        let unfounded = Quantiles { p999: Some(9), max: Some(9), count: 9_999, ..Quantiles::default() };
        assert!(unfounded.problem().expect("too few").contains("9999 samples"));
    }
}
