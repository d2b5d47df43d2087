//! What a node writes down.

use qlab_kernel::{Reader, Sink, Wire, WireError};

use crate::Life;

/// A node begins this life. Nothing is sent before it is durable, so no two lives are the same to anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record(pub Life);

impl Wire for Record {
    fn encode(&self, sink: &mut impl Sink) {
        self.0.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Life::decode(reader).map(Self)
    }
}
