//! Studies: questions that are not a load on a cluster, such as how fast gossip spreads or how true a clock is. Each leaves one file
//! under `results/studies`, which holds its figures, its verdicts and where they come from; how it is shown follows from that.

mod causality;
mod clock_run;
mod gossip_run;
mod gossip_worlds;
mod payloads;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Code, Machine, RunError, Utc, kept,
    layout::{Entry, Layout},
    numbers::{count, range},
};

pub use causality::{Asked, Causality, LogicalClocks};
pub use clock_run::{ClockRun, Expected, Tail};
pub use gossip_run::GossipRun;
pub use gossip_worlds::{GossipErrors, GossipRounds, GossipScale};
pub use payloads::{Payload, PayloadCost};

/// The folder of studies, within that of results.
pub const STUDIES: &str = "studies";
/// Version of the file's shape.
pub const FORMAT: u32 = 1;

/// One study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Version of this shape.
    pub format: u32,
    /// When it began, UTC, as in `20261122T120902Z`.
    pub began: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// What was found.
    pub findings: Findings,
    /// What was run.
    pub code: Code,
    /// Where.
    pub machine: Machine,
}

/// What a study found, by its question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "study", content = "rows", rename_all = "kebab-case")]
pub enum Findings {
    /// In how many rounds one update reaches how many nodes, in simulation.
    GossipRounds(Vec<GossipRounds>),
    /// How often members are suspected or declared dead that live, in simulation.
    GossipErrors(Vec<GossipErrors>),
    /// What a large cluster costs to simulate.
    GossipScale(Vec<GossipScale>),
    /// How fast updates spread among processes, and whether these know who of them lives.
    GossipRuns(Vec<GossipRun>),
    /// How true clocks of processes are, against what they claim.
    ClockRuns(Vec<ClockRun>),
    /// Whether logical clocks tell what happened before what, in simulation.
    Causality(Vec<Causality>),
    /// Whether replicated data types come to the same however they are delivered.
    Payloads(Vec<Payload>),
    /// What they take to send and to merge.
    PayloadCosts(Vec<PayloadCost>),
}

/// A distribution in four numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quartet {
    /// One in twenty is below.
    pub p05: f64,
    /// Half are below.
    pub p50: f64,
    /// One in twenty is above.
    pub p95: f64,
    /// The largest.
    pub max: f64,
}

impl Quartet {
    /// Of values in any order, by the nearest rank; `None` if there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| values[((share * values.len() as f64).ceil() as usize).clamp(1, last + 1) - 1];
        Some(Self { p05: at(0.05), p50: at(0.5), p95: at(0.95), max: values[last] })
    }
}

