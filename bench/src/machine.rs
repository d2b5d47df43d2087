//! Facts about the machine, read from `/proc` and `/sys`, and its health over a run.
//!
//! A file that is not there makes a fact unknown (empty, 0 or `None`), never an error: a run on an unusual kernel is still a
//! run.

use std::{fs, num::NonZero, path::Path, thread};

use qlab_report::{Health, Machine};

/// Reads the facts. `data_dir` is where replicas will keep their journals; it need not exist yet.
pub fn machine(data_dir: &Path) -> Machine {
    let cpuinfo = read("/proc/cpuinfo");
    let uname = rustix::system::uname();
    let kernel = format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    Machine {
        arch: std::env::consts::ARCH.to_owned(),
        cpu_model: cpu_model(&cpuinfo),
        cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count() as u32,
        effective_cpus: thread::available_parallelism().map_or(0, NonZero::get) as u32,
        numa_nodes: numa_nodes(),
        memory_bytes: memory_bytes(&read("/proc/meminfo")),
        kernel,
        filesystem: filesystem(&read("/proc/self/mountinfo"), &existing_part(data_dir)).unwrap_or_default(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first model named; machines that name none are told apart by their implementer and part.
fn cpu_model(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines
            .map(|(key, value)| (key.trim(), value.trim()))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    if let Some(model) = field("model name") {
        return model.to_owned();
    }
    let parts = ["CPU implementer", "CPU part"].into_iter().filter_map(field);
    parts.collect::<Vec<_>>().join(" ")
}

fn numa_nodes() -> u32 {
    let is_node = |name: &str| name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok());
    let entries = fs::read_dir("/sys/devices/system/node").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_node)).count().max(1) as u32
}

fn memory_bytes(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

/// The longest beginning of a path that exists, without links.
fn existing_part(path: &Path) -> std::path::PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find_map(|part| part.canonicalize().ok()).unwrap_or_else(|| "/".into())
}

/// The type of the filesystem that is mounted nearest above a path, and last.
fn filesystem(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point).then(|| (point.len(), rest.split(' ').next()))
    });
    mounts.max_by_key(|(length, _)| *length)?.1.map(str::to_owned)
}

/// Watches the machine's health from its start on.
#[derive(Clone, Copy, Debug)]
pub struct HealthProbe {
    start: Option<CpuTicks>,
}

impl HealthProbe {
    /// Begins the window over which stolen time is counted.
    pub fn start() -> Self {
        Self { start: CpuTicks::parse(&read("/proc/stat")) }
    }

    /// The health now, and over the time since the start.
    pub fn read(&self) -> Health {
        let now = CpuTicks::parse(&read("/proc/stat"));
        Health {
            load_1m: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
            steal_fraction: self.start.zip(now).and_then(|(start, now)| now.steal_fraction_since(start)),
            psi_cpu_some_10s: pressure(&read("/proc/pressure/cpu")),
            psi_io_some_10s: pressure(&read("/proc/pressure/io")),
            psi_memory_some_10s: pressure(&read("/proc/pressure/memory")),
        }
    }
}

/// Processor time of the whole machine since it started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTicks {
    total: u64,
    stolen: u64,
}

impl CpuTicks {
    /// Reads the first line of `/proc/stat`: user nice system idle iowait irq softirq steal; guest time, which follows, is
    /// part of user time.
    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> = fields.take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
        Some(Self { total: ticks.iter().sum(), stolen: *ticks.get(7)? })
    }

    fn steal_fraction_since(self, start: Self) -> Option<f64> {
        let total = self.total.checked_sub(start.total).filter(|ticks| *ticks > 0)?;
        Some(self.stolen.saturating_sub(start.stolen) as f64 / total as f64)
    }
}

/// `some avg10=1.53 avg60=…`: percent of the last ten seconds.
fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some avg10="))?;
    some.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 21 0:26 / /tmp rw - tmpfs tmpfs rw\n31 21 0:27 / /tmpfiles rw - xfs /dev/vdb rw\n";

    #[test]
    fn the_nearest_mount_tells_the_filesystem() {
        let of = |path: &str| filesystem(MOUNTS, Path::new(path));
        assert_eq!(
            (of("/home/x").as_deref(), of("/tmp/a").as_deref(), of("/tmpfiles/a").as_deref()),
            (Some("ext4"), Some("tmpfs"), Some("xfs"))
        );
        assert_eq!(filesystem("", Path::new("/")), None);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_lies_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        assert_eq!(existing_part(&dir.path().join("not/yet")), real);
    }

    #[test]
    fn stolen_time_is_a_share_of_the_window() {
        let ticks = |text: &str| CpuTicks::parse(text);
        let start = ticks("cpu  10 0 10 70 5 0 0 5 3 0\ncpu0 1\n").unwrap();
        assert_eq!(start, CpuTicks { total: 100, stolen: 5 });
        let later = ticks("cpu  60 0 10 95 5 0 0 30 9 0\n").unwrap();
        assert_eq!(later.steal_fraction_since(start), Some(0.25));
        assert_eq!(start.steal_fraction_since(start), None);
        assert_eq!(ticks("").or(ticks("cpu  1 2 3\n")).or(ticks("intr 3\n")), None);
    }

    #[test]
    fn pressure_and_models_are_read_from_the_kernels_words() {
        assert_eq!(pressure("some avg10=1.53 avg60=0.20 avg300=0.0 total=3\nfull avg10=9.0\n"), Some(1.53));
        assert_eq!(pressure(""), None);
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(cpu_model("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"), "0x41 0xd0c");
        assert_eq!(memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), 2 << 20);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_a_processor_memory_and_a_kernel() {
        let machine = machine(Path::new("."));
        assert!(machine.cores >= 1 && machine.effective_cpus >= 1 && machine.memory_bytes > 0);
        assert!(machine.kernel.starts_with("Linux "));
    }
}
