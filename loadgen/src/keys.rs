//! Which key an operation names.
//!
//! Keys are numbers below the key count. Skewed distributions draw a *rank*; ranks are then spread over the key space, so
//! that hot keys are not neighbours in anybody's tree.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Zipf};

/// Keys that one run may name.
pub const KEYS_MAX: u32 = 1 << 31;
/// Skew of `zipf` and `latest` as YCSB has it.
pub const YCSB_SKEW: f64 = 0.99;
/// The largest skew: beyond it nearly every draw is the same key.
pub const SKEW_MAX: f64 = 10.0;
/// A prime above [`KEYS_MAX`], so that multiplying by it permutes the keys, whatever their count.
const SPREAD: u64 = 2_654_435_761;

/// How keys are chosen. Written and parsed as `uniform`, `zipf:0.99`, `latest`, `latest:0.8` and `fresh`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyDistribution {
    /// Every key alike.
    Uniform,
    /// The k-th hottest key has weight 1/k^skew; the hot keys are spread over the key space.
    Zipf {
        /// From 0 (uniform) to [`SKEW_MAX`].
        skew: f64,
    },
    /// Writes go around the key space in order; reads prefer the key written last, with zipf weights.
    Latest {
        /// From 0 (uniform) to [`SKEW_MAX`].
        skew: f64,
    },
    /// Each write takes a key that nobody has written, the next one, without end; reads choose among as many written last as
    /// there are keys. For registers that are written once.
    Fresh,
}

/// A key distribution that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "key distribution `{text}` is not one of uniform, fresh, zipf:S, latest, latest:S (S the skew, 0 to {SKEW_MAX})"
)]
pub struct KeyDistributionError {
    text: String,
}

impl FromStr for KeyDistribution {
    type Err = KeyDistributionError;

    fn from_str(text: &str) -> Result<Self, KeyDistributionError> {
        let parsed = match text.split_once(':') {
            None if text == "uniform" => Some(Self::Uniform),
            None if text == "fresh" => Some(Self::Fresh),
            None if text == "latest" => Some(Self::Latest { skew: YCSB_SKEW }),
            Some(("zipf", text)) => skew(text).map(|skew| Self::Zipf { skew }),
            Some(("latest", text)) => skew(text).map(|skew| Self::Latest { skew }),
            _ => None,
        };
        parsed.ok_or_else(|| KeyDistributionError { text: text.to_owned() })
    }
}

fn skew(text: &str) -> Option<f64> {
    text.parse().ok().filter(|skew| (0.0..=SKEW_MAX).contains(skew))
}

impl fmt::Display for KeyDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => write!(f, "uniform"),
            Self::Fresh => write!(f, "fresh"),
            Self::Zipf { skew } => write!(f, "zipf:{skew}"),
            Self::Latest { skew } if *skew == YCSB_SKEW => write!(f, "latest"),
            Self::Latest { skew } => write!(f, "latest:{skew}"),
        }
    }
}

/// Draws keys.
#[derive(Debug)]
pub struct KeySampler {
    keys: u32,
    ranks: Option<Zipf<f64>>,
    /// The key written last, for `latest`.
    cursor: Option<u32>,
    /// Keys written so far, for `fresh`.
    written: Option<u32>,
}

impl KeySampler {
    /// Draws among `keys` keys, 1 to [`KEYS_MAX`].
    ///
    /// # Panics
    /// If `keys` or the skew are out of their ranges.
    #[must_use]
    pub fn new(distribution: KeyDistribution, keys: u32) -> Self {
        assert!((1..=KEYS_MAX).contains(&keys), "{keys} keys: 1 to {KEYS_MAX} are possible");
        let zipf = |skew| Some(Zipf::new(f64::from(keys), skew).expect("a skew from 0 and at least one key"));
        let (ranks, cursor, written) = match distribution {
            KeyDistribution::Uniform => (None, None, None),
            KeyDistribution::Zipf { skew } => (zipf(skew), None, None),
            KeyDistribution::Latest { skew } => (zipf(skew), Some(keys - 1), None),
            KeyDistribution::Fresh => (None, None, Some(0)),
        };
        Self { keys, ranks, cursor, written }
    }

    /// How many keys all draws so far have used up, if each write takes another.
    #[must_use]
    pub const fn used_up(&self) -> u32 {
        match self.written {
            Some(written) => written,
            None => 0,
        }
    }

