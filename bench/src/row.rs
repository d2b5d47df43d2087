//! From a measurement to a row: figures, costs per operation, and the time series behind them.

use std::time::Duration;

use hdrhistogram::Histogram;
use qlab_loadgen::history::End;
use qlab_loadgen::mix::Class;
use qlab_loadgen::recorder::Recorder;
use qlab_loadgen::run::Outcome;
use qlab_report::quantiles::is_known;
use qlab_report::{Cell, CpuByRole, FaultEffect, Freshness, LatencyKind, LatencyRecord, Quantiles, Slice};

use crate::effects::effects;
use crate::measure::Measurement;
use crate::plan::{Plan, Point, Slot};
use crate::used::Used;
use crate::validity::{Facts, validity};

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
    let hand_overs = measured.outcome.recorder.hand_overs();
    let client_us = measured.outcome.cpu_ns as f64 / 1000.0;
    let replicas_us: f64 = measured.used.iter().map(|used| used.cpu_us as f64).sum();
    let faults = effects(&measured.strikes, &measured.outcome.recorder, &measured.outcome.history);
    let (validity, reasons) = validity(&Facts {
        measured,
        faults: &faults,
        measure: plan.measure,
        is_open_loop: rate_per_s.is_some(),
        steal,
    });
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
        fault_schedule: (!point.faults.is_empty()).then(|| point.faults.to_string()),
        switches: point.all_switches(),
        offered_per_s: rate_per_s,
        throughput_per_s: (seconds > 0.0).then(|| operations / seconds),
        response_ns: Quantiles::of(&total.response),
        service_ns: Quantiles::of(&total.service),
        lag_ns: Quantiles::of(&total.lag),
        hand_off_ns: Quantiles::of(&hand_overs.hand_off),
        freed_ns: Quantiles::of(&hand_overs.freed),
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
        round_trips_per_decision: round_trips_per_decision(&measured.used),
        freshness: Freshness {
            repairs_per_op: per_op(sum(|used| used.repairs).map(|repairs| repairs as f64)),
            ..measured.freshness.clone()
        },
        verdict: measured.judgement.verdict,
        judged_ops: measured.judgement.judged_ops,
        validity,
        reasons,
        faults,
    }
}

/// What a decision took, if decisions are counted and there was one.
fn round_trips_per_decision(used: &[Used]) -> Option<f64> {
    let total = |of: fn(&Used) -> Option<u64>| used.iter().map(of).sum::<Option<u64>>();
    let decisions = total(|used| used.decisions).filter(|decisions| *decisions > 0)?;
    Some(total(|used| used.round_trips)? as f64 / decisions as f64)
}

/// The histograms behind a row, one for each class of operations and kind of latency.
pub fn latencies(cell: &Cell, recorder: &Recorder, start: Duration) -> Vec<LatencyRecord> {
    let length = Duration::from_nanos(recorder.window().len_ns());
    let of_class = |class| {
        let record = recorder.class(class);
        let histograms = [
            (LatencyKind::Response, &record.response),
            (LatencyKind::Service, &record.service),
            (LatencyKind::Lag, &record.lag),
        ];
        histograms.map(|(kind, histogram)| (class, kind, histogram))
    };
    let hand_overs = recorder.hand_overs();
    let of_locks = [
        (Class::Lock, LatencyKind::HandOff, &hand_overs.hand_off),
        (Class::Lock, LatencyKind::Freed, &hand_overs.freed),
    ];
    let all = Class::ALL.into_iter().flat_map(of_class).chain(of_locks);
    let measured = all.filter(|(.., histogram)| !histogram.is_empty());
    let record = |(class, kind, histogram): (Class, LatencyKind, &Histogram<u64>)| LatencyRecord {
        key: cell.key(),
        class: class.name().into(),
        kind,
        start,
        length,
        histogram: histogram.clone(),
    };
    measured.map(record).collect()
}

/// The time series behind a row.
pub fn slices(cell: &Cell, outcome: &Outcome) -> Vec<Slice> {
    let recorder = &outcome.recorder;
    let (slice_ns, window_ns) = (recorder.slice_ns(), recorder.window().len_ns());
    let slices = (0..).zip(recorder.slices().iter().zip(failures(outcome)));
    let slices = slices.map(|(number, (slice, failures))| {
        let start_ns = number * slice_ns;
        let end_ns = window_ns.min(start_ns + slice_ns);
        let quantile = |per_mille: u64| {
            let known = is_known(slice.response.len(), per_mille);
            known.then(|| slice.response.value_at_quantile(per_mille as f64 / 1000.0))
        };
        Slice {
            system: cell.system.clone(),
            cell: cell.cell.clone(),
            round: cell.round,
            repeat: cell.repeat,
            at_ms: (start_ns / 1_000_000).cast_signed(),
            length_ms: (end_ns - start_ns) / 1_000_000,
            operations: slice.completed,
            response_p50_ns: quantile(500),
            response_p99_ns: quantile(990),
            response_max_ns: (!slice.response.is_empty()).then(|| slice.response.max()),
            errors: Some(failures.errors),
            unknown: Some(failures.unknown),
            faults: active(&cell.faults, start_ns, end_ns),
        }
    });
    slices.collect()
}

/// Operations first sent in a slice that came to no good end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Answered with an error: certainly not done.
    pub errors: u64,
    /// Without an answer.
    pub unknown: u64,
}

/// Operations without a good end, by the slice in which they were first sent.
pub fn failures(outcome: &Outcome) -> Vec<Failures> {
    let (window, slice_ns) = (outcome.recorder.window(), outcome.recorder.slice_ns());
    let mut slices = vec![Failures::default(); outcome.recorder.slices().len()];
    if outcome.counters.errors + outcome.counters.unknown == 0 {
        return slices;
    }
    for operation in outcome.history.iter().filter(|operation| window.contains(operation.sent_ns)) {
        let number = usize::try_from((operation.sent_ns - window.start_ns) / slice_ns).ok();
        let Some(slice) = number.and_then(|number| slices.get_mut(number)) else { continue };
        match operation.end {
            End::Failed => slice.errors += 1,
            End::Unknown => slice.unknown += 1,
            End::Ok | End::Mismatch => {}
        }
    }
    slices
}

/// The faults that last in a part of the window, or in a piece of it.
fn active(faults: &[FaultEffect], start_ns: u64, end_ns: u64) -> String {
    let lasts = |fault: &&FaultEffect| {
        fault.at_ns.is_some_and(|at_ns| at_ns < end_ns)
            && fault.until_ns.is_none_or(|until_ns| until_ns > start_ns)
    };
    faults.iter().filter(lasts).map(|fault| &fault.kind[..]).collect::<Vec<_>>().join(" ")
}

fn mean_cpu_us(used: &[Used], leads: bool) -> Option<f64> {
    let of_role: Vec<f64> =
        used.iter().filter(|used| used.leads == Some(leads)).map(|used| used.cpu_us as f64).collect();
    (!of_role.is_empty()).then(|| of_role.iter().sum::<f64>() / of_role.len() as f64)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
