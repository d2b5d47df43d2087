//! The program as a person meets it: a run, an interruption, mistakes.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use qlab_report::{Run, Status};
use rustix::process::{Pid, Signal, kill_process};

fn qlab(arguments: &str, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qlab"));
    command
        .args(arguments.split_whitespace())
        .arg("--out")
        .arg(out)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Processes whose command line names a path under `dir`.
fn processes_of(dir: &Path) -> usize {
    let needle = dir.to_str().unwrap().as_bytes();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.windows(needle.len()).any(|window| window == needle)).count()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..600 {
        if done() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("never: {what}");
}

/// A run of many short rounds, once its first row is there and a later round has its replicas: between two rounds there are none.
fn long_run(out: &Path) -> Child {
    let arguments =
        "run --system raft --durability memory --load closed:16 --warmup 100ms --measure 300ms --repeats 100";
    let child = qlab(arguments, out).spawn().unwrap();
    wait_until("a first row", || rows(out) > 0);
    // The laboratory's own command line names the folder, too.
    wait_until("a round with all its replicas", || processes_of(out) > 3);
    child
}

fn rows(out: &Path) -> usize {
    let partial = files(out).into_iter().find(|path| path.ends_with("cells.csv"));
    partial.map_or(0, |path| fs::read_to_string(path).unwrap().lines().count().saturating_sub(1))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(dir).map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
    let deeper = entries.unwrap_or_default().into_iter();
    deeper.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn a_small_run_is_judged_kept_and_valid() {
    let out = tempfile::tempdir().unwrap();
    let arguments = "run --system raft --system unreplicated --system pbft --load closed:16 --read-fraction 0.5 --keys 100 \
                     --warmup 200ms --measure 500ms --json";
    let Output { status, stdout, stderr } = qlab(arguments, out.path()).output().unwrap();
    assert!(status.success(), "{status}: {}", text(&stderr));
    let printed: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    let cells = printed["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 3);
    for cell in cells {
        assert_eq!(cell["verdict"], "linearizable");
        assert!(cell["judged_ops"].as_u64().unwrap() > 200, "{cell}");
        assert!(cell["fsyncs_per_op"].as_f64().unwrap() > 0.0, "{cell}");
    }
    let run_dir = Path::new(printed["run_dir"].as_str().unwrap());
    assert_eq!(qlab_report::validate::validate(run_dir), []);
    assert_eq!(Run::read(run_dir).unwrap().manifest.status, Status::Complete);
    assert_eq!(processes_of(out.path()), 0);
    assert!(
        !files(out.path()).iter().any(|path| path.to_str().unwrap().contains(".work")),
        "something was left over"
    );
}

#[test]
fn faults_strike_on_time_are_survived_and_their_effects_are_kept() {
    let out = tempfile::tempdir().unwrap();
    let arguments = "run --load open:2000/constant --read-fraction 0.5 --keys 100 --warmup 300ms --measure 4500ms \
                     --faults kill-leader@1s/500ms,pause-follower@2500ms/500ms --json";
    let Output { status, stdout, stderr } = qlab(arguments, out.path()).output().unwrap();
    assert!(status.success(), "{status}: {}", text(&stderr));
    let printed: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    let [cell] = &printed["cells"].as_array().unwrap()[..] else { panic!("one cell: {printed}") };
    assert_eq!((&cell["verdict"], &cell["system"]), (&"linearizable".into(), &"raft".into()));
    assert_eq!(cell["fault_schedule"], "kill-leader@1s/500ms,pause-follower@2500ms/500ms");
    let [killed, paused] = &cell["faults"].as_array().unwrap()[..] else { panic!("two faults: {cell}") };
    let ns = |fault: &serde_json::Value, field: &str| {
        fault[field].as_u64().unwrap_or_else(|| panic!("{field}: {fault}"))
    };
    for (fault, kind, due_ms) in [(killed, "kill-leader", 1000), (paused, "pause-follower", 2500)] {
        assert_eq!(fault["kind"], kind);
        let late_ms = ns(fault, "at_ns") / 1_000_000 - due_ms;
        assert!(late_ms < 500, "{kind} struck {late_ms} ms late");
        assert!(ns(fault, "until_ns") > ns(fault, "at_ns") && ns(fault, "node") < 3, "{fault}");
    }
    // Nobody can be elected faster than the shortest election timeout.
    assert!(ns(killed, "unavailable_ns") > 100_000_000, "{killed}");
    let run_dir = Path::new(printed["run_dir"].as_str().unwrap());
    assert_eq!(qlab_report::validate::validate(run_dir), []);
    let run = Run::read(run_dir).unwrap();
    assert!(run.manifest.files.contains_key("faults.csv") && run.manifest.files.contains_key("slices.csv"));
    let slices = run.slices().unwrap();
    assert_eq!((slices.len(), slices[0].length_ms), (45, 100));
    assert!(slices[5].faults.is_empty() && slices[11].faults == "kill-leader", "{slices:?}");
    assert_eq!(processes_of(out.path()), 0);
}

#[test]
fn where_nobody_leads_a_replica_is_killed_all_the_same_and_nothing_is_lost() {
    let out = tempfile::tempdir().unwrap();
    let arguments = "run --system abd --system dynamo --load open:1000/constant --read-fraction 0.5 --keys 100 \
                     --warmup 300ms --measure 2500ms --faults kill-follower@1s/500ms --json";
    let Output { status, stdout, stderr } = qlab(arguments, out.path()).output().unwrap();
    assert!(status.success(), "{status}: {}", text(&stderr));
    let printed: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    let cells = printed["cells"].as_array().unwrap();
    for (system, verdict) in [("abd", "linearizable"), ("dynamo", "converged")] {
        let cell = cells.iter().find(|cell| cell["system"] == system).expect(system);
        assert_eq!(cell["verdict"], verdict);
        let fault = &cell["faults"][0];
        assert!(fault["node"] == 2 && fault["until_ns"].as_u64() > fault["at_ns"].as_u64(), "{fault}");
    }
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_leaves_no_process() {
    keeps_what_was_measured(Signal::INT);
}

#[test]
fn who_is_told_to_end_keeps_what_was_measured_too() {
    keeps_what_was_measured(Signal::TERM);
}

fn keeps_what_was_measured(wanted: Signal) {
    let out = tempfile::tempdir().unwrap();
    let child = long_run(out.path());
    signal(&child, wanted);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    wait_until("all replicas have ended", || processes_of(out.path()) == 0);
    let runs = Run::read_all(out.path()).unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].manifest.status, Status::Interrupted);
    assert!(!runs[0].cells.is_empty());
    assert_eq!(qlab_report::validate::validate(&runs[0].dir), []);
}

#[test]
fn no_replica_outlives_a_laboratory_that_was_killed() {
    let out = tempfile::tempdir().unwrap();
    let mut child = long_run(out.path());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("all replicas have ended", || processes_of(out.path()) == 0);
    assert!(Run::read_all(out.path()).unwrap().is_empty(), "a partial folder is taken for a whole one");
}

#[test]
fn mistakes_are_named_and_what_is_valid_is_listed() {
    let out = tempfile::tempdir().unwrap();
    let plan = out.path().join("p.toml");
    fs::write(&plan, "name = \"p\"\ndescription = \"d\"\n[[cell]]\nname = \"c\"\nsystem = [\"raft\"]\n[cell.raft]\nread = \"lease\"\n").unwrap();
    let path = plan.to_str().unwrap();
    let mistakes = [
        ("run --system raff".to_owned(), &["raff", "unreplicated", "raft"][..]),
        ("run --lod closed:1".to_owned(), &["--lod", "--load"][..]),
        ("run --repeats 0".to_owned(), &["--repeats", "0"][..]),
        ("run nonsense".to_owned(), &["nonsense", "quick", "floor"][..]),
        ("run --faults kill@2s".to_owned(), &["\"kill@2s\"", "kill-leader", "slow-disk", "delay"][..]),
        ("run --system dynamo --faults kill-leader@1s".to_owned(), &["leader", "kill-follower"][..]),
        ("run --system pbft --replicas 5".to_owned(), &["3f + 1", "4, 7, 10", "not 5"][..]),
        ("run --load open:fast".to_owned(), &["open:fast", "operations per second"][..]),
        (format!("run {path}"), &["p.toml:7", "`read`", "election_timeout_min_ms", "`reads`"][..]),
    ];
    for (arguments, wanted) in mistakes {
        let output = qlab(&arguments, out.path()).output().unwrap();
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {complaint}");
        for word in wanted {
            assert!(complaint.contains(word), "{arguments}: {word} is not in: {complaint}");
        }
    }
}

#[test]
fn a_replica_whose_port_is_taken_says_so_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = serde_json::json!({
        "cluster": "c", "node": 0, "system": "raft", "machine": "kv", "identity": dir.path().join("key"),
        "listen": taken.local_addr().unwrap(), "replicas": [], "clients": [], "data": dir.path().join("journal"),
        "durability": "fdatasync", "first_start": true, "seed": 1
    });
    let path = dir.path().join("replica.json");
    fs::write(&path, config.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_qlab")).arg("replica").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("is the port in use?"), "{}", text(&output.stdout));
}
