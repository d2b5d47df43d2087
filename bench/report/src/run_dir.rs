//! A run's folder: written under another name, renamed when it is whole.
//!
//! `results/runs/PLAN/MACHINE_KEY/UTC-GIT8-ID6/` is written as `….partial` and renamed after its manifest, the last
//! file, is on disk. A folder without the suffix is therefore whole; one with it is what a killed run left behind, and
//! readers pass it by.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    Cell, Health, LatencyRecord, Manifest, Slice, Status, Utc,
    columns::{CellsWriter, ColumnsError, read_cells},
    faults::{FaultRow, attach, read_faults},
    hlog::{HlogError, HlogWriter, read_hlog},
    manifest::{Summary, to_sorted_json},
    slices::read_slices,
    utc,
};

/// Suffix of a folder that is still being written.
pub const PARTIAL_SUFFIX: &str = ".partial";
/// The manifest's file name.
pub const MANIFEST_FILE: &str = "run.json";
/// The rows' file name.
pub const CELLS_FILE: &str = "cells.csv";
/// The plan's file name.
pub const PLAN_FILE: &str = "plan.toml";
/// The histograms' file name.
pub const HLOG_FILE: &str = "latency.hlog";
/// The time series' file name; the file is there only if a run kept one.
pub const SLICES_FILE: &str = "slices.csv";
/// What faults did; the file is there only if a run had any.
pub const FAULTS_FILE: &str = "faults.csv";

/// Why a run's folder could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The filesystem refused.
    #[error("{path}: {reason}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// `run.json` is not a manifest.
    #[error("{path}: {reason}")]
    Json {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: serde_json::Error,
    },
    /// `cells.csv`.
    #[error("{dir}: {reason}")]
    Columns {
        /// The run's folder.
        dir: PathBuf,
        /// Why.
        reason: ColumnsError,
    },
    /// `slices.csv` or `faults.csv`.
    #[error("{path}: {reason}")]
    Csv {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: csv::Error,
    },
    /// `latency.hlog`.
    #[error("{dir}: {reason}")]
    Hlog {
        /// The run's folder.
        dir: PathBuf,
        /// Why.
        reason: HlogError,
    },
    /// The folder was never finished: delete it, or look into it by hand.
    #[error("{0}: this run was never finished")]
    Partial(PathBuf),
}

/// Writes one run's folder.
///
/// Dropped without [`finish`](Self::finish), it leaves the `.partial` folder with every row appended so far.
pub struct RunWriter {
    partial: PathBuf,
    whole: PathBuf,
    manifest: Manifest,
    rows: Vec<Cell>,
    cells: CellsWriter<File>,
    hlog: HlogWriter<File>,
    slices: Option<csv::Writer<File>>,
    faults: Option<csv::Writer<File>>,
}

impl RunWriter {
    /// Begins the run's folder under `results`. Of the manifest, `run`, `machine_key`, `status`, `finished`, `summary` and
    /// `files` are filled in here and in [`finish`](Self::finish). `plan_toml` is the plan exactly as run; `switch_names`
    /// are all protocol switches that any cell sets.
    pub fn create(
        results: &Path,
        mut manifest: Manifest,
        plan_toml: &str,
        switch_names: &[String],
    ) -> Result<Self, RunError> {
        manifest.machine_key = manifest.machine.key();
        manifest.run = run_name(&manifest);
        let parent = results.join("runs").join(&manifest.plan).join(&manifest.machine_key);
        let (whole, partial) =
            (parent.join(&manifest.run), parent.join(manifest.run.clone() + PARTIAL_SUFFIX));
        fs::create_dir_all(&parent).map_err(at(&parent))?;
        fs::create_dir(&partial).map_err(at(&partial))?;
        write_file(&partial.join(PLAN_FILE), plan_toml.as_bytes())?;
        let cells = CellsWriter::new(new_file(&partial.join(CELLS_FILE))?, switch_names)
            .map_err(columns(&partial))?;
        let hlog = HlogWriter::new(new_file(&partial.join(HLOG_FILE))?).map_err(hlog(&partial))?;
        Ok(Self { partial, whole, manifest, rows: Vec::new(), cells, hlog, slices: None, faults: None })
    }

