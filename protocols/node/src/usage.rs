//! What this process has used so far.

/// Processor time and memory, since the process began.
pub(crate) struct Usage {
    pub(crate) cpu_us: u64,
    pub(crate) memory_peak_kib: u64,
}

pub(crate) fn usage() -> Usage {
    Usage { cpu_us: cpu_us(), memory_peak_kib: memory_peak_kib().unwrap_or_default() }
}

fn cpu_us() -> u64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(used.tv_sec * 1_000_000 + used.tv_nsec / 1000).unwrap_or_default()
}

fn memory_peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
