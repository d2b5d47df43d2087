//! Looks into a replica's journal: its segments, its frames, where it ends, and whether it would open.
//!
//! Recovery forgives one thing, a torn write in the very last place, which was never acknowledged. The same line is drawn
//! here, from the outside and without touching the folder.

use std::{
    io,
    path::{Path, PathBuf},
};

use qlab_journal::{BLOCK_BYTES, FileDisk, Flaw, FrameReport, JournalError, SegmentReport};
use qlab_report::{
    layout::{Entry, Layout},
    numbers::{ABSENT, bytes},
    table,
};
use serde::Serialize;

/// Why a folder could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The folder cannot be opened: give the path of one that can.
    #[error("{path}: {source}")]
    Open {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing in the folder is a segment: give the folder that a replica keeps its journal in.
    #[error("{0}: there is no journal here, that is, no file such as 00000000000000000001.segment")]
    NoJournal(PathBuf),
    /// A segment cannot be read. If its owner is running, it may just have let go of it: look again.
    #[error("{path}: {reason}")]
    Read {
        /// The folder.
        path: PathBuf,
        /// The segment and what the system said.
        reason: String,
    },
}

/// What a journal's folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Whether a replica would open it. A torn tail does not hinder that.
    pub sound: bool,
    /// Whose journal it is, as its newest readable header says.
    pub writer: Option<String>,
    /// Where the intact records end.
    pub end: End,
    /// The write that a crash cut short. Opening cuts it off.
    pub torn_tail: Option<Finding>,
    /// The first thing that is wrong and was once right.
    pub damage: Option<Finding>,
    /// The segments, oldest first.
    pub segments: Vec<Segment>,
}

/// Where the intact records end: behind the last frame before any flaw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct End {
    /// The segment.
    pub segment: u64,
    /// The byte in it.
    pub byte: u64,
    /// The last record, which may have been let go of; `None` if there has never been one.
    pub lsn: Option<u64>,
}

/// A flaw and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The segment.
    pub segment: u64,
    /// The byte in it.
    pub byte: u64,
    /// What is wrong.
    pub flaw: String,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its number.
    pub segment: u64,
    /// At which opening of the journal it was begun, from 1; `None` without a valid header.
    pub opening: Option<u64>,
    /// Recoveries need no record below this one, as of its beginning.
    pub needed_from_lsn: Option<u64>,
    /// Commit frames, intact or not.
    pub frames: u64,
    /// Records in intact frames.
    pub records: u64,
    /// The first of those.
    pub first_lsn: Option<u64>,
    /// The last of those.
    pub last_lsn: Option<u64>,
    /// Where its intact frames end.
    pub bytes_used: u64,
    /// What the file takes.
    pub bytes_reserved: u64,
    /// The first thing wrong in it.
    pub flaw: Option<String>,
    /// Its frames one by one, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_list: Option<Vec<Frame>>,
}

/// One commit frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Where it begins.
    pub byte: u64,
    /// Its first record; `None` without a valid header, or without records.
    pub first_lsn: Option<u64>,
    /// Its last record.
    pub last_lsn: Option<u64>,
    /// How many records it claims.
    pub records: u32,
    /// Its length, padding included.
    pub bytes: u64,
    /// What is wrong with it.
    pub flaw: Option<String>,
}

/// Looks at the journal in a folder, with or without a list of its frames. Reads only; its owner may be running.
pub fn inspect(dir: &Path, with_frames: bool) -> Result<Inspection, InspectError> {
    let path = dir.to_owned();
    let mut disk = match FileDisk::open_to_read(dir) {
        Ok(disk) => disk,
        Err(source) => return Err(InspectError::Open { path, source }),
    };
    match qlab_journal::inspect(&mut disk) {
        Ok(reports) if reports.is_empty() => Err(InspectError::NoJournal(path)),
        Ok(reports) => Ok(Inspection::of(&reports, with_frames)),
        Err(error) => Err(InspectError::Read { path, reason: in_words(error) }),
    }
}

/// Journal errors are written for replicas, which must end; here the failed operation and its cause are enough. Segments count
/// from 1: 0 stands for the folder.
fn in_words(error: JournalError) -> String {
    match error {
        JournalError::Disk { segment: 0, source, .. } => source.to_string(),
        JournalError::Disk { doing, segment, source } => format!("{doing} of segment {segment}: {source}"),
        other => other.to_string(),
    }
}

