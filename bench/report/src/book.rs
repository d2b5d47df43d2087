//! The generated blocks of the README files and the charts, derived from the committed runs, and whether they are stale.
//!
//! | block | what it shows |
//! |---|---|
//! | `table PLAN` | the newest usable run of the plan |
//! | `ratios PLAN [SYSTEM]` | its systems over that one, or over the unreplicated floor, paired by round |
//! | `settings PLAN CELL` | its systems in the other cells over themselves in that one, paired by round |
//! | `faults` | of every plan with faults the newest usable run: what they did, as a table and as a chart |
//! | `runs` | every run there is |
//! | `campaigns` | the newest campaign of simulated worlds of each system |
//! | `campaign SYSTEM` | what happened in one |
//! | `study NAME` | the newest study of a question, as a table and, where one says more, a chart |
//!
//! A chart is a file of its own, `results/book/charts/PLAN-recovery.svg` or `NAME.svg`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    Run, RunError, Status, Study,
    campaign::{self, Campaign},
    chart::{self, ChartError},
    fault_table, kept,
    layout::{Entry, Layout},
    markdown::{self, BlockError, Blocks},
    numbers::{or_absent, range, ratio},
    ratios::{FLOOR, Metric, Side, paired},
    rows::rows,
    run_dir::file_name,
    study, study_chart,
};

/// The files with generated blocks, from the repository's root. One that is missing has none.
pub const FILES: [&str; 2] = ["README.md", "results/README.md"];
/// The folder of results, from the repository's root.
pub const RESULTS: &str = "results";
/// The folder of charts, from the folder of results.
pub const CHARTS: &str = "book/charts";
/// How the names of a run's charts end, after the plan's.
const RECOVERY_SUFFIX: &str = "-recovery.svg";
/// How the names of all charts end.
const CHART_SUFFIX: &str = ".svg";
/// The name of a chart as a block that may be stale.
const CHART: &str = "chart";

/// Why the book could not be derived.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// A run cannot be read: `qlab results validate` says more.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A file's markers do not pair.
    #[error("{path}: {reason}")]
    Markers {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: BlockError,
    },
    /// A run has no chart that can be drawn.
    #[error("{path}: {reason}")]
    Chart {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: ChartError,
    },
    /// A block asks for what there is not.
    #[error("{path}: block {name:?}: {reason}")]
    Block {
        /// Where.
        path: PathBuf,
        /// The block.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A block or a chart that is not what the runs say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The file.
    pub path: PathBuf,
    /// The block; `chart` of a file that is one.
    pub name: String,
}

/// What to do about stale blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Leave the files alone.
    Check,
    /// Write the files anew.
    Write,
}

/// Derives every generated block and every chart under the repository's root; returns those that were stale.
pub fn refresh(root: &Path, mode: Mode) -> Result<Vec<Stale>, BookError> {
    let results = root.join(RESULTS);
    let found = Found {
        runs: Run::read_all(&results)?,
        campaigns: Campaign::read_all(&results)?,
        studies: Study::read_all(&results)?,
    };
    let mut stale = Vec::new();
    for path in FILES.map(|file| root.join(file)) {
        if path.exists() {
            stale.extend(refresh_file(&path, &found, mode)?);
        }
    }
    stale.extend(refresh_charts(&results.join(CHARTS), &found, mode)?);
    Ok(stale)
}

/// Writes the charts, and removes those that no run and no study has any more.
fn refresh_charts(dir: &Path, found: &Found, mode: Mode) -> Result<Vec<Stale>, BookError> {
    let io = |reason| BookError::Io { path: dir.to_owned(), reason };
    let charts = charts(dir, found)?;
    let there: BTreeSet<PathBuf> = match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(io)?,
        Err(_) => BTreeSet::new(),
    };
    let is_new = |(path, svg): &(&PathBuf, &String)| fs::read_to_string(path).ok().as_ref() != Some(svg);
    let changed: Vec<(&PathBuf, &String)> = charts.iter().filter(is_new).collect();
    let is_left_over =
        |path: &&PathBuf| file_name(path).ends_with(CHART_SUFFIX) && !charts.contains_key(*path);
    let left_over: Vec<&PathBuf> = there.iter().filter(is_left_over).collect();
    if mode == Mode::Write && !changed.is_empty() {
        fs::create_dir_all(dir).map_err(io)?;
    }
    if mode == Mode::Write {
        changed.iter().try_for_each(|(path, svg)| fs::write(path, svg)).map_err(io)?;
        left_over.iter().try_for_each(fs::remove_file).map_err(io)?;
    }
    let stale = changed.iter().map(|(path, _)| *path).chain(left_over);
    Ok(stale.map(|path| Stale { path: path.clone(), name: CHART.to_owned() }).collect())
}

