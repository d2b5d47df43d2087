//! Every story under `scenarios/` ends as it says. `QLAB_REWRITE=1` puts down what is printed now.

use std::fs;
use std::path::{Path, PathBuf};

use qlab_simulator::scenario::{Performance, perform};

/// All of them, whichever the system.
fn stories() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> = files_in(&all).iter().flat_map(|system| files_in(system)).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// What is wrong with a story, if anything is.
fn complaint(file: &Path, rewrites: bool) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_string_lossy();
    match perform(&text) {
        Err(error) => Some(format!("{name}:{error}")),
        Ok(Performance { rewritten, .. }) if rewrites => {
            fs::write(file, rewritten).unwrap();
            None
        }
        Ok(Performance { difference, rewritten }) => match difference {
            Some(difference) => Some(format!("{name}:{difference}")),
            None => (rewritten != text).then(|| format!("{name}: is not as it would be rewritten")),
        },
    }
}

#[test]
fn every_story_ends_as_it_says() {
    let rewrites = std::env::var_os("QLAB_REWRITE").is_some();
    let complaints: Vec<String> = stories().iter().filter_map(|file| complaint(file, rewrites)).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_story_says_first_what_it_shows() {
    for file in stories() {
        assert!(fs::read_to_string(&file).unwrap().starts_with("# "), "{}", file.display());
    }
}
