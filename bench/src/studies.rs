//! Plans whose cells are no load on a replicated service but a question to processes: how fast gossip spreads among them, how true
//! their clocks are. What is found is kept as a study.
//!
//! | module | what it holds |
//! |---|---|
//! | `gossip` | clusters that gossip: updates that come by the clock, deaths, and who knew what when |
//! | `clock` | clusters that keep time by bent oscillators, and how wrong they are |

mod clock;
mod gossip;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use qlab_report::study::Findings;
use serde::{Deserialize, Deserializer};

use crate::clock::{Stopwatch, wait};
use crate::fleet::Fleet;
use crate::interrupt::Interrupt;
use crate::plan::parse_duration;
use crate::sim::Told;
use crate::study::{finish, told};

/// How often a cluster is asked whether it is where it should be.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// The plans inside the program, by name.
const EMBEDDED: [(&str, &str); 4] = [
    ("gossip", include_str!("../plans/gossip.toml")),
    ("gossip-quick", include_str!("../plans/gossip-quick.toml")),
    ("clock", include_str!("../plans/clock.toml")),
    ("clock-quick", include_str!("../plans/clock-quick.toml")),
];

/// Their names.
pub const NAMES: [&str; EMBEDDED.len()] = [EMBEDDED[0].0, EMBEDDED[1].0, EMBEDDED[2].0, EMBEDDED[3].0];

/// A plan's text is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct PlanError {
    place: String,
    reason: String,
}

impl PlanError {
    /// `place` is what the value came from.
    pub(crate) fn new(place: &str, reason: String) -> Self {
        Self { place: place.to_owned(), reason }
    }
}

/// A plan that asks processes a question.
#[derive(Clone, Debug)]
pub struct Plan {
    questions: Questions,
    /// How often every cell is asked; each time is one row.
    rounds: u32,
    /// Seed of everything drawn.
    seed: u64,
    /// How long each cell is watched.
    measure: Duration,
}

#[derive(Clone, Debug)]
enum Questions {
    Gossip(Vec<gossip::Point>),
    Clock(Vec<clock::Point>),
}

/// A plan as it is written, but for its cells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<C> {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "description")]
    _description: String,
    rounds: u32,
    #[serde(deserialize_with = "duration")]
    measure: Duration,
    seed: u64,
    cell: Vec<C>,
}

/// What the command line changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// How often every cell is asked.
    pub rounds: Option<u32>,
    /// Seed of everything drawn.
    pub seed: Option<u64>,
    /// How long each cell is watched.
    pub measure: Option<Duration>,
}

/// One cluster that a question is put to.
#[derive(Clone, Copy, Debug)]
struct Slot<'a> {
    round: u32,
    seed: u64,
    measure: Duration,
    program: &'a Path,
    dir: &'a Path,
    interrupt: &'a Interrupt,
}

impl Plan {
    /// Reads a plan by name or from a path; `None` if it is not one of these.
    pub fn find(name_or_path: &str) -> Result<Option<Self>, PlanError> {
        let embedded = EMBEDDED.iter().find(|(name, _)| *name == name_or_path);
        let text = match embedded {
            Some((_, text)) => (*text).to_owned(),
            // Whoever reads other plans says what is wrong with a file that cannot be read.
            None => fs::read_to_string(name_or_path).unwrap_or_default(),
        };
        let wrong = |reason| PlanError::new(name_or_path, reason);
        let Ok(mut table) = text.parse::<toml::Table>() else { return Ok(None) };
        let Some(study) = table.remove("study") else { return Ok(None) };
        match study.as_str() {
            Some("gossip") => Self::read(table, gossip::expand, Questions::Gossip).map(Some).map_err(wrong),
            Some("clock") => Self::read(table, clock::expand, Questions::Clock).map(Some).map_err(wrong),
            _ => Err(wrong(format!("study is {study}, but there are only \"gossip\" and \"clock\""))),
        }
    }

    fn read<C: for<'a> Deserialize<'a>, P>(
        table: toml::Table,
        expand: fn(C) -> Result<Vec<P>, String>,
        questions: fn(Vec<P>) -> Questions,
    ) -> Result<Self, String> {
        let written: Written<C> = table.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        let points: Vec<Vec<P>> = written.cell.into_iter().map(expand).collect::<Result<_, _>>()?;
        Ok(Self {
            questions: questions(points.into_iter().flatten().collect()),
            rounds: written.rounds,
            seed: written.seed,
            measure: written.measure,
        })
    }

    /// The plan with some values replaced.
    #[must_use]
    pub fn with(self, changes: Changes) -> Self {
        Self {
            rounds: changes.rounds.unwrap_or(self.rounds),
            seed: changes.seed.unwrap_or(self.seed),
            measure: changes.measure.unwrap_or(self.measure),
            ..self
        }
    }
}

