//! What clocks of processes showed against the true time, and how it is shown.

use serde::{Deserialize, Serialize};

use super::{Share, figure, number, percent, share, word};
use crate::{
    Verdict,
    layout::{Entry, Layout},
    numbers::{nanoseconds, or_absent},
};

/// Of one cluster of processes whose oscillators the laboratory bends, so that it knows by how much they err.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockRun {
    /// The plan's name for it.
    pub cell: String,
    /// Which of the cell's repeats, from 1.
    pub round: u64,
    /// Seed of the nodes.
    pub seed: u64,
    /// Those that follow references.
    pub followers: u64,
    /// References.
    pub references: u64,
    /// How far false references are ahead, in microseconds, one for each.
    pub false_by_us: Vec<i64>,
    /// Time between two questions to a reference, in milliseconds.
    pub poll_interval_ms: u64,
    /// What each UDP datagram takes longer, in milliseconds.
    pub delay_ms: u64,
    /// What it takes longer than that at most.
    pub jitter_ms: u64,
    /// UDP datagrams lost on their way, in a hundred.
    pub loss_percent: u64,
    /// Threads that kept the processors busy besides.
    pub busy_threads: u64,
    /// Whether followers could ask nobody for a third of the time.
    pub isolated: bool,
    /// How long clocks were watched, in milliseconds.
    pub measure_ms: u64,
    /// Readings of followers.
    pub samples: u64,
    /// Those that came with a claim: a span that holds the true time.
    pub claims: u64,
    /// How wrong the reading could be at most, by its own claim.
    pub bound_ns: Option<Tail>,
    /// How wrong it was.
    pub error_ns: Option<Tail>,
    /// Claims that the true time was not in.
    pub outside: Share,
    /// Readings that did not follow on the one before at a rate that a clock may be slewed at.
    pub steps: u64,
    /// Questions that followers asked.
    pub questions: u64,
    /// Answers that they took.
    pub answers: u64,
    /// References that a follower held false at one time, at most.
    pub out_voted_max: u64,
    /// Readings while no majority of the references agreed.
    pub disputed: u64,
    /// What must come of it.
    pub expected: Expected,
    /// Whether all claims were true and no clock was stepped.
    pub verdict: Verdict,
}

/// What must come of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// Claims, all of them true.
    #[default]
    Sound,
    /// No claim at all: too many references are false, and differ.
    Refused,
    /// False claims: the followers have nobody to turn to but a liar. It shows that false claims are found out.
    #[serde(rename = "VIOLATED")]
    Violated,
}

impl Expected {
    const fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Refused => "refused",
            Self::Violated => "VIOLATED",
        }
    }
}

impl ClockRun {
    /// Whether the figures go together: what was claimed wrongly is not called sound.
    pub(super) fn is_consistent(&self) -> bool {
        let tails = [self.bound_ns, self.error_ns];
        let rises = |tail: &Tail| [tail.p50, tail.p99, tail.max].is_sorted();
        tails.iter().flatten().all(rises)
            && tails.iter().all(|tail| tail.is_some() == (self.claims > 0))
            && self.outside.events <= self.claims
            && self.claims <= self.samples
            && (self.outside.events + self.steps == 0 || !self.verdict.holds())
    }

    /// Whether what had to come of it did.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        match self.expected {
            Expected::Sound => self.verdict.holds() && self.claims > 0,
            Expected::Refused => self.verdict.holds() && self.claims == 0,
            Expected::Violated => self.verdict == Verdict::Violated,
        }
    }
}

/// The upper end of a distribution of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Half are below.
    pub p50: u64,
    /// One in a hundred is above.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Tail {
    /// Of values in any order, by the nearest rank; `None` if there are none.
    #[must_use]
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[((share * values.len() as f64).ceil() as usize).clamp(1, last + 1) - 1];
        Some(Self { p50: at(0.5), p99: at(0.99), max: values[last] })
    }
}

/// Its table.
pub(super) fn layout(rows: &[ClockRun]) -> Layout {
    let headings = vec![
        "cell",
        "references\n(false)",
        "link",
        "claims",
        "bound\np50",
        "bound\np99",
        "error\np50",
        "error\np99",
        "error\nmax",
        "outside\nthe bound",
        "steps",
        "out-voted",
        "expected",
        "verdict",
    ];
    let caption = "One process for each clock, questions and answers as QUIC datagrams on one host; the oscillators of all but true \
                   references are bent by a plan, so that the true time is known. A claim is a reading with the span that it says holds \
                   the true time; bound: how wrong the reading could be by it; error: how wrong it was. Outside: claims that the \
                   true time was not in, with Wilson's interval of 95 %. Steps: readings that follow on the one before faster or \
                   slower than a clock may be slewed. Where VIOLATED is expected, followers have nobody to turn to but a liar; \
                   where refused is, no majority agrees and nothing is claimed."
        .to_owned();
    Layout { headings, rows: rows.iter().map(row).collect(), caption }
}

fn row(row: &ClockRun) -> Vec<Entry> {
    let time = |tail: Option<Tail>, of: fn(Tail) -> u64| {
        figure(or_absent(tail.map(|tail| of(tail) as f64), nanoseconds))
    };
    let link = match (row.delay_ms, row.jitter_ms, row.loss_percent) {
        (0, 0, 0) => "as it is".to_owned(),
        (delay, jitter, loss) => format!("{delay}–{} ms, {loss} % lost", delay + jitter),
    };
    let claimed = row.claims as f64 / row.samples.max(1) as f64;
    vec![
        word(&row.cell),
        word(&format!("{} ({})", row.references, row.false_by_us.len())),
        word(&link),
        Entry { value: number(row.claims as f64).value, detail: percent(claimed), is_number: true },
        time(row.bound_ns, |tail| tail.p50),
        time(row.bound_ns, |tail| tail.p99),
        time(row.error_ns, |tail| tail.p50),
        time(row.error_ns, |tail| tail.p99),
        time(row.error_ns, |tail| tail.max),
        share(row.outside, row.claims),
        number(row.steps as f64),
        number(row.out_voted_max as f64),
        word(row.expected.name()),
        word(row.verdict.name()),
    ]
}
