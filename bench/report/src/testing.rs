//! Cells for tests: one by hand, and any.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use hdrhistogram::Histogram;
use proptest::{collection, option, prelude::*, sample};

use crate::{
    Cell, Code, CpuByRole, Design, Durability, FaultEffect, Freshness, Health, LatencyKind, LatencyRecord,
    Machine, Manifest, Quantiles, Reason, RunWriter, Slice, Status, Utc, Validity, Verdict,
    manifest::{FORMAT, Summary},
    ratios::FLOOR,
};

/// A plain row of raft.
pub(crate) fn cell() -> Cell {
    let latency = Quantiles {
        p50: Some(184_000),
        p90: Some(250_000),
        p99: Some(1_230_000),
        p999: Some(4_560_000),
        max: Some(9_000_000),
        count: 61_500,
    };
    Cell {
        system: "raft".into(),
        cell: "saturated".into(),
        round: 1,
        repeat: 1,
        replicas: 3,
        durability: Durability::Fdatasync,
        value_bytes: 256,
        read_fraction: 0.0,
        keys: 10_000,
        key_distribution: "uniform".into(),
        load: "closed:64".into(),
        connections: 4,
        warmup_ms: 2_000,
        measure_ms: 5_000,
        seed: 7,
        fault_schedule: None,
        switches: BTreeMap::new(),
        offered_per_s: None,
        throughput_per_s: Some(12_300.0),
        response_ns: latency,
        service_ns: latency,
        lag_ns: Quantiles {
            p50: Some(0),
            p90: Some(0),
            p99: Some(0),
            p999: Some(0),
            max: Some(0),
            count: 61_500,
        },
        errors: 0,
        unknown: 0,
        cpu_us_per_op: Some(81.4),
        cpu_us_per_op_by_role: CpuByRole { client: Some(20.0), leader: Some(31.0), follower: Some(15.2) },
        fsyncs_per_op: Some(0.094),
        messages_per_op: Some(2.31),
        bytes_per_op: Some(1_204.0),
        round_trips_per_decision: None,
        hand_off_ns: Quantiles::default(),
        freed_ns: Quantiles::default(),
        freshness: Freshness::default(),
        verdict: Verdict::Linearizable,
        judged_ops: 61_500,
        validity: Validity::Valid,
        reasons: vec![],
        faults: vec![],
    }
}

/// A leader that was killed and came back, as clients noticed it.
pub(crate) fn fault() -> FaultEffect {
    FaultEffect {
        kind: "kill-leader".into(),
        due_ns: 400_000_000,
        node: Some(1),
        at_ns: Some(402_000_000),
        until_ns: Some(750_000_000),
        answered: None,
        unavailable_ns: Some(231_000_000),
        degraded_ns: Some(200_000_000),
        recovered_ns: Some(298_000_000),
    }
}

/// Three rounds of raft with a fault each, the last of which it did not recover from, and their slices of 100 ms.
pub(crate) fn fault_run() -> (Vec<Cell>, Vec<Slice>) {
    let mut cells: Vec<Cell> = (1..=3).map(|round| cell_of("raft", round, 900.0)).collect();
    for cell in &mut cells {
        let measured = measured_cell();
        (cell.response_ns, cell.service_ns) = (measured.response_ns, measured.service_ns);
        cell.measure_ms = 1_200;
        cell.throughput_per_s = Some((9 * (900 + 30 * u64::from(cell.round))) as f64 / 1.2);
        (cell.cell, cell.fault_schedule) = ("faults".into(), Some("kill-leader@400ms/300ms".into()));
        cell.faults = vec![fault()];
    }
    cells[2].faults[0] = FaultEffect { recovered_ns: None, node: Some(0), ..fault() };
    let slices = cells.iter().flat_map(|cell| (0..12).map(|number| slice(cell, number))).collect();
    (cells, slices)
}

fn slice(cell: &Cell, number: u32) -> Slice {
    let is_down = (4..7).contains(&number);
    Slice {
        system: cell.system.clone(),
        cell: cell.cell.clone(),
        round: cell.round,
        repeat: cell.repeat,
        at_ms: i64::from(number) * 100,
        length_ms: 100,
        operations: if is_down { 0 } else { 900 + 30 * u64::from(cell.round) },
        response_p50_ns: Some(2_000_000),
        response_p99_ns: (number != 8).then_some(if is_down { 300_000_000 } else { 4_000_000 }),
        response_max_ns: Some(310_000_000),
        errors: Some(0),
        unknown: Some(0),
        faults: if is_down { "kill-leader".into() } else { String::new() },
    }
}

