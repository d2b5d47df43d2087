//! What entries are called.

use bytes::Bytes;
use qlab_kernel::wire::put_bytes;
use qlab_kernel::{Reader, Sink, Wire, WireError};

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 256;

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Bytes that belong to their writer alone, who may delete them.
    Own,
    /// A writer's share of a [`GrowSet`](crate::crdt::GrowSet).
    GrowSet,
    /// A writer's share of a [`GCounter`](crate::crdt::GCounter).
    GCounter,
    /// A writer's share of a [`PnCounter`](crate::crdt::PnCounter).
    PnCounter,
    /// A writer's share of an [`LwwRegister`](crate::crdt::LwwRegister).
    LwwRegister,
    /// A writer's share of an [`MvRegister`](crate::crdt::MvRegister).
    MvRegister,
    /// A writer's share of an [`OrSet`](crate::crdt::OrSet).
    OrSet,
}

impl Kind {
    /// All of them, in the order of their numbers on the wire.
    pub const ALL: [Self; 7] = [
        Self::Own,
        Self::GrowSet,
        Self::GCounter,
        Self::PnCounter,
        Self::LwwRegister,
        Self::MvRegister,
        Self::OrSet,
    ];
}

/// The name of an entry. As the kind is part of it, nobody can disagree on what an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What the value is.
    pub kind: Kind,
    /// The name, at most [`NAME_BYTES_MAX`] bytes.
    pub name: Bytes,
    /// Which part of the writer's share: shares that outgrow a message lie in several.
    pub part: u32,
}

impl Key {
    /// The key of bytes that belong to their writer alone.
    #[must_use]
    pub const fn own(name: Bytes) -> Self {
        Self { kind: Kind::Own, name, part: 0 }
    }
}

impl Wire for Kind {
    fn encode(&self, sink: &mut impl Sink) {
        (*self as u8).encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let number = reader.u8()?;
        Self::ALL
            .get(usize::from(number))
            .copied()
            .ok_or(WireError::Invalid { what: "kind", value: number.into() })
    }
}

impl Wire for Key {
    fn encode(&self, sink: &mut impl Sink) {
        self.kind.encode(sink);
        put_bytes(sink, &self.name);
        self.part.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            kind: Kind::decode(reader)?,
            name: reader.take_bytes("name", NAME_BYTES_MAX)?,
            part: reader.u32()?,
        })
    }
}
