//! Newtypes for everything that is counted, so that a term can never be taken for an index.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing yet: the one before the first.
            pub const ZERO: Self = Self(0);

            /// The next one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The one before; zero stays zero.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Number of a journal record, from 1. A larger one is durable no earlier than a smaller one.
    Lsn
);
counter!(
    /// Position in the replicated log, from 1.
    Index
);
counter!(
    /// A leader's reign: Raft's term, a view, a ballot's round.
    Term
);
counter!(
    /// Number of a request within its client's session, from 1; 0 opens the session.
    Sequence
);
counter!(
    /// A client's session, drawn at random by the client and never used twice. Its upper bits say whose it is.
    SessionId
);
counter!(
    /// The host's name for whoever asked: a core hands it back and never looks inside.
    Ticket
);

impl SessionId {
    /// Bits of a session's number beside its owner.
    pub const NUMBER_BITS: u32 = 48;

    /// Session `number` of the client at place `client` in the roster. Of the number, the lowest [`Self::NUMBER_BITS`] count.
    #[must_use]
    pub const fn owned(client: u16, number: u64) -> Self {
        Self((client as u64) << Self::NUMBER_BITS | number & ((1 << Self::NUMBER_BITS) - 1))
    }

    /// The place in the roster of the client whose session it is. Hosts take requests in it
    /// from nobody else.
    #[must_use]
    pub const fn owner(self) -> u16 {
        (self.0 >> Self::NUMBER_BITS) as u16
    }
}

/// A replica's seat number, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Monotonic time in nanoseconds since a start that only the host knows. Never compare two hosts' values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        // A deadline past the end of time is "never", not a wrap to the past.
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_says_whose_it_is_whatever_its_number() {
        for (client, number) in [(0, 0), (7, 1), (u16::MAX, u64::MAX), (3, 1 << 48)] {
            assert_eq!(SessionId::owned(client, number).owner(), client);
        }
        assert_ne!(SessionId::owned(1, 5), SessionId::owned(2, 5));
        assert_ne!(SessionId::owned(1, 5), SessionId::owned(1, 6));
    }
}