    /// Appends one row, its histograms and what its faults did, and hands them to the kernel.
    pub fn append(&mut self, cell: &Cell, latencies: &[LatencyRecord]) -> Result<(), RunError> {
        self.cells.write(cell).map_err(columns(&self.partial))?;
        latencies.iter().try_for_each(|record| self.hlog.write(record)).map_err(hlog(&self.partial))?;
        append_rows(&mut self.faults, &self.partial.join(FAULTS_FILE), &FaultRow::of(cell))?;
        self.rows.push(cell.clone());
        Ok(())
    }

    /// Appends slices of a time series; the file begins with the first.
    pub fn append_slices(&mut self, slices: &[Slice]) -> Result<(), RunError> {
        append_rows(&mut self.slices, &self.partial.join(SLICES_FILE), slices)
    }

    /// Notes what is run next, in the order it is run.
    pub fn note_order(&mut self, step: String) {
        self.manifest.design.order.push(step);
    }

    /// The folder as it is named until it is whole, for files of other kinds; they are hashed with the rest.
    pub fn dir(&self) -> &Path {
        &self.partial
    }

    /// The rows so far.
    pub fn cells(&self) -> &[Cell] {
        &self.rows
    }

    /// Writes the manifest, syncs everything and gives the folder its name. Returns the folder.
    pub fn finish(mut self, status: Status, health_after: Health) -> Result<PathBuf, RunError> {
        self.manifest.status = status;
        self.manifest.finished = Utc::now();
        self.manifest.health_after = health_after;
        self.manifest.summary = Summary::of(&self.rows);
        for path in files_of(&self.partial)? {
            File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))?;
            self.manifest.files.insert(file_name(&path), hash_file(&path)?);
        }
        let path = self.partial.join(MANIFEST_FILE);
        let json =
            to_sorted_json(&self.manifest).map_err(|reason| RunError::Json { path: path.clone(), reason })?;
        write_file(&path, json.as_bytes())?;
        fs::rename(&self.partial, &self.whole).map_err(at(&self.partial))?;
        sync_parent(&self.whole)?;
        Ok(self.whole)
    }
}

/// Appends rows to a file that begins with the first.
fn append_rows(
    file: &mut Option<csv::Writer<File>>,
    path: &Path,
    rows: &[impl Serialize],
) -> Result<(), RunError> {
    if file.is_none() && !rows.is_empty() {
        *file = Some(csv::Writer::from_writer(new_file(path)?));
    }
    let Some(file) = file else { return Ok(()) };
    let written = rows.iter().try_for_each(|row| file.serialize(row));
    written.and_then(|()| Ok(file.flush()?)).map_err(csv_error(path))
}

/// `UTC-GIT8-ID6`: sorts by time; the last part keeps two runs of one second apart.
fn run_name(manifest: &Manifest) -> String {
    let commit: String = manifest.code.git_commit.chars().take(8).collect();
    let commit = if commit.is_empty() { "unknown".to_owned() } else { commit };
    let chance = format!("{}-{}", utc::since_epoch().as_nanos(), std::process::id());
    let id = blake3::hash(chance.as_bytes()).to_hex();
    format!("{}-{commit}-{}", manifest.started.compact(), &id[..6])
}

/// One finished run, in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its folder.
    pub dir: PathBuf,
    /// Its `run.json`.
    pub manifest: Manifest,
    /// Its rows.
    pub cells: Vec<Cell>,
}

