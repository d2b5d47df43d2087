//! Looks at a journal without touching it: every segment, every frame, and what is wrong with them.

use bytes::Bytes;
use qlab_kernel::Lsn;

use crate::frame::{BLOCK_BYTES, Flaw, Frame, Identity};
use crate::recovery::{Chain, later_frame};
use crate::{Disk, JournalError};

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u64,
    /// Bytes reserved for it.
    pub bytes: u64,
    /// Where its valid frames end.
    pub end: u64,
    /// What it says about itself. The last segment may lack a header if it was just being made.
    pub header: Result<HeaderReport, Flaw>,
    /// Its commit frames in order.
    pub frames: Vec<FrameReport>,
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderReport {
    /// Who wrote it.
    pub identity: Identity,
    /// At which opening of the journal, from 1.
    pub incarnation: u64,
    /// The first record that this segment was made for.
    pub first: Lsn,
    /// Recoveries need no record below this one, as of the segment's beginning.
    pub needed_from: Lsn,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameReport {
    /// Its segment.
    pub segment: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its first record, if it has a valid header.
    pub first: Option<Lsn>,
    /// How many records its header claims.
    pub records: u32,
    /// Bytes until the next frame, padding included; without a valid header, up to the next one.
    pub bytes: u64,
    /// What is wrong with it. In the last place of the last segment it is a torn write that recovery will cut off;
    /// anywhere else it is damage and the journal will not open.
    pub flaw: Option<Flaw>,
}

/// Looks at all segments, oldest first. Reads only; needs one segment's bytes of memory at a time.
pub fn inspect(disk: &mut impl Disk) -> Result<Vec<SegmentReport>, JournalError> {
    let mut numbers = disk.list().map_err(JournalError::disk("listing", 0))?;
    numbers.sort_unstable();
    let mut chain = None;
    let mut reports = Vec::with_capacity(numbers.len());
    for number in numbers {
        let bytes = disk.read(number).map_err(JournalError::disk("reading", number))?;
        reports.push(inspect_segment(number, &bytes, &mut chain));
    }
    Ok(reports)
}

fn inspect_segment(segment: u64, bytes: &Bytes, chain: &mut Option<Chain>) -> SegmentReport {
    let header = Frame::read(bytes, segment, 0)
        .and_then(|(frame, digest)| follow(chain, &frame, digest).map_or(Ok(frame), Err));
    let mut frames = Vec::new();
    let (mut at, mut end) = (BLOCK_BYTES, 0);
    while let Some(report) = inspect_frame(segment, bytes, at, chain) {
        at += usize::try_from(report.bytes).expect("the segment is in memory");
        end = if report.flaw.is_none() { at } else { end };
        frames.push(report);
    }
    SegmentReport {
        segment,
        bytes: bytes.len() as u64,
        end: end as u64,
        header: header.map(describe),
        frames,
    }
}

/// What lies at `at`; `None` if that is just the end.
fn inspect_frame(segment: u64, bytes: &[u8], at: usize, chain: &mut Option<Chain>) -> Option<FrameReport> {
    let (header, flaw) = match Frame::read(bytes, segment, at) {
        Ok((frame, digest)) => (Some(frame), follow(chain, &frame, digest)),
        Err(flaw) => (Frame::read_placed(bytes, segment, at).ok().map(|(frame, _)| frame), Some(flaw)),
    };
    let later = if header.is_none() { Some(later_frame(segment, bytes, at)?) } else { None };
    Some(FrameReport {
        segment,
        offset: at as u64,
        first: header.map(|frame| frame.first),
        records: header.map_or(0, |frame| frame.records),
        bytes: header.map_or_else(|| later.unwrap_or(at) - at, |frame| frame.bytes()) as u64,
        flaw: later.map_or(flaw, |later| Some(Flaw::Stranded(later as u64))),
    })
}

/// Moves the chain past a valid frame and says whether it had broken.
fn follow(chain: &mut Option<Chain>, frame: &Frame, digest: u64) -> Option<Flaw> {
    let linked = chain.is_none_or(|chain| chain.admits(frame));
    *chain = Some(Chain::after(frame, digest));
    (!linked).then_some(Flaw::Unlinked)
}

fn describe(header: Frame) -> HeaderReport {
    let Frame { identity, incarnation, first, needed_from, .. } = header;
    HeaderReport { identity, incarnation, first, needed_from }
}
