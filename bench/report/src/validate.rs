//! Whether a run's folder is whole and agrees with itself.

mod series;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use hdrhistogram::Histogram;

use crate::{
    Campaign, Cell, CellKey, Freshness, LatencyKind, Quantiles, Run, RunError, Study, Validity, Verdict,
    campaign::CAMPAIGNS,
    manifest::{FORMAT, Summary},
    run_dir::{CELLS_FILE, HLOG_FILE, MANIFEST_FILE, PLAN_FILE, file_name, files_of, hash_file, run_dirs},
    study::STUDIES,
};

/// One thing that is wrong with a run's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The folder.
    pub dir: PathBuf,
    /// What is wrong, and where in the folder.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.dir.display(), self.what)
    }
}

/// What there is under a folder of results, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Finished runs.
    pub runs: usize,
    /// Campaigns.
    pub campaigns: usize,
    /// Studies.
    pub studies: usize,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// Checks every finished run, every campaign and every study under `results`.
pub fn validate_all(results: &Path) -> Result<Inventory, RunError> {
    let dirs = run_dirs(results)?;
    let campaigns = Campaign::read_all(results)?;
    let mut problems: Vec<Problem> = dirs.iter().flat_map(|dir| validate(dir)).collect();
    for campaign in &campaigns {
        let dir = results.join(CAMPAIGNS).join(&campaign.system);
        let wrong = |what: String| Problem { dir: dir.clone(), what: format!("{}: {what}", campaign.began) };
        problems.extend(campaign.problems().into_iter().map(wrong));
    }
    let studies = Study::read_all(results)?;
    for study in &studies {
        let dir = results.join(STUDIES).join(study.findings.name());
        let wrong = |what: String| Problem { dir: dir.clone(), what: format!("{}: {what}", study.began) };
        problems.extend(study.problems().into_iter().map(wrong));
    }
    Ok(Inventory { runs: dirs.len(), campaigns: campaigns.len(), studies: studies.len(), problems })
}

/// Checks one run: its shape, its hashes, its rows, and its histograms against its rows.
pub fn validate(dir: &Path) -> Vec<Problem> {
    let problems = match Run::read(dir) {
        Ok(run) => problems(&run).unwrap_or_else(|error| vec![error.to_string()]),
        Err(error) => vec![error.to_string()],
    };
    problems.into_iter().map(|what| Problem { dir: dir.to_owned(), what }).collect()
}

fn problems(run: &Run) -> Result<Vec<String>, RunError> {
    let mut problems = manifest_problems(run);
    problems.extend(file_problems(run)?);
    problems.extend(key_problems(run));
    problems.extend(run.cells.iter().flat_map(cell_problems));
    problems.extend(histogram_problems(run)?);
    problems.extend(series::problems(run)?);
    Ok(problems)
}

fn manifest_problems(run: &Run) -> Vec<String> {
    let manifest = &run.manifest;
    let up = |levels: usize| run.dir.ancestors().nth(levels).map(file_name).unwrap_or_default();
    let checks = [
        (manifest.format == FORMAT, "format is of another version"),
        (manifest.run == up(0), "run is not the folder's name"),
        (manifest.machine_key == up(1), "machine_key is not the name of the folder above"),
        (manifest.plan == up(2), "plan is not the name of the folder two above"),
        (manifest.machine_key == manifest.machine.key(), "machine_key is not that of the machine"),
        (manifest.started <= manifest.finished, "it ended before it began"),
        (manifest.summary == Summary::of(&run.cells), "summary does not count the rows of cells.csv"),
    ];
    checks
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, what)| format!("{MANIFEST_FILE}: {what}"))
        .collect()
}

fn file_problems(run: &Run) -> Result<Vec<String>, RunError> {
    let paths = files_of(&run.dir)?;
    let there: BTreeSet<String> = paths.iter().map(|path| file_name(path)).collect();
    let mut problems = Vec::new();
    for path in paths.iter().filter(|path| file_name(path) != MANIFEST_FILE) {
        match run.manifest.files.get(&file_name(path)) {
            None => problems.push(format!("{}: not in the manifest", file_name(path))),
            Some(hash) if *hash != hash_file(path)? => {
                problems.push(format!("{}: changed since the run: its hash is another", file_name(path)));
            }
            Some(_) => {}
        }
    }
    let needed = [CELLS_FILE, PLAN_FILE, HLOG_FILE].map(str::to_owned).into_iter();
    let missing: BTreeSet<String> =
        needed.chain(run.manifest.files.keys().cloned()).filter(|name| !there.contains(name)).collect();
    problems.extend(missing.into_iter().map(|name| format!("{name}: missing")));
    Ok(problems)
}