/// How many of the trials, with Wilson's interval of 95 %: sound for few events, too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// How many.
    pub events: u64,
    /// The lower end of the share's interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Findings {
    /// The study's name: that of its folder and its block.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GossipRounds(_) => "gossip-rounds",
            Self::GossipErrors(_) => "gossip-errors",
            Self::GossipScale(_) => "gossip-scale",
            Self::GossipRuns(_) => "gossip-runs",
            Self::ClockRuns(_) => "clock-runs",
            Self::Causality(_) => "causality",
            Self::Payloads(_) => "payloads",
            Self::PayloadCosts(_) => "payload-costs",
        }
    }

    /// Whether everything that was judged is as it must be.
    pub fn holds(&self) -> bool {
        match self {
            Self::GossipRounds(rows) => rows.iter().all(|row| row.verdict.holds()),
            Self::GossipErrors(_) => true,
            Self::GossipScale(rows) => rows.iter().all(|row| row.verdict.holds()),
            Self::GossipRuns(rows) => rows.iter().all(|row| row.verdict.holds()),
            Self::ClockRuns(rows) => rows.iter().all(ClockRun::is_as_expected),
            Self::Causality(rows) => rows.iter().all(|row| row.verdict == row.expected),
            Self::Payloads(rows) => rows.iter().all(|row| row.verdict.holds()),
            Self::PayloadCosts(rows) => rows.iter().all(|row| row.verdict.holds()),
        }
    }

    /// How much was counted: larger for the same question if it was asked more often, or of more.
    fn thoroughness(&self) -> u64 {
        match self {
            Self::GossipRounds(rows) => rows.iter().map(|row| row.worlds).sum(),
            Self::GossipErrors(rows) => rows.iter().map(|row| row.probes).sum(),
            Self::GossipScale(rows) => rows.iter().map(|row| row.nodes * row.rounds).sum(),
            Self::GossipRuns(rows) => rows.iter().map(|row| row.updates).sum(),
            Self::ClockRuns(rows) => rows.iter().map(|row| row.samples).sum(),
            Self::Causality(rows) => rows.iter().map(|row| row.pairs).sum(),
            Self::Payloads(rows) => rows.iter().map(|row| row.operations).sum(),
            Self::PayloadCosts(rows) => rows.len() as u64,
        }
    }

    fn is_consistent(&self) -> bool {
        match self {
            Self::GossipRuns(rows) => rows.iter().all(GossipRun::is_consistent),
            Self::ClockRuns(rows) => rows.iter().all(ClockRun::is_consistent),
            Self::Causality(rows) => rows.iter().all(Causality::is_consistent),
            Self::Payloads(rows) => rows.iter().all(Payload::is_consistent),
            Self::PayloadCosts(rows) => rows.iter().all(PayloadCost::is_consistent),
            _ => true,
        }
    }

    /// Its table.
    pub fn layout(&self) -> Layout {
        match self {
            Self::GossipRounds(rows) => gossip_worlds::rounds_layout(rows),
            Self::GossipErrors(rows) => gossip_worlds::errors_layout(rows),
            Self::GossipScale(rows) => gossip_worlds::scale_layout(rows),
            Self::GossipRuns(rows) => gossip_run::layout(rows),
            Self::ClockRuns(rows) => clock_run::layout(rows),
            Self::Causality(rows) => causality::layout(rows),
            Self::Payloads(rows) => payloads::layout(rows),
            Self::PayloadCosts(rows) => payloads::costs_layout(rows),
        }
    }
}

impl Study {
    /// Writes it under `results`; the answer is where.
    pub fn write(&self, results: &Path) -> Result<PathBuf, RunError> {
        kept::write(&results.join(STUDIES), self.findings.name(), (&self.began, &self.code), self)
    }

    /// Every study under `results`, oldest first for each question.
    pub fn read_all(results: &Path) -> Result<Vec<Self>, RunError> {
        kept::read_all(&results.join(STUDIES))
    }

    /// What contradicts itself in it.
    pub fn problems(&self) -> Vec<String> {
        let checks = [
            (self.format == FORMAT, "format is of another version"),
            (Utc::parse_compact(&self.began).is_some(), "began is no time"),
            (!self.findings.layout().rows.is_empty(), "nothing was found"),
            (self.findings.is_consistent(), "figures contradict each other"),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what.to_owned()).collect()
    }
}

/// The newest study of each question, by its name, of those that counted at least half as much as the one that counted most.
pub fn newest(studies: &[Study]) -> BTreeMap<&'static str, &Study> {
    let names: BTreeSet<&str> = studies.iter().map(|study| study.findings.name()).collect();
    let newest = |name| {
        let of_it = studies.iter().filter(move |study| study.findings.name() == name);
        let newest = kept::newest(of_it, |study| study.findings.thoroughness(), |study| &study.began);
        newest.map(|study| (name, study))
    };
    names.into_iter().filter_map(newest).collect()
}

fn word(text: &str) -> Entry {
    Entry { value: text.to_owned(), ..Entry::default() }
}

fn figure(value: String) -> Entry {
    Entry { value, is_number: true, ..Entry::default() }
}

fn number(value: f64) -> Entry {
    figure(count(value))
}

fn decimal(value: f64) -> Entry {
    figure(format!("{value:.2}"))
}

fn spread(quartet: Quartet) -> Entry {
    spread_of(quartet, count)
}

fn spread_of(quartet: Quartet, form: fn(f64) -> String) -> Entry {
    let detail = range(quartet.p05, quartet.p95, form);
    Entry { value: form(quartet.p50), detail, is_number: true }
}

fn share(share: Share, trials: u64) -> Entry {
    let value = percent(share.events as f64 / trials.max(1) as f64);
    Entry { value, detail: range(share.low, share.high, percent), is_number: true }
}

