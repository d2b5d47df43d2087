//! Latency histograms as an HdrHistogram interval log (V2), readable by the tools of every HdrHistogram port.
//!
//! One line per cell, repeat, operation class and kind. The tag says which:
//! `cell|system|round|repeat|class|kind`.

use std::{io, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer, Serializer, V2DeflateSerializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};

use crate::CellKey;

/// The lines before the first histogram. Times are seconds, maxima milliseconds, as in the Java tools.
const HEADER: &str = "#[Histogram log format version 1.3]\n\
    #[Histograms are of nanoseconds; Interval_Max is in milliseconds; tags are cell|system|round|repeat|class|kind]\n\
    \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
/// Nanoseconds in the unit of `Interval_Max`.
const MAX_DIVISOR_NS: f64 = 1e6;

/// Which latency a histogram holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LatencyKind {
    /// Intended start to reply.
    Response,
    /// Sent to reply.
    Service,
    /// Intended start to sent.
    Lag,
    /// A lock's release to the next holder's grant.
    HandOff,
    /// A lock's holder's death to the next one's grant.
    Freed,
}

impl LatencyKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Response, Self::Service, Self::Lag, Self::HandOff, Self::Freed];

    /// The name in tags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Service => "service",
            Self::Lag => "lag",
            Self::HandOff => "hand-off",
            Self::Freed => "freed",
        }
    }
}

/// One histogram of the log: nanoseconds of one kind, of one class of operations, of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyRecord {
    /// The row of `cells.csv` this belongs to.
    pub key: CellKey,
    /// Class of operations: `get`, `put`, …
    pub class: String,
    /// What was timed.
    pub kind: LatencyKind,
    /// When measuring began, since the run began.
    pub start: Duration,
    /// How long it was measured.
    pub length: Duration,
    /// Nanoseconds.
    pub histogram: Histogram<u64>,
}

