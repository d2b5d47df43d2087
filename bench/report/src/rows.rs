//! Cells to table rows: one row per plan cell and system, with the median and range over its repeats.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Cell, Reason, Validity, Verdict,
    ratios::{FLOOR, Metric, Side, paired},
};

/// Rounds that a comparison needs before systems are ranked.
pub const RANK_ROUNDS_MIN: usize = 5;

/// Median and range of the repeats that could measure a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; the mean of the middle two when their number is even.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of some numbers; `None` of none. Numbers that are not finite are passed by.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// One row of a table.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The first repeat, for the parameters, which all repeats share.
    pub first: &'a Cell,
    /// Rows of `cells.csv` behind this one.
    pub repeats: usize,
    /// Rounds they come from.
    pub rounds: usize,
    /// Operations answered per second.
    pub throughput_per_s: Option<Spread>,
    /// Median of the per-round ratios to the floor; `None` of the floor itself and under an offered rate, where the
    /// ratio says nothing.
    pub throughput_over_floor: Option<f64>,
    /// Response times, in nanoseconds.
    pub p50_ns: Option<Spread>,
    /// Median of the per-round ratios to the floor.
    pub p50_over_floor: Option<f64>,
    /// Response times, in nanoseconds.
    pub p99_ns: Option<Spread>,
    /// Response times, in nanoseconds.
    pub p999_ns: Option<Spread>,
    /// Processor time per operation, in microseconds.
    pub cpu_us_per_op: Option<Spread>,
    /// Disk syncs per operation.
    pub fsyncs_per_op: Option<Spread>,
    /// Messages per operation.
    pub messages_per_op: Option<Spread>,
    /// Message bytes per operation.
    pub bytes_per_op: Option<Spread>,
    /// All repeats, in the order of the file.
    pub cells: Vec<&'a Cell>,
    /// The worst verdict.
    pub verdict: Verdict,
    /// Operations judged in all repeats.
    pub judged_ops: u64,
    /// The worst validity.
    pub validity: Validity,
    /// Repeats by reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// The place among the systems of this cell, where it is earned.
    pub rank: Option<Rank>,
}

/// A place among the systems of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// From 1.
    pub place: usize,
    /// Whether others share the place because ranges overlap.
    pub tied: bool,
}

impl Row<'_> {
    /// Whether this row is the floor that others are compared with.
    pub fn is_floor(&self) -> bool {
        self.first.system == FLOOR
    }

    /// The spread of a figure over the repeats that have it.
    pub fn spread(&self, value: impl Fn(&Cell) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.cells.iter().filter_map(|cell| value(cell)))
    }

    /// Only what was measured properly, judged right and repeated in enough rounds may be ranked.
    fn may_be_ranked(&self) -> bool {
        let trusted = self.validity == Validity::Valid && self.verdict.holds();
        trusted && self.rounds >= RANK_ROUNDS_MIN && !self.is_floor() && self.merit().is_some()
    }

    /// What rows are ranked by, smaller is better: throughput where clients wait for replies, otherwise response time.
    fn merit(&self) -> Option<Spread> {
        if !self.first.is_closed_loop() {
            return self.p50_ns;
        }
        self.throughput_per_s.map(|rate| Spread { median: -rate.median, min: -rate.max, max: -rate.min })
    }
}

/// All rows of a run: by plan cell; within one the floor, then by rank, then those without one by name.
pub fn rows(cells: &[Cell]) -> Vec<Row<'_>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Cell>> = BTreeMap::new();
    cells.iter().for_each(|cell| groups.entry((&cell.cell, &cell.system)).or_default().push(cell));
    let mut rows: Vec<Row<'_>> = groups.values().map(|repeats| row(cells, repeats)).collect();
    rows.chunk_by_mut(|a, b| a.first.cell == b.first.cell).for_each(rank);
    rows.sort_by_key(|row| {
        let place = row.rank.map_or(usize::MAX, |rank| rank.place);
        (&row.first.cell, !row.is_floor(), place, &row.first.system)
    });
    rows
}

fn row<'a>(all: &[Cell], repeats: &[&'a Cell]) -> Row<'a> {
    let first = repeats[0];
    let spread =
        |value: &dyn Fn(&Cell) -> Option<f64>| Spread::of(repeats.iter().filter_map(|cell| value(cell)));
    let rounds: BTreeSet<u32> = repeats.iter().map(|cell| cell.round).collect();
    let over_floor = |metric| {
        let side = Side { cell: &first.cell, system: &first.system };
        let ratio = paired(all, side, Side { system: FLOOR, ..side }, metric).spread;
        ratio.filter(|_| first.system != FLOOR).map(|ratio| ratio.median)
    };
    Row {
        first,
        repeats: repeats.len(),
        rounds: rounds.len(),
        throughput_per_s: spread(&|cell| cell.throughput_per_s),
        throughput_over_floor: over_floor(Metric::Throughput).filter(|_| first.is_closed_loop()),
        p50_ns: spread(&|cell| cell.response_ns.p50.map(|ns| ns as f64)),
        p50_over_floor: over_floor(Metric::P50),
        p99_ns: spread(&|cell| cell.response_ns.p99.map(|ns| ns as f64)),
        p999_ns: spread(&|cell| cell.response_ns.p999.map(|ns| ns as f64)),
        cpu_us_per_op: spread(&|cell| cell.cpu_us_per_op),
        fsyncs_per_op: spread(&|cell| cell.fsyncs_per_op),
        messages_per_op: spread(&|cell| cell.messages_per_op),
        bytes_per_op: spread(&|cell| cell.bytes_per_op),
        cells: repeats.to_vec(),
        verdict: repeats.iter().map(|cell| cell.verdict).max().unwrap_or(Verdict::Unchecked),
        judged_ops: repeats.iter().fold(0, |sum, cell| sum.saturating_add(cell.judged_ops)),
        validity: repeats.iter().map(|cell| cell.validity).max().unwrap_or(Validity::Invalid),
        reasons: count_reasons(repeats),
        rank: None,
    }
}

