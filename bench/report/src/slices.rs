//! What happened in short pieces of a measured window: `slices.csv`.

use std::io;

use serde::{Deserialize, Serialize};

use crate::CellKey;

/// One slice of a time series: a row of `slices.csv`. Throughput counts answers by when they came; response times belong to the
/// slice in which the operation was meant to start, however late it was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// [`Cell::system`](crate::Cell::system).
    pub system: String,
    /// [`Cell::cell`](crate::Cell::cell).
    pub cell: String,
    /// [`Cell::round`](crate::Cell::round).
    pub round: u32,
    /// [`Cell::repeat`](crate::Cell::repeat).
    pub repeat: u32,
    /// Milliseconds from the start of measuring to the start of the slice; negative during warm-up.
    pub at_ms: i64,
    /// Length of the slice, in milliseconds.
    pub length_ms: u64,
    /// Operations answered in it.
    pub operations: u64,
    /// Median response time, in nanoseconds.
    pub response_p50_ns: Option<u64>,
    /// 99 of 100 were no slower, in nanoseconds.
    pub response_p99_ns: Option<u64>,
    /// The slowest, in nanoseconds. `None`, like all that follows, in files of earlier versions.
    #[serde(default)]
    pub response_max_ns: Option<u64>,
    /// Operations first sent in it that were refused or failed for certain.
    #[serde(default)]
    pub errors: Option<u64>,
    /// Operations first sent in it whose outcome is unknown.
    #[serde(default)]
    pub unknown: Option<u64>,
    /// The kinds of the faults that lasted in it or in a part of it, between spaces.
    #[serde(default)]
    pub faults: String,
}

impl Slice {
    /// The row of `cells.csv` that this slice belongs to.
    pub fn key(&self) -> CellKey {
        CellKey {
            cell: self.cell.clone(),
            system: self.system.clone(),
            round: self.round,
            repeat: self.repeat,
        }
    }

    /// Operations answered per second.
    pub fn throughput_per_s(&self) -> f64 {
        self.operations as f64 * 1000.0 / self.length_ms.max(1) as f64
    }
}

/// Reads `slices.csv`.
pub fn read_slices(input: impl io::Read) -> Result<Vec<Slice>, csv::Error> {
    csv::Reader::from_reader(input).deserialize().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_earlier_version_is_read() {
        let older = "system,cell,round,repeat,at_ms,length_ms,operations,response_p50_ns,response_p99_ns\n\
                     raft,reads,1,1,0,500,7,11,\n";
        let slices = read_slices(older.as_bytes()).unwrap();
        assert_eq!((slices[0].throughput_per_s(), slices[0].response_p50_ns), (14.0, Some(11)));
        assert_eq!((slices[0].response_max_ns, slices[0].errors, &slices[0].faults[..]), (None, None, ""));
    }
}
