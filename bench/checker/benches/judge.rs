//! How fast valid histories of a key-value store are judged, by 64 clients, on all cores: `cargo bench -p qlab-checker`.
//!
//! Histories come from a simulated store. Unique values are decided by zones; with few values most keys need the search, and
//! so do texts made by appending.

use std::hint::black_box;

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Load, history_of, random, simulate};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use qlab_checker::Function::{Append, Cas, Delete, Get, Put};
use qlab_checker::{Function, Method, Model, Options, Values, Verdict, check};

const CLIENTS: u32 = 64;
const KEYS: [u64; 2] = [1000, 10];

/// One kind of history.
struct Row {
    name: &'static str,
    functions: &'static [Function],
    /// How many different values are written; all are different if there is none.
    values: Option<u64>,
    method: Method,
    operations: usize,
}

const ROWS: [Row; 5] = [
    row("get-put/unique", &[Get, Put], None, Method::Cheapest, 1_000_000),
    row("get-put/unique/by search", &[Get, Put], None, Method::Search, 500_000),
    row("get-put/16 values", &[Get, Put], Some(16), Method::Cheapest, 200_000),
    row("get-put-cas-delete/16 values", &[Get, Put, Cas, Delete], Some(16), Method::Cheapest, 200_000),
    row("get-put-cas-append/16 values", &[Get, Put, Cas, Append], Some(16), Method::Cheapest, 50_000),
];

const fn row(
    name: &'static str,
    functions: &'static [Function],
    values: Option<u64>,
    method: Method,
    operations: usize,
) -> Row {
    Row { name, functions, values, method, operations }
}

fn judge(criterion: &mut Criterion) {
    for row in &ROWS {
        let mut group = criterion.benchmark_group(format!("judge/{}", row.name));
        group.throughput(Throughput::Elements(row.operations as u64)).sample_size(10);
        for keys in KEYS {
            let functions = row.functions.to_vec();
            let load = Load {
                functions,
                values: row.values,
                unknown_one_in: 1000,
                ..Load::unique(CLIENTS, keys, row.operations)
            };
            let mut values = Values::default();
            let history = history_of(&simulate(&load, &mut values, &mut random(7)), &values);
            let options = Options { method: row.method, ..Options::default() };
            group.bench_function(BenchmarkId::new("keys", keys), |bencher| {
                bencher.iter(|| {
                    let report = check(black_box(&history), Model::Kv, &options);
                    assert_eq!(report.map(|report| report.verdict), Ok(Verdict::Valid));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, judge);
criterion_main!(benches);
