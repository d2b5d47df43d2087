//! What clocks said of simulated executions against what truly happened before what, and how it is shown.

use serde::{Deserialize, Serialize};

use super::{Quartet, Tail, figure, is_rising, number, percent, spread_of, word};
use crate::{
    Verdict,
    layout::{Entry, Layout},
    numbers::{ABSENT, bytes, nanoseconds},
};

/// Of executions of so many processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Causality {
    /// What it is: `clocks`, or the name of a control.
    pub cell: String,
    /// Processes.
    pub processes: u64,
    /// Executions, with the seeds from 0.
    pub worlds: u64,
    /// Events of each of them.
    pub events: u64,
    /// How many of these, drawn at random, were held against each other, in each of them.
    pub sampled: u64,
    /// Ordered pairs of sampled events that were judged, over all executions; an event and itself are one, too.
    pub pairs: u64,
    /// Of those, the pairs of which neither happened before the other.
    pub concurrent: u64,
    /// Messages lost on their way, in a hundred.
    pub loss_percent: u64,
    /// Messages that came twice, in a hundred.
    pub duplicate_percent: u64,
    /// Shortest and longest flight of a message, in microseconds.
    pub flight_us: [u64; 2],
    /// How far physical clocks were apart at most, in microseconds.
    pub skew_us: u64,
    /// What was asked which came first, and what it said.
    pub asked: Asked,
    /// What must come of it.
    pub expected: Verdict,
    /// Whether nothing was said but what is true.
    pub verdict: Verdict,
}

/// What was asked which of two events came first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Asked {
    /// Logical clocks.
    Logical(Box<LogicalClocks>),
    /// A control: the order of skewed physical clocks.
    Physical {
        /// Pairs of a cause and its effect whose times are not in that order.
        misordered: u64,
    },
}

/// What logical clocks said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogicalClocks {
    /// Pairs about which vector clocks say something else than is true: before, after, equal or concurrent.
    pub vector_wrong: u64,
    /// Pairs of a cause and its effect whose times by Lamport's clock are not in that order.
    pub lamport_misordered: u64,
    /// The same by the hybrid clock.
    pub hybrid_misordered: u64,
    /// Events at which the hybrid clock was behind the physical one.
    pub hybrid_behind: u64,
    /// How far the hybrid clock was ahead of the physical one at most, at any event, in nanoseconds.
    pub hybrid_ahead_ns_max: u64,
    /// Its largest counter.
    pub hybrid_counter_max: u64,
    /// Bytes of an encoded vector clock.
    pub encoded_bytes: Tail,
    /// Bytes of one number of 64 bits for each process.
    pub plain_bytes: u64,
    /// To compare two vector clocks, in nanoseconds, over the batches.
    pub compare_ns: Quartet,
    /// To merge one into another, likewise.
    pub merge_ns: Quartet,
}

impl LogicalClocks {
    /// Whether they said nothing that is not true, and the hybrid one kept to the physical ones.
    #[must_use]
    pub const fn are_right(&self, skew_us: u64) -> bool {
        self.vector_wrong == 0
            && self.lamport_misordered == 0
            && self.hybrid_misordered == 0
            && self.hybrid_behind == 0
            && self.hybrid_ahead_ns_max <= skew_us * 1_000
    }
}

impl Causality {
    /// What follows from the figures.
    #[must_use]
    pub fn judged(&self) -> Verdict {
        let is_right = match &self.asked {
            Asked::Logical(clocks) => clocks.are_right(self.skew_us),
            Asked::Physical { misordered } => *misordered == 0,
        };
        match (is_right, self.pairs) {
            (_, 0) => Verdict::Unchecked,
            (true, _) => Verdict::Causal,
            (false, _) => Verdict::Violated,
        }
    }

    /// Whether the figures go together.
    pub(super) fn is_consistent(&self) -> bool {
        let rises = match &self.asked {
            Asked::Logical(clocks) => {
                let Tail { p50, p99, max } = clocks.encoded_bytes;
                [p50, p99, max].is_sorted() && is_rising(clocks.compare_ns) && is_rising(clocks.merge_ns)
            }
            Asked::Physical { misordered } => *misordered <= self.pairs,
        };
        rises
            && self.concurrent <= self.pairs
            && self.pairs == self.worlds * self.sampled * self.sampled
            && self.sampled <= self.events
            && self.verdict == self.judged()
    }
}

/// Its table.
pub(super) fn layout(rows: &[Causality]) -> Layout {
    let headings = vec![
        "cell",
        "processes",
        "events",
        "pairs\njudged",
        "concurrent",
        "vector clock\nwrong",
        "misordered\nby Lamport's",
        "by the\nhybrid",
        "by the\nphysical",
        "hybrid ahead\nat most",
        "its counter\nat most",
        "bytes\nencoded",
        "plain",
        "to\ncompare",
        "to\nmerge",
        "expected",
        "verdict",
    ];
    Layout { headings, rows: rows.iter().map(row).collect(), caption: caption(rows) }
}

fn caption(rows: &[Causality]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    format!(
        "Simulated executions, {} of each size: half of what processes do of their own accord is to send; messages take {} to {}, {} % are \
         lost, {} % come twice, many are overtaken. The truth is reachability in the graph of events, found before any clock is asked. Up to \
         {} events of each execution, drawn at random, are held each against each, itself included. Wrong: a vector clock says before, after, equal or \
         concurrent, and it is not so. Misordered: a cause whose time is not less than its effect's. Ahead: of the physical clock, at any event; \
         the second line is what clocks differ by, the most that is allowed. Bytes: of an encoded vector clock, median and below it the \
         largest; plain is 8 for each process. To compare and to merge: on one thread, pairs in random order out of the sample, not \
         one pair again and again; median and 5 to 95 % of the batches. The control orders events by the physical clocks alone, and has to fail.",
        first.worlds,
        micros(first.flight_us[0]),
        micros(first.flight_us[1]),
        first.loss_percent,
        first.duplicate_percent,
        rows.iter().map(|row| row.sampled).max().unwrap_or(0),
    )
}