/// Asks everything with processes of `program`, and keeps what is found under `out`.
pub fn run(
    plan: &Plan,
    program: &Path,
    out: &Path,
    json: bool,
    interrupt: &Interrupt,
) -> anyhow::Result<Told> {
    let work = out.join(format!(".work-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot write to {}", out.display()))?;
    let slots = Slots { plan, program, work: &work, interrupt };
    let study = finish(|| match &plan.questions {
        Questions::Gossip(points) => {
            slots.each(points, |point| &point.cell, gossip::observe).map(Findings::GossipRuns)
        }
        Questions::Clock(points) => {
            slots.each(points, |point| &point.cell, clock::observe).map(Findings::ClockRuns)
        }
    });
    let study = match study {
        // Of one that was broken off nothing failed, and there is nothing to look at.
        Err(error) if !interrupt.is_asked() => {
            return Err(error.context(format!("a failed cluster's logs are in {}", work.display())));
        }
        study => study,
    };
    let _ = fs::remove_dir_all(&work);
    told(&[study?], Some(out), json)
}

struct Slots<'a> {
    plan: &'a Plan,
    program: &'a Path,
    work: &'a Path,
    interrupt: &'a Interrupt,
}

impl Slots<'_> {
    /// One row for every point and round, each of a cluster of its own.
    fn each<P, R>(
        &self,
        points: &[P],
        name: fn(&P) -> &String,
        observe: fn(&P, Slot<'_>) -> anyhow::Result<R>,
    ) -> anyhow::Result<Vec<R>> {
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}")
            .context("a template")?;
        let bar = ProgressBar::new(u64::from(self.plan.rounds) * points.len() as u64).with_style(style);
        let mut rows = Vec::new();
        for round in 1..=self.plan.rounds {
            for (number, point) in points.iter().enumerate() {
                let step = format!("round {round}, {}", name(point));
                bar.set_message(step.clone());
                let dir: PathBuf = self.work.join(format!("{round}-{number}"));
                let slot = Slot {
                    round,
                    seed: self.plan.seed.wrapping_add(u64::from(round) - 1),
                    measure: self.plan.measure,
                    program: self.program,
                    dir: &dir,
                    interrupt: self.interrupt,
                };
                rows.push(observe(point, slot).context(step)?);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(rows)
    }
}

/// Asks again and again until `done` answers something; nothing if that takes too long.
fn until<T>(
    fleet: &mut Fleet,
    patience: Duration,
    interrupt: &Interrupt,
    mut done: impl FnMut(&mut Fleet) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Option<T>> {
    let waited = Stopwatch::start();
    while waited.elapsed() < patience {
        anyhow::ensure!(!interrupt.is_asked(), "interrupted: nothing is kept");
        fleet.expect_alive()?;
        if let Some(found) = done(fleet)? {
            return Ok(Some(found));
        }
        wait(WATCH_INTERVAL);
    }
    Ok(None)
}

/// A value, or several, each of which makes a cell of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom(format!("{text:?} is no time: write 500ms, 2s or 1m"));
    parse_duration(&text).ok_or_else(wrong)
}

fn in_range(field: &str, value: f64, min: f64, max: f64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{field} is {value}, but must be {min} to {max}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.toml");
        fs::write(&path, text).unwrap();
        Plan::find(path.to_str().unwrap()).unwrap_err().to_string()
    }

    const HEADER: &str = "name = \"x\"\ndescription = \"\"\nrounds = 1\nmeasure = \"1s\"\nseed = 1\n";

    #[test]
    fn every_embedded_plan_is_sound_and_other_plans_are_not_these() {
        for name in NAMES {
            let plan = Plan::find(name).unwrap().unwrap();
            assert!(plan.rounds > 0 && plan.measure > Duration::ZERO, "{name}");
        }
        assert!(Plan::find("quick").unwrap().is_none());
        assert!(Plan::find("./none.toml").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_with_a_plan_is_said() {
        assert!(refusal("study = \"weather\"").contains("only \"gossip\" and \"clock\""));
        assert!(refusal(&format!("study = \"gossip\"\n{HEADER}")).contains("missing field `cell`"));
        let gossip =
            |cell: &str| refusal(&format!("study = \"gossip\"\n{HEADER}[[cell]]\nname = \"c\"\n{cell}"));
        assert!(gossip("nodes = 8\nfanin = 3").contains("unknown field `fanin`"));
        assert!(gossip("nodes = 33").contains("nodes is 33, but must be 2 to 32"));
        assert!(gossip("nodes = 8\nkills = 8").contains("kills is 8, but must be 0 to 7"));
        assert!(gossip("nodes = 8\nexchange = \"shout\"").contains("`push`, `pull`, `push-pull`"));
        let clock =
            |cell: &str| refusal(&format!("study = \"clock\"\n{HEADER}[[cell]]\nname = \"c\"\n{cell}"));
        assert!(clock("references = 0\nfollowers = 1").contains("references"));
        assert!(clock("references = 1\nfollowers = 1\nfalse_by_us = [1, 2]").contains("false_by_us names 2"));
    }
}
