//! What is believed of a node, and in which order beliefs win.

use qlab_kernel::{NodeId, Reader, Sink, Wire, WireError};

use crate::Life;

/// Which word of a node on itself a belief rests on. Only the node raises it: with every life, and to object to a suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// The node's life.
    pub life: Life,
    /// How many suspicions it has objected to in it. A restart begins a new life, so this needs no disk.
    pub objections: u32,
}

impl Incarnation {
    /// The one that every node begins its first life with.
    pub const FIRST: Self = Self::of(Life::FIRST);

    /// The first one of a life.
    #[must_use]
    pub const fn of(life: Life) -> Self {
        Self { life, objections: 0 }
    }

    /// The next one in the same life.
    #[must_use]
    pub const fn raised(self) -> Self {
        Self { life: self.life, objections: self.objections.saturating_add(1) }
    }
}

/// How a node is believed to be. The order is that of precedence within an incarnation (SWIM §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It answers.
    Alive,
    /// It did not answer somebody.
    Suspect,
    /// It did not object in time.
    Dead,
}

/// What is believed of a node. The larger belief wins, so a table of beliefs is itself a join-semilattice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Belief {
    /// What it rests on: a later incarnation wins whatever is believed.
    pub incarnation: Incarnation,
    /// How the node is.
    pub health: Health,
}

impl Belief {
    /// What is believed of everybody at first.
    pub const FIRST: Self = Self::alive(Incarnation::FIRST);

    /// A node's own word.
    #[must_use]
    pub const fn alive(incarnation: Incarnation) -> Self {
        Self { incarnation, health: Health::Alive }
    }
}

/// A belief on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rumour {
    /// Of whom.
    pub node: NodeId,
    /// What.
    pub belief: Belief,
}

impl Rumour {
    /// Bytes on the wire.
    pub const BYTES: usize = 11;
}

impl Wire for Incarnation {
    fn encode(&self, sink: &mut impl Sink) {
        self.life.encode(sink);
        self.objections.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { life: Life::decode(reader)?, objections: reader.u32()? })
    }
}

impl Wire for Health {
    fn encode(&self, sink: &mut impl Sink) {
        (*self as u8).encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match reader.u8()? {
            0 => Ok(Self::Alive),
            1 => Ok(Self::Suspect),
            2 => Ok(Self::Dead),
            other => Err(WireError::Invalid { what: "health", value: other.into() }),
        }
    }
}

impl Wire for Rumour {
    fn encode(&self, sink: &mut impl Sink) {
        self.node.encode(sink);
        self.belief.incarnation.encode(sink);
        self.belief.health.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            node: NodeId::decode(reader)?,
            belief: Belief { incarnation: Incarnation::decode(reader)?, health: Health::decode(reader)? },
        })
    }
}
