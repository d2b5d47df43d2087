//! Processes that gossip, processes that keep time, and questions to simulated worlds, from the command line to the file.

use std::path::Path;
use std::process::{Command, Output};

use qlab_report::study::{Asked, ClockRun, Expected, Findings, GossipRun};
use qlab_report::{Study, Verdict, validate};

fn qlab(arguments: &str, out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qlab"));
    command.args(arguments.split_whitespace()).arg("--out").arg(out).output().unwrap()
}

/// Runs a plan, and answers what it found and whether the program was content.
fn findings(arguments: &str) -> (Findings, bool) {
    let (mut found, is_content) = all_findings(arguments);
    assert_eq!(found.len(), 1, "{found:?}");
    (found.remove(0), is_content)
}

/// The same of what leaves several studies, in the order of their names.
fn all_findings(arguments: &str) -> (Vec<Findings>, bool) {
    let out = tempfile::tempdir().unwrap();
    let output = qlab(arguments, out.path());
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let studies = Study::read_all(out.path()).unwrap();
    assert!(!studies.is_empty(), "{told}");
    let inventory = validate::validate_all(out.path()).unwrap();
    assert!(inventory.problems.is_empty(), "{:?}", inventory.problems);
    assert!(
        !std::fs::read_dir(out.path())
            .unwrap()
            .flatten()
            .any(|entry| { entry.file_name().to_string_lossy().starts_with(".work") })
    );
    (studies.into_iter().map(|study| study.findings).collect(), output.status.success())
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

#[test]
fn clocks_tell_what_happened_before_what_and_the_control_does_not() {
    let (Findings::Causality(rows), is_content) = findings("study causality --worlds 1") else {
        panic!("not what was asked")
    };
    assert!(is_content, "{rows:?}");
    let verdicts: Vec<(u64, Verdict)> = rows.iter().map(|row| (row.processes, row.verdict)).collect();
    let causal = |processes| (processes, Verdict::Causal);
    let [small, large] = [[3, 10, 32], [100, 316, 1_000]].map(|sizes| sizes.map(causal).to_vec());
    assert_eq!(verdicts, [small, vec![(32, Verdict::Violated)], large].concat());
    for row in &rows {
        let Asked::Logical(clocks) = &row.asked else { continue };
        assert!(row.concurrent > 0 && clocks.encoded_bytes.max < clocks.plain_bytes, "{row:?}");
    }
}

#[test]
fn payloads_converge_and_cost_what_they_cost() {
    let (found, is_content) = all_findings("study payloads --worlds 1");
    let [Findings::PayloadCosts(costs), Findings::Payloads(payloads)] = &found[..] else {
        panic!("not what was asked: {found:?}")
    };
    assert!(is_content, "{found:?}");
    assert_eq!(payloads.len(), 6);
    assert!(payloads.iter().all(|row| row.verdict == Verdict::Converged && row.histories == 10));
    assert!(costs.iter().all(|row| row.verdict == Verdict::Converged), "{costs:?}");
    let or_set = costs.iter().find(|row| row.kind == "or-set" && row.elements == 10_000).unwrap();
    assert!(or_set.delta_bytes.max < 200.0 && or_set.state_bytes > 10_000 * or_set.element_bytes);
}

#[test]
fn what_no_study_asks_is_wrong_usage() {
    let out = tempfile::tempdir().unwrap();
    for (arguments, answer) in
        [("study weather", "spread, causality, payloads"), ("study spread --worlds 0", "1..=10000")]
    {
        let output = qlab(arguments, out.path());
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(answer), "{told}");
    }
}