/// The same row of another system, round and throughput.
pub(crate) fn cell_of(system: &str, round: u32, throughput_per_s: f64) -> Cell {
    let mut cell = cell();
    system.clone_into(&mut cell.system);
    (cell.round, cell.throughput_per_s) = (round, Some(throughput_per_s));
    cell
}

/// A non-negative number of at most three decimals, or none: such numbers survive any correct text form.
fn any_real() -> impl Strategy<Value = Option<f64>> {
    option::of((0..10_000_000_000_u64).prop_map(|thousandths| thousandths as f64 / 1000.0))
}

fn any_quantiles() -> impl Strategy<Value = Quantiles> {
    let value = || option::of(any::<u64>());
    (value(), value(), value(), value(), value(), any::<u64>())
        .prop_map(|(p50, p90, p99, p999, max, count)| Quantiles { p50, p90, p99, p999, max, count })
}

/// Any row, sensible or not; its switches are among `switch_names`.
pub(crate) fn any_cell() -> impl Strategy<Value = Cell> {
    let who = ("[a-z][a-z0-9-]{0,8}", "[a-z][a-z0-9/=.-]{0,12}", any::<u32>(), any::<u32>());
    let parameters = (
        any::<u32>(),
        sample::select(Durability::ALL.to_vec()),
        any::<[u64; 5]>(),
        0..=1000_u32,
        "[a-z:0-9.]{1,9}",
        "[a-z:0-9%,\" /]{1,12}",
        collection::btree_map(sample::select(switch_names()), "[a-z0-9,\"\n]{1,6}", 0..3),
        option::of("[a-z0-9@/,-]{1,12}"),
    );
    let cpu = [any_real(), any_real(), any_real(), any_real()];
    let rates = (any_real(), any_real(), cpu, any_real(), any_real());
    let rest = (
        any::<[u64; 3]>(),
        any_real(),
        sample::select(vec![Verdict::Linearizable, Verdict::Violated, Verdict::Unchecked]),
        sample::select(vec![Validity::Valid, Validity::Suspect, Validity::Invalid]),
        collection::vec(sample::select(Reason::ALL.map(|(reason, _)| reason).to_vec()), 0..4),
    );
    (who, parameters, [(); 5].map(|()| any_quantiles()), rates, rest).prop_map(
        |(who, parameters, latency, rates, rest)| Cell {
            system: who.0,
            cell: who.1,
            round: who.2,
            repeat: who.3,
            replicas: parameters.0,
            connections: parameters.0 / 2,
            durability: parameters.1,
            value_bytes: parameters.2[0],
            keys: parameters.2[1],
            warmup_ms: parameters.2[2],
            measure_ms: parameters.2[3],
            seed: parameters.2[4],
            read_fraction: f64::from(parameters.3) / 1000.0,
            key_distribution: parameters.4,
            load: parameters.5,
            switches: parameters.6,
            fault_schedule: parameters.7,
            offered_per_s: rates.0,
            throughput_per_s: rates.1,
            response_ns: latency[0],
            service_ns: latency[1],
            lag_ns: latency[2],
            hand_off_ns: latency[3],
            freed_ns: latency[4],
            freshness: Freshness {
                promise: rest.1.map(|_| "no lost update".into()),
                stale: rates.3,
                missed_writes: rates.4,
                values_per_read: rest.1,
                repairs_per_op: rates.2[0],
                below_1ms: rates.2[1],
                below_2ms: rates.2[2],
                below_5ms: rates.2[3],
                below_10ms: rates.0,
                below_50ms: rates.1,
                later: rates.3,
            },
            cpu_us_per_op: rates.2[0],
            cpu_us_per_op_by_role: CpuByRole { client: rates.2[1], leader: rates.2[2], follower: rates.2[3] },
            fsyncs_per_op: rates.3,
            messages_per_op: rates.4,
            bytes_per_op: rest.1,
            round_trips_per_decision: rest.1,
            errors: rest.0[0],
            unknown: rest.0[1],
            judged_ops: rest.0[2],
            verdict: rest.2,
            validity: rest.3,
            reasons: rest.4,
            faults: vec![],
        },
    )
}

/// The switches that [`any_cell`] may set.
pub(crate) fn switch_names() -> Vec<String> {
    ["raft.batch_max", "raft.reads"].map(str::to_owned).to_vec()
}

