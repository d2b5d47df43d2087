//! Processes that gossip and processes that keep time, from the command line to the file.

use std::path::Path;
use std::process::{Command, Output};

use qlab_report::study::{ClockRun, Expected, Findings, GossipRun};
use qlab_report::{Study, Verdict, validate};

fn qlab(arguments: &str, out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qlab"));
    command.args(arguments.split_whitespace()).arg("--out").arg(out).output().unwrap()
}

/// Runs a plan, and answers what it found and whether the program was content.
fn findings(arguments: &str) -> (Findings, bool) {
    let out = tempfile::tempdir().unwrap();
    let output = qlab(arguments, out.path());
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let studies = Study::read_all(out.path()).unwrap();
    assert_eq!(studies.len(), 1, "{told}");
    let inventory = validate::validate_all(out.path()).unwrap();
    assert!(inventory.problems.is_empty(), "{:?}", inventory.problems);
    assert!(
        !std::fs::read_dir(out.path())
            .unwrap()
            .flatten()
            .any(|entry| { entry.file_name().to_string_lossy().starts_with(".work") })
    );
    (studies[0].findings.clone(), output.status.success())
}

#[test]
fn nodes_that_live_learn_everything_and_find_out_who_died() {
    let (Findings::GossipRuns(rows), is_content) = findings("run gossip-quick") else {
        panic!("not what was asked")
    };
    let [row]: &[GossipRun] = &rows else { panic!("{rows:?}") };
    assert_eq!((row.verdict, is_content), (Verdict::Converged, true), "{row:?}");
    assert_eq!((row.updates, row.unanswered), (40, 0), "{row:?}");
    assert!(row.ns_to_half.p50 <= row.ns_to_all.p50 && row.ns_to_all.p50 > 0.0, "{row:?}");
    assert!(row.datagrams > row.updates && row.probes > 0 && row.bytes_per_node_per_update > 0.0);
    // How long that takes is a matter of load.
    assert!(row.detection_ns.is_some_and(|detection| detection.p50 > 0.0), "{row:?}");
}

#[test]
fn clocks_are_right_within_their_bound_unless_they_must_trust_a_liar() {
    let (Findings::ClockRuns(rows), is_content) = findings("run clock-quick") else {
        panic!("not what was asked")
    };
    let [honest, control]: &[ClockRun] = &rows else { panic!("{rows:?}") };
    assert!(is_content, "{rows:?}");
    assert_eq!((honest.verdict, honest.outside.events, honest.steps), (Verdict::Sound, 0, 0), "{honest:?}");
    assert!(honest.claims > 20 && honest.out_voted_max == 1, "{honest:?}");
    let (bound, error) = (honest.bound_ns.unwrap(), honest.error_ns.unwrap());
    assert!(error.p50 <= bound.p50 && bound.max < 40_000_000, "{honest:?}");
    assert_eq!((control.verdict, control.expected), (Verdict::Violated, Expected::Violated), "{control:?}");
    assert_eq!(control.outside.events, control.claims);
}

#[test]
fn a_study_with_flags_for_a_load_is_wrong_usage() {
    let out = tempfile::tempdir().unwrap();
    let output = qlab("run gossip --replicas 3", out.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--replicas: gossip measures no load"));
}
