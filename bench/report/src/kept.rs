//! What is kept beside runs: JSON files in a folder for each subject, named by when they began and of which commit they are.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Code, RunError};

/// Writes what is of `subject` under `dir`; the answer is where.
pub(crate) fn write(
    dir: &Path,
    subject: &str,
    (began, code): (&str, &Code),
    kept: &impl Serialize,
) -> Result<PathBuf, RunError> {
    let commit: String = code.git_commit.chars().take(8).collect();
    let dir = dir.join(subject);
    let path = dir.join(format!("{began}-{commit}.json"));
    let text = serde_json::to_string_pretty(kept).expect("plain data") + "\n";
    fs::create_dir_all(&dir)
        .and_then(|()| fs::write(&path, text))
        .map_err(|reason| RunError::Io { path: path.clone(), reason })?;
    Ok(path)
}

/// Everything under `dir`, oldest first for each subject; nothing if there is no such folder.
pub(crate) fn read_all<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>, RunError> {
    let mut kept = Vec::new();
    for subject in entries(dir)? {
        for path in entries(&subject)? {
            kept.push(read(&path)?);
        }
    }
    Ok(kept)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    let io = |reason| RunError::Io { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(io)?;
    serde_json::from_str(&text).map_err(|error| io(error.into()))
}

/// Files or folders in `dir`, by name; none if there is no such folder.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let io = |reason| RunError::Io { path: dir.to_owned(), reason };
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}
