//! How much memory it takes to read and to judge a history.

mod common;
mod unsafe_counting_allocator;

use common::{Load, random, simulate};
use qlab_checker::Function::{Cas, Delete, Get, Put};
use qlab_checker::{Function, History, Method, Model, Options, Values, Verdict, check, read_json_lines};
use unsafe_counting_allocator::{Counting, peak_bytes};

#[global_allocator]
static COUNTING: Counting = Counting;

const OPERATIONS: usize = 200_000;

/// What an operation may take while its history is judged, the history itself included.
const BYTES_PER_OPERATION_MAX: usize = 250;

/// What a byte of a file may take while it is read: a list of one-digit numbers is the worst.
const BYTES_PER_BYTE_READ_MAX: usize = 100;
/// Buffers and tables that do not depend on the file.
const BYTES_FIXED_MAX: usize = 64 << 10;

/// The peak for each operation of a simulated history of 64 clients, judged by two threads.
fn bytes_per_operation(keys: u64, functions: &[Function], values: Option<u64>, method: Method) -> usize {
    let unique = Load::unique(64, keys, OPERATIONS);
    let load = Load { functions: functions.to_vec(), values, unknown_one_in: 1000, ..unique };
    let mut values = Values::default();
    let operations = simulate(&load, &mut values, &mut random(1));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    let (report, bytes) = peak_bytes(|| {
        let mut history = History::with_capacity(operations.len());
        *history.values_mut() = values;
        history.extend(&operations);
        pool.install(|| check(&history, Model::Kv, &Options { method, ..Options::default() }))
    });
    assert_eq!(report.map(|report| report.verdict), Ok(Verdict::Valid), "{keys} keys, {functions:?}");
    bytes / OPERATIONS
}

#[expect(clippy::print_stdout, reason = "the figures are worth reading where the limits hold, too")]
fn assert_judged_within_limits() {
    let judged = [
        ("one key", bytes_per_operation(1, &[Get, Put], None, Method::Cheapest)),
        ("10 keys", bytes_per_operation(10, &[Get, Put], None, Method::Cheapest)),
        ("1000 keys", bytes_per_operation(1000, &[Get, Put], None, Method::Cheapest)),
        ("10 keys by search", bytes_per_operation(10, &[Get, Put], None, Method::Search)),
        (
            "10 keys of few values",
            bytes_per_operation(10, &[Get, Put, Cas, Delete], Some(16), Method::Cheapest),
        ),
    ];
    println!("bytes for each operation: {judged:?}");
    assert!(judged.iter().all(|(_, bytes)| *bytes <= BYTES_PER_OPERATION_MAX), "{judged:?}");
}

fn assert_read_within_limits(file: &[u8]) {
    let (read, bytes) = peak_bytes(|| read_json_lines(file).map(|history| history.operations().len()));
    let bytes_max = BYTES_FIXED_MAX + BYTES_PER_BYTE_READ_MAX * file.len();
    assert!(bytes <= bytes_max, "{bytes} for {} bytes of file: {read:?}", file.len());
}

fn event(process: usize, value: &str, time: usize) -> String {
    format!(r#"{{"process":{process},"type":"invoke","f":"put","value":{value},"time":{time}}}"#) + "\n"
}

#[test]
fn memory_is_bounded_by_the_operations_judged_and_by_the_bytes_read() {
    // One test, as the count is the process's.
    assert_judged_within_limits();
    let list = |elements: usize| format!("[{}]", vec!["1"; elements].join(","));
    let lists: String = (0..400).map(|line| event(line, &list(line), line)).collect();
    let different: String = (0..20_000).map(|line| event(line, &format!("\"{line}\""), line)).collect();
    let files =
        [event(0, &list(200_000), 0), lists, different, "[".repeat(300_000), "{\"a\":".repeat(50_000)];
    files.iter().for_each(|file| assert_read_within_limits(file.as_bytes()));
}