fn key_problems(run: &Run) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = run.cells.iter().map(Cell::key).filter(|key| !seen.insert(key.clone()));
    twice.map(|key| format!("{CELLS_FILE}: {key} is there twice")).collect()
}

fn shares(cell: &Cell) -> impl Iterator<Item = Option<f64>> {
    let Freshness { stale, below_1ms, below_2ms, below_5ms, below_10ms, below_50ms, later, .. } =
        cell.freshness;
    [stale, below_1ms, below_2ms, below_5ms, below_10ms, below_50ms, later].into_iter()
}

fn cell_problems(cell: &Cell) -> Vec<String> {
    let reals = [cell.offered_per_s, cell.throughput_per_s, cell.cpu_us_per_op, cell.fsyncs_per_op]
        .into_iter()
        .chain([cell.messages_per_op, cell.bytes_per_op, cell.round_trips_per_decision]);
    let checks = [
        (reals.flatten().all(|real| real >= 0.0), "a rate or a cost is negative"),
        ((0.0..=1.0).contains(&cell.read_fraction), "read_fraction is not between 0 and 1"),
        (cell.round > 0 && cell.repeat > 0, "rounds and repeats count from 1"),
        (
            shares(cell).flatten().all(|share| (0.0..=1.0).contains(&share)),
            "a share of reads is not between 0 and 1",
        ),
        ((cell.validity == Validity::Valid) == cell.reasons.is_empty(), "validity and reasons disagree"),
        (!cell.verdict.holds() || cell.judged_ops > 0, "a verdict on no operation at all"),
        (
            cell.verdict.holds() || cell.verdict == Verdict::Violated || cell.validity != Validity::Valid,
            "VALID without a verdict",
        ),
    ];
    let broken = checks.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what.to_owned());
    let latencies = [
        ("response_ns", cell.response_ns),
        ("service_ns", cell.service_ns),
        ("lag_ns", cell.lag_ns),
        ("hand_off_ns", cell.hand_off_ns),
        ("freed_ns", cell.freed_ns),
    ];
    let quantiles = latencies
        .into_iter()
        .filter_map(|(name, quantiles)| Some(format!("{name}: {}", quantiles.problem()?)));
    broken.chain(quantiles).map(|what| format!("{CELLS_FILE}: {}: {what}", cell.key())).collect()
}

