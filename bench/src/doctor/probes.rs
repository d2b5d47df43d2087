//! The doctor's instruments: each tries one thing on this machine.

use std::{
    fs::File,
    io::{self, Write},
    net::{Ipv4Addr, UdpSocket},
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

use hdrhistogram::Histogram;
use qlab_report::Quantiles;
use rustix::{
    process::{Resource, getrlimit},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use socket2::SockRef;

use crate::clock::Stopwatch;

/// Samples of a time: the fewest of which a 99th percentile may be told.
const SAMPLES: u64 = 1000;
/// A probe ends after this time with the samples it has.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);
/// One synced write.
const BLOCK_BYTES: usize = 4096;
/// Blocks of the file that is written over and over.
const FILE_BLOCKS: usize = 1024;
/// How far ahead a timer is set.
const TIMER_AHEAD: Duration = Duration::from_millis(1);

/// Bytes of receive buffer that the kernel grants when `asked` for.
pub(super) fn receive_buffer_bytes(asked: usize) -> io::Result<usize> {
    let socket = udp_socket()?;
    let socket = SockRef::from(&socket);
    socket.set_recv_buffer_size(asked)?;
    Ok(granted(socket.recv_buffer_size()?))
}

/// Bytes of send buffer that the kernel grants when `asked` for.
pub(super) fn send_buffer_bytes(asked: usize) -> io::Result<usize> {
    let socket = udp_socket()?;
    let socket = SockRef::from(&socket);
    socket.set_send_buffer_size(asked)?;
    Ok(granted(socket.send_buffer_size()?))
}

/// Linux doubles what was asked for, to account for its own bookkeeping, and reports the double.
fn granted(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

/// Datagrams in one system call: sent (GSO), received (GRO).
pub(super) fn offload_segments() -> io::Result<(usize, usize)> {
    let socket = udp_socket()?;
    let state = quinn_udp::UdpSocketState::new((&socket).into())?;
    Ok((state.max_gso_segments(), state.gro_segments()))
}

fn udp_socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Times of writing 4 KiB over written blocks and syncing them: no block is allocated while it is measured, as in a journal.
pub(super) fn fdatasync_ns(dir: &Path) -> io::Result<Quantiles> {
    let mut file = tempfile::tempfile_in(dir)?;
    let block = [0x5A; BLOCK_BYTES];
    (0..FILE_BLOCKS).try_for_each(|_| file.write_all(&block))?;
    file.sync_all()?;
    sample(|turn| {
        let watch = Stopwatch::start();
        write_synced(&file, &block, turn % FILE_BLOCKS)?;
        Ok(watch.elapsed())
    })
}

fn write_synced(file: &File, block: &[u8], at: usize) -> io::Result<()> {
    file.write_all_at(block, (at * BLOCK_BYTES) as u64)?;
    file.sync_data()
}

/// How much later than asked a timer wakes a sleeping thread.
pub(super) fn timer_lag_ns() -> io::Result<Quantiles> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ahead = Timespec { tv_sec: 0, tv_nsec: i64::from(TIMER_AHEAD.subsec_nanos()) };
    sample(|_| {
        let watch = Stopwatch::start();
        timerfd_settime(
            &timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: never, it_value: ahead },
        )?;
        rustix::io::read(&timer, &mut [0; 8])?;
        Ok(watch.elapsed().saturating_sub(TIMER_AHEAD))
    })
}

fn sample(mut take: impl FnMut(usize) -> io::Result<Duration>) -> io::Result<Quantiles> {
    let mut samples = Samples::start();
    while samples.wants_more() {
        samples.take(take(samples.histogram.len() as usize)?);
    }
    Ok(samples.quantiles())
}

/// Gathers times until there are enough or it has taken too long.
pub(super) struct Samples {
    histogram: Histogram<u64>,
    watch: Stopwatch,
}

impl Samples {
    pub(super) fn start() -> Self {
        let longest_ns = 2 * PROBE_TIME_MAX.as_nanos() as u64;
        let histogram = Histogram::new_with_max(longest_ns, 3).expect("bounds and digits are allowed");
        Self { histogram, watch: Stopwatch::start() }
    }

    pub(super) fn wants_more(&self) -> bool {
        self.histogram.len() < SAMPLES && self.watch.elapsed() <= PROBE_TIME_MAX
    }

    pub(super) fn take(&mut self, time: Duration) {
        self.histogram.saturating_record(time.as_nanos() as u64);
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        Quantiles::of(&self.histogram)
    }
}

/// Bytes that this user may still write below a folder.
pub(super) fn free_disk_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Descriptors that a process may hold; `None` is no limit.
pub(super) fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_gives_as_many_samples_as_a_99th_percentile_needs() {
        let times = sample(|turn| Ok(Duration::from_millis(turn as u64))).unwrap();
        assert_eq!(times.count, SAMPLES);
        let p99_ms = times.p99.expect("there are enough samples") / 1_000_000;
        assert!((985..=995).contains(&p99_ms), "{p99_ms}");
    }

    #[test]
    fn a_probe_that_fails_says_so() {
        assert!(sample(|_| Err(io::ErrorKind::StorageFull.into())).is_err());
        assert!(fdatasync_ns(Path::new("/proc/none")).is_err());
    }

    #[test]
    fn the_kernel_grants_small_buffers() {
        assert!(receive_buffer_bytes(8192).unwrap() >= 8192);
        assert!(send_buffer_bytes(8192).unwrap() >= 8192);
    }
}
