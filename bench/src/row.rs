//! From a measurement to a row: figures, costs per operation, and whether it is a measurement at all.

use std::time::Duration;

use qlab_loadgen::mix::Class;
use qlab_loadgen::recorder::{ClassRecord, Recorder};
use qlab_report::{Cell, CpuByRole, LatencyKind, LatencyRecord, Quantiles, Reason, Slice, Validity, Verdict};

use crate::measure::Measurement;
use crate::plan::{Plan, Point, Slot};
use crate::used::Used;

/// Share of one processor above which the generator's thread counts as the bottleneck.
const GENERATOR_CPU_SHARE_MAX: f64 = 0.9;
/// Errors and unknown outcomes per operation above which a row is suspect …
const ERROR_SHARE_SUSPECT: f64 = 0.001;
/// … and above which it is none.
const ERROR_SHARE_INVALID: f64 = 0.01;
/// Operations below which the 99th percentile rests on fewer than ten.
const SAMPLES_MIN: u64 = 1000;
/// Difference between the first and the last third of the window above which it was not steady.
const DRIFT_MAX: f64 = 0.2;
/// Share of the offered operations that must be answered in the window of an open loop.
const GOODPUT_MIN: f64 = 0.98;
/// Share of processor time that others took above which the machine counts as busy.
const STEAL_SHARE_MAX: f64 = 0.05;

/// The row of one measurement.
pub fn cell(
    plan: &Plan,
    slot: Slot,
    point: &Point,
    rate_per_s: Option<f64>,
    measured: &Measurement,
    steal: Option<f64>,
) -> Cell {
    let total = measured.outcome.recorder.total();
    let seconds = measured.outcome.recorder.window().len_ns() as f64 / 1e9;
    let operations = total.completed as f64;
    let per_op = |amount: Option<f64>| amount.filter(|_| operations > 0.0).map(|amount| amount / operations);
    let sum = |of: fn(&Used) -> Option<u64>| {
        measured.used.iter().map(of).sum::<Option<u64>>().filter(|_| !measured.used.is_empty())
    };
    let client_us = measured.outcome.cpu_ns as f64 / 1000.0;
    let replicas_us: f64 = measured.used.iter().map(|used| used.cpu_us as f64).sum();
    let (validity, reasons) = validity(plan, point, rate_per_s, measured, &total, steal);
    Cell {
        system: point.system.name().into(),
        cell: point.cell.clone(),
        round: slot.round,
        repeat: 1,
        replicas: point.replicas,
        durability: point.durability,
        value_bytes: point.value_bytes.into(),
        read_fraction: point.read_fraction,
        keys: point.keys.into(),
        key_distribution: point.key_distribution.to_string(),
        load: point.load.to_string(),
        connections: point.connections,
        warmup_ms: milliseconds(plan.warmup),
        measure_ms: milliseconds(plan.measure),
        seed: plan.seed,
        switches: point.switches.clone(),
        offered_per_s: rate_per_s,
        throughput_per_s: (seconds > 0.0).then(|| operations / seconds),
        response_ns: Quantiles::of(&total.response),
        service_ns: Quantiles::of(&total.service),
        lag_ns: Quantiles::of(&total.lag),
        errors: total.errors + total.unsent,
        unknown: total.unknown,
        cpu_us_per_op: per_op((!measured.used.is_empty()).then_some(client_us + replicas_us)),
        cpu_us_per_op_by_role: CpuByRole {
            client: per_op(Some(client_us)),
            leader: per_op(mean_cpu_us(&measured.used, true)),
            follower: per_op(mean_cpu_us(&measured.used, false)),
        },
        fsyncs_per_op: per_op(sum(|used| used.syncs).map(|syncs| syncs as f64)),
        messages_per_op: per_op(sum(|used| used.messages).map(|messages| messages as f64)),
        bytes_per_op: per_op(sum(|used| used.bytes).map(|bytes| bytes as f64)),
        verdict: measured.judgement.verdict,
        judged_ops: measured.judgement.judged_ops,
        validity,
        reasons,
    }
}