impl Run {
    /// Reads a run's manifest and rows.
    pub fn read(dir: &Path) -> Result<Self, RunError> {
        if is_partial(dir) {
            return Err(RunError::Partial(dir.to_owned()));
        }
        let path = dir.join(MANIFEST_FILE);
        let text = fs::read(&path).map_err(at(&path))?;
        let manifest = serde_json::from_slice(&text).map_err(|reason| RunError::Json { path, reason })?;
        let path = dir.join(CELLS_FILE);
        let cells = read_cells(File::open(&path).map_err(at(&path))?).map_err(columns(dir))?;
        let mut run = Self { dir: dir.to_owned(), manifest, cells };
        let faults = run.faults()?;
        attach(&mut run.cells, faults);
        Ok(run)
    }

    /// Reads all finished runs under `results`, sorted by plan, then by time. No such folder is no runs.
    pub fn read_all(results: &Path) -> Result<Vec<Self>, RunError> {
        let mut runs: Vec<Self> =
            run_dirs(results)?.iter().map(|dir| Self::read(dir)).collect::<Result<_, _>>()?;
        runs.sort_by(|a, b| (&a.manifest.plan, &a.manifest.run).cmp(&(&b.manifest.plan, &b.manifest.run)));
        Ok(runs)
    }

    /// Reads the run's time series; empty if it kept none.
    pub fn slices(&self) -> Result<Vec<Slice>, RunError> {
        let path = self.dir.join(SLICES_FILE);
        let file = open_if_there(&path)?;
        file.map_or(Ok(Vec::new()), read_slices).map_err(csv_error(&path))
    }

    /// Reads what faults did, as it stands in its own file; empty if the run had none.
    pub fn faults(&self) -> Result<Vec<FaultRow>, RunError> {
        let path = self.dir.join(FAULTS_FILE);
        let file = open_if_there(&path)?;
        file.map_or(Ok(Vec::new()), read_faults).map_err(csv_error(&path))
    }

    /// Reads the run's histograms.
    pub fn latencies(&self) -> Result<Vec<LatencyRecord>, RunError> {
        let path = self.dir.join(HLOG_FILE);
        read_hlog(&fs::read(&path).map_err(at(&path))?).map_err(hlog(&self.dir))
    }
}

/// The folders of all finished runs under `results`: `runs/PLAN/MACHINE_KEY/RUN`.
pub fn run_dirs(results: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut level = vec![results.join("runs")];
    if !level[0].exists() {
        return Ok(Vec::new());
    }
    for _ in ["plan", "machine", "run"] {
        let inner: Result<Vec<_>, _> = level.iter().map(|dir| folders_of(dir)).collect();
        level = inner?.concat();
    }
    level.retain(|dir| !is_partial(dir));
    Ok(level)
}

fn is_partial(dir: &Path) -> bool {
    file_name(dir).ends_with(PARTIAL_SUFFIX)
}

