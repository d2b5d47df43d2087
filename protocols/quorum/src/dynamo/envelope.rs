//! What clients say and hear beside commands: which values they have seen (DeCandia et al. 2007, §3).
//!
//! A read is answered with all current values and a context, which stands for them and for all that they replaced. A write hands
//! back the context of the last read of its key: it replaces what was read, and nothing else. A client that never read writes with
//! an empty context, and leaves another value beside those that are there. Contexts are made by replicas and opaque to clients; so
//! they travel with the command, not in a session, and any client may hand on what it read.
//!
//! ```text
//! the value of a put := kind u8 (0 nothing: a deletion, 1 a value), context, value
//! what a get finds   := context, (value_bytes u32, value)*
//! context            := context_bytes u16, context
//! ```

use bytes::Bytes;
use qlab_clocks::VectorClock;
use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::content::{Content, State};

/// Bytes of a context. A replica has more only with clusters larger than there are.
pub const CONTEXT_BYTES_MAX: usize = 1024;
/// Counts that a context may have: nobody lives to write more, and counting on from there cannot overflow.
const COUNT_MAX: u64 = 1 << 48;

/// What a put carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The context of the last read; empty if there was none.
    pub context: Bytes,
    /// What to write; `None` deletes.
    pub value: Option<Bytes>,
}

impl Update {
    /// The value of the put.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        let value = self.value.as_deref().unwrap_or_default();
        let mut bytes = Vec::with_capacity(3 + self.context.len() + value.len());
        put_update(&mut bytes, &self.context, self.value.as_deref());
        bytes
    }

    /// What the value of a put says.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let is_there = reader.bool("presence of a value")?;
        let context = take_context(&mut reader)?;
        let value = is_there.then(|| reader.take_rest());
        reader.finish()?;
        Ok(Self { context, value })
    }

    /// What the author has seen, if a replica of such a cluster can have said so.
    pub(crate) fn seen(&self, replicas: usize) -> Option<VectorClock> {
        if self.context.is_empty() {
            return Some(VectorClock::new());
        }
        let seen = VectorClock::decode_all(self.context.clone()).ok()?;
        let is_sound = seen.len() <= replicas
            && (0..replicas).all(|node| seen.get(qlab_kernel::NodeId(node as u16)) <= COUNT_MAX);
        is_sound.then_some(seen)
    }
}

/// Appends the value of a put that was written by someone who read `context`.
pub fn put_update(bytes: &mut Vec<u8>, context: &[u8], value: Option<&[u8]>) {
    value.is_some().encode(bytes);
    put_context(bytes, context);
    bytes.extend_from_slice(value.unwrap_or_default());
}

/// What a get finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// To hand back with the next write of this key.
    pub context: Bytes,
    /// The current values, none if there is nothing; several were written without knowledge of each other.
    pub values: Vec<Bytes>,
}

impl Reading {
    /// Reads what a get found.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let context = take_context(&mut reader)?;
        let mut values = Vec::new();
        while reader.left() > 0 {
            values.push(reader.take_bytes("value", qlab_kernel::command::VALUE_BYTES_MAX)?);
        }
        Ok(Self { context, values })
    }
}

/// What a client is told of a state.
pub(crate) fn reading(state: &State) -> Bytes {
    let mut context = Vec::new();
    state.context().encode(&mut context);
    let mut bytes = Vec::with_capacity(2 + context.len() + super::content::state_bytes(state));
    put_context(&mut bytes, &context);
    for value in state.values().filter_map(|content: &Content| content.value.as_ref()) {
        qlab_kernel::wire::put_bytes(&mut bytes, value);
    }
    bytes.into()
}

fn put_context(bytes: &mut Vec<u8>, context: &[u8]) {
    u16::try_from(context.len()).expect("within CONTEXT_BYTES_MAX").encode(bytes);
    bytes.put(context);
}

fn take_context(reader: &mut Reader) -> Result<Bytes, WireError> {
    let bytes = usize::from(reader.u16()?);
    if bytes > CONTEXT_BYTES_MAX {
        return Err(WireError::TooLong { what: "context", bytes, limit_bytes: CONTEXT_BYTES_MAX });
    }
    reader.take(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::content::tests::any_state;
    use super::*;
    use proptest::prelude::*;
    use qlab_kernel::NodeId;

    #[test]
    fn a_context_that_no_replica_made_is_seen_through() {
        let seen = |clock: &VectorClock| {
            let mut context = Vec::new();
            clock.encode(&mut context);
            Update { context: context.into(), value: None }.seen(3)
        };
        let mut clock = VectorClock::new();
        clock.raise(NodeId(2), 7);
        assert_eq!(seen(&clock), Some(clock.clone()));
        clock.raise(NodeId(1), COUNT_MAX + 1);
        assert_eq!(seen(&clock), None, "it has counted too far");
        let mut clock = VectorClock::new();
        clock.raise(NodeId(3), 1);
        assert_eq!(seen(&clock), None, "there is no such replica");
        assert_eq!(Update { context: Bytes::from_static(b"?!"), value: None }.seen(3), None);
        assert!(Update::decode(Bytes::from_static(b"\x00\x00\x00value")).is_err(), "a deletion has none");
    }

    proptest! {
        #[test]
        fn what_is_read_names_all_that_is_current(state in any_state()) {
            let reading = Reading::decode(reading(&state)).unwrap();
            let current: Vec<Bytes> = state.values().filter_map(|content| content.value.clone()).collect();
            prop_assert_eq!(reading.values, current);
            let update = Update { context: reading.context, value: None };
            prop_assert_eq!(update.seen(4), Some(state.context().clone()));
            prop_assert_eq!(Update::decode(update.encoded().into()), Ok(update));
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(0_u8..4, 0..60)) {
            if let Ok(update) = Update::decode(bytes.clone().into()) {
                prop_assert_eq!(update.encoded(), bytes.clone());
                let _ = update.seen(3);
            }
            let _ = Reading::decode(bytes.into());
        }
    }
}
