//! Studies: questions to simulated worlds and to the data types themselves, each answered by a table with verdicts.
//!
//! | module | its question |
//! |---|---|
//! | `spread` | how fast gossip spreads among thousands, and how often members err |
//! | `causality` | whether clocks tell what happened before what, and what that costs |
//! | `payloads` | whether replicated data types converge however they are delivered, and what they cost |

mod causality;
mod payloads;
mod spread;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use qlab_report::study::{self, Findings};
use qlab_report::{Study, Utc, Verdict, table};

use crate::clock::Stopwatch;
use crate::interrupt::Interrupt;
use crate::sim::Told;
use crate::{code, machine};

const EXAMPLES: &str = "\
Examples:
  qlab study spread                       rounds until everybody knows, up to 10,000 nodes
  qlab study causality                    do vector, Lamport's and hybrid clocks tell the truth?
  qlab study payloads                     do data types converge, and what do deltas save?
  qlab study causality --worlds 5 --json  fewer worlds, as JSON lines
  qlab study spread --out results         kept, for qlab book to show

Exit code: 0 when every verdict is the one that is expected, 1 when one is not or something failed.";

/// Flags of `study`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct StudyArgs {
    /// The question.
    #[arg(value_name = "NAME")]
    pub question: Question,
    /// Worlds of each size; of payloads, tens of histories of each kind. Their seeds count from 0.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub worlds: u64,
    /// Keep what is found under this folder of results.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print JSON objects instead of tables, a line for each study.
    #[arg(long)]
    pub json: bool,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// How fast gossip spreads among up to 10,000 nodes, and how often members err about each other.
    Spread,
    /// Whether vector, Lamport's and hybrid clocks tell what happened before what, and what that costs.
    Causality,
    /// Whether replicated data types come to the same however their changes are delivered, and what that costs.
    Payloads,
}

/// Asks the question, and keeps what is found if that is wanted. Nothing is kept of one that was interrupted.
pub fn study(args: &StudyArgs, interrupt: &Interrupt) -> anyhow::Result<Told> {
    if let Some(out) = &args.out {
        // Before minutes are spent on what could not be kept.
        fs::create_dir_all(out).with_context(|| format!("cannot write to {}", out.display()))?;
    }
    let studies = match args.question {
        Question::Spread => spread::studies(args.worlds, interrupt)?,
        Question::Causality => vec![causality::study(args.worlds, interrupt)?],
        Question::Payloads => payloads::studies(args.worlds, interrupt)?,
    };
    told(&studies, args.out.as_deref(), args.json)
}

/// A study: what `find` finds, and where and when it did.
pub(crate) fn finish(find: impl FnOnce() -> anyhow::Result<Findings>) -> anyhow::Result<Study> {
    // Before it begins: the checkout may move on meanwhile.
    let (began, code, watch) = (Utc::now(), code::code(), Stopwatch::start());
    let findings = find()?;
    Ok(Study {
        format: study::FORMAT,
        began: began.compact(),
        elapsed_ms: millis(watch.elapsed()),
        findings,
        code,
        machine: machine::machine(Path::new(".")),
    })
}

/// What to print of these studies, once they are kept under `out`, if they are.
pub(crate) fn told(studies: &[Study], out: Option<&Path>, json: bool) -> anyhow::Result<Told> {
    let mut text = String::new();
    for study in studies {
        text += &if json {
            serde_json::to_string(study)? + "\n"
        } else {
            table::render(&study.findings.layout(), None) + "\n"
        };
        if let Some(out) = out {
            let path = study.write(out)?;
            if !json {
                text += &format!("{}\n", path.display());
            }
        }
    }
    Ok(Told { text, holds: studies.iter().all(|study| study.findings.holds()) })
}

/// How far a study is, for people, and whether it is to go on.
struct Progress<'a> {
    bar: ProgressBar,
    interrupt: &'a Interrupt,
}

impl<'a> Progress<'a> {
    fn new(steps: usize, interrupt: &'a Interrupt) -> anyhow::Result<Self> {
        let style =
            ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len}").context("a template")?;
        Ok(Self { bar: ProgressBar::new(steps as u64).with_style(style), interrupt })
    }

    /// Another step is done. Fails if nobody wants the next.
    fn step(&self) -> anyhow::Result<()> {
        self.bar.inc(1);
        if self.interrupt.is_asked() { bail!("interrupted: nothing is kept") } else { Ok(()) }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn converged(holds: bool) -> Verdict {
    if holds { Verdict::Converged } else { Verdict::Violated }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use qlab_report::study::{GossipErrors, Share};

    use super::*;

    #[test]
    fn a_study_is_kept_and_told() {
        let results = tempfile::tempdir().unwrap();
        let never = Share { events: 0, low: 0.0, high: 0.1 };
        let row = GossipErrors {
            nodes: 8,
            loss_percent: 10,
            probes: 100,
            unanswered: never,
            unanswered_expected: 0.0,
            declared_dead: never,
        };
        let study = finish(|| Ok(Findings::GossipErrors(vec![row]))).unwrap();
        let told = told(&[study], Some(results.path()), false).unwrap();
        assert!(told.holds && told.text.contains("unanswered"), "{}", told.text);
        assert_eq!(Study::read_all(results.path()).unwrap().len(), 1);
    }

    #[test]
    fn who_asks_for_an_end_gets_one_and_nothing_is_kept() {
        let results = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        interrupt.ask();
        for question in Question::value_variants() {
            let args =
                StudyArgs { question: *question, worlds: 1, out: Some(results.path().into()), json: false };
            let error = study(&args, &interrupt).unwrap_err().to_string();
            assert!(error.contains("nothing is kept"), "{question:?}: {error}");
        }
        assert_eq!(Study::read_all(results.path()).unwrap(), []);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let out = Some(file.path().join("results"));
        let args = StudyArgs { question: Question::Spread, worlds: 10_000, out, json: false };
        let error = study(&args, &Interrupt::default()).unwrap_err().to_string();
        assert!(error.contains("cannot write to"), "{error}");
    }
}