fn row(row: &Causality) -> Vec<Entry> {
    let mut entries = vec![
        word(&row.cell),
        number(row.processes as f64),
        number((row.worlds * row.events) as f64),
        number(row.pairs as f64),
        figure(percent(row.concurrent as f64 / row.pairs.max(1) as f64)),
    ];
    entries.extend(match &row.asked {
        Asked::Logical(clocks) => logical(clocks, row.skew_us),
        Asked::Physical { misordered } => {
            let mut absent = vec![figure(ABSENT.to_owned()); 10];
            absent[3] = number(*misordered as f64);
            absent
        }
    });
    entries.extend([word(row.expected.name()), word(row.verdict.name())]);
    entries
}

fn logical(clocks: &LogicalClocks, skew_us: u64) -> Vec<Entry> {
    vec![
        number(clocks.vector_wrong as f64),
        number(clocks.lamport_misordered as f64),
        number(clocks.hybrid_misordered as f64),
        figure(ABSENT.to_owned()),
        Entry { detail: micros(skew_us), ..figure(nanoseconds(clocks.hybrid_ahead_ns_max as f64)) },
        number(clocks.hybrid_counter_max as f64),
        Entry {
            detail: bytes(clocks.encoded_bytes.max as f64),
            ..figure(bytes(clocks.encoded_bytes.p50 as f64))
        },
        figure(bytes(clocks.plain_bytes as f64)),
        spread_of(clocks.compare_ns, nanoseconds),
        spread_of(clocks.merge_ns, nanoseconds),
    ]
}

fn micros(micros: u64) -> String {
    nanoseconds(micros as f64 * 1e3)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::study::Findings;

    fn flat(value: f64) -> Quartet {
        Quartet { p05: value, p50: value, p95: value, max: value }
    }

    pub(crate) fn causality(processes: u64) -> Causality {
        let clocks = LogicalClocks {
            vector_wrong: 0,
            lamport_misordered: 0,
            hybrid_misordered: 0,
            hybrid_behind: 0,
            hybrid_ahead_ns_max: 1_900_000,
            hybrid_counter_max: 7,
            encoded_bytes: Tail { p50: processes, p99: processes + 1, max: processes + 2 },
            plain_bytes: 8 * processes,
            compare_ns: flat(20.0),
            merge_ns: flat(30.0),
        };
        Causality {
            cell: "clocks".into(),
            processes,
            worlds: 2,
            events: 1_000,
            sampled: 10,
            pairs: 200,
            concurrent: 50,
            loss_percent: 5,
            duplicate_percent: 5,
            flight_us: [100, 5_000],
            skew_us: 2_000,
            asked: Asked::Logical(Box::new(clocks)),
            expected: Verdict::Causal,
            verdict: Verdict::Causal,
        }
    }

    fn control(misordered: u64) -> Causality {
        Causality {
            cell: "control-physical-time".into(),
            asked: Asked::Physical { misordered },
            expected: Verdict::Violated,
            verdict: if misordered > 0 { Verdict::Violated } else { Verdict::Causal },
            ..causality(32)
        }
    }

    #[test]
    fn clocks_and_control_are_rows_of_one_table() {
        let layout = layout(&[causality(3), control(9)]);
        assert!(layout.rows.iter().all(|row| row.len() == layout.headings.len()));
        let column = |name: &str| layout.headings.iter().position(|heading| *heading == name).unwrap();
        let physical = column("by the\nphysical");
        assert_eq!((&*layout.rows[0][physical].value, &*layout.rows[1][physical].value), (ABSENT, "9"));
        let ahead = &layout.rows[0][column("hybrid ahead\nat most")];
        assert_eq!((&*ahead.value, &*ahead.detail), ("1.90 ms", "2 ms"));
        assert_eq!(layout.rows[1].last().unwrap().value, "VIOLATED");
        assert!(layout.caption.contains("100 µs to 5 ms"), "{}", layout.caption);
    }

    #[test]
    fn a_study_holds_only_if_the_clocks_are_right_and_the_control_fails() {
        let holds = |rows: &[Causality]| Findings::Causality(rows.to_vec()).holds();
        assert!(holds(&[causality(3), control(9)]));
        assert!(!holds(&[causality(3), control(0)]), "the judge is asleep");
        let wrong = Causality { verdict: Verdict::Violated, ..causality(3) };
        assert!(!holds(&[wrong, control(9)]));
    }

    #[test]
    fn a_verdict_that_its_figures_do_not_bear_out_is_found() {
        assert!(causality(3).is_consistent() && control(9).is_consistent());
        let changed = |change: fn(&mut LogicalClocks)| {
            let mut row = causality(3);
            let Asked::Logical(clocks) = &mut row.asked else { unreachable!() };
            change(clocks);
            row
        };
        let changes: [fn(&mut LogicalClocks); 6] = [
            |clocks| clocks.vector_wrong = 1,
            |clocks| clocks.lamport_misordered = 1,
            |clocks| clocks.hybrid_misordered = 1,
            |clocks| clocks.hybrid_behind = 1,
            |clocks| clocks.hybrid_ahead_ns_max = 2_000_001,
            |clocks| clocks.encoded_bytes.max = 0,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert!(!changed(change).is_consistent(), "change {number}");
        }
        assert!(!Causality { pairs: 0, worlds: 0, ..causality(3) }.is_consistent(), "nothing was judged");
        assert!(!Causality { concurrent: 201, ..causality(3) }.is_consistent());
    }
}
