//! `qlab journal inspect` from outside: sound, torn and damaged journals.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use qlab_journal::{BLOCK_BYTES, FileDisk, Identity, Journal, JournalOptions};
use qlab_kernel::{Lsn, NodeId, Reader, Sink, Wire, WireError};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A record of some bytes.
struct Blob([u8; 100]);

impl Wire for Blob {
    fn encode(&self, sink: &mut impl Sink) {
        sink.put(&self.0);
    }

    fn decode(_: &mut Reader) -> Result<Self, WireError> {
        unreachable!("an inspection does not look into records")
    }
}

/// Five records: segment 1 has frames of records 1–2, 3 and 4, segment 2 one of record 5.
fn journal() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity { cluster: 0xC1, node: NodeId(1) };
    let options = JournalOptions { segment_bytes: 4 * BLOCK_BYTES as u64, ..JournalOptions::new(identity) };
    let (mut journal, _) = Journal::open(FileDisk::open(folder.path()).unwrap(), options).unwrap();
    for lsn in 1..=5 {
        journal.append(Lsn(lsn), &Blob([lsn as u8; 100])).unwrap();
        if lsn > 1 {
            journal.commit().unwrap();
        }
    }
    folder
}

fn segment(folder: &TempDir, number: u64) -> PathBuf {
    folder.path().join(format!("{number:020}.segment"))
}

fn flip_bit(folder: &TempDir, number: u64, byte: usize) {
    let mut bytes = fs::read(segment(folder, number)).unwrap();
    bytes[byte] ^= 1;
    fs::write(segment(folder, number), bytes).unwrap();
}

fn inspect(dir: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qlab"));
    command.args(["journal", "inspect"]).arg(dir).args(flags);
    command.output().expect("the program was built for this test")
}

fn printed(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn json(folder: &TempDir) -> (Option<i32>, Value) {
    let output = inspect(folder.path(), &["--json", "--frames"]);
    (output.status.code(), serde_json::from_str(printed(&output)).unwrap())
}

/// Whether the journal opens says the journal itself; an inspection must agree.
fn opens(folder: &TempDir) -> bool {
    let identity = Identity { cluster: 0xC1, node: NodeId(1) };
    let disk = FileDisk::open(folder.path()).unwrap();
    Journal::open(
        disk,
        JournalOptions { segment_bytes: 4 * BLOCK_BYTES as u64, ..JournalOptions::new(identity) },
    )
    .is_ok()
}

#[test]
fn a_sound_journal_is_shown_with_its_end() {
    let folder = journal();
    let output = inspect(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = printed(&output);
    assert!(text.contains("Sound; it ends with record 5 at byte 8192 of segment 2."), "{text}");
    assert!(text.contains("written by node 1 of cluster 00000000000000c1"), "{text}");
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |starts: &[&str]| rows.iter().any(|row| row.starts_with(starts));
    assert!(row(&["1", "1", "3", "4", "1–4"]) && row(&["2", "1", "1", "1", "5"]), "{text}");
}

#[test]
fn frames_are_listed_where_they_are_asked_for() {
    let folder = journal();
    let text = |flags: &[&str]| inspect(folder.path(), flags).stdout;
    assert!(text(&["--frames"]).len() > text(&[]).len());
    let (code, json) = json(&folder);
    assert_eq!((code, &json["sound"], &json["end"]["lsn"]), (Some(0), &json!(true), &json!(5)));
    let frames = &json["segments"][0]["frame_list"];
    let first = json!({
        "byte": BLOCK_BYTES, "bytes": BLOCK_BYTES, "first_lsn": 1, "last_lsn": 2, "records": 2, "flaw": null
    });
    assert_eq!((frames.as_array().map(Vec::len), &frames[0]), (Some(3), &first));
}

#[test]
fn a_torn_tail_is_named_and_is_no_failure() {
    let folder = journal();
    flip_bit(&folder, 2, BLOCK_BYTES + 120);
    let output = inspect(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = printed(&output);
    assert!(
        text.contains("Sound; it ends with record 4 at byte 4096 of segment 2. A torn write follows"),
        "{text}"
    );
    let (_, json) = json(&folder);
    assert_eq!((&json["torn_tail"]["segment"], &json["damage"]), (&json!(2), &Value::Null));
    assert!(opens(&folder));
}

#[test]
fn a_flipped_bit_elsewhere_is_damage_and_a_failure() {
    for (number, byte) in [(1, 2 * BLOCK_BYTES + 120), (1, 3 * BLOCK_BYTES + 120), (1, 100), (2, 50)] {
        let folder = journal();
        flip_bit(&folder, number, byte);
        let (code, json) = json(&folder);
        let place = byte / BLOCK_BYTES * BLOCK_BYTES;
        assert_eq!((code, &json["sound"]), (Some(1), &json!(false)), "{json}");
        assert_eq!(
            (&json["damage"]["segment"], &json["damage"]["byte"]),
            (&json!(number), &json!(place)),
            "{json}"
        );
        assert!(!opens(&folder));
    }
    let folder = journal();
    flip_bit(&folder, 1, 2 * BLOCK_BYTES + 120);
    let output = inspect(folder.path(), &[]);
    assert!(printed(&output).contains("DAMAGED at byte 8192 of segment 1"), "{}", printed(&output));
    assert!(
        printed(&output).contains("Intact up to record 2, byte 8192 of segment 1."),
        "{}",
        printed(&output)
    );
}

#[test]
fn a_missing_segment_is_damage() {
    let folder = journal();
    fs::copy(segment(&folder, 2), segment(&folder, 3)).unwrap();
    fs::remove_file(segment(&folder, 2)).unwrap();
    let (code, json) = json(&folder);
    let missing = json!({"segment": 2, "byte": 0, "flaw": "the segment is missing"});
    assert_eq!((code, &json["damage"]), (Some(1), &missing));
    assert!(!opens(&folder));
}

#[test]
fn a_folder_without_a_journal_is_answered_clearly() {
    let folder = tempfile::tempdir().unwrap();
    for (dir, words) in
        [(folder.path().to_owned(), "there is no journal here"), ("no/such/folder".into(), "No such file")]
    {
        let output = inspect(&dir, &[]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), printed(&output)), (Some(2), ""));
        assert!(complaint.contains(words) && complaint.contains(dir.to_str().unwrap()), "{complaint}");
    }
}