fn charts(dir: &Path, found: &Found) -> Result<BTreeMap<PathBuf, String>, BookError> {
    let mut charts = BTreeMap::new();
    let undrawn = |path: &PathBuf| {
        let path = path.clone();
        |reason| BookError::Chart { path, reason }
    };
    for run in fault_runs(&found.runs) {
        let path = dir.join(chart_name(run));
        let svg = chart::recovery(&run.cells, &run.slices()?).map_err(undrawn(&path))?;
        charts.extend(svg.map(|svg| (path, svg)));
    }
    for (name, study) in study::newest(&found.studies) {
        let path = dir.join(format!("{name}{CHART_SUFFIX}"));
        let svg = study_chart::draw(study).map_err(undrawn(&path))?;
        charts.extend(svg.map(|svg| (path, svg)));
    }
    Ok(charts)
}

fn chart_name(run: &Run) -> String {
    format!("{}{RECOVERY_SUFFIX}", run.manifest.plan)
}

/// Of every plan with faults, the newest usable run.
fn fault_runs(runs: &[Run]) -> Vec<&Run> {
    let plans: BTreeSet<&str> = runs.iter().map(|run| &run.manifest.plan[..]).collect();
    let newest = plans.into_iter().filter_map(|plan| newest(plan, runs).ok());
    newest.filter(|run| run.cells.iter().any(|cell| !cell.faults.is_empty())).collect()
}

/// Everything that is committed.
struct Found {
    runs: Vec<Run>,
    campaigns: Vec<Campaign>,
    studies: Vec<Study>,
}

fn refresh_file(path: &Path, found: &Found, mode: Mode) -> Result<Vec<Stale>, BookError> {
    let io = |reason| BookError::Io { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(io)?;
    let blocks =
        Blocks::parse(&text).map_err(|reason| BookError::Markers { path: path.to_owned(), reason })?;
    let derive = |name: &str| {
        block(name, found, &charts_from(path)).map_err(|reason| BookError::Block {
            path: path.to_owned(),
            name: name.to_owned(),
            reason,
        })
    };
    let bodies = blocks.iter().map(|(name, _)| derive(name)).collect::<Result<Vec<_>, _>>()?;
    let outdated = blocks.iter().zip(&bodies).filter(|((_, old), new)| old != new);
    let stale: Vec<Stale> =
        outdated.map(|((name, _), _)| Stale { path: path.to_owned(), name: name.to_owned() }).collect();
    if mode == Mode::Write && !stale.is_empty() {
        let mut bodies = bodies.into_iter();
        fs::write(path, blocks.render(|_| bodies.next().unwrap_or_default())).map_err(io)?;
    }
    Ok(stale)
}

/// The way from a file to the charts.
fn charts_from(path: &Path) -> String {
    let is_in_results = path.parent().is_some_and(|dir| dir.ends_with(RESULTS));
    if is_in_results { CHARTS.to_owned() } else { format!("{RESULTS}/{CHARTS}") }
}

/// The text of one block.
fn block(name: &str, Found { runs, campaigns, studies }: &Found, charts: &str) -> Result<String, String> {
    let newest_campaigns = campaign::newest(campaigns);
    match name.split_whitespace().collect::<Vec<_>>()[..] {
        ["table", plan] => {
            newest(plan, runs).map(|run| markdown::table(&Layout::of(&run.cells)) + &origin(run))
        }
        ["freshness", plan] => {
            newest(plan, runs).map(|run| markdown::table(&Layout::freshness(&run.cells)) + &origin(run))
        }
        ["ratios", plan] => {
            newest(plan, runs).map(|run| markdown::table(&over_system(run, FLOOR)) + &origin(run))
        }
        ["ratios", plan, base] => {
            newest(plan, runs).map(|run| markdown::table(&over_system(run, base)) + &origin(run))
        }
        ["settings", plan, base] => {
            newest(plan, runs).map(|run| markdown::table(&over_cell(run, base)) + &origin(run))
        }
        ["faults"] => Ok(faults(&fault_runs(runs), charts)),
        ["runs"] => Ok(markdown::table(&list(runs))),
        ["campaigns"] => Ok(markdown::table(&campaign::overview(&newest_campaigns))),
        ["campaign", system] => newest_campaigns
            .iter()
            .find(|campaign| campaign.system == system)
            .map(|campaign| markdown::table(&campaign::coverage(campaign)))
            .ok_or_else(|| format!("no campaign of {system:?} is in results")),
        ["study", name] => study::newest(studies)
            .get(name)
            .map(|study| told(study, charts))
            .ok_or_else(|| format!("no study {name:?} is in results")),
        _ => Err(
            "there are the blocks \"table PLAN\", \"freshness PLAN\", \"ratios PLAN [SYSTEM]\", \"settings PLAN CELL\", \"faults\", \
             \"runs\", \"campaigns\", \"campaign SYSTEM\" and \"study NAME\""
                .to_owned(),
        ),
    }
}

/// The newest run of a plan that may stand in a table: complete, neither withdrawn nor superseded.
fn newest<'a>(plan: &str, runs: &'a [Run]) -> Result<&'a Run, String> {
    let superseded =
        |run: &Run| runs.iter().any(|by| by.manifest.supersedes.as_ref() == Some(&run.manifest.run));
    let usable =
        runs.iter().filter(|run| run.manifest.plan == plan && run.manifest.is_usable() && !superseded(run));
    let measured_ms = |run: &Run| run.cells.iter().map(|cell| cell.measure_ms).sum();
    kept::newest(usable, measured_ms, |run| &run.manifest.run)
        .ok_or_else(|| format!("no complete run of the plan {plan:?} is in results"))
}

