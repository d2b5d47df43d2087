//! Ratios between two systems, or between two settings of one, paired by round.
//!
//! A machine drifts, so two things are compared only with what was measured in the same round: each round and repeat
//! gives one ratio, and the table shows their median and range. Ratios of medians would mix rounds.

use std::collections::BTreeMap;

use crate::{Cell, rows::Spread};

/// The system that every other is compared with: one server, no peers.
pub const FLOOR: &str = "unreplicated";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Operations per second.
    Throughput,
    /// Median response time.
    P50,
    /// 99th percentile of response times.
    P99,
    /// Processor time per operation.
    CpuPerOp,
}

impl Metric {
    /// All metrics, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Throughput, Self::P50, Self::P99, Self::CpuPerOp];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::CpuPerOp => "CPU/op",
        }
    }

    /// The value of one row, in the metric's own unit.
    pub fn of(self, cell: &Cell) -> Option<f64> {
        let nanoseconds = |value: Option<u64>| value.map(|value| value as f64);
        match self {
            Self::Throughput => cell.throughput_per_s,
            Self::P50 => nanoseconds(cell.response_ns.p50),
            Self::P99 => nanoseconds(cell.response_ns.p99),
            Self::CpuPerOp => cell.cpu_us_per_op,
        }
    }
}

/// One system in one cell of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side<'a> {
    /// The cell's name.
    pub cell: &'a str,
    /// The system's name.
    pub system: &'a str,
}

/// One side over another.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// Median and range of the per-round ratios; `None` when no round has both.
    pub spread: Option<Spread>,
    /// Rounds and repeats that have both.
    pub pairs: usize,
    /// Whether every row that went in is valid and judged right.
    pub usable: bool,
}

/// `side` ÷ `base`.
pub fn paired(cells: &[Cell], side: Side<'_>, base: Side<'_>, metric: Metric) -> Ratio {
    let (above, below) = (by_round(cells, side), by_round(cells, base));
    let pairs = above.iter().filter_map(|(round, a)| Some((*a, *below.get(round)?)));
    let measured: Vec<(f64, bool)> = pairs
        .filter_map(|(a, b)| {
            let ratio = metric.of(a)? / metric.of(b).filter(|base| *base > 0.0)?;
            Some((ratio, a.is_usable() && b.is_usable()))
        })
        .collect();
    Ratio {
        spread: Spread::of(measured.iter().map(|(ratio, _)| *ratio)),
        pairs: measured.len(),
        usable: !measured.is_empty() && measured.iter().all(|(_, usable)| *usable),
    }
}

fn by_round<'a>(cells: &'a [Cell], side: Side<'_>) -> BTreeMap<(u32, u32), &'a Cell> {
    let rows = cells.iter().filter(|row| row.cell == side.cell && row.system == side.system);
    rows.map(|row| ((row.round, row.repeat), row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Validity, testing::cell_of};

    fn throughput(cells: &[Cell]) -> Ratio {
        let side = |system| Side { cell: "saturated", system };
        paired(cells, side("raft"), side(FLOOR), Metric::Throughput)
    }

    #[test]
    fn ratios_pair_rounds_and_are_not_ratios_of_medians() {
        // The machine halves its speed in each round; the ratio stays.
        let speeds = [(1, 4_000.0), (2, 2_000.0), (3, 1_000.0)];
        let both = |&(round, speed): &(u32, f64)| {
            [cell_of(FLOOR, round, speed), cell_of("raft", round, speed / 2.0)]
        };
        let ratio = throughput(&speeds.iter().flat_map(both).collect::<Vec<_>>());
        assert_eq!(ratio.spread, Some(Spread { median: 0.5, min: 0.5, max: 0.5 }));
        assert_eq!((ratio.pairs, ratio.usable), (3, true));
    }

    #[test]
    fn a_round_that_lacks_one_system_gives_no_pair() {
        let cells = [cell_of(FLOOR, 1, 100.0), cell_of("raft", 2, 50.0), cell_of("raft", 3, 1.0)];
        assert_eq!(throughput(&cells), Ratio { spread: None, pairs: 0, usable: false });
        let cells = [cell_of(FLOOR, 1, 0.0), cell_of("raft", 1, 50.0)];
        assert_eq!(throughput(&cells).pairs, 0, "nothing can be divided by a standstill");
    }

    #[test]
    fn one_doubtful_row_makes_the_ratio_doubtful() {
        let mut cells = [cell_of(FLOOR, 1, 100.0), cell_of("raft", 1, 50.0)];
        cells[0].validity = Validity::Suspect;
        assert!(!throughput(&cells).usable);
    }
}