/// Why a log could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HlogError {
    /// The file itself.
    #[error("latency.hlog: {0}")]
    Io(#[from] io::Error),
    /// A name that would break the tag: choose one without spaces, commas, `|` and line breaks.
    #[error(
        "latency.hlog: {0:?} cannot stand in a tag: it holds a space, a comma, `|` or a line break, or is empty"
    )]
    Name(String),
    /// A histogram that cannot be written or a line that holds none.
    #[error("latency.hlog: histogram {position}: {reason}")]
    Histogram {
        /// Its place among the histograms, from 1; 0 while writing.
        position: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Writes an interval log line by line.
pub struct HlogWriter<W> {
    output: W,
    serializer: V2DeflateSerializer,
}

impl<W: io::Write> HlogWriter<W> {
    /// Begins the log with its header.
    pub fn new(mut output: W) -> Result<Self, HlogError> {
        output.write_all(HEADER.as_bytes())?;
        Ok(Self { output, serializer: V2DeflateSerializer::new() })
    }

    /// Writes one histogram and hands it to the kernel.
    pub fn write(&mut self, record: &LatencyRecord) -> Result<(), HlogError> {
        let tag = tag(record)?;
        let mut bytes = Vec::new();
        let serialized = self.serializer.serialize(&record.histogram, &mut bytes);
        serialized.map_err(|error| HlogError::Histogram { position: 0, reason: error.to_string() })?;
        writeln!(
            self.output,
            "Tag={tag},{:.3},{:.3},{:.3},{}",
            record.start.as_secs_f64(),
            record.length.as_secs_f64(),
            record.histogram.max() as f64 / MAX_DIVISOR_NS,
            STANDARD.encode(bytes)
        )?;
        Ok(self.output.flush()?)
    }
}

fn tag(record: &LatencyRecord) -> Result<String, HlogError> {
    let CellKey { cell, system, round, repeat } = &record.key;
    for name in [cell, system, &record.class] {
        if name.is_empty() || name.contains([' ', ',', '|', '\n', '\r']) {
            return Err(HlogError::Name(name.clone()));
        }
    }
    Ok(format!("{cell}|{system}|{round}|{repeat}|{}|{}", record.class, record.kind.name()))
}

/// Reads a whole log. Times come back to the millisecond.
pub fn read_hlog(log: &[u8]) -> Result<Vec<LatencyRecord>, HlogError> {
    let mut deserializer = Deserializer::new();
    let entries = IntervalLogIterator::new(log).filter(|entry| !is_heading(entry));
    entries.enumerate().map(|(position, entry)| read_entry(position + 1, entry, &mut deserializer)).collect()
}

type Entry<'a> = Result<LogEntry<'a>, hdrhistogram::serialization::interval_log::LogIteratorError>;

fn is_heading(entry: &Entry<'_>) -> bool {
    matches!(entry, Ok(LogEntry::StartTime(_) | LogEntry::BaseTime(_)))
}

fn read_entry(
    position: usize,
    entry: Entry<'_>,
    decoder: &mut Deserializer,
) -> Result<LatencyRecord, HlogError> {
    let bad = |reason: &str| HlogError::Histogram { position, reason: reason.to_owned() };
    let Ok(LogEntry::Interval(interval)) = entry else { return Err(bad("the line is not an interval")) };
    let tag = interval.tag().ok_or_else(|| bad("it has no tag"))?;
    let (key, class, kind) =
        read_tag(tag.as_str()).ok_or_else(|| bad("its tag is not cell|system|round|repeat|class|kind"))?;
    let bytes = STANDARD.decode(interval.encoded_histogram()).map_err(|error| bad(&error.to_string()))?;
    let histogram = decoder.deserialize(&mut &bytes[..]).map_err(|error| bad(&error.to_string()))?;
    Ok(LatencyRecord {
        key,
        class,
        kind,
        start: interval.start_timestamp(),
        length: interval.duration(),
        histogram,
    })
}

fn read_tag(tag: &str) -> Option<(CellKey, String, LatencyKind)> {
    let parts: Vec<&str> = tag.split('|').collect();
    let [cell, system, round, repeat, class, kind] = parts[..] else { return None };
    let kind = LatencyKind::ALL.into_iter().find(|known| known.name() == kind)?;
    let key = CellKey {
        cell: cell.to_owned(),
        system: system.to_owned(),
        round: round.parse().ok()?,
        repeat: repeat.parse().ok()?,
    };
    Some((key, class.to_owned(), kind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::cell;

    fn record(class: &str, kind: LatencyKind, values: &[u64]) -> LatencyRecord {
        let mut histogram = Histogram::new(3).expect("3 digits are allowed");
        values.iter().for_each(|value| histogram.record(*value).expect("the histogram grows"));
        let (start, length) = (Duration::from_millis(1_250), Duration::from_secs(5));
        LatencyRecord { key: cell().key(), class: class.to_owned(), kind, start, length, histogram }
    }

    fn write(records: &[LatencyRecord]) -> Result<Vec<u8>, HlogError> {
        let mut log = Vec::new();
        let mut writer = HlogWriter::new(&mut log)?;
        records.iter().try_for_each(|record| writer.write(record))?;
        Ok(log)
    }

    #[test]
    fn a_name_that_would_break_the_tag_is_refused() {
        for class in ["", "read modify", "a,b", "a|b", "a\nb"] {
            assert!(
                matches!(write(&[record(class, LatencyKind::Lag, &[])]), Err(HlogError::Name(_))),
                "{class:?}"
            );
        }
    }

    #[test]
    fn a_damaged_line_is_named() {
        let records = [record("get", LatencyKind::Lag, &[1]), record("put", LatencyKind::Service, &[2])];
        let log = String::from_utf8(write(&records).unwrap()).unwrap();
        let damaged = log.replace("|put|service", "|put|svc");
        assert!(read_hlog(damaged.as_bytes()).unwrap_err().to_string().contains("histogram 2: its tag"));
        let cut = &log[..log.len() - 12];
        assert!(read_hlog(cut.as_bytes()).unwrap_err().to_string().contains("histogram 2"));
    }

    proptest! {
        #[test]
        fn histograms_survive_the_log(
            classes in proptest::collection::vec(("[a-z-]{1,9}", proptest::collection::vec(0..1_u64 << 40, 0..40)), 0..4)
        ) {
            let records: Vec<_> = classes
                .iter()
                .flat_map(|(class, values)| LatencyKind::ALL.map(|kind| record(class, kind, values)))
                .collect();
            prop_assert_eq!(read_hlog(&write(&records).unwrap()).unwrap(), records);
        }
    }
}