/// Where a table's numbers come from.
fn origin(run: &Run) -> String {
    let manifest = &run.manifest;
    let (code, machine) = (&manifest.code, &manifest.machine);
    let commit: String = code.git_commit.chars().take(8).collect();
    format!(
        "\n`{}` run `{}` on {} ({} cores), commit `{commit}`{}. {}.\n",
        manifest.plan,
        manifest.run,
        machine.cpu_model,
        machine.cores,
        if code.git_dirty { " with changes" } else { "" },
        manifest.summary.in_words()
    )
}

/// Each system over `base` in the same cell.
fn over_system<'a>(run: &'a Run, base: &'a str) -> Layout {
    let compared = |side: Side<'a>| {
        let there = run.cells.iter().any(|row| row.cell == side.cell && row.system == base);
        let names = [side.cell.to_owned(), format!("{} ÷ {base}", side.system)];
        (there && side.system != base).then_some((names, Side { system: base, ..side }))
    };
    ratios(run, ["cell", "systems"], compared)
}

/// Each system over itself in the cell `base`: what a setting does.
fn over_cell<'a>(run: &'a Run, base: &'a str) -> Layout {
    let compared = |side: Side<'a>| {
        let there = run.cells.iter().any(|row| row.cell == base && row.system == side.system);
        let names = [side.system.to_owned(), format!("{} ÷ {base}", side.cell)];
        (there && side.cell != base).then_some((names, Side { cell: base, ..side }))
    };
    ratios(run, ["system", "settings"], compared)
}

/// Median and range of the per-round ratios of each side and what it is compared with, if it is.
fn ratios<'a>(
    run: &'a Run,
    names: [&'static str; 2],
    compared: impl Fn(Side<'a>) -> Option<([String; 2], Side<'a>)>,
) -> Layout {
    let entry = |side, base, metric| {
        let ratio_of = paired(&run.cells, side, base, metric);
        let spread = ratio_of.spread;
        let value = or_absent(spread.map(|spread| spread.median), ratio)
            + if ratio_of.usable { "" } else { " (suspect)" };
        let detail = spread.map_or_else(String::new, |spread| range(spread.min, spread.max, ratio));
        Entry { value, detail, is_number: true }
    };
    let word = |text: String| Entry { value: text, ..Entry::default() };
    let mut pairs: Vec<_> = rows(&run.cells)
        .into_iter()
        .filter_map(|row| {
            let side = Side { cell: &row.first.cell, system: &row.first.system };
            compared(side).map(|(names, base)| (names, side, base))
        })
        .collect();
    pairs.sort_by(|(a, ..), (b, ..)| a[0].cmp(&b[0]));
    let rows = pairs.into_iter().map(|(names, side, base)| {
        let entries = Metric::ALL.map(|metric| entry(side, base, metric));
        names.map(word).into_iter().chain(entries).collect()
    });
    Layout {
        headings: names.into_iter().chain(Metric::ALL.map(Metric::name)).collect(),
        rows: rows.collect(),
        caption: "Median and min–max of the ratios of each round.".to_owned(),
    }
}

