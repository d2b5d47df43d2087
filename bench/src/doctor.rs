//! What this machine can do for measurements, and what to change.
//!
//! Every check gives a value, a verdict and, with a warning, the exact command or the consequence.

mod echo;
mod probes;

use std::path::Path;

use qlab_report::{
    Machine, Quantiles,
    layout::{Entry, Layout},
    numbers::{bytes, nanoseconds},
};
use serde::Serialize;

use crate::machine::{HealthProbe, machine};

/// Processors below which replicas and load generator wait for each other.
const CPUS_MIN: u32 = 4;
/// Bytes of socket buffer that the transport asks for.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// An fdatasync faster than this did not reach a disk.
const SYNC_NS_MIN: u64 = 15_000;
/// An fdatasync whose 99th percentile is slower than this drowns every protocol.
const SYNC_P99_NS_MAX: u64 = 10_000_000;
/// Timer lag above this is visible in open-loop latencies.
const TIMER_LAG_P99_NS_MAX: u64 = 500_000;
/// A round trip over loopback slower than this is not the network's: something keeps the threads from running.
const ROUND_TRIP_NS_MAX: u64 = 1_000_000;
/// Bytes of disk that a plan may fill with journals.
const FREE_DISK_BYTES_MIN: u64 = 4 << 30;
/// Descriptors that a fleet with its clients may need.
const OPEN_FILES_MIN: u64 = 4096;
/// Load average for each processor above which something else is running.
const LOAD_PER_CPU_MAX: f64 = 0.3;

/// Everything the doctor found.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// The machine's class, as in folder names.
    pub machine_key: String,
    /// The machine.
    pub machine: Machine,
    /// The checks.
    pub checks: Vec<Check>,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What was found, in words with units.
    pub value: String,
    /// Whether it will do.
    pub verdict: Verdict,
    /// With a warning: what it does to measurements, or the command that mends it.
    pub advice: Option<String>,
}

/// Whether it will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It will.
    Ok,
    /// It will not, or could not be found out.
    Warn,
}

/// Looks at everything; takes some seconds. Writes and removes one file of 4 MiB in `data_dir`.
pub fn examine(data_dir: &Path) -> Diagnosis {
    let machine = machine(data_dir);
    let checks = vec![
        processors(machine.effective_cpus),
        load(machine.effective_cpus),
        socket_buffer("UDP receive buffer", "rmem", probes::receive_buffer_bytes(SOCKET_BUFFER_BYTES)),
        socket_buffer("UDP send buffer", "wmem", probes::send_buffer_bytes(SOCKET_BUFFER_BYTES)),
        offload(probes::offload_segments()),
        round_trip(echo::round_trip_ns()),
        disk_sync(&machine.filesystem, probes::fdatasync_ns(data_dir)),
        timer_lag(probes::timer_lag_ns()),
        free_disk(probes::free_disk_bytes(data_dir)),
        open_files(probes::open_files_max()),
    ];
    Diagnosis { machine_key: machine.key(), machine, checks }
}

impl Diagnosis {
    /// As a table.
    pub fn layout(&self) -> Layout {
        let Machine { cpu_model, cores, memory_bytes, kernel, .. } = &self.machine;
        let memory = bytes(*memory_bytes as f64);
        let caption =
            format!("{cpu_model}, {cores} cores, {memory}, {kernel}; machine key {}", self.machine_key);
        Layout {
            headings: vec!["", "what", "found"],
            rows: self.checks.iter().map(Check::entries).collect(),
            caption,
        }
    }
}

impl Check {
    fn entries(&self) -> Vec<Entry> {
        let verdict = if self.verdict == Verdict::Ok { "ok" } else { "WARN" };
        let word = |text: &str| Entry { value: text.to_owned(), ..Entry::default() };
        let found = Entry { detail: self.advice.clone().unwrap_or_default(), ..word(&self.value) };
        vec![word(verdict), word(self.name), found]
    }

    /// A check that warns, with its advice, unless all is well.
    fn new(name: &'static str, value: String, well: bool, advice: impl Into<String>) -> Self {
        let verdict = if well { Verdict::Ok } else { Verdict::Warn };
        Self { name, value, verdict, advice: (!well).then(|| advice.into()) }
    }

    fn failed(name: &'static str, error: &std::io::Error) -> Self {
        Self::new(
            name,
            format!("could not be found out: {error}"),
            false,
            "see the error; measurements may fail likewise",
        )
    }
}

fn processors(effective: u32) -> Check {
    let advice = "replicas and clients share processors: compare systems on this machine only, and trust CPU/op over throughput";
    Check::new("processors", format!("{effective} usable"), effective >= CPUS_MIN, advice)
}

fn load(effective_cpus: u32) -> Check {
    let load = HealthProbe::start().read().load_1m;
    let value = load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.2} over one minute"));
    let well = load.is_some_and(|load| load <= LOAD_PER_CPU_MAX * f64::from(effective_cpus));
    Check::new(
        "load average",
        value,
        well,
        "something else uses the processors: stop it or wait, else rows are MACHINE_BUSY",
    )
}

