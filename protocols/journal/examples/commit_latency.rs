//! Measures commits on a real directory: `cargo run --release -p qlab-journal --example commit_latency -- DIR`.
//!
//! For each size of commit and each state of the space (fresh, or recycled from released segments) it prints how long one
//! write and one fdatasync take.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures and prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use qlab_journal::{FileDisk, Identity, Journal, JournalOptions};
use qlab_kernel::{Lsn, NodeId, Reader, Sink, Wire, WireError};

const SEGMENT_BYTES: u64 = 16 << 20;

struct Filler(usize);

impl Wire for Filler {
    fn encode(&self, sink: &mut impl Sink) {
        for chunk in (0..self.0).step_by(64) {
            sink.put(&[chunk as u8; 64]);
        }
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self(reader.take_rest().len()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).map(PathBuf::from).ok_or("usage: commit_latency DIR")?;
    println!("record_bytes  space      p50_us   p99_us  mean_us  recycled");
    for round in 0..3 {
        for record_bytes in [3840, 65_280, 1 << 20] {
            for release in [false, true] {
                measure(&directory.join(format!("{round}-{record_bytes}-{release}")), record_bytes, release)?;
            }
        }
    }
    Ok(())
}

fn measure(directory: &Path, record_bytes: usize, release: bool) -> Result<(), Box<dyn Error>> {
    let options = JournalOptions {
        segment_bytes: SEGMENT_BYTES,
        ..JournalOptions::new(Identity { cluster: 1, node: NodeId(0) })
    };
    let (mut journal, _) = Journal::open(FileDisk::open(directory)?, options)?;
    let commits = 2000.min((256 << 20) / record_bytes as u64);
    // Once around the spare segments first, so that all the space used below is recycled.
    let warm_up = if release { 4 * SEGMENT_BYTES / record_bytes as u64 } else { 0 };
    let mut took_ns = Vec::new();
    for lsn in 1..=warm_up + commits {
        journal.append(Lsn(lsn), &Filler(record_bytes))?;
        if release {
            journal.release_below(Lsn(lsn));
        }
        let start = Instant::now();
        journal.commit()?;
        if lsn > warm_up {
            took_ns.push(start.elapsed().as_nanos());
        }
    }
    report(
        record_bytes,
        if release { "recycled" } else { "fresh" },
        took_ns,
        journal.statistics().segments_recycled,
    );
    drop(journal);
    Ok(std::fs::remove_dir_all(directory)?)
}

fn report(record_bytes: usize, space: &str, mut took_ns: Vec<u128>, recycled: u64) {
    took_ns.sort_unstable();
    let at = |share: usize| took_ns[(took_ns.len() - 1) * share / 100] as f64 / 1000.0;
    let mean = took_ns.iter().sum::<u128>() as f64 / took_ns.len() as f64 / 1000.0;
    println!("{record_bytes:12}  {space:8} {:8.1} {:8.1} {mean:8.1} {recycled:9}", at(50), at(99));
}