fn count_reasons(repeats: &[&Cell]) -> BTreeMap<Reason, usize> {
    let mut counts = BTreeMap::new();
    for cell in repeats {
        let once: BTreeSet<Reason> = cell.reasons.iter().copied().collect();
        once.into_iter().for_each(|reason| *counts.entry(reason).or_insert(0) += 1);
    }
    counts
}

/// Ranks the rows of one plan cell. Neighbours whose ranges overlap cannot be told apart and share a place.
fn rank(rows: &mut [Row<'_>]) {
    let merits = rows.iter().enumerate().filter(|(_, row)| row.may_be_ranked());
    let mut order: Vec<(usize, Spread)> = merits.filter_map(|(at, row)| Some((at, row.merit()?))).collect();
    if order.len() < 2 {
        // Nobody is first of one.
        return;
    }
    order.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
    let mut place = 1;
    for tied in order.chunk_by(|a, b| a.1.overlaps(&b.1)) {
        for (at, _) in tied {
            rows[*at].rank = Some(Rank { place, tied: tied.len() > 1 });
        }
        place += tied.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cell_of;

    fn five(system: &str, slowest: f64) -> Vec<Cell> {
        (1..=5).map(|round| cell_of(system, round, slowest + f64::from(round))).collect()
    }

    fn ranks(cells: &[Cell]) -> Vec<(&str, Option<(usize, bool)>)> {
        let pair = |row: Row<'_>| row.rank.map(|rank| (rank.place, rank.tied));
        rows(cells).into_iter().map(|row| (&row.first.system[..], pair(row))).collect()
    }

    #[test]
    fn a_spread_is_of_the_finite_numbers() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[f64::NAN]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn ranges_that_overlap_are_a_tie() {
        let cells =
            [five("raft", 100.0), five("paxos", 102.0), five("pbft", 10.0), five(FLOOR, 900.0)].concat();
        let expected = [
            (FLOOR, None),
            ("paxos", Some((1, true))),
            ("raft", Some((1, true))),
            ("pbft", Some((3, false))),
        ];
        assert_eq!(ranks(&cells), expected);
    }

    #[test]
    fn a_suspect_row_is_shown_and_never_ranked() {
        let mut cells = [five("raft", 100.0), five("paxos", 10.0), five("pbft", 50.0)].concat();
        cells[0].validity = Validity::Suspect;
        cells[0].reasons = vec![Reason::LateSend, Reason::LateSend];
        assert_eq!(ranks(&cells), [("pbft", Some((1, false))), ("paxos", Some((2, false))), ("raft", None)]);
        let rows = rows(&cells);
        assert_eq!((rows[2].validity, rows[2].reasons[&Reason::LateSend]), (Validity::Suspect, 1));
    }

    #[test]
    fn who_is_alone_has_no_rank() {
        assert_eq!(
            ranks(&[five("raft", 100.0), five(FLOOR, 900.0)].concat()),
            [(FLOOR, None), ("raft", None)]
        );
    }

    #[test]
    fn what_was_not_judged_right_or_seldom_repeated_is_not_ranked() {
        let mut wrong = five("raft", 100.0);
        wrong[4].verdict = Verdict::Violated;
        assert_eq!(ranks(&wrong), [("raft", None)]);
        assert_eq!(rows(&wrong)[0].verdict, Verdict::Violated);
        assert_eq!(ranks(&five("raft", 100.0)[..4]), [("raft", None)]);
    }

    #[test]
    fn under_an_offered_rate_the_faster_answer_ranks_first() {
        let mut cells = [five("raft", 100.0), five("paxos", 500.0)].concat();
        for cell in &mut cells {
            cell.load = "open:100".into();
            let p50 = if cell.system == "raft" { 100_000 } else { 200_000 };
            cell.response_ns.p50 = Some(p50 + u64::from(cell.round));
        }
        assert_eq!(ranks(&cells), [("raft", Some((1, false))), ("paxos", Some((2, false)))]);
    }

    #[test]
    fn the_floor_stands_beside_each_row() {
        let cells = [five("raft", 0.0), five(FLOOR, 0.0)].concat();
        let rows = rows(&cells);
        assert_eq!((rows[0].throughput_over_floor, rows[0].p50_over_floor), (None, None));
        assert_eq!((rows[1].throughput_over_floor, rows[1].p50_over_floor), (Some(1.0), Some(1.0)));
    }
}
