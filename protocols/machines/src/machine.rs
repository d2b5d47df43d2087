//! The trait, and the bounds it sets.

use std::borrow::Cow;

use qlab_kernel::limits::{FRAME_BYTES_MAX, SESSION_WINDOW, SESSIONS_MAX, SNAPSHOT_BYTES_MAX};
use qlab_kernel::{Outcome, Reader, Sink, WireError};

use crate::answers::value_bytes;

pub use qlab_kernel::command::VALUE_BYTES_MAX;

/// Bytes of a machine's part of an image; the rest is the session table's.
pub const MACHINE_BYTES_MAX: usize = 512 << 20;

/// Bytes of the fullest session table in an image: 10 for each answer kept, 32 for each session.
const SESSIONS_BYTES_MAX: usize = SESSIONS_MAX * (32 + 10 * SESSION_WINDOW as usize);
const IMAGE_HEADER_BYTES_MAX: usize = 1 << 10;

const _: () = assert!(IMAGE_HEADER_BYTES_MAX + SESSIONS_BYTES_MAX + MACHINE_BYTES_MAX <= SNAPSHOT_BYTES_MAX);
const _: () = assert!(value_bytes(VALUE_BYTES_MAX) <= FRAME_BYTES_MAX);

/// A deterministic application. Commands come from anyone: whatever the bytes, it answers, alike on all replicas.
pub trait Machine: Default {
    /// Executes a command. One it cannot read is [`Outcome::MALFORMED`] and changes nothing; its own statuses are below 128.
    fn apply(&mut self, command: &[u8]) -> Outcome;

    /// Whether only the replicas themselves may give this command: clients that do are told that it is malformed.
    fn is_internal(_command: &[u8]) -> bool {
        false
    }

    /// Whether whoever asks this query is better served later, when its answer has changed.
    fn is_pending(&self, _query: &[u8]) -> bool {
        false
    }

    /// Answers a query from the state as it is. One it cannot read is [`Value::MALFORMED`].
    fn query(&self, command: &[u8]) -> Value<'_>;

    /// Writes an image of the state, at most [`MACHINE_BYTES_MAX`] long. Equal states write equal images.
    fn snapshot(&self, sink: &mut impl Sink);

    /// The state of an image that `snapshot` wrote; an error for bytes that it cannot have written.
    fn restore(reader: &mut Reader) -> Result<Self, WireError>;
}

/// A query's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// What was found, in the machine's own codes or one of the [`Outcome`] constants.
    pub status: u8,
    /// At most [`VALUE_BYTES_MAX`] bytes.
    pub bytes: Cow<'a, [u8]>,
}

impl Value<'_> {
    /// The answer to a query that cannot be read.
    pub const MALFORMED: Value<'static> = Value::of(Outcome::MALFORMED);

    /// A status that says it all.
    #[must_use]
    pub const fn of(status: u8) -> Value<'static> {
        Value { status, bytes: Cow::Borrowed(&[]) }
    }
}
