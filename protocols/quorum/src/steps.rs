//! Many keys in one message: a replica says everything that it has to say to a peer in as few messages as hold it.

use std::fmt::Debug;

use bytes::Bytes;
use qlab_kernel::command::KEY_BYTES_MAX;
use qlab_kernel::{Lane, Reader, Sink, Wire, WireError};

/// One step about one key.
pub trait Step: Wire + Clone + Debug {
    /// Bytes of its encoding, at most.
    fn bytes_max(&self) -> usize;

    /// Whether it carries a value: those can be long, and nothing small should wait behind them.
    fn is_bulk(&self) -> bool;
}

/// Steps in one message.
pub const STEPS_MAX: usize = 1 << 14;

/// What replicas say to each other: steps, in the order they are to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps<S> {
    /// The steps.
    pub steps: Vec<S>,
}

impl<S: Step> qlab_kernel::Message for Steps<S> {
    fn lane(&self) -> Lane {
        if self.steps.iter().any(Step::is_bulk) { Lane::Bulk } else { Lane::Control }
    }
}

impl<S: Step> Wire for Steps<S> {
    fn encode(&self, sink: &mut impl Sink) {
        u32::try_from(self.steps.len()).expect("within STEPS_MAX").encode(sink);
        self.steps.iter().for_each(|step| step.encode(sink));
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let count = reader.u32()? as usize;
        if count == 0 || count > STEPS_MAX {
            return Err(WireError::Invalid { what: "steps in a message", value: count as u64 });
        }
        // Room for what may be there, not for what a count claims: no step is shorter than a tag and a number.
        let mut steps = Vec::with_capacity(count.min(reader.left() / 9));
        for _ in 0..count {
            steps.push(S::decode(reader)?);
        }
        Ok(Self { steps })
    }
}

/// Appends a key with its length.
pub(crate) fn put_key(sink: &mut impl Sink, key: &Bytes) {
    u16::try_from(key.len()).expect("within KEY_BYTES_MAX").encode(sink);
    sink.put(key);
}

/// Takes what [`put_key`] wrote.
pub(crate) fn take_key(reader: &mut Reader) -> Result<Bytes, WireError> {
    let bytes = usize::from(reader.u16()?);
    if bytes > KEY_BYTES_MAX {
        return Err(WireError::TooLong { what: "key", bytes, limit_bytes: KEY_BYTES_MAX });
    }
    reader.take(bytes)
}