/// What faults did in these runs: a chart, a table and their origin each.
fn faults(runs: &[&Run], charts: &str) -> String {
    if runs.is_empty() {
        return "No run with faults is committed.\n".to_owned();
    }
    let part = |run: &&Run| {
        let plan = &run.manifest.plan;
        let table =
            fault_table::layout(&run.cells).map(|layout| markdown::table(&layout)).unwrap_or_default();
        let alt = format!("{plan}: throughput and latency over time, faults shaded");
        format!("![{alt}]({charts}/{})\n\n{table}{}", chart_name(run), origin(run))
    };
    runs.iter().map(part).collect::<Vec<_>>().join("\n")
}

/// A study's chart, if it has one, its table and its origin.
fn told(study: &Study, charts: &str) -> String {
    let name = study.findings.name();
    let is_drawn = matches!(study_chart::draw(study), Ok(Some(_)));
    let chart =
        if is_drawn { format!("![{name}]({charts}/{name}{CHART_SUFFIX})\n\n") } else { String::new() };
    let (code, machine) = (&study.code, &study.machine);
    let commit: String = code.git_commit.chars().take(8).collect();
    let changes = if code.git_dirty { " with changes" } else { "" };
    let origin = format!(
        "\n`{name}` of {} on {} ({} cores), commit `{commit}`{changes}.\n",
        study.began, machine.cpu_model, machine.cores
    );
    chart + &markdown::table(&study.findings.layout()) + &origin
}

