//! What is kept beside runs: JSON files in a folder for each subject, named by when they began and of which commit they are.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Code, RunError};

/// The newest of those that are at least half as thorough as the most thorough, by what they counted: a quick look, or one that
/// was broken off, does not take the place of what took longer. None of none.
pub(crate) fn newest<'a, T, B: Ord>(
    kept: impl Iterator<Item = &'a T> + Clone,
    thoroughness: impl Fn(&T) -> u64,
    began: impl Fn(&'a T) -> B,
) -> Option<&'a T> {
    let most = kept.clone().map(&thoroughness).max()?;
    kept.filter(|one| 2 * thoroughness(one) >= most).max_by_key(|one| began(one))
}

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

#[cfg(test)]
mod tests {
    #[test]
    fn a_quick_look_does_not_take_the_place_of_what_took_longer() {
        fn newest(kept: &[(u64, &'static str)]) -> Option<(u64, &'static str)> {
            super::newest(kept.iter(), |(counted, _)| *counted, |(_, began)| *began).copied()
        }
        assert_eq!(newest(&[]), None);
        assert_eq!(newest(&[(10, "2026"), (9, "2027"), (4, "2028")]), Some((9, "2027")));
        assert_eq!(newest(&[(10, "2026"), (40, "2027")]), Some((40, "2027")));
    }
}
