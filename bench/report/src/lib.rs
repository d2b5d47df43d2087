//! Result files to tables: what a measured run leaves on disk, and everything that is derived from it.
//!
//! The idea: a run writes one folder, once. Every table, ratio and generated block of text is a pure function of such
//! folders, so that anybody can derive it again and see a stale or edited number. Nothing here measures, and nothing
//! here knows a protocol.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cell`] | [`Cell`]: one row, its parameters, its measurements, its verdict and its validity |
//! | [`faults`] | [`FaultEffect`]: what one fault did, and `faults.csv` |
//! | [`slices`] | [`Slice`]: what happened in a short piece of a window, and `slices.csv` |
//! | [`quantiles`] | quantiles of a histogram, absent where there are too few samples to speak of one |
//! | [`columns`] | the flat CSV form of a cell: stable columns with documented units |
//! | [`hlog`] | latency histograms as an HdrHistogram interval log (V2) |
//! | [`manifest`] | `run.json`: code, machine, health, design, summary, file hashes |
//! | [`run_dir`] | a run's folder: written under another name, renamed when whole |
//! | [`utc`] | the one place that reads wall-clock time |
//! | [`ratios`] | ratios between two systems, paired by round |
//! | [`rows`] | cells to table rows: median and min–max over repeats, ranks where they are earned |
//! | [`layout`] | rows to text, once for terminal and Markdown |
//! | [`table`], [`markdown`] | the two ways to print a layout |
//! | [`numbers`] | numbers for people: `12.3k`, `184 µs` |
//! | [`fault_table`], [`chart`] | what faults did, as a table and drawn over time |
//! | [`book`] | the generated blocks in README files and the charts, and whether they are stale |
//! | [`campaign`] | campaigns of simulated worlds: their file, their tables |
//! | [`study`], [`study_chart`] | questions that are not a load on a cluster: their files, their tables, their charts |
//! | `kept` | the files of campaigns and studies: where they lie, how they are written and read |
//! | [`validate`] | whether a run's folder is whole and agrees with itself |
//!
//! Trade-offs: folders are append-only and small, so readers load a whole run into memory; the CSV is the source of all
//! tables and carries every parameter as a column, which makes it wide and makes it enough.

pub mod book;
pub mod campaign;
pub mod cell;
pub mod chart;
pub mod columns;
pub mod fault_table;
pub mod faults;
pub mod hlog;
mod kept;
pub mod layout;
pub mod manifest;
pub mod markdown;
pub mod numbers;
pub mod quantiles;
pub mod ratios;
pub mod rows;
pub mod run_dir;
pub mod slices;
pub mod study;
pub mod study_chart;
pub mod table;
#[cfg(test)]
mod testing;
pub mod utc;
pub mod validate;

pub use campaign::Campaign;
pub use cell::{Cell, CellKey, CpuByRole, Durability, Freshness, Output, Reason, Validity, Verdict};
pub use faults::FaultEffect;
pub use hlog::{LatencyKind, LatencyRecord};
pub use manifest::{Code, Design, Health, Machine, Manifest, Status};
pub use quantiles::Quantiles;
pub use run_dir::{Run, RunError, RunWriter};
pub use slices::Slice;
pub use study::Study;
pub use utc::Utc;