fn socket_buffer(name: &'static str, sysctl: &str, granted: std::io::Result<usize>) -> Check {
    match granted {
        Err(error) => Check::failed(name, &error),
        Ok(granted) => {
            let value =
                format!("{} granted of {} asked", bytes(granted as f64), bytes(SOCKET_BUFFER_BYTES as f64));
            let advice = format!("sudo sysctl -w net.core.{sysctl}_max={SOCKET_BUFFER_BYTES}");
            Check::new(name, value, granted >= SOCKET_BUFFER_BYTES, advice)
        }
    }
}

fn offload(segments: std::io::Result<(usize, usize)>) -> Check {
    let name = "UDP offload";
    match segments {
        Err(error) => Check::failed(name, &error),
        Ok((gso, gro)) => {
            let value = format!("{gso} segments in one send, {gro} in one receive");
            Check::new(
                name,
                value,
                gso > 1 && gro > 1,
                "no GSO or GRO: QUIC bulk transfer is 2 to 4 times slower; use a kernel since 5.0",
            )
        }
    }
}

fn round_trip(times: std::io::Result<Quantiles>) -> Check {
    let name = "QUIC echo of 64 B";
    match times {
        Err(error) => Check::failed(name, &error),
        Ok(times) => {
            let well = times.p50.is_some_and(|p50| p50 <= ROUND_TRIP_NS_MAX);
            Check::new(
                name,
                median_and_tail(&times),
                well,
                "no protocol can be faster than this: free a processor",
            )
        }
    }
}

fn disk_sync(filesystem: &str, times: std::io::Result<Quantiles>) -> Check {
    let name = "fdatasync of 4 KiB";
    let times = match times {
        Err(error) => return Check::failed(name, &error),
        Ok(times) => times,
    };
    let value = format!("{} on {filesystem}", median_and_tail(&times));
    let fast = times.p50.is_some_and(|p50| p50 < SYNC_NS_MIN);
    let slow = times.p99.or(times.max).is_none_or(|tail| tail > SYNC_P99_NS_MAX);
    let advice = if fast {
        "too fast for a disk: writes would not survive a loss of power; use --data-dir on a real disk"
    } else {
        "every protocol will wait for this disk; use --data-dir on a faster one"
    };
    Check::new(name, value, !fast && !slow, advice)
}

fn timer_lag(lag: std::io::Result<Quantiles>) -> Check {
    let name = "timer lag";
    match lag {
        Err(error) => Check::failed(name, &error),
        Ok(lag) => {
            let well = lag.p99.is_some_and(|p99| p99 <= TIMER_LAG_P99_NS_MAX);
            Check::new(
                name,
                median_and_tail(&lag),
                well,
                "open-loop requests leave late: rows will be LATE_SEND; free a processor",
            )
        }
    }
}

fn free_disk(free: std::io::Result<u64>) -> Check {
    let name = "free disk";
    match free {
        Err(error) => Check::failed(name, &error),
        Ok(free) => {
            let advice = format!(
                "journals need up to {}; free some, or use --data-dir",
                bytes(FREE_DISK_BYTES_MIN as f64)
            );
            Check::new(name, bytes(free as f64), free >= FREE_DISK_BYTES_MIN, advice)
        }
    }
}

fn open_files(limit: Option<u64>) -> Check {
    let value = limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    Check::new("open files", value, limit.is_none_or(|limit| limit >= OPEN_FILES_MIN), "ulimit -n 65536")
}

fn median_and_tail(times: &Quantiles) -> String {
    let time = |ns: Option<u64>| ns.map_or_else(|| "unknown".to_owned(), |ns| nanoseconds(ns as f64));
    format!("p50 {}, p99 {}, max {}", time(times.p50), time(times.p99), time(times.max))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_check_advises_exactly_when_it_warns() {
        let small = socket_buffer("UDP receive buffer", "rmem", Ok(212_992));
        assert_eq!(small.advice.as_deref(), Some("sudo sysctl -w net.core.rmem_max=4194304"));
        assert_eq!(socket_buffer("UDP receive buffer", "rmem", Ok(4 << 20)).advice, None);
        assert_eq!((open_files(Some(1024)).verdict, open_files(None).verdict), (Verdict::Warn, Verdict::Ok));
        assert_eq!((processors(2).verdict, processors(8).verdict), (Verdict::Warn, Verdict::Ok));
    }

    #[test]
    fn a_disk_may_be_too_slow_and_too_fast() {
        let times = |p50: u64, p99: u64| {
            Ok(Quantiles { p50: Some(p50), p99: Some(p99), max: Some(p99), ..Quantiles::default() })
        };
        assert_eq!(disk_sync("ext4", times(150_000, 350_000)).verdict, Verdict::Ok);
        assert!(disk_sync("tmpfs", times(900, 2_000)).advice.unwrap().contains("too fast"));
        assert!(disk_sync("ext4", times(150_000, 20_000_000)).advice.unwrap().contains("wait"));
        let failed = disk_sync("ext4", Err(io::ErrorKind::PermissionDenied.into()));
        assert!(failed.verdict == Verdict::Warn && failed.value.contains("permission denied"));
    }

    #[test]
    fn the_diagnosis_of_this_machine_is_a_full_table() {
        let dir = tempfile::tempdir().unwrap();
        let diagnosis = examine(dir.path());
        assert_eq!(diagnosis.layout().rows.len(), diagnosis.checks.len());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        let json = serde_json::to_value(&diagnosis).unwrap();
        assert!(json["checks"][0]["verdict"].is_string() && json["machine_key"].is_string());
    }
}
