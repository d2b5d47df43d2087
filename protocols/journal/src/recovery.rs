//! Reads a journal back: what was acknowledged, in order, or an error that says where it is damaged.
//!
//! A commit writes one frame and syncs it before the next begins, so a crash can tear only the last frame of the last
//! segment. Everything else that is wrong was once right, and is damage: a frame that is invalid though a later one
//! exists, a frame that does not continue the one before it, a segment whose end is not the one its successor names.

use std::collections::VecDeque;

use bytes::Bytes;
use qlab_kernel::Lsn;

use crate::frame::{BLOCK_BYTES, FORMAT_VERSION, Flaw, Frame, Identity};
use crate::{Disk, JournalError};

/// The number of a new journal's first segment.
pub(crate) const FIRST_SEGMENT: u64 = 1;

/// A segment that takes no more frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    pub(crate) number: u64,
    /// Its first record.
    pub(crate) first: Lsn,
}

/// What a directory holds.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Records from `needed_from` on.
    pub(crate) records: Vec<(Lsn, Bytes)>,
    /// Segments with frames, oldest first.
    pub(crate) sealed: VecDeque<Sealed>,
    /// The number for the next segment. A file of that name may exist; nothing in it is worth keeping.
    pub(crate) next_segment: u64,
    pub(crate) chain: Chain,
    /// The largest number of an opening so far.
    pub(crate) incarnation: u64,
    pub(crate) needed_from: Lsn,
}

impl Recovered {
    /// An empty journal that begins with `next_segment`.
    pub(crate) const fn nothing(next_segment: u64) -> Self {
        Self {
            records: Vec::new(),
            sealed: VecDeque::new(),
            next_segment,
            chain: Chain::START,
            incarnation: 0,
            needed_from: Lsn::ZERO,
        }
    }
}

/// Where the chain of frames has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) digest: u64,
    /// The next record.
    pub(crate) next: Lsn,
}

impl Chain {
    /// The chain of a journal without frames.
    pub(crate) const START: Self = Self { digest: 0, next: Lsn(1) };

    /// Whether `frame` continues this chain.
    pub(crate) fn admits(&self, frame: &Frame) -> bool {
        #[cfg(feature = "mutants")]
        if qlab_kernel::mutants::active("journal: chain not checked") {
            return true;
        }
        (frame.previous, frame.first) == (self.digest, self.next)
    }

    /// The chain just before `frame`, for the oldest segment there is.
    pub(crate) fn before(frame: &Frame) -> Self {
        Self { digest: frame.previous, next: frame.first }
    }

    /// The chain after a frame that it admits.
    pub(crate) fn after(frame: &Frame, digest: u64) -> Self {
        Self { digest, next: frame.next() }
    }
}

/// Recovers all segments of `disk`, cuts a torn tail off, and makes sure that what it returns is on stable storage.
pub(crate) fn recover(disk: &mut impl Disk, identity: Identity) -> Result<Recovered, JournalError> {
    let mut numbers = disk.list().map_err(JournalError::disk("listing", 0))?;
    numbers.sort_unstable();
    let mut recovery = Recovery::new(identity, numbers.first().copied().unwrap_or(FIRST_SEGMENT));
    let last = numbers.last().copied();
    for number in numbers {
        let bytes = disk.read(number).map_err(JournalError::disk("reading", number))?;
        let is_last = Some(number) == last;
        let Some(extent) = recovery.read_segment(number, &bytes, is_last)? else { break };
        if is_last {
            cut_tail(disk, number, &bytes, extent)?;
        }
        #[cfg(feature = "mutants")]
        if qlab_kernel::mutants::active("journal: recovery does not sync") {
            continue;
        }
        disk.sync_data(number).map_err(JournalError::disk("syncing", number))?;
    }
    disk.sync_directory().map_err(JournalError::disk("syncing the directory", 0))?;
    recovery.finish()
}

/// Where the frames of a segment end, and where the last of them begins.
struct Extent {
    last_frame: usize,
    end: usize,
}

struct Recovery {
    identity: Identity,
    /// `None` until the oldest segment is read, which may continue segments that are gone.
    chain: Option<Chain>,
    oldest: u64,
    found: Recovered,
}

impl Recovery {
    fn new(identity: Identity, oldest: u64) -> Self {
        let chain = (oldest == FIRST_SEGMENT).then_some(Chain::START);
        Self { identity, chain, oldest, found: Recovered::nothing(oldest) }
    }