fn folders_of(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    Ok(entries_of(dir)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The files of a run's folder, sorted by name.
pub(crate) fn files_of(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    Ok(entries_of(dir)?.into_iter().filter(|path| path.is_file()).collect())
}

fn entries_of(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries = fs::read_dir(dir).map_err(at(dir))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(at(dir))?;
    paths.sort();
    Ok(paths)
}

/// BLAKE3 of a file, in hexadecimal.
pub(crate) fn hash_file(path: &Path) -> Result<String, RunError> {
    let mut hasher = blake3::Hasher::new();
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
    copied.map_err(at(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// A path's last part.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

fn open_if_there(path: &Path) -> Result<Option<File>, RunError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(at(path)(reason)),
    }
}

fn new_file(path: &Path) -> Result<File, RunError> {
    File::create_new(path).map_err(at(path))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let mut file = new_file(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(path))
}

fn sync_parent(path: &Path) -> Result<(), RunError> {
    let parent = path.parent().expect("a run's folder has a parent");
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(at(parent))
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |reason| RunError::Io { path, reason }
}

fn csv_error(path: &Path) -> impl FnOnce(csv::Error) -> RunError {
    let path = path.to_owned();
    move |reason| RunError::Csv { path, reason }
}

fn columns(dir: &Path) -> impl FnOnce(ColumnsError) -> RunError {
    let dir = dir.to_owned();
    move |reason| RunError::Columns { dir, reason }
}

fn hlog(dir: &Path) -> impl FnOnce(HlogError) -> RunError {
    let dir = dir.to_owned();
    move |reason| RunError::Hlog { dir, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cell, fault_run, manifest, write_run};

    #[test]
    fn a_finished_run_reads_back_as_it_was_written() {
        let results = tempfile::tempdir().unwrap();
        let dir = write_run(results.path(), "quick", &[cell()]);
        let run = Run::read(&dir).unwrap();
        assert_eq!(run.cells, [cell()]);
        assert_eq!((run.manifest.status, run.manifest.summary.cells), (Status::Complete, 1));
        assert_eq!(run.latencies().unwrap().len(), 3);
        assert_eq!(Run::read_all(results.path()).unwrap(), [run]);
    }

    #[test]
    fn a_run_lies_under_its_plan_and_machine() {
        let results = tempfile::tempdir().unwrap();
        let dir = write_run(results.path(), "quick", &[]);
        let start = results.path().join("runs/quick").join(manifest("quick").machine.key());
        assert_eq!(dir.parent().unwrap(), start);
        let name = file_name(&dir);
        assert!(name.starts_with("20010909T014640Z-0123abcd-") && name.len() == 32, "{name}");
    }

    #[test]
    fn a_run_that_was_never_finished_is_passed_by() {
        let results = tempfile::tempdir().unwrap();
        let mut writer = RunWriter::create(results.path(), manifest("quick"), "", &[]).unwrap();
        writer.append(&cell(), &[]).unwrap();
        let partial = writer.partial.clone();
        drop(writer);
        assert_eq!(read_cells(File::open(partial.join(CELLS_FILE)).unwrap()).unwrap(), [cell()]);
        assert!(matches!(Run::read(&partial), Err(RunError::Partial(_))));
        assert_eq!(Run::read_all(results.path()).unwrap(), []);
    }

    #[test]
    fn an_interrupted_run_keeps_its_rows_and_says_so() {
        let results = tempfile::tempdir().unwrap();
        let mut writer = RunWriter::create(results.path(), manifest("quick"), "", &[]).unwrap();
        writer.append(&cell(), &[]).unwrap();
        let dir = writer.finish(Status::Interrupted, Health::default()).unwrap();
        let run = Run::read(&dir).unwrap();
        assert_eq!(
            (run.manifest.status, run.cells.len(), run.manifest.is_usable()),
            (Status::Interrupted, 1, false)
        );
    }

    #[test]
    fn slices_have_their_own_file_only_if_there_are_any() {
        let results = tempfile::tempdir().unwrap();
        let mut writer = RunWriter::create(results.path(), manifest("quick"), "", &[]).unwrap();
        writer.append_slices(&[]).unwrap();
        assert!(!writer.partial.join(SLICES_FILE).exists());
        let (cells, slices) = fault_run();
        writer.append(&cells[0], &[]).unwrap();
        slices.iter().for_each(|slice| writer.append_slices(std::slice::from_ref(slice)).unwrap());
        let dir = writer.finish(Status::Complete, Health::default()).unwrap();
        assert_eq!(Run::read(&dir).unwrap().slices().unwrap(), slices);
    }

    #[test]
    fn what_faults_did_is_in_a_file_of_its_own_and_found_again() {
        let results = tempfile::tempdir().unwrap();
        let (cells, _) = fault_run();
        let dir = write_run(results.path(), "faults", &cells);
        let run = Run::read(&dir).unwrap();
        assert_eq!(run.cells, cells);
        assert!(run.manifest.files.contains_key(FAULTS_FILE));
        let calm = Run::read(&write_run(results.path(), "quick", &[cell()])).unwrap();
        assert!(calm.faults().unwrap().is_empty() && !calm.dir.join(FAULTS_FILE).exists());
    }
}
