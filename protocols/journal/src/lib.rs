//! The write-ahead log: segments, group commit, checksums, recovery.
//!
//! A journal keeps numbered records ([`Lsn`](qlab_kernel::Lsn)) in order. [`Journal::append`] encodes a record into the pending
//! group, [`Journal::commit`] makes the whole group durable with one write and one fdatasync, [`Journal::release_below`] lets
//! go of the oldest, and [`Journal::open`] returns what is left. [`JournalThread`] does the same on a thread of its own, so
//! that the replica goes on while the disk works; records that arrive meanwhile share the next commit.
//!
//! | module | holds |
//! |---|---|
//! | [`journal`] | the synchronous core: append, commit, release |
//! | [`thread`] | the core on its own thread, with counters and an adjustable delay |
//! | [`options`] | identity, segment size, and what "durable" means |
//! | [`disk`] | the system calls as a trait, and a disk in memory |
//! | [`file_disk`] | the real one: a directory of files |
//! | [`fault_disk`] | one in memory that forgets, tears, flips, misplaces, fails and fills up, for tests and simulators |
//! | [`mod@inspect`] | every segment and frame of a journal, read-only |
//! | [`error`] | what can go wrong, by what the caller can do |
//! | `frame` | the codec of the one structure on disk |
//! | `group` | pending records, encoded where they will be written from |
//! | `recovery` | reading back: torn tails apart from damage |
//!
//! # The format
//!
//! A journal is a directory of segments, numbered from 1 without a gap; the oldest ones disappear as they are released. A
//! segment is a sequence of frames, each a multiple of 4 KiB long. The frame at offset 0 is the segment's header and holds no
//! records; every other frame is one commit. All integers are little-endian.
//!
//! ```text
//! frame   := magic "qlwf", version u16, node u16, cluster u64      who wrote it, in which format
//!            incarnation u64                                       at which opening of the journal, from 1
//!            segment u64, offset u64                               where it belongs
//!            first u64                                             number of its first record, or of the next to come
//!            needed_from u64                                       no recovery needs a record below this one
//!            previous u64                                          digest of the frame before it, across segments
//!            records u32, payload_bytes u32
//!            payload_checksum u32                                  CRC32C of payload and padding
//!            header_checksum u32                                   CRC32C of everything above
//!            payload, zeros up to a multiple of 4 KiB
//! payload := (record_bytes u32, record)*                           records times
//! digest  := header_checksum << 32 | payload_checksum
//! ```
//!
//! Every frame names its predecessor's digest, and that is covered by its own checksum: the frames form a chain, so that a
//! write that was lost or went astray is noticed by the next frame that did not. Zeros are no frame; neither is a frame of
//! another segment, which is what recycled space is full of.
//!
//! # Recovery
//!
//! A commit is synced before the next one is written, so a crash can tear only the last frame of the last segment. That
//! one is cut off: it was never acknowledged. Anything else that is wrong was once right, and the journal refuses to
//! open rather than forget it: an invalid frame with a later frame behind it, a frame that does not continue the chain,
//! a segment whose last frame is not the one its successor names, a segment that is gone.
//!
//! Every opening begins a new segment, under a new incarnation, whose header seals the end of the one before. What recovery
//! returns is on stable storage before it returns it.
//!
//! # What holds, and the test that says so
//!
//! | | promise | `tests/suite/` |
//! |---|---|---|
//! | W1 | after any loss of power: all that was acknowledged, then at most a contiguous rest of what was not | `crash`: every subset of unsynced sectors and names, every sector torn; `lives` |
//! | W2 | a torn tail is cut off; damage before the last frame is an error | `flips`: every bit of a segment; `damage` |
//! | W3 | a failed sync is final | `failing` |
//! | W4 | a frame says whose it is, where it belongs and what it follows | `damage`, `failing`: lost and misdirected writes |
//! | W5 | names are durable before their content counts | `crash` |
//! | W6 | nothing is reported durable before it is | `threads` |
//! | W7 | what recovery has returned stays, and a crash during recovery forgets nothing | `crash`, `failing` |
//! | W8 | reserved and recycled space is never taken for frames | `crash`, `fuzz` |
//! | W9 | a full disk keeps what was acknowledged | `failing` |
//!
//! With the feature `mutants`, the suite seeds a bug against each of these and shows which test notices it.
//!
//! # Trade-offs
//!
//! - Damage to the very last frame of the very last segment looks like a torn write and is cut off, though it may have been
//!   acknowledged: that one commit is lost, no other, and no wrong byte is returned. So is a last commit whose write the
//!   disk acknowledged and lost. Nothing short of a second write for each commit can tell; a protocol's quorum has
//!   other copies. For the same reason newest segments that vanish whole are not missed.
//! - Checksums find accidents, not attackers: whoever can write to the directory can forge frames.
//! - A frame takes whole blocks. A lone small record costs 4 KiB, but no write ever touches a block of an earlier frame,
//!   and the disk need not read a block to change part of it.
//! - Fresh space is reserved when a segment begins and zeroed half a MiB ahead by small commits themselves. Commits that
//!   change no metadata are faster, and there is no long pause when a segment begins. Large commits write no zeros.
//! - Released segments become the next ones. Up to two wait; the others are removed.
//! - Recovery reads everything that was not released into memory. Hosts bound that by taking snapshots.
//! - Without syncs ([`Durability::Buffered`]) the system writes frames in any order: after the loss of power such a
//!   journal may count as damaged. After the end of the process alone it never does.

#![forbid(unsafe_code)]

pub mod disk;
pub mod error;
pub mod fault_disk;
pub mod file_disk;
mod frame;
mod group;
pub mod inspect;
pub mod journal;
pub mod options;
mod recovery;
pub mod thread;

pub use disk::{Disk, MemoryDisk};
pub use error::JournalError;
pub use fault_disk::{Fate, FaultDisk};
pub use file_disk::FileDisk;
pub use frame::{BLOCK_BYTES, FORMAT_VERSION, Flaw, Identity};
pub use group::GROUP_BYTES_MAX;
pub use inspect::{FrameReport, HeaderReport, SegmentReport, inspect};
pub use journal::{Journal, SPARE_SEGMENTS_MAX, Statistics, ZERO_AHEAD_BYTES, ZERO_AHEAD_FRAME_BYTES};
pub use options::{Durability, JournalOptions, SEGMENT_BYTES_DEFAULT, UnknownDurability};
pub use thread::{Counters, JournalThread, Pressure};