/// The histograms of all classes together must be the ones the rows' quantiles were read off.
fn histogram_problems(run: &Run) -> Result<Vec<String>, RunError> {
    let mut merged: BTreeMap<(CellKey, LatencyKind), Histogram<u64>> = BTreeMap::new();
    let mut problems = Vec::new();
    for record in run.latencies()? {
        let at = (record.key.clone(), record.kind);
        if let Some(sum) = merged.get_mut(&at) {
            if sum.add(&record.histogram).is_err() {
                problems.push(format!("{HLOG_FILE}: {}: histograms that cannot be merged", record.key));
            }
        } else {
            merged.insert(at, record.histogram);
        }
    }
    for cell in &run.cells {
        let rows = [cell.response_ns, cell.service_ns, cell.lag_ns, cell.hand_off_ns, cell.freed_ns];
        for (kind, row) in LatencyKind::ALL.into_iter().zip(rows) {
            let log = merged
                .remove(&(cell.key(), kind))
                .map(|histogram| Quantiles::of(&histogram))
                .unwrap_or_default();
            if log != row {
                problems.push(format!(
                    "{HLOG_FILE}: {}: {} of {} samples does not give the quantiles of {CELLS_FILE}, which has {}",
                    cell.key(),
                    kind.name(),
                    log.count,
                    row.count
                ));
            }
        }
    }
    problems
        .extend(merged.keys().map(|(key, kind)| format!("{HLOG_FILE}: {key}: {} has no row", kind.name())));
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::run_dir::FAULTS_FILE;
    use crate::testing::{cell_of, measured_cell, write_run};

    fn problems_of(cells: &[Cell], damage: impl Fn(&Path)) -> String {
        let results = tempfile::tempdir().unwrap();
        let dir = write_run(results.path(), "floor", cells);
        damage(&dir);
        let Inventory { runs, problems, .. } = validate_all(results.path()).unwrap();
        assert_eq!(runs, 1);
        problems.iter().map(|problem| problem.what.clone() + "\n").collect()
    }

    #[test]
    fn a_run_as_it_was_written_has_no_problem() {
        assert_eq!(problems_of(&[measured_cell()], |_| {}), "");
        assert_eq!(problems_of(&[], |_| {}), "");
    }

    #[test]
    fn changed_missing_and_foreign_files_are_found() {
        let problems = problems_of(&[measured_cell()], |dir| {
            fs::write(dir.join(PLAN_FILE), "name = \"another\"").unwrap();
            fs::write(dir.join("notes.txt"), "").unwrap();
        });
        assert_eq!(
            problems,
            "notes.txt: not in the manifest\nplan.toml: changed since the run: its hash is another\n"
        );
        assert!(
            problems_of(&[], |dir| fs::remove_file(dir.join(PLAN_FILE)).unwrap())
                .contains("plan.toml: missing")
        );
        assert!(problems_of(&[], |dir| fs::remove_file(dir.join(CELLS_FILE)).unwrap()).contains("cells.csv"));
    }

    #[test]
    fn a_row_that_is_there_twice_is_found() {
        let problems = problems_of(&[measured_cell(), measured_cell()], |_| {});
        assert!(problems.contains("saturated raft round 1 repeat 1 is there twice"), "{problems}");
    }

    #[test]
    fn an_edited_row_disagrees_with_histograms_and_hash() {
        let problems = problems_of(&[measured_cell()], |dir| {
            let path = dir.join(CELLS_FILE);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace("61500,0,0,", "61501,0,0,")).unwrap();
        });
        assert!(problems.contains("cells.csv: changed since the run"), "{problems}");
        assert!(problems.contains("lag of 61500 samples does not give the quantiles"), "{problems}");
    }

    #[test]
    fn an_edited_fault_is_found_by_its_hash_and_its_row() {
        let (cells, _) = crate::testing::fault_run();
        assert_eq!(problems_of(&cells, |_| {}), "");
        let problems = problems_of(&cells, |dir| {
            let path = dir.join(FAULTS_FILE);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace("raft,faults,2,1,1,", "raft,faults,4,1,1,")).unwrap();
        });
        assert!(problems.contains("faults.csv: changed since the run"), "{problems}");
        assert!(problems.contains("faults.csv: faults raft round 4 repeat 1 has no row"), "{problems}");
        assert!(problems.contains("faults raft round 2 repeat 1: 0 faults stand for 1"), "{problems}");
    }

    #[test]
    fn a_renamed_folder_is_found() {
        let problems = problems_of(&[], |dir| fs::rename(dir, dir.with_file_name("another")).unwrap());
        assert_eq!(problems, "run.json: run is not the folder's name\n");
    }

    #[test]
    fn rows_that_contradict_themselves_are_found() {
        let told = |edit: fn(&mut Cell)| {
            let mut cell = cell_of("raft", 1, 10.0);
            edit(&mut cell);
            cell_problems(&cell).concat()
        };
        assert_eq!(told(|_| {}), "");
        assert!(told(|cell| cell.round = 0).contains("count from 1"));
        assert!(told(|cell| cell.judged_ops = 0).contains("no operation"));
        assert!(told(|cell| cell.verdict = Verdict::Unchecked).contains("VALID without a verdict"));
        assert!(told(|cell| cell.validity = Validity::Suspect).contains("disagree"));
        assert!(told(|cell| cell.response_ns.p50 = Some(u64::MAX)).contains("do not rise"));
        assert!(told(|cell| cell.bytes_per_op = Some(-1.0)).contains("negative"));
    }
}
