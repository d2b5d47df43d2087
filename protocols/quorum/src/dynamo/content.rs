//! What a write leaves under a key.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use qlab_clocks::Siblings;
use qlab_kernel::command::VALUE_BYTES_MAX;
use qlab_kernel::wire::put_bytes;
use qlab_kernel::{Reader, Sink, Time, Wire, WireError};

/// A value, or that there is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// When it was written, by its coordinator's clock: asked only where the last writer wins.
    pub written_at: Time,
    /// The value; `None` for a deletion.
    pub value: Option<Bytes>,
}

/// Everything known of a key. Copies are one until one of them changes: the same state is held, written down, and told to everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(Arc<Siblings<Content>>);

impl Deref for State {
    type Target = Siblings<Content>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl Wire for State {
    fn encode(&self, sink: &mut impl Sink) {
        self.0.encode(sink);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Siblings::decode(reader).map(|siblings| Self(Arc::new(siblings)))
    }
}

/// Bytes of a content besides its value, and of the name of the write.
const CONTENT_BYTES: usize = 8 + 1 + 4 + 12;
/// Bytes that a clock takes for each replica, at most.
const CLOCK_ENTRY_BYTES: usize = 10;

impl Content {
    /// Whether it says that there is nothing.
    #[must_use]
    pub const fn is_deletion(&self) -> bool {
        self.value.is_none()
    }

    /// Bytes of its value.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Bytes of the values of a state.
pub(crate) fn values_bytes(state: &State) -> usize {
    state.values().map(Content::value_bytes).sum()
}

/// Bytes of a state's encoding, at most.
pub(crate) fn state_bytes(state: &State) -> usize {
    values_bytes(state)
        + state.values().len() * CONTENT_BYTES
        + (state.context().len() + 2) * CLOCK_ENTRY_BYTES
}

/// Whether there is something that all of it says is deleted.
#[must_use]
pub fn is_tombstone(state: &State) -> bool {
    state.values().len() > 0 && state.values().all(Content::is_deletion)
}

impl Wire for Content {
    fn encode(&self, sink: &mut impl Sink) {
        self.written_at.0.encode(sink);
        self.value.is_some().encode(sink);
        if let Some(value) = &self.value {
            put_bytes(sink, value);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let written_at = Time(reader.u64()?);
        let is_there = reader.bool("presence of a value")?;
        // A copy: the frame that a value came in must not live as long as the value.
        let value = if is_there {
            Some(Bytes::copy_from_slice(&reader.take_bytes("value", VALUE_BYTES_MAX)?))
        } else {
            None
        };
        Ok(Self { written_at, value })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use qlab_clocks::VectorClock;
    use qlab_kernel::NodeId;

    pub(crate) fn any_state() -> impl Strategy<Value = State> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from));
        let content = (any::<u64>(), value)
            .prop_map(|(written_at, value)| Content { written_at: Time(written_at), value });
        prop::collection::vec((0_u16..4, any::<bool>(), content), 0..6).prop_map(|writes| {
            let mut state = State::default();
            for (node, has_read, content) in writes {
                let read = if has_read { state.context().clone() } else { VectorClock::new() };
                state.write(NodeId(node), &read, content).expect("few siblings");
            }
            state
        })
    }

    proptest! {
        #[test]
        fn no_encoding_is_longer_than_it_is_taken_for(state in any_state()) {
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            prop_assert!(bytes.len() <= state_bytes(&state), "{} {}", bytes.len(), state_bytes(&state));
            prop_assert_eq!(State::decode_all(bytes.into()), Ok(state));
        }
    }
}
