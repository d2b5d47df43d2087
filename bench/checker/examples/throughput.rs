//! How fast histories are judged, and in how much memory beside their own: `cargo run --release --example throughput`.
//!
//! Histories come from a simulated store, so all are valid: the judges see all of each. Unique values are judged by both
//! methods; few values, deletes and cas only by search. One run is one measurement; interleave runs before comparing.

#![expect(clippy::print_stdout, reason = "a table on standard output is what this program is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::{Load, history_of, random, simulate};
use qlab_checker::{Function, History, Method, Model, Options, Values, check};

/// One row of the table.
struct Row {
    name: &'static str,
    load: Load,
    method: Method,
}

fn main() {
    println!(
        "{:<28} {:>10} {:>6} {:>8} {:>12} {:>9}  verdict",
        "history", "operations", "keys", "clients", "ops/s", "bytes/op"
    );
    rows().iter().for_each(measure);
}

fn rows() -> Vec<Row> {
    let unique = |keys, operations| Load { unknown_one_in: 1_000, ..Load::unique(64, keys, operations) };
    let functions = vec![Function::Get, Function::Put, Function::Cas, Function::Delete];
    let mixed = |keys, operations| Load {
        functions: functions.clone(),
        values: Some(16),
        ..unique(keys, operations)
    };
    let row = |name, load, method| Row { name, load, method };
    vec![
        row("unique values, zones", unique(1_000, 3_000_000), Method::Cheapest),
        row("unique values, zones", unique(10, 3_000_000), Method::Cheapest),
        row("unique values, zones", unique(1, 3_000_000), Method::Cheapest),
        row("unique values, search", unique(1_000, 1_000_000), Method::Search),
        row("unique values, search", unique(10, 1_000_000), Method::Search),
        row("16 values, cas, search", mixed(1_000, 1_000_000), Method::Search),
        row("16 values, cas, search", mixed(10, 100_000), Method::Search),
    ]
}

fn measure(row: &Row) {
    let history = history_of(&simulate(&row.load, &mut random(7)), &Values::default());
    let before_bytes = reset_peak_memory_bytes();
    let (seconds, verdict) = judge(&history, row.method);
    let operations = history.operations().len() as f64;
    let bytes = (peak_memory_bytes() - before_bytes) / operations;
    let Row { name, load, .. } = row;
    let (count, keys, clients) = (load.operations, load.keys, load.clients);
    println!(
        "{name:<28} {count:>10} {keys:>6} {clients:>8} {:>12.0} {bytes:>9.0}  {verdict}",
        operations / seconds
    );
}

#[expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
fn judge(history: &History, method: Method) -> (f64, String) {
    let start = Instant::now();
    let report = check(history, Model::Kv, &Options { method, ..Options::default() });
    let seconds = start.elapsed().as_secs_f64();
    (seconds, report.map_or_else(|refusal| refusal.to_string(), |report| format!("{:?}", report.verdict)))
}

/// Forgets the peak so far, where Linux allows it, and returns the memory in use.
fn reset_peak_memory_bytes() -> f64 {
    _ = std::fs::write("/proc/self/clear_refs", "5");
    peak_memory_bytes()
}

/// The peak of resident memory, not a number where `/proc` does not tell.
fn peak_memory_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kibibytes.map_or(f64::NAN, |kibibytes| 1024.0 * kibibytes)
}
