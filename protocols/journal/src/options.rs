//! Whose journal it is, how large its segments are, and what "durable" means.

use std::fmt;
use std::str::FromStr;

use crate::JournalError;
use crate::frame::{BLOCK_BYTES, Identity};
use crate::group::GROUP_BYTES_MAX;

/// Default size of a segment: large enough that changing segments is rare, small enough that releasing them is prompt.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// What must have happened to a record before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Written and synced: survives the loss of power.
    #[default]
    Fdatasync,
    /// Written, never synced: survives the end of the process. After the loss of power it may refuse to open.
    Buffered,
    /// Nothing: no disk is touched and nothing recovers.
    Memory,
}

impl Durability {
    const ALL: [Self; 3] = [Self::Fdatasync, Self::Buffered, Self::Memory];

    const fn name(self) -> &'static str {
        match self {
            Self::Fdatasync => "fdatasync",
            Self::Buffered => "buffered",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Not the name of a durability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("durability {0:?} is not known; choose fdatasync, buffered or memory")]
pub struct UnknownDurability(String);

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownDurability(name.to_owned()))
    }
}

/// Settings of one journal.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// Who writes; a directory of anybody else is refused.
    pub identity: Identity,
    /// Bytes of each new segment: a multiple of 4 KiB. A frame never spans two segments, so this also bounds a group; hosts
    /// need at least the kernel's `RECORD_BYTES_MAX` and three blocks.
    pub segment_bytes: u64,
    /// When a record is acknowledged.
    pub durability: Durability,
}

impl JournalOptions {
    /// The defaults for `identity`.
    #[must_use]
    pub const fn new(identity: Identity) -> Self {
        Self { identity, segment_bytes: SEGMENT_BYTES_DEFAULT, durability: Durability::Fdatasync }
    }

    pub(crate) fn check(&self) -> Result<(), JournalError> {
        let (bytes, block_bytes) = (self.segment_bytes, BLOCK_BYTES);
        let block = block_bytes as u64;
        if bytes.is_multiple_of(block) && (2 * block..=SEGMENT_BYTES_MAX).contains(&bytes) {
            Ok(())
        } else {
            Err(JournalError::SegmentBytes { bytes, block_bytes })
        }
    }

    /// The largest frame: what a segment holds after its header, within the bound of memory.
    pub(crate) fn group_bytes_max(&self) -> usize {
        let room = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX) - BLOCK_BYTES;
        room.min(GROUP_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_durability_reads_back_from_its_name_and_others_are_refused() {
        for mode in Durability::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("fsync".parse::<Durability>().is_err());
    }
}