fn is_rising(quartet: Quartet) -> bool {
    [quartet.p05, quartet.p50, quartet.p95, quartet.max].is_sorted()
}

fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Verdict;

    pub(crate) fn rounds(exchange: &str, nodes: u64) -> GossipRounds {
        let around = |p50: f64| Quartet { p05: p50 - 1.0, p50, p95: p50 + 1.0, max: p50 + 2.0 };
        GossipRounds {
            exchange: exchange.into(),
            nodes,
            fanout: 3,
            worlds: 20,
            rounds_to_half: around(4.0),
            rounds_to_most: around(6.0),
            rounds_to_all: around(7.0),
            expected_rounds: 8.0,
            mean_field_rounds: 7,
            bytes_per_node: 1234.0,
            verdict: Verdict::Converged,
        }
    }

    pub(crate) fn gossip_run(cell: &str, exchange: &str, nodes: u64) -> GossipRun {
        let times = |p50: f64| Quartet { p05: p50 / 2.0, p50, p95: p50 * 1.5, max: p50 * 2.0 };
        let none = Share { events: 0, low: 0.0, high: 0.001 };
        GossipRun {
            cell: cell.into(),
            round: 1,
            seed: 7,
            exchange: exchange.into(),
            nodes,
            fanout: 3,
            round_interval_ms: 100,
            probe_interval_ms: 500,
            loss_percent: 0,
            offered_per_s: 20.0,
            measure_ms: 10_000,
            updates: 200,
            unanswered: 0,
            lag_ns_max: 1_000_000,
            ns_to_half: times(100e6),
            ns_to_most: times(200e6),
            ns_to_all: times(200e6),
            rounds_to_all: times(2.0),
            expected_rounds: 3.0,
            bytes_per_node_per_update: 1234.0,
            udp_bytes_per_node_per_update: 2345.0,
            datagrams: 10_000,
            datagrams_lost: 0,
            messages_dropped: 0,
            probes: 500,
            unanswered_probes: Some(none),
            false_deaths: none,
            killed: 0,
            partitioned: false,
            detection_ns: None,
            verdict: Verdict::Converged,
        }
    }

    fn clock_run(expected: Expected, verdict: Verdict, claims: u64) -> ClockRun {
        let tail = Tail { p50: 100_000, p99: 200_000, max: 300_000 };
        ClockRun {
            cell: "one-source".into(),
            round: 1,
            seed: 7,
            followers: 3,
            references: 1,
            false_by_us: vec![],
            poll_interval_ms: 100,
            delay_ms: 0,
            jitter_ms: 0,
            loss_percent: 0,
            busy_threads: 0,
            isolated: false,
            measure_ms: 1_000,
            samples: 100,
            claims,
            bound_ns: Some(tail).filter(|_| claims > 0),
            error_ns: Some(tail).filter(|_| claims > 0),
            outside: Share { events: 0, low: 0.0, high: 0.1 },
            steps: 0,
            questions: 10,
            answers: 10,
            out_voted_max: 0,
            disputed: 0,
            expected,
            verdict,
        }
    }

    pub(crate) fn study(began: &str, findings: Findings) -> Study {
        Study {
            format: FORMAT,
            began: began.into(),
            elapsed_ms: 1_500,
            findings,
            code: Code { git_commit: "0123456789abcdef".into(), ..Code::default() },
            machine: Machine::default(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_newest_of_each_question_counts() {
        let results = tempfile::tempdir().unwrap();
        assert_eq!(Study::read_all(results.path()).unwrap(), []);
        let rounds = || Findings::GossipRounds(vec![rounds("push", 100)]);
        let all = [study("20260101T000000Z", rounds()), study("20260201T000000Z", rounds())];
        for study in &all {
            study.write(results.path()).unwrap();
            assert!(study.problems().is_empty());
        }
        let read = Study::read_all(results.path()).unwrap();
        assert_eq!(read, all);
        assert_eq!(newest(&read)["gossip-rounds"], &all[1]);
    }

    #[test]
    fn a_study_is_a_table_and_what_does_not_hold_is_said() {
        let mut findings = Findings::GossipRounds(vec![rounds("push", 100)]);
        let layout = findings.layout();
        let values: Vec<&str> = layout.rows[0].iter().map(|entry| &*entry.value).collect();
        assert_eq!(values[..6], ["push", "100", "20", "4", "6", "7"]);
        assert_eq!((values[8], values[10]), ("0.88×", "converged"));
        assert!(findings.holds() && layout.caption.contains("k = 3"));
        let Findings::GossipRounds(rows) = &mut findings else { unreachable!() };
        rows[0].verdict = Verdict::Violated;
        assert!(!findings.holds());
        assert_eq!(study("yesterday", Findings::GossipErrors(vec![])).problems().len(), 2);
    }

    #[test]
    fn processes_have_their_tables_too() {
        let runs = Findings::GossipRuns(vec![gossip_run("spread", "push", 8)]);
        let layout = runs.layout();
        let values: Vec<&str> = layout.rows[0].iter().map(|entry| &*entry.value).collect();
        assert_eq!(values[6..11], ["100 ms", "200 ms", "200 ms", "2.0", "3.00"]);
        assert_eq!((layout.headings.len(), values[15]), (values.len(), "converged"));
        assert!(layout.caption.contains("a round every 100 ms") && runs.holds());

        let clocks = Findings::ClockRuns(vec![clock_run(Expected::Sound, Verdict::Sound, 100)]);
        let layout = clocks.layout();
        let values: Vec<&str> = layout.rows[0].iter().map(|entry| &*entry.value).collect();
        assert_eq!(
            values[1..9],
            ["1 (0)", "as it is", "100", "100 µs", "200 µs", "100 µs", "200 µs", "300 µs"]
        );
        assert_eq!((layout.headings.len(), values[13]), (values.len(), "sound"));
    }

    #[test]
    fn figures_that_contradict_each_other_are_found() {
        let problems = |findings| study("20260101T000000Z", findings).problems();
        let gossip = gossip_run("spread", "push", 8);
        assert!(problems(Findings::GossipRuns(vec![gossip.clone()])).is_empty());
        let early =
            GossipRun { ns_to_all: gossip.ns_to_half, ns_to_half: gossip.ns_to_all, ..gossip.clone() };
        let lost = GossipRun { unanswered: 1, ..gossip };
        let clock = clock_run(Expected::Sound, Verdict::Sound, 100);
        assert!(problems(Findings::ClockRuns(vec![clock.clone()])).is_empty());
        let stepped = ClockRun { steps: 1, ..clock.clone() };
        let claimless = ClockRun { claims: 0, ..clock };
        for findings in [
            Findings::GossipRuns(vec![early]),
            Findings::GossipRuns(vec![lost]),
            Findings::ClockRuns(vec![stepped]),
            Findings::ClockRuns(vec![claimless]),
        ] {
            assert_eq!(problems(findings), ["figures contradict each other"]);
        }
    }

    #[test]
    fn a_control_holds_if_it_fails_as_it_must() {
        let holds = |expected, verdict, claims| {
            Findings::ClockRuns(vec![clock_run(expected, verdict, claims)]).holds()
        };
        assert!(holds(Expected::Sound, Verdict::Sound, 5));
        assert!(!holds(Expected::Sound, Verdict::Violated, 5));
        assert!(!holds(Expected::Sound, Verdict::Sound, 0), "silence is not what was asked for");
        assert!(holds(Expected::Refused, Verdict::Sound, 0));
        assert!(!holds(Expected::Refused, Verdict::Sound, 5));
        assert!(!holds(Expected::Refused, Verdict::Unknown, 0));
        assert!(holds(Expected::Violated, Verdict::Violated, 5));
        assert!(!holds(Expected::Violated, Verdict::Sound, 5));
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let quartet = Quartet::of((1..=20).rev().map(f64::from).collect()).unwrap();
        assert_eq!(quartet, Quartet { p05: 1.0, p50: 10.0, p95: 19.0, max: 20.0 });
        assert_eq!(Quartet::of(vec![3.0]).map(|quartet| quartet.p05), Some(3.0));
        assert_eq!(Quartet::of(vec![]), None);
    }
}