impl Inspection {
    fn of(reports: &[SegmentReport], with_frames: bool) -> Self {
        let Walk { found, end } = Walk::over(reports);
        let damage = found.iter().find(|found| !found.may_be_torn).map(Found::named);
        let newest = reports.iter().rev().find_map(|report| report.header.as_ref().ok());
        Self {
            sound: damage.is_none(),
            writer: newest.map(|header| header.identity.to_string()),
            end,
            torn_tail: found.last().filter(|found| found.may_be_torn).map(Found::named),
            damage,
            segments: reports.iter().map(|report| Segment::of(report, with_frames)).collect(),
        }
    }

    /// Tables of the segments and, if they were asked for, of the frames; below them where the journal ends.
    pub fn text(&self) -> String {
        let mut text = table::render(&self.layout(), None);
        if self.segments.iter().any(|segment| segment.frame_list.is_some()) {
            text += "\n";
            text += &table::render(&self.frame_layout(), None);
        }
        text + "\n" + &self.sentence() + "\n"
    }

    /// Where the journal ends and whether it is sound.
    fn sentence(&self) -> String {
        let End { segment, byte, lsn } = self.end;
        let last = lsn.map_or_else(|| "no record".to_owned(), |lsn| format!("record {lsn}"));
        let place = format!("byte {byte} of segment {segment}");
        match (&self.damage, &self.torn_tail) {
            (Some(damage), _) => format!(
                "DAMAGED at byte {} of segment {}: {}. Intact up to {last}, {place}. It will not open: restore it from a \
                 copy, or let the replica join anew.",
                damage.byte, damage.segment, damage.flaw
            ),
            (None, Some(torn)) => format!(
                "Sound; it ends with {last} at {place}. A torn write follows ({}), which was never acknowledged; opening \
                 cuts it off.",
                torn.flaw
            ),
            (None, None) => format!("Sound; it ends with {last} at {place}."),
        }
    }

    fn layout(&self) -> Layout {
        let needed = self.segments.iter().filter_map(|segment| segment.needed_from_lsn).max();
        let needed = needed.filter(|lsn| *lsn > 0);
        let caption = [
            self.writer.as_ref().map(|writer| format!("written by {writer}")),
            needed.map(|lsn| format!("recoveries need nothing below record {lsn}")),
        ];
        Layout {
            headings: vec![
                "segment",
                "opening",
                "frames",
                "records",
                "numbers",
                "used",
                "reserved",
                "first flaw",
            ],
            rows: self.segments.iter().map(Segment::entries).collect(),
            caption: caption.into_iter().flatten().collect::<Vec<_>>().join(", "),
        }
    }

    fn frame_layout(&self) -> Layout {
        let frames = self.segments.iter().flat_map(|segment| {
            segment.frame_list.iter().flatten().map(|frame| frame.entries(segment.segment))
        });
        Layout {
            headings: vec!["segment", "byte", "records", "numbers", "length", "flaw"],
            rows: frames.collect(),
            caption: String::new(),
        }
    }
}

/// A flaw, its place, and whether recovery forgives it there.
struct Found<'a> {
    segment: u64,
    byte: u64,
    flaw: &'a Flaw,
    may_be_torn: bool,
}

impl Found<'_> {
    fn named(&self) -> Finding {
        Finding { segment: self.segment, byte: self.byte, flaw: self.flaw.to_string() }
    }
}

/// A walk over the journal: everything that is wrong, in order, and where the intact records before it end.
#[derive(Default)]
struct Walk<'a> {
    found: Vec<Found<'a>>,
    end: End,
}

impl<'a> Walk<'a> {
    fn over(reports: &'a [SegmentReport]) -> Self {
        let mut walk = Self::default();
        for (at, report) in reports.iter().enumerate() {
            let is_last_segment = at + 1 == reports.len();
            let missing = missing_before(reports, at);
            walk.found.extend(missing.map(|segment| Found {
                segment,
                byte: 0,
                flaw: &Flaw::Missing,
                may_be_torn: false,
            }));
            walk.take_header(report, is_last_segment && report.frames.is_empty());
            for (place, frame) in report.frames.iter().enumerate() {
                walk.take_frame(frame, is_last_segment && place + 1 == report.frames.len());
            }
        }
        walk
    }

    fn take_header(&mut self, report: &'a SegmentReport, is_last: bool) {
        match &report.header {
            Ok(header) => {
                let last = header.first.previous().0;
                self.reach(report.segment, BLOCK_BYTES as u64, (last > 0).then_some(last));
            }
            Err(flaw) => self.find(report.segment, 0, flaw, is_last),
        }
    }