    /// The next key, for an operation that writes or only reads.
    pub fn draw(&mut self, writes: bool, rng: &mut impl Rng) -> u32 {
        if let Some(written) = &mut self.written {
            if writes {
                *written += 1;
                return *written - 1;
            }
            let recent = (*written).clamp(1, self.keys);
            return (*written).max(1) - 1 - rng.random_range(0..recent);
        }
        match (&mut self.cursor, &self.ranks) {
            (Some(cursor), _) if writes => {
                *cursor = (*cursor + 1) % self.keys;
                *cursor
            }
            (Some(cursor), Some(ranks)) => (*cursor + self.keys - rank(ranks, self.keys, rng)) % self.keys,
            (None, Some(ranks)) => spread(rank(ranks, self.keys, rng), self.keys),
            (_, None) => rng.random_range(0..self.keys),
        }
    }
}

/// A rank from 0, the likeliest, below `keys`.
fn rank(ranks: &Zipf<f64>, keys: u32, rng: &mut impl Rng) -> u32 {
    // The sampler answers 1 to keys as a float; rounding at the far end must not leave the key space.
    (ranks.sample(rng) as u32).clamp(1, keys) - 1
}

fn spread(rank: u32, keys: u32) -> u32 {
    ((u64::from(rank) * SPREAD) % u64::from(keys)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    fn frequencies(distribution: KeyDistribution, keys: u32, draws: u32) -> Vec<u32> {
        let mut sampler = KeySampler::new(distribution, keys);
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let mut counts = vec![0; keys as usize];
        for _ in 0..draws {
            counts[sampler.draw(false, &mut rng) as usize] += 1;
        }
        counts
    }

    #[test]
    fn zipf_frequencies_follow_the_law() {
        const DRAWS: u32 = 400_000;
        let mut counts = frequencies(KeyDistribution::Zipf { skew: 0.99 }, 1000, DRAWS);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let harmonic: f64 = (1..=1000).map(|k| f64::from(k).powf(-0.99)).sum();
        for k in [1_u32, 2, 5, 20] {
            let expected = f64::from(DRAWS) * f64::from(k).powf(-0.99) / harmonic;
            let found = f64::from(counts[k as usize - 1]);
            assert!((found / expected - 1.0).abs() < 0.05, "rank {k}: {found} instead of {expected}");
        }
    }

    #[test]
    fn hot_keys_are_spread() {
        let counts = frequencies(KeyDistribution::Zipf { skew: 0.99 }, 1000, 100_000);
        let mut hot: Vec<usize> = (0..1000).collect();
        hot.sort_unstable_by_key(|key| std::cmp::Reverse(counts[*key]));
        assert!(hot[..4].windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 10), "{:?}", &hot[..4]);
    }

    #[test]
    fn uniform_draws_every_key_alike() {
        let counts = frequencies(KeyDistribution::Uniform, 100, 100_000);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn latest_reads_near_the_last_write() {
        let mut sampler = KeySampler::new(KeyDistribution::Latest { skew: 0.99 }, 1000);
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        for _ in 0..500 {
            sampler.draw(true, &mut rng);
        }
        let near = (0..1000).filter(|_| (490..500).contains(&sampler.draw(false, &mut rng))).count();
        assert!(near > 300, "{near} of 1000 reads are among the last ten writes");
    }

    #[test]
    fn fresh_writes_never_name_a_key_twice_and_reads_name_one_written_lately() {
        let mut sampler = KeySampler::new(KeyDistribution::Fresh, 10);
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        assert_eq!(sampler.draw(false, &mut rng), 0, "nothing is written yet");
        for key in 0..100 {
            assert_eq!(sampler.draw(true, &mut rng), key);
            let read = sampler.draw(false, &mut rng);
            assert!(read <= key && key - read < 10, "{read} after {key}");
        }
        assert_eq!(sampler.used_up(), 100);
    }

    #[test]
    fn names_are_parsed_and_errors_list_them() {
        for text in ["uniform", "fresh", "zipf:0.99", "latest", "latest:0.5"] {
            assert_eq!(text.parse::<KeyDistribution>().unwrap().to_string(), text);
        }
        for bad in ["", "zipf", "zipf:-1", "zipf:nan", "zipf:11", "hot:3"] {
            let message = bad.parse::<KeyDistribution>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{bad}`")) && message.contains("zipf:S"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn spreading_permutes_the_keys(keys in 1_u32..3000) {
            let mut seen = vec![false; keys as usize];
            for rank in 0..keys {
                let key = spread(rank, keys) as usize;
                prop_assert!(!std::mem::replace(&mut seen[key], true));
            }
        }

        #[test]
        fn every_key_is_in_range(keys in 1..=KEYS_MAX, skew in 0.0..=SKEW_MAX, seed: u64) {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            for distribution in [KeyDistribution::Zipf { skew }, KeyDistribution::Latest { skew }, KeyDistribution::Uniform] {
                let mut sampler = KeySampler::new(distribution, keys);
                for writes in [true, false, false] {
                    prop_assert!(sampler.draw(writes, &mut rng) < keys);
                }
            }
        }
    }
}