/// The histograms behind a row, one for each class of operations and kind of latency.
pub fn latencies(cell: &Cell, recorder: &Recorder, start: Duration) -> Vec<LatencyRecord> {
    let length = Duration::from_nanos(recorder.window().len_ns());
    let mut records = Vec::new();
    for class in Class::ALL {
        let record = recorder.class(class);
        for (kind, histogram) in [
            (LatencyKind::Response, &record.response),
            (LatencyKind::Service, &record.service),
            (LatencyKind::Lag, &record.lag),
        ] {
            if !histogram.is_empty() {
                let (key, histogram) = (cell.key(), histogram.clone());
                records.push(LatencyRecord {
                    key,
                    class: class.name().into(),
                    kind,
                    start,
                    length,
                    histogram,
                });
            }
        }
    }
    records
}

/// The time series behind a row.
pub fn slices(cell: &Cell, recorder: &Recorder) -> Vec<Slice> {
    let length_ms = recorder.slice_ns() / 1_000_000;
    let quantile = |slice: &qlab_loadgen::recorder::Slice, q: f64| {
        let beyond = slice.response.len() as f64 * (1.0 - q);
        (beyond >= 10.0).then(|| slice.response.value_at_quantile(q))
    };
    let slices = (0_i64..).zip(recorder.slices()).map(|(number, slice)| Slice {
        system: cell.system.clone(),
        cell: cell.cell.clone(),
        round: cell.round,
        repeat: cell.repeat,
        at_ms: number * length_ms.cast_signed(),
        length_ms,
        operations: slice.completed,
        response_p50_ns: quantile(slice, 0.5),
        response_p99_ns: quantile(slice, 0.99),
    });
    slices.collect()
}

fn validity(
    plan: &Plan,
    point: &Point,
    rate_per_s: Option<f64>,
    measured: &Measurement,
    total: &ClassRecord,
    steal: Option<f64>,
) -> (Validity, Vec<Reason>) {
    let window_ns = plan.measure.as_nanos() as f64;
    let failed = (total.errors + total.unknown + total.unsent) as f64 / (total.offered().max(1)) as f64;
    let open = rate_per_s.is_some();
    let late = open && total.lag.value_at_quantile(0.99) * 2 > total.response.value_at_quantile(0.99);
    let goodput = open.then(|| total.completed as f64 / total.offered().max(1) as f64);
    let unsteady =
        goodput.is_some_and(|share| share < GOODPUT_MIN) || drift(&measured.outcome.recorder) > DRIFT_MAX;
    let doubts = [
        (measured.outcome.cpu_ns as f64 / window_ns > GENERATOR_CPU_SHARE_MAX, Reason::GeneratorBound),
        (late, Reason::LateSend),
        (unsteady, Reason::NotSteady),
        (failed > ERROR_SHARE_SUSPECT, Reason::Errors),
        (total.answered < SAMPLES_MIN, Reason::LowSamples),
        (steal.is_some_and(|share| share > STEAL_SHARE_MAX), Reason::MachineBusy),
        (matches!(measured.judgement.verdict, Verdict::Unknown | Verdict::Unchecked), Reason::Unchecked),
    ];
    let reasons: Vec<Reason> =
        doubts.into_iter().filter_map(|(doubt, reason)| doubt.then_some(reason)).collect();
    let no_measurement = failed > ERROR_SHARE_INVALID || measured.outcome.stopped || point.connections == 0;
    let validity = match reasons.is_empty() {
        _ if no_measurement || reasons.contains(&Reason::Unchecked) => Validity::Invalid,
        true => Validity::Valid,
        false => Validity::Suspect,
    };
    (validity, reasons)
}

/// By how much the last third's throughput differs from the first's, as a share of the larger.
fn drift(recorder: &Recorder) -> f64 {
    // The last slice may be a shorter one.
    let whole = usize::try_from(recorder.window().len_ns() / recorder.slice_ns()).unwrap_or_default();
    let slices = &recorder.slices()[..whole.min(recorder.slices().len())];
    let third = slices.len() / 3;
    if third == 0 {
        return 0.0;
    }
    let sum = |slices: &[qlab_loadgen::recorder::Slice]| {
        slices.iter().map(|slice| slice.completed).sum::<u64>() as f64
    };
    let (first, last) = (sum(&slices[..third]), sum(&slices[slices.len() - third..]));
    (first - last).abs() / first.max(last).max(1.0)
}

fn mean_cpu_us(used: &[Used], leads: bool) -> Option<f64> {
    let of_role: Vec<f64> =
        used.iter().filter(|used| used.leads == Some(leads)).map(|used| used.cpu_us as f64).collect();
    (!of_role.is_empty()).then(|| of_role.iter().sum::<f64>() / of_role.len() as f64)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
