//! Load as data: what arrives when, drawn once from a seed.
//!
//! Two arms of a comparison with the same seed get the same tape, and drawing costs nothing while the clock runs. A tape is
//! finite and wraps: position n holds what position n − length held, one span later, and on further keys if each write takes a
//! fresh one.

use rand::SeedableRng;
use rand_distr::{Distribution, Exp};
use rand_pcg::Pcg64Mcg;

use crate::arrivals::{Load, Spacing};
use crate::keys::{KEYS_MAX, KeyDistribution, KeySampler};
use crate::mix::{Class, Mix};
use crate::values::stream_seed;

/// Entries of the longest tape: 64 MiB. A longer run hears it again.
pub const TAPE_ENTRIES_MAX: usize = 4 << 20;

/// What arrives at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Nanoseconds from the start of the load to the intended start; 0 in closed loop.
    pub offset_ns: u64,
    /// The key's number.
    pub key: u32,
    /// The operation's class.
    pub class: Class,
}

/// A finite, repeating sequence of arrivals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tape {
    entries: Vec<Arrival>,
    /// How much later everything is the next time around.
    span_ns: u64,
    /// How much further on every key is then.
    span_keys: u32,
}

impl Tape {
    /// Draws `entries` arrivals, 1 to [`TAPE_ENTRIES_MAX`].
    ///
    /// # Panics
    /// If `entries` or `keys` are out of their ranges.
    #[must_use]
    pub fn draw(
        load: Load,
        mix: Mix,
        distribution: KeyDistribution,
        keys: u32,
        entries: usize,
        seed: u64,
    ) -> Self {
        assert!((1..=TAPE_ENTRIES_MAX).contains(&entries), "{entries} entries on a tape");
        let mut keys = KeySampler::new(distribution, keys);
        let mut gaps = Gaps::of(load);
        // Separate streams: another load must not change which keys are asked for.
        let [mut gap_rng, mut key_rng, mut mix_rng] =
            [0, 1, 2].map(|stream| Pcg64Mcg::seed_from_u64(stream_seed(seed, stream)));
        let entries = (0..entries)
            .map(|_| {
                let class = mix.draw(&mut mix_rng);
                Arrival {
                    offset_ns: gaps.next_offset_ns(&mut gap_rng),
                    key: keys.draw(class.writes(), &mut key_rng),
                    class,
                }
            })
            .collect();
        // The first gap stands before the first arrival, so wrapping adds exactly the last offset.
        Self { entries, span_ns: gaps.offset_ns as u64, span_keys: keys.used_up() }
    }

    /// What arrives at `position`, from 0 without end.
    #[must_use]
    pub fn at(&self, position: u64) -> Arrival {
        let len = self.entries.len() as u64;
        let mut arrival = self.entries[(position % len) as usize];
        let laps = position / len;
        arrival.offset_ns += laps * self.span_ns;
        arrival.key =
            ((u64::from(arrival.key) + laps * u64::from(self.span_keys)) % u64::from(KEYS_MAX)) as u32;
        arrival
    }

    /// Arrivals before it repeats.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.len()
    }
}

enum Gaps {
    None,
    Constant { gap_ns: f64 },
    Poisson { per_ns: Exp<f64> },
}

struct Offsets {
    gaps: Gaps,
    /// A double holds nanoseconds exactly for a hundred days.
    offset_ns: f64,
}

impl Gaps {
    fn of(load: Load) -> Offsets {
        let gaps = match load {
            Load::Closed { .. } => Self::None,
            Load::Open { rate_per_s, spacing: Spacing::Constant } => {
                Self::Constant { gap_ns: 1e9 / rate_per_s }
            }
            Load::Open { rate_per_s, spacing: Spacing::Poisson } => {
                Self::Poisson { per_ns: Exp::new(rate_per_s / 1e9).expect("the rate is above zero") }
            }
        };
        Offsets { gaps, offset_ns: 0.0 }
    }
}

impl Offsets {
    fn next_offset_ns(&mut self, rng: &mut Pcg64Mcg) -> u64 {
        self.offset_ns += match &self.gaps {
            Gaps::None => 0.0,
            Gaps::Constant { gap_ns } => *gap_ns,
            Gaps::Poisson { per_ns } => per_ns.sample(rng),
        };
        self.offset_ns as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: usize = 100_000;

    fn tape(load: &str, mix: &str, seed: u64) -> Tape {
        let mix = mix.parse().unwrap();
        Tape::draw(load.parse().unwrap(), mix, KeyDistribution::Zipf { skew: 0.99 }, 1000, ENTRIES, seed)
    }

    #[test]
    fn the_same_seed_gives_the_same_tape_and_another_one_does_not() {
        assert_eq!(tape("open:20000", "a", 7), tape("open:20000", "a", 7));
        assert_ne!(tape("open:20000", "a", 7), tape("open:20000", "a", 8));
    }

    #[test]
    fn another_load_asks_for_the_same_operations() {
        let (open, closed) = (tape("open:20000", "a", 7), tape("closed:64", "a", 7));
        for position in 0..1000 {
            let (open, closed) = (open.at(position), closed.at(position));
            assert_eq!((open.key, open.class, closed.offset_ns), (closed.key, closed.class, 0));
        }
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_variance_of_their_rate() {
        let tape = tape("open:20000", "a", 7);
        let gaps: Vec<f64> = (1..ENTRIES as u64)
            .map(|position| (tape.at(position).offset_ns - tape.at(position - 1).offset_ns) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((mean / 50_000.0 - 1.0).abs() < 0.02, "mean {mean}");
        assert!((deviation / 50_000.0 - 1.0).abs() < 0.03, "deviation {deviation}");
    }

    #[test]
    fn constant_gaps_are_equal_across_the_wrap() {
        let tape = tape("open:20000/constant", "a", 7);
        for position in 1..3 * ENTRIES as u64 {
            assert_eq!(tape.at(position).offset_ns - tape.at(position - 1).offset_ns, 50_000);
        }
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Arrival>() <= 16);
    }
}