/// A manifest before its run.
pub(crate) fn manifest(plan: &str) -> Manifest {
    let started = Utc { seconds: 1_000_000_000 };
    let code = Code { git_commit: "0123abcd".repeat(5), rustc: "rustc 1.95.0".into(), ..Code::default() };
    let machine =
        Machine { arch: "x86_64".into(), cpu_model: "Test CPU".into(), cores: 2, ..Machine::default() };
    Manifest {
        format: FORMAT,
        run: String::new(),
        plan: plan.to_owned(),
        status: Status::Interrupted,
        started,
        finished: started,
        code,
        machine_key: String::new(),
        machine,
        health_before: Health::default(),
        health_after: Health::default(),
        design: Design::default(),
        summary: Summary::default(),
        files: BTreeMap::new(),
        supersedes: None,
        withdrawn: None,
    }
}

/// Writes a whole run of these rows, with the histograms that [`cell`] was read off.
pub(crate) fn write_run(results: &Path, plan: &str, cells: &[Cell]) -> PathBuf {
    write_run_with_slices(results, plan, cells, &[])
}

/// The same with a time series.
pub(crate) fn write_run_with_slices(results: &Path, plan: &str, cells: &[Cell], slices: &[Slice]) -> PathBuf {
    let mut writer = RunWriter::create(results, manifest(plan), "name = \"test\"\n", &[]).unwrap();
    for cell in cells {
        writer.append(cell, &latencies(cell)).unwrap();
    }
    writer.append_slices(slices).unwrap();
    writer.finish(Status::Complete, Health::default()).unwrap()
}

/// Histograms with the quantiles of the cell, one of each kind.
fn latencies(cell: &Cell) -> Vec<LatencyRecord> {
    let quantiles = [cell.response_ns, cell.service_ns, cell.lag_ns];
    let records = LatencyKind::ALL.into_iter().zip(quantiles).map(|(kind, quantiles)| LatencyRecord {
        key: cell.key(),
        class: "put".into(),
        kind,
        start: Duration::from_secs(1),
        length: Duration::from_secs(5),
        histogram: histogram_of(quantiles),
    });
    records.collect()
}

/// A histogram of which these are the quantiles, to its precision.
fn histogram_of(quantiles: Quantiles) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap();
    let mut left = quantiles.count;
    let ladder = quantiles.ladder().into_iter().filter_map(|(share, value)| Some((share, value?)));
    let mut below = 0;
    for (share, value) in ladder {
        let upto = (quantiles.count * share).div_ceil(1000);
        histogram.record_n(value, upto - below).unwrap();
        left -= upto - below;
        below = upto;
    }
    quantiles.max.into_iter().for_each(|max| histogram.record_n(max, left).unwrap());
    histogram
}

/// [`cell`] with its latencies read off real histograms, so that they agree with them to the last nanosecond.
pub(crate) fn measured_cell() -> Cell {
    let mut cell = cell();
    let latency = Quantiles::of(&histogram_of(cell.response_ns));
    (cell.response_ns, cell.service_ns) = (latency, latency);
    cell
}

/// Compares a text with the committed file `golden/NAME`; with `QLAB_GOLDEN=write` in the environment, writes the file.
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var("QLAB_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "\n{text}");
}

/// Five rounds of the floor and of others at parts of its speed, with one doubtful row, and a cell of another load in which
/// nothing could be measured.
pub(crate) fn sample_run() -> Vec<Cell> {
    let both = |round: u32| {
        let speed = 20_000.0 + 500.0 * f64::from(round);
        [
            cell_of(FLOOR, round, speed),
            cell_of("raft", round, speed / 2.0),
            cell_of("paxos", round, speed / 3.0),
            cell_of("pbft", round, speed / 4.0),
        ]
    };
    let mut cells: Vec<Cell> = (1..=5).flat_map(both).collect();
    cells.iter_mut().filter(|cell| cell.system == FLOOR).for_each(|cell| cell.replicas = 1);
    (cells[2].validity, cells[2].reasons) = (Validity::Suspect, vec![Reason::NotSteady]);
    let nothing = Quantiles::default();
    cells.push(Cell {
        cell: "latency".into(),
        load: "open:2000".into(),
        throughput_per_s: None,
        response_ns: nothing,
        service_ns: nothing,
        lag_ns: nothing,
        cpu_us_per_op: None,
        verdict: Verdict::Unchecked,
        judged_ops: 0,
        validity: Validity::Invalid,
        reasons: vec![Reason::LowSamples, Reason::Unchecked],
        ..cell()
    });
    cells
}