    /// Takes one segment in. Without frames it must be the last one: it was being made, and `None` says so.
    fn read_segment(
        &mut self,
        number: u64,
        bytes: &Bytes,
        is_last: bool,
    ) -> Result<Option<Extent>, JournalError> {
        if number != self.found.next_segment {
            return Err(damaged(self.found.next_segment, 0, Flaw::Missing));
        }
        self.check_writer(number, bytes)?;
        let (header, digest) = match Frame::read(bytes, number, 0) {
            Ok(header) => header,
            Err(flaw) => {
                refuse_if_damaged(number, bytes, 0, flaw, is_last)?;
                return Ok(None);
            }
        };
        let before = self.chain.unwrap_or_else(|| Chain::before(&header));
        self.link(&header, before, header.incarnation)?;
        self.chain = Some(Chain::after(&header, digest));
        self.found.incarnation = self.found.incarnation.max(header.incarnation);
        let extent = self.read_frames(&header, bytes, is_last)?;
        if extent.last_frame == 0 && is_last {
            // Nothing is in it yet: it is begun anew, under the next incarnation.
            self.chain = Some(before);
        } else {
            self.found.sealed.push_back(Sealed { number, first: header.first });
            self.found.next_segment = number + 1;
        }
        Ok(Some(extent))
    }

    fn check_writer(&self, segment: u64, bytes: &[u8]) -> Result<(), JournalError> {
        match Frame::read_header(bytes) {
            Err(Flaw::Version(found)) => {
                Err(JournalError::Version { segment, found, supported: FORMAT_VERSION })
            }
            Ok((header, _)) if header.identity != self.identity => {
                Err(JournalError::WrongIdentity { segment, found: header.identity, wanted: self.identity })
            }
            _ => Ok(()),
        }
    }

    fn read_frames(&mut self, header: &Frame, bytes: &Bytes, is_last: bool) -> Result<Extent, JournalError> {
        let mut extent = Extent { last_frame: 0, end: header.bytes() };
        while extent.end < bytes.len() {
            match Frame::read(bytes, header.segment, extent.end) {
                Ok((frame, digest)) => {
                    self.take(&frame, digest, header.incarnation, bytes)?;
                    extent = Extent { last_frame: extent.end, end: extent.end + frame.bytes() };
                }
                Err(flaw) => {
                    refuse_if_damaged(header.segment, bytes, extent.end, flaw, is_last)?;
                    break;
                }
            }
        }
        Ok(extent)
    }

    fn take(
        &mut self,
        frame: &Frame,
        digest: u64,
        incarnation: u64,
        bytes: &Bytes,
    ) -> Result<(), JournalError> {
        self.link(frame, self.chain.expect("the segment's header began it"), incarnation)?;
        self.chain = Some(Chain::after(frame, digest));
        self.found.records.extend(frame.records(bytes));
        Ok(())
    }

    /// A valid frame that does not continue the chain proves that something before it was lost.
    fn link(&mut self, frame: &Frame, chain: Chain, incarnation: u64) -> Result<(), JournalError> {
        if !chain.admits(frame) || frame.identity != self.identity || frame.incarnation != incarnation {
            return Err(damaged(frame.segment, frame.offset, Flaw::Unlinked));
        }
        self.found.needed_from = self.found.needed_from.max(frame.needed_from);
        Ok(())
    }

    fn finish(self) -> Result<Recovered, JournalError> {
        let mut found = self.found;
        // What came before the oldest segment must have been let go of, by a frame that is still here.
        let let_go = found.sealed.front().is_some_and(|oldest| oldest.first <= found.needed_from);
        if self.oldest != FIRST_SEGMENT && !let_go {
            return Err(damaged(self.oldest.saturating_sub(1), 0, Flaw::Missing));
        }
        found.chain = self.chain.unwrap_or(Chain::START);
        found.records.retain(|(lsn, _)| *lsn >= found.needed_from);
        Ok(found)
    }
}

/// Decides between a torn write, which was never acknowledged, and damage to something that was.
fn refuse_if_damaged(
    segment: u64,
    bytes: &[u8],
    at: usize,
    flaw: Flaw,
    is_last: bool,
) -> Result<(), JournalError> {
    #[cfg(feature = "mutants")]
    if is_last && qlab_kernel::mutants::active("journal: damage in the middle cut off") {
        return Ok(());
    }
    #[cfg(feature = "mutants")]
    if bytes[at..].starts_with(&[0; BLOCK_BYTES])
        && qlab_kernel::mutants::active("journal: zeros taken for the end")
    {
        return Ok(());
    }
    if let Some(later) = later_frame(segment, bytes, at) {
        let flaw = if flaw == Flaw::NoHeader { Flaw::Stranded(later as u64) } else { flaw };
        return Err(damaged(segment, at as u64, flaw));
    }
    // Within an earlier segment this is just the end; its successor knows whether it is the right one. But every earlier
    // segment has a header.
    if at == 0 && !is_last { Err(damaged(segment, 0, flaw)) } else { Ok(()) }
}

