//! Bounds that belong to no single protocol. A full queue says busy; it never grows.

/// Inputs that a host hands to one replica before it must flush.
pub const BURST_INPUTS_MAX: usize = 1024;
/// Bytes of one batch: the largest log entry, journal body and wire body.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Bytes of one command inside a batch.
pub const COMMAND_BYTES_MAX: usize = 512 << 10;
/// Bytes of one frame on any lane: a batch and the message around it.
pub const FRAME_BYTES_MAX: usize = BATCH_BYTES_MAX + 4096;
/// Bytes of one journal record: a batch or a snapshot chunk and the record around it.
pub const RECORD_BYTES_MAX: usize = BATCH_BYTES_MAX + 4096;
/// Bytes of a snapshot that travel in one message and lie in one record.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a whole snapshot.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 30;
/// Bytes of what proves who asks: a signature, or a keyed hash for each replica.
pub const PROOF_BYTES_MAX: usize = 1024;
/// Requests of one session that may be unanswered at a time.
pub const SESSION_WINDOW: u64 = 8192;
/// Sessions that a service remembers; the one unused for longest makes room.
pub const SESSIONS_MAX: usize = 4096;
