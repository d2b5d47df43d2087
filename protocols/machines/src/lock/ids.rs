//! Newtypes for what is numbered, so that a token can never be taken for an owner.

use std::fmt;

use qlab_kernel::{Reader, Sink, Wire, WireError};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Wire for $name {
            fn encode(&self, sink: &mut impl Sink) {
                self.0.encode(sink);
            }
            fn decode(reader: &mut Reader) -> Result<Self, WireError> {
                reader.u64().map(Self)
            }
        }
    };
}

number!(
    /// A lock, or the register that it guards: clients choose the number (those with names hash them).
    LockId
);
number!(
    /// An owner, numbered in the order of opening, from 1: the smaller number is the older owner. It is the timestamp that
    /// deadlock prevention goes by, and a victim that starts again keeps it.
    OwnerId
);
number!(
    /// A fencing token, from 1: of two grants, of whatever locks, the later one has the larger token.
    Token
);
