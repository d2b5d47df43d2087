//! What is written: every value is unique and can be named by whoever reads it.
//!
//! ```text
//! value := id u64, mark u64 (as many of its bytes as fit), filler
//! ```
//!
//! The mark is a mixture of the id, so that a value of somebody else's is not taken for one of ours. The filler is
//! incompressible and costs a copy: a slice of one random page, at an offset that depends on the id. A value is a function of
//! its id, so nothing needs to be kept for a retry.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use qlab_machines::machine;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Bytes of the smallest value: its id.
pub const VALUE_BYTES_MIN: u32 = 8;
/// Bytes of the largest value: the store's limit.
pub const VALUE_BYTES_MAX: u32 = machine::VALUE_BYTES_MAX as u32;
const FILLER_OFFSETS: usize = 4096;

/// Sizes of values. Written and parsed as `256` (bytes) or `64-1024` (uniform, both ends included).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSizes {
    bytes: RangeInclusive<u32>,
}

/// A value size that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "value size `{text}` is not BYTES or BYTES-BYTES, each from {VALUE_BYTES_MIN} (the value's id) to {VALUE_BYTES_MAX}"
)]
pub struct ValueSizesError {
    text: String,
}

impl ValueSizes {
    /// All values of `bytes` bytes, [`VALUE_BYTES_MIN`] to [`VALUE_BYTES_MAX`].
    pub fn fixed(bytes: u32) -> Result<Self, ValueSizesError> {
        Self::uniform(bytes..=bytes)
    }

    /// Every size of the range alike.
    pub fn uniform(bytes: RangeInclusive<u32>) -> Result<Self, ValueSizesError> {
        let sizes = Self { bytes };
        if sizes.bytes.is_empty()
            || *sizes.bytes.start() < VALUE_BYTES_MIN
            || *sizes.bytes.end() > VALUE_BYTES_MAX
        {
            return Err(ValueSizesError { text: sizes.to_string() });
        }
        Ok(sizes)
    }
}

impl FromStr for ValueSizes {
    type Err = ValueSizesError;

    fn from_str(text: &str) -> Result<Self, ValueSizesError> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (low.parse(), high.parse()) {
            (Ok(low), Ok(high)) => Self::uniform(low..=high),
            _ => Err(ValueSizesError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for ValueSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.bytes.start(), self.bytes.end());
        if low == high { write!(f, "{low}") } else { write!(f, "{low}-{high}") }
    }
}

/// Writes values.
#[derive(Debug)]
pub struct Values {
    sizes: ValueSizes,
    filler: Vec<u8>,
}

impl Values {
    /// Values of these sizes with filler from `seed`.
    #[must_use]
    pub fn new(sizes: ValueSizes, seed: u64) -> Self {
        let mut filler = vec![0; *sizes.bytes.end() as usize + FILLER_OFFSETS];
        Pcg64Mcg::seed_from_u64(seed).fill_bytes(&mut filler);
        Self { sizes, filler }
    }

    /// Bytes of the value with this id.
    #[must_use]
    pub fn len(&self, id: u64) -> usize {
        let (low, high) = (*self.sizes.bytes.start(), *self.sizes.bytes.end());
        let spread = u64::from(high - low) + 1;
        // The upper half of the mixture: its lower bits choose the filler.
        (u64::from(low) + (mixed(id) >> 32) % spread) as usize
    }

    /// Appends the value with this id.
    pub fn write(&self, id: u64, into: &mut Vec<u8>) {
        let len = self.len(id);
        let mark = mixed(id);
        into.extend_from_slice(&id.to_le_bytes());
        let marked = (len - 8).min(8);
        into.extend_from_slice(&mark.to_le_bytes()[..marked]);
        let offset = mark as usize % FILLER_OFFSETS;
        into.extend_from_slice(&self.filler[offset..offset + len - 8 - marked]);
    }
}

/// The id of a value that was read; `None` if no [`Values`] wrote it.
#[must_use]
pub fn value_id(value: &[u8]) -> Option<u64> {
    let (id, rest) = value.split_first_chunk::<8>()?;
    let id = u64::from_le_bytes(*id);
    let marked = rest.len().min(8);
    (rest[..marked] == mixed(id).to_le_bytes()[..marked]).then_some(id)
}

/// Seeds one of several independent generators of a run.
pub(crate) const fn stream_seed(seed: u64, stream: u64) -> u64 {
    mixed(mixed(seed) ^ stream)
}

/// A bijection that leaves no bit where it was (the finalizer of `splitmix64`, Steele, Lea and Flood, OOPSLA 2014).
const fn mixed(id: u64) -> u64 {
    let id = id.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let id = (id ^ (id >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    id ^ (id >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_parsed_and_errors_name_the_limits() {
        for text in ["8", "256", "64-1024"] {
            assert_eq!(text.parse::<ValueSizes>().unwrap().to_string(), text);
        }
        for bad in ["", "7", "64-8", "300000", "x"] {
            let message = bad.parse::<ValueSizes>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{bad}`")) && message.contains("from 8"), "{message}");
        }
    }

    #[test]
    fn sizes_fill_their_range() {
        let values = Values::new("64-127".parse().unwrap(), 7);
        let mean = (0..10_000).map(|id| values.len(id)).sum::<usize>() as f64 / 10_000.0;
        assert!((94.0..97.0).contains(&mean), "{mean}");
    }

    proptest! {
        #[test]
        fn a_value_names_its_id_and_has_its_size(id: u64, low in VALUE_BYTES_MIN..600, more in 0_u32..600) {
            let values = Values::new(ValueSizes::uniform(low..=low + more).unwrap(), 7);
            let mut bytes = Vec::new();
            values.write(id, &mut bytes);
            prop_assert_eq!(bytes.len(), values.len(id));
            prop_assert!((low as usize..=(low + more) as usize).contains(&bytes.len()));
            prop_assert_eq!(value_id(&bytes), Some(id));
        }

        #[test]
        fn a_foreign_value_is_not_named(id: u64, at in 0_usize..16, flip in 1_u8..) {
            let mut bytes = Vec::new();
            Values::new(ValueSizes::fixed(16).unwrap(), 7).write(id, &mut bytes);
            bytes[at] ^= flip;
            prop_assert_eq!(value_id(&bytes), None);
            prop_assert_eq!(value_id(&bytes[..7]), None);
        }
    }
}
