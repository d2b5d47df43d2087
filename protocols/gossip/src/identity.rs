//! Who wrote something: a node in one of its lives.

use std::fmt;

use qlab_kernel::{NodeId, Reader, Sink, Wire, WireError};

/// Counts the starts of a node, from 1. It is durable before anyone hears of it, so that no life is lived twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(pub u32);

impl Life {
    /// The first one.
    pub const FIRST: Self = Self(1);
    /// The last one: nobody lives to see it, and arithmetic on lives cannot overflow.
    pub const LAST: Self = Self(1 << 31);

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Wire for Life {
    fn encode(&self, sink: &mut impl Sink) {
        self.0.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let life = Self(reader.u32()?);
        if (Self::FIRST..=Self::LAST).contains(&life) {
            Ok(life)
        } else {
            Err(WireError::Invalid { what: "life", value: life.0.into() })
        }
    }
}

/// A writer: everything that is numbered per writer begins anew with each of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// Which node.
    pub node: NodeId,
    /// In which life.
    pub life: Life,
}

impl Actor {
    /// Before every other.
    pub const MIN: Self = Self { node: NodeId(0), life: Life::FIRST };
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.life.0)
    }
}

impl Wire for Actor {
    fn encode(&self, sink: &mut impl Sink) {
        self.node.encode(sink);
        self.life.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { node: NodeId::decode(reader)?, life: Life::decode(reader)? })
    }
}