/// The first place after `at` where a header of this segment stands. A torn frame with a valid header is skipped whole,
/// lest its payload play frame.
pub(crate) fn later_frame(segment: u64, bytes: &[u8], at: usize) -> Option<usize> {
    let torn = Frame::read_placed(bytes, segment, at).map_or(BLOCK_BYTES, |(frame, _)| frame.bytes());
    (at + torn..bytes.len()).step_by(BLOCK_BYTES).find(|at| Frame::read_placed(bytes, segment, *at).is_ok())
}

/// Makes the end of the last segment final: nothing that looks like a frame may follow, now or ever.
///
/// The last frame is written again before it is synced. A sync that failed in an earlier life may have left pages in the
/// cache that count as clean and are on no disk; only new writes reach it for certain.
fn cut_tail(disk: &mut impl Disk, segment: u64, bytes: &[u8], extent: Extent) -> Result<(), JournalError> {
    let Extent { last_frame, end } = extent;
    let torn = &bytes[end..bytes.len().min(end + BLOCK_BYTES)];
    #[cfg(feature = "mutants")]
    let torn = if qlab_kernel::mutants::active("journal: torn tail not cut off") { &[] } else { torn };
    if torn.iter().any(|byte| *byte != 0) {
        tracing::debug!(segment, end, "clearing what follows the last whole frame");
        let blank = vec![0; torn.len()];
        disk.write_at(segment, end as u64, &blank).map_err(JournalError::disk("truncation", segment))?;
    }
    #[cfg(feature = "mutants")]
    if qlab_kernel::mutants::active("journal: recovery trusts the cache") {
        return Ok(());
    }
    let again = disk.write_at(segment, last_frame as u64, &bytes[last_frame..end]);
    again.map_err(JournalError::disk("writing the last frame again", segment))
}

fn damaged(segment: u64, offset: u64, flaw: Flaw) -> JournalError {
    JournalError::Damaged { segment, offset, flaw }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HEADER_BYTES;
    use crate::{Journal, JournalOptions, MemoryDisk};
    use proptest::prelude::*;
    use qlab_kernel::NodeId;

    const ME: Identity = Identity { cluster: 7, node: NodeId(1) };

    fn count() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0..4_u64, 1 => u64::MAX - 2..=u64::MAX, 1 => u64::MAX / 2 - 1..u64::MAX / 2 + 2, 1 => any::<u64>()]
    }

    /// A frame with a valid checksum that says anything, and whether it is to continue the one before it.
    fn forged() -> impl Strategy<Value = (Frame, Vec<u8>, bool)> {
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..6000),
            (0_usize..20).prop_map(|records| vec![0; records * 4]),
        ];
        let numbers = (count(), count(), count(), prop_oneof![0..4_u32, Just(u32::MAX)]);
        (numbers, payload, any::<bool>()).prop_map(
            |((incarnation, first, needed_from, records), payload, linked)| {
                let payload_bytes = u32::try_from(payload.len()).unwrap();
                let (first, needed_from) = (Lsn(first), Lsn(needed_from));
                let frame = Frame {
                    identity: ME,
                    incarnation,
                    segment: 0,
                    offset: 0,
                    first,
                    needed_from,
                    previous: 0,
                    records,
                    payload_bytes,
                    payload_checksum: 0,
                };
                (frame, payload, linked)
            },
        )
    }

    /// A segment of such frames, each in its place.
    fn segment(number: u64, frames: Vec<(Frame, Vec<u8>, bool)>, chain: &mut Chain) -> Vec<u8> {
        let mut segment = Vec::new();
        for (mut frame, payload, linked) in frames {
            (frame.segment, frame.offset) = (number, segment.len() as u64);
            if linked {
                (frame.previous, frame.first, frame.incarnation) = (chain.digest, chain.next, 1);
            }
            let start = segment.len();
            segment.resize(start + frame.bytes(), 0);
            segment[start + HEADER_BYTES..][..payload.len()].copy_from_slice(&payload);
            let digest = frame.seal(&mut segment[start..]);
            *chain = Chain { digest, next: Lsn(frame.first.0.saturating_add(frame.records.into())) };
        }
        segment
    }

    proptest! {
        #[test]
        fn forged_frames_never_make_a_journal_panic(
            oldest in count(),
            segments in prop::collection::vec(prop::collection::vec(forged(), 1..4), 1..3),
        ) {
            let (mut disk, mut chain) = (MemoryDisk::default(), Chain::START);
            for (number, frames) in (0..).map(|at| oldest.saturating_add(at)).zip(segments) {
                disk.segments.insert(number, segment(number, frames, &mut chain));
            }
            crate::inspect(&mut disk).unwrap();
            let options = JournalOptions { segment_bytes: 1 << 14, ..JournalOptions::new(ME) };
            if let Ok((mut journal, _)) = Journal::open(disk, options) {
                prop_assert!(journal.commit().is_ok());
            }
        }
    }
}
