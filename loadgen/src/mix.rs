//! Which operation arrives: reads, writes and read-modify-writes by their shares.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};

/// What an operation is to the one who waits for it; each class has its own histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Reads a key.
    Read,
    /// Puts a new value under a key.
    Write,
    /// Reads a key, then replaces what it read by compare-and-set: two commands, one wait.
    ReadModifyWrite,
    /// Takes a lock and gives it back: two commands one after the other, one wait.
    Lock,
}

impl Class {
    /// Every class, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::ReadModifyWrite, Self::Lock];

    /// Name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadModifyWrite => "rmw",
            Self::Lock => "lock",
        }
    }

    /// Whether it changes its key.
    #[must_use]
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Read)
    }
}

/// Shares of the classes; what is neither read nor read-modify-write is a write.
///
/// Written and parsed as a read fraction (`0.5`) or a YCSB preset: `a` (half reads, half writes), `b` (95 % reads), `c`
/// (reads only), `d` (95 % reads of the latest; the key distribution makes it so), `f` (half reads, half read-modify-writes).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    read_fraction: f64,
    modify_fraction: f64,
}

/// A mix that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mix `{text}` is not one of a, b, c, d, f (YCSB) or a read fraction from 0 to 1")]
pub struct MixError {
    text: String,
}

impl Mix {
    /// Reads by `read_fraction`, writes otherwise; `None` unless it lies in 0 to 1.
    #[must_use]
    pub fn reads(read_fraction: f64) -> Option<Self> {
        (0.0..=1.0).contains(&read_fraction).then_some(Self { read_fraction, modify_fraction: 0.0 })
    }

    /// The YCSB workload of this letter (Cooper et al., SoCC 2010, Table 2); `None` for `e`, which scans, and others.
    #[must_use]
    pub fn ycsb(letter: char) -> Option<Self> {
        let (read_fraction, modify_fraction) = match letter {
            'a' => (0.5, 0.0),
            'b' | 'd' => (0.95, 0.0),
            'c' => (1.0, 0.0),
            'f' => (0.5, 0.5),
            _ => return None,
        };
        Some(Self { read_fraction, modify_fraction })
    }

    /// Draws the next operation's class.
    pub fn draw(self, rng: &mut impl Rng) -> Class {
        let chance: f64 = rng.random();
        if chance < self.read_fraction {
            Class::Read
        } else if chance < self.read_fraction + self.modify_fraction {
            Class::ReadModifyWrite
        } else {
            Class::Write
        }
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut letters = text.chars();
        let preset = match (letters.next(), letters.next()) {
            (Some(letter), None) => Self::ycsb(letter),
            _ => None,
        };
        let mix = preset.or_else(|| text.parse().ok().and_then(Self::reads));
        mix.ok_or_else(|| MixError { text: text.to_owned() })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.modify_fraction > 0.0 { write!(f, "f") } else { write!(f, "{}", self.read_fraction) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    fn shares(mix: Mix) -> [f64; 3] {
        const DRAWS: u32 = 100_000;
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let mut counts = [0_u32; 3];
        for _ in 0..DRAWS {
            counts[mix.draw(&mut rng) as usize] += 1;
        }
        counts.map(|count| f64::from(count) / f64::from(DRAWS))
    }

    #[test]
    fn shares_are_as_asked() {
        for (text, expected) in [
            ("a", [0.5, 0.5, 0.0]),
            ("b", [0.95, 0.05, 0.0]),
            ("c", [1.0, 0.0, 0.0]),
            ("d", [0.95, 0.05, 0.0]),
            ("f", [0.5, 0.0, 0.5]),
            ("0.25", [0.25, 0.75, 0.0]),
            ("0", [0.0, 1.0, 0.0]),
        ] {
            let mix: Mix = text.parse().unwrap();
            let found = shares(mix);
            assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 0.01), "{text}: {found:?}");
            assert_eq!(mix.to_string().parse(), Ok(mix));
        }
    }

    #[test]
    fn errors_name_the_text_and_the_valid_forms() {
        for bad in ["", "e", "aa", "1.5", "-0.1", "nan"] {
            let message = bad.parse::<Mix>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{bad}`")) && message.contains("read fraction"), "{message}");
        }
    }
}
