//! Whether the time series and the faults of a run agree with its rows.

use std::collections::BTreeMap;

use crate::{
    Cell, CellKey, FaultEffect, Run, RunError, Slice,
    run_dir::{FAULTS_FILE, SLICES_FILE},
};

/// By how much slices may differ from the row's throughput, as a share: their lengths are whole milliseconds.
const THROUGHPUT_DIFFERENCE_MAX: f64 = 0.01;

/// What is wrong with `slices.csv` and `faults.csv`.
pub(super) fn problems(run: &Run) -> Result<Vec<String>, RunError> {
    let mut problems = slice_problems(&run.cells, &run.slices()?);
    problems.extend(fault_key_problems(run)?);
    problems.extend(run.cells.iter().flat_map(fault_problems));
    Ok(problems)
}

fn slice_problems(cells: &[Cell], slices: &[Slice]) -> Vec<String> {
    let mut series: BTreeMap<CellKey, Vec<&Slice>> = BTreeMap::new();
    slices.iter().for_each(|slice| series.entry(slice.key()).or_default().push(slice));
    let problems = series.iter().filter_map(|(key, slices)| {
        let what = match cells.iter().find(|cell| cell.key() == *key) {
            None => Some("has no row"),
            Some(cell) => series_problem(cell, slices),
        };
        Some(format!("{SLICES_FILE}: {key} {}", what?))
    });
    problems.collect()
}

fn series_problem(cell: &Cell, slices: &[&Slice]) -> Option<&'static str> {
    let end_ms = |slice: &Slice| slice.at_ms.saturating_add_unsigned(slice.length_ms);
    let follows = |pair: &[&Slice]| pair[0].length_ms > 0 && end_ms(pair[0]) <= pair[1].at_ms;
    let rises = |slice: &&Slice| {
        let ladder = [slice.response_p50_ns, slice.response_p99_ns, slice.response_max_ns];
        ladder.into_iter().flatten().is_sorted()
    };
    let checks = [
        (slices.windows(2).all(follows), "has slices that overlap or are out of order"),
        (slices.iter().all(rises), "has a slice whose quantiles do not rise"),
        (adds_up(cell, slices), "has slices that do not add up to its throughput"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
}

fn adds_up(cell: &Cell, slices: &[&Slice]) -> bool {
    let Some(throughput_per_s) = cell.throughput_per_s else { return true };
    let operations: u64 = slices.iter().map(|slice| slice.operations).sum();
    // Earlier versions gave the last slice the length of all others; an interrupted window is shorter than it was to be.
    let sliced_ms: u64 = slices.iter().map(|slice| slice.length_ms).sum();
    let expected = throughput_per_s * sliced_ms.min(cell.measure_ms) as f64 / 1000.0;
    (operations as f64 - expected).abs() <= THROUGHPUT_DIFFERENCE_MAX * expected
}

/// Every line of `faults.csv` belongs to a row, and the faults of a row are numbered from 1.
fn fault_key_problems(run: &Run) -> Result<Vec<String>, RunError> {
    let mut seen: BTreeMap<CellKey, u32> = BTreeMap::new();
    let mut problems = Vec::new();
    for row in run.faults()? {
        let (key, number) = (row.key(), row.fault);
        let count = seen.entry(key.clone()).or_default();
        *count += 1;
        if *count != number {
            problems.push(format!("{FAULTS_FILE}: {key}: fault {number} is at place {count}"));
        }
        if !run.cells.iter().any(|cell| cell.key() == key) {
            problems.push(format!("{FAULTS_FILE}: {key} has no row"));
        }
    }
    Ok(problems)
}

fn fault_problems(cell: &Cell) -> Vec<String> {
    let planned = cell.fault_schedule.as_ref().map_or(0, |schedule| schedule.split(',').count());
    let count = (cell.faults.len() != planned)
        .then(|| format!("{} faults stand for {planned} that were asked for", cell.faults.len()));
    let faults = cell.faults.iter().filter_map(|fault| {
        Some(format!("{} due at {} ns: {}", fault.kind, fault.due_ns, fault_problem(cell, fault)?))
    });
    count.into_iter().chain(faults).map(|what| format!("{FAULTS_FILE}: {}: {what}", cell.key())).collect()
}

fn fault_problem(cell: &Cell, fault: &FaultEffect) -> Option<&'static str> {
    let measured = [fault.unavailable_ns, fault.degraded_ns, fault.recovered_ns];
    let Some(at_ns) = fault.at_ns else {
        let nothing = measured.iter().all(Option::is_none)
            && fault.node.is_none()
            && fault.until_ns.or(fault.answered).is_none();
        return (!nothing).then_some("it did something and never struck");
    };
    let window_ns = cell.measure_ms.saturating_mul(1_000_000);
    let left_ns = window_ns.saturating_sub(at_ns);
    let checks = [
        (fault.until_ns.is_none_or(|until_ns| at_ns <= until_ns), "it was over before it struck"),
        (at_ns <= window_ns, "it struck after the window"),
        (measured.iter().flatten().all(|ns| *ns <= left_ns), "it was felt longer than the window lasted"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fault_run;

    fn slices_told(edit: impl Fn(&mut Vec<Slice>)) -> String {
        let (cells, mut slices) = fault_run();
        edit(&mut slices);
        slice_problems(&cells, &slices).concat()
    }

    fn faults_told(edit: impl Fn(&mut Cell)) -> String {
        let mut cell = fault_run().0.remove(0);
        edit(&mut cell);
        fault_problems(&cell).concat()
    }

    #[test]
    fn slices_that_contradict_themselves_or_their_row_are_found() {
        assert_eq!(slices_told(|_| {}), "");
        assert!(
            slices_told(|slices| slices[0].round = 9).contains("faults raft round 9 repeat 1 has no row")
        );
        assert!(slices_told(|slices| slices.swap(2, 3)).contains("overlap or are out of order"));
        assert!(slices_told(|slices| slices[1].response_p50_ns = Some(u64::MAX)).contains("do not rise"));
        assert!(slices_told(|slices| slices[1].operations += 200).contains("do not add up"));
        assert!(slices_told(|slices| drop(slices.remove(5))).contains("do not add up"));
    }

    #[test]
    fn a_last_slice_that_reaches_past_the_window_is_allowed() {
        let past = |slices: &mut Vec<Slice>| {
            let last = slices.pop().unwrap();
            slices.push(last.clone());
            slices.push(Slice { at_ms: 1_200, operations: 0, ..last });
        };
        assert_eq!(slices_told(past), "");
    }

    #[test]
    fn faults_that_contradict_themselves_or_their_row_are_found() {
        assert_eq!(faults_told(|_| {}), "");
        assert!(faults_told(|cell| cell.faults.clear()).contains("0 faults stand for 1"));
        assert!(faults_told(|cell| cell.fault_schedule = None).contains("1 faults stand for 0"));
        assert!(faults_told(|cell| cell.faults[0].until_ns = Some(1)).contains("over before it struck"));
        assert!(faults_told(|cell| cell.faults[0].at_ns = None).contains("never struck"));
        assert!(faults_told(|cell| cell.measure_ms = 300).contains("after the window"));
        assert!(
            faults_told(|cell| cell.faults[0].recovered_ns = Some(u64::MAX))
                .contains("longer than the window")
        );
    }
}