    fn take_frame(&mut self, frame: &'a FrameReport, is_last: bool) {
        match &frame.flaw {
            None => {
                let last = frame.first.and_then(|first| last_lsn(first.0, frame.records));
                self.reach(frame.segment, frame.offset + frame.bytes, last);
            }
            Some(flaw) => self.find(frame.segment, frame.offset, flaw, is_last),
        }
    }

    fn reach(&mut self, segment: u64, byte: u64, lsn: Option<u64>) {
        if self.found.is_empty() {
            self.end = End { segment, byte, lsn: lsn.or(self.end.lsn) };
        }
    }

    fn find(&mut self, segment: u64, byte: u64, flaw: &'a Flaw, is_last: bool) {
        self.found.push(Found { segment, byte, flaw, may_be_torn: is_last && tearing_explains(flaw) });
    }
}

/// The first segment of a gap in the numbers just before this place.
fn missing_before(reports: &[SegmentReport], at: usize) -> Option<u64> {
    let expected = reports[at.checked_sub(1)?].segment.saturating_add(1);
    (reports[at].segment != expected).then_some(expected)
}

/// A write cut short leaves parts of a frame, never a whole one that is in the wrong place of the chain.
fn tearing_explains(flaw: &Flaw) -> bool {
    !matches!(flaw, Flaw::Unlinked | Flaw::Stranded(_) | Flaw::Version(_) | Flaw::Missing)
}

/// The last of `records` records from `first` on.
fn last_lsn(first: u64, records: u32) -> Option<u64> {
    Some(first.saturating_add(u64::from(records.checked_sub(1)?)))
}

impl Segment {
    fn of(report: &SegmentReport, with_frames: bool) -> Self {
        let header = report.header.as_ref();
        let header_bytes = if header.is_ok() { BLOCK_BYTES as u64 } else { 0 };
        let frames: Vec<Frame> = report.frames.iter().map(Frame::of).collect();
        let intact = || frames.iter().filter(|frame| frame.flaw.is_none());
        let header_flaw = header.err().map(Flaw::to_string);
        Self {
            segment: report.segment,
            opening: header.ok().map(|header| header.incarnation),
            needed_from_lsn: header.ok().map(|header| header.needed_from.0),
            frames: frames.len() as u64,
            records: intact().map(|frame| u64::from(frame.records)).sum(),
            first_lsn: intact().find_map(|frame| frame.first_lsn),
            last_lsn: intact().rev().find_map(|frame| frame.last_lsn),
            bytes_used: report.end.max(header_bytes),
            bytes_reserved: report.bytes,
            flaw: header_flaw.or_else(|| frames.iter().find_map(|frame| frame.flaw.clone())),
            frame_list: with_frames.then_some(frames),
        }
    }

    fn entries(&self) -> Vec<Entry> {
        vec![
            number(self.segment.to_string()),
            number(self.opening.map_or_else(absent, |opening| opening.to_string())),
            number(self.frames.to_string()),
            number(self.records.to_string()),
            number(span(self.first_lsn, self.last_lsn)),
            number(bytes(self.bytes_used as f64)),
            number(bytes(self.bytes_reserved as f64)),
            word(self.flaw.clone().unwrap_or_else(absent)),
        ]
    }
}

impl Frame {
    fn of(report: &FrameReport) -> Self {
        let last_lsn = report.first.and_then(|first| last_lsn(first.0, report.records));
        Self {
            byte: report.offset,
            first_lsn: last_lsn.and(report.first).map(|first| first.0),
            last_lsn,
            records: report.records,
            bytes: report.bytes,
            flaw: report.flaw.as_ref().map(Flaw::to_string),
        }
    }

    fn entries(&self, segment: u64) -> Vec<Entry> {
        vec![
            number(segment.to_string()),
            number(self.byte.to_string()),
            number(self.records.to_string()),
            number(span(self.first_lsn, self.last_lsn)),
            number(self.bytes.to_string()),
            word(self.flaw.clone().unwrap_or_else(absent)),
        ]
    }
}

/// `17–42`, or `17` alone.
fn span(first: Option<u64>, last: Option<u64>) -> String {
    match (first, last) {
        (Some(first), Some(last)) if first == last => first.to_string(),
        (Some(first), Some(last)) => format!("{first}–{last}"),
        _ => absent(),
    }
}

fn absent() -> String {
    ABSENT.to_owned()
}

fn word(value: String) -> Entry {
    Entry { value, ..Entry::default() }
}

fn number(value: String) -> Entry {
    Entry { value, is_number: true, ..Entry::default() }
}