fn list(runs: &[Run]) -> Layout {
    let word = |text: String| Entry { value: text, ..Entry::default() };
    let rows = runs.iter().map(|run| {
        let manifest = &run.manifest;
        let status = match (&manifest.withdrawn, manifest.status) {
            (Some(reason), _) => format!("withdrawn: {reason}"),
            (None, Status::Complete) => "complete".to_owned(),
            (None, Status::Interrupted) => "interrupted".to_owned(),
        };
        let machine = format!("`{}` {}", manifest.machine_key, manifest.machine.cpu_model);
        let names = [manifest.plan.clone(), format!("`{}`", manifest.run), machine];
        names.into_iter().chain([status, manifest.summary.in_words()]).map(word).collect()
    });
    let headings = vec!["plan", "run", "machine", "status", "verdicts and validity"];
    Layout { headings, rows: rows.collect(), caption: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fault_run, sample_run, write_run, write_run_with_slices};

    fn book(readme: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("README.md"), readme).unwrap();
        write_run(&root.path().join(RESULTS), "floor", &sample_run());
        root
    }

    fn marked(name: &str) -> String {
        format!("<!-- qlab:begin {name} -->\n<!-- qlab:end {name} -->\n")
    }

    #[test]
    fn a_check_names_stale_blocks_and_a_write_mends_them() {
        let root = book(&["table floor", "ratios floor", "runs"].map(marked).concat());
        let stale = |mode| -> Vec<String> {
            refresh(root.path(), mode).unwrap().into_iter().map(|stale| stale.name).collect()
        };
        let all = ["table floor", "ratios floor", "runs"];
        assert_eq!(stale(Mode::Check), all);
        assert_eq!(stale(Mode::Check), all, "a check leaves the files alone");
        assert_eq!(stale(Mode::Write), all);
        assert!(stale(Mode::Check).is_empty());
        let text = fs::read_to_string(root.path().join("README.md")).unwrap();
        assert!(text.contains("raft ÷ unreplicated") && text.contains("0.50×"), "{text}");
        fs::write(root.path().join("README.md"), text.replace("0.50×", "0.90×")).unwrap();
        assert_eq!(stale(Mode::Check), ["table floor", "ratios floor"]);
    }

    #[test]
    fn charts_are_derived_checked_and_removed_with_their_runs() {
        let root = book(&marked("faults"));
        let (cells, slices) = fault_run();
        let results = root.path().join(RESULTS);
        let run = write_run_with_slices(&results, "crash", &cells, &slices);
        let stale = |mode| -> Vec<String> {
            refresh(root.path(), mode).unwrap().into_iter().map(|stale| stale.name).collect()
        };
        assert_eq!(stale(Mode::Check), ["faults", "chart"]);
        assert_eq!(stale(Mode::Write), ["faults", "chart"]);
        assert!(stale(Mode::Check).is_empty());
        let text = fs::read_to_string(root.path().join("README.md")).unwrap();
        assert!(
            text.contains("(results/book/charts/crash-recovery.svg)") && text.contains("kill-leader"),
            "{text}"
        );
        let chart = results.join("book/charts/crash-recovery.svg");
        fs::write(&chart, "<svg/>").unwrap();
        assert_eq!(stale(Mode::Check), ["chart"], "an edited chart is stale");
        fs::remove_dir_all(run).unwrap();
        assert_eq!(stale(Mode::Write), ["faults", "chart"]);
        assert!(!chart.exists() && stale(Mode::Check).is_empty());
        assert!(fs::read_to_string(root.path().join("README.md")).unwrap().contains("No run with faults"));
    }

    #[test]
    fn a_study_is_shown_with_its_chart_and_both_go_with_it() {
        let root = book(&marked("study gossip-rounds"));
        let results = root.path().join(RESULTS);
        let rows = [32, 1_000].map(|nodes| crate::study::tests::rounds("push", nodes));
        let findings = crate::study::Findings::GossipRounds(rows.into());
        let file = crate::study::tests::study("20260101T000000Z", findings).write(&results).unwrap();
        refresh(root.path(), Mode::Write).unwrap();
        assert!(refresh(root.path(), Mode::Check).unwrap().is_empty());
        let text = fs::read_to_string(root.path().join("README.md")).unwrap();
        assert!(
            text.contains("(results/book/charts/gossip-rounds.svg)") && text.contains("Pittel"),
            "{text}"
        );
        assert!(results.join("book/charts/gossip-rounds.svg").exists());
        fs::remove_file(file).unwrap();
        let error = refresh(root.path(), Mode::Check).unwrap_err().to_string();
        assert!(error.contains("no study \"gossip-rounds\""), "{error}");
    }

    #[test]
    fn systems_are_compared_with_one_of_them_and_settings_with_those_of_one_cell() {
        let derived = |name: &str| {
            let root = book(&marked(name));
            refresh(root.path(), Mode::Write).unwrap();
            fs::read_to_string(root.path().join("README.md")).unwrap()
        };
        let over_raft = derived("ratios floor raft");
        assert!(
            over_raft.contains("unreplicated ÷ raft") && !over_raft.contains("raft ÷ raft"),
            "{over_raft}"
        );
        let over_saturated = derived("settings floor saturated");
        assert!(over_saturated.contains("| raft | latency ÷ saturated |"), "{over_saturated}");
        assert!(!over_saturated.contains("saturated ÷ saturated"), "{over_saturated}");
    }

    #[test]
    fn a_block_that_cannot_be_derived_says_why() {
        let error = |name| refresh(book(&marked(name)).path(), Mode::Check).unwrap_err().to_string();
        assert!(error("table quick").contains("no complete run of the plan \"quick\""));
        assert!(error("chart floor").contains("there are the blocks"));
    }

    #[test]
    fn a_run_that_another_supersedes_is_not_shown() {
        let root = book(&marked("table floor"));
        let results = root.path().join(RESULTS);
        let mut runs = Run::read_all(&results).unwrap();
        let old = runs[0].manifest.run.clone();
        let mut newer = runs[0].clone();
        newer.manifest.run = "0".into();
        newer.manifest.supersedes = Some(old);
        runs.push(newer);
        assert_eq!(newest("floor", &runs).unwrap().manifest.run, "0");
        runs[1].manifest.withdrawn = Some("wrong clock".into());
        assert!(newest("floor", &runs).is_err());
    }
}
