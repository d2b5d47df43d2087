//! The lock service's commands, as its clients and its clock write them.
//!
//! ```text
//! command              := op u8, arguments
//! policy (0)           := policy u8 (0 detect, 1 wait-die, 2 wound-wait)
//! open (1)             := ttl_ns u64
//! renew (2), restart (3), close (4)  := owner u64
//! acquire (5), try (6) := owner u64, lock u64, mode u8 (0 shared, 1 exclusive)
//! release (7)          := owner u64, lock u64, token u64
//! withdraw (8), wait (9)             := owner u64, lock u64
//! tick (10)            := after u64, elapsed_ns u64
//! write (11)           := register u64, token u64, value
//! write unfenced (12)  := register u64, value
//! read (13)            := register u64
//! ```
//!
//! A value is what is left of the command.

use qlab_kernel::{Cursor, Sink, WireError};

use super::deadlock::Policy;
use super::holding::Mode;
use super::ids::{LockId, OwnerId, Token};
use super::lease::{TTL_NS_MAX, TTL_NS_MIN};

const POLICY: u8 = 0;
const OPEN: u8 = 1;
const RENEW: u8 = 2;
const RESTART: u8 = 3;
const CLOSE: u8 = 4;
const ACQUIRE: u8 = 5;
const TRY: u8 = 6;
const RELEASE: u8 = 7;
const WITHDRAW: u8 = 8;
const WAIT: u8 = 9;
const TICK: u8 = 10;
const WRITE: u8 = 11;
const WRITE_UNFENCED: u8 = 12;
const READ: u8 = 13;

/// A command to the lock service. What each does: [`lock`](crate::lock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Chooses what is done about deadlocks.
    Policy(Policy),
    /// Opens an owner with a lease.
    Open {
        /// How long it lives without a renewal, from [`TTL_NS_MIN`] to [`TTL_NS_MAX`].
        ttl_ns: u64,
    },
    /// Begins an owner's lease anew.
    Renew {
        /// Whose.
        owner: OwnerId,
    },
    /// Gives up everything an owner holds and waits for, and lets a victim begin again.
    Restart {
        /// Whose.
        owner: OwnerId,
    },
    /// Ends an owner.
    Close {
        /// Which.
        owner: OwnerId,
    },
    /// Takes a lock, or a place in its queue.
    Acquire {
        /// For whom.
        owner: OwnerId,
        /// Which.
        lock: LockId,
        /// Alone or with others.
        mode: Mode,
    },
    /// Takes a lock if it can be had at once.
    Try {
        /// For whom.
        owner: OwnerId,
        /// Which.
        lock: LockId,
        /// Alone or with others.
        mode: Mode,
    },
    /// Gives a lock back.
    Release {
        /// Whose it is.
        owner: OwnerId,
        /// Which.
        lock: LockId,
        /// That of the grant.
        token: Token,
    },
    /// Gives a place in a queue up.
    Withdraw {
        /// Whose.
        owner: OwnerId,
        /// In which.
        lock: LockId,
    },
    /// Asks what has become of an acquisition: a query.
    Wait {
        /// Whose.
        owner: OwnerId,
        /// Of which lock.
        lock: LockId,
    },
    /// Lets time pass: from whoever leads, not from clients.
    Tick {
        /// The tick that the time was measured from.
        after: u64,
        /// How much passed since then at least.
        elapsed_ns: u64,
    },
    /// Writes a register in the name of a grant.
    Write {
        /// Which.
        register: LockId,
        /// That of the grant.
        token: Token,
        /// What.
        value: &'a [u8],
    },
    /// Writes a register whoever holds what: the control that shows what tokens are for.
    WriteUnfenced {
        /// Which.
        register: LockId,
        /// What.
        value: &'a [u8],
    },
    /// Reads a register: a query.
    Read {
        /// Which.
        register: LockId,
    },
}

impl<'a> Command<'a> {
    /// Appends the encoding.
    pub fn encode(&self, sink: &mut impl Sink) {
        match *self {
            Self::Policy(policy) => sink.put(&[POLICY, policy.code()]),
            Self::Open { ttl_ns } => put(sink, OPEN, [ttl_ns]),
            Self::Renew { owner } => put(sink, RENEW, [owner.0]),
            Self::Restart { owner } => put(sink, RESTART, [owner.0]),
            Self::Close { owner } => put(sink, CLOSE, [owner.0]),
            Self::Acquire { owner, lock, mode } => {
                put(sink, ACQUIRE, [owner.0, lock.0]);
                sink.put(&[mode.code()]);
            }
            Self::Try { owner, lock, mode } => {
                put(sink, TRY, [owner.0, lock.0]);
                sink.put(&[mode.code()]);
            }
            Self::Release { owner, lock, token } => put(sink, RELEASE, [owner.0, lock.0, token.0]),
            Self::Withdraw { owner, lock } => put(sink, WITHDRAW, [owner.0, lock.0]),
            Self::Wait { owner, lock } => put(sink, WAIT, [owner.0, lock.0]),
            Self::Tick { after, elapsed_ns } => put(sink, TICK, [after, elapsed_ns]),
            Self::Write { register, token, value } => {
                put(sink, WRITE, [register.0, token.0]);
                sink.put(value);
            }
            Self::WriteUnfenced { register, value } => {
                put(sink, WRITE_UNFENCED, [register.0]);
                sink.put(value);
            }
            Self::Read { register } => put(sink, READ, [register.0]),
        }
    }

    /// The encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }

    /// Reads a command that must fill `bytes` to the end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let from = &mut cursor;
        let command = match from.u8()? {
            POLICY => Self::Policy(Policy::of_code(from.u8()?)?),
            OPEN => Self::Open { ttl_ns: ttl(from)? },
            RENEW => Self::Renew { owner: owner(from)? },
            RESTART => Self::Restart { owner: owner(from)? },
            CLOSE => Self::Close { owner: owner(from)? },
            ACQUIRE => Self::Acquire { owner: owner(from)?, lock: lock(from)?, mode: mode(from)? },
            TRY => Self::Try { owner: owner(from)?, lock: lock(from)?, mode: mode(from)? },
            RELEASE => Self::Release { owner: owner(from)?, lock: lock(from)?, token: token(from)? },
            WITHDRAW => Self::Withdraw { owner: owner(from)?, lock: lock(from)? },
            WAIT => Self::Wait { owner: owner(from)?, lock: lock(from)? },
            TICK => Self::Tick { after: from.u64()?, elapsed_ns: from.u64()? },
            WRITE => Self::Write { register: lock(from)?, token: token(from)?, value: from.take_rest() },
            WRITE_UNFENCED => Self::WriteUnfenced { register: lock(from)?, value: from.take_rest() },
            READ => Self::Read { register: lock(from)? },
            other => return Err(WireError::Invalid { what: "lock command", value: other.into() }),
        };
        cursor.finish()?;
        Ok(command)
    }
}

fn put<const N: usize>(sink: &mut impl Sink, op: u8, arguments: [u64; N]) {
    sink.put(&[op]);
    for argument in arguments {
        sink.put(&argument.to_le_bytes());
    }
}

fn ttl(from: &mut Cursor<'_>) -> Result<u64, WireError> {
    let value = from.u64()?;
    if (TTL_NS_MIN..=TTL_NS_MAX).contains(&value) {
        Ok(value)
    } else {
        Err(WireError::Invalid { what: "time to live in nanoseconds", value })
    }
}

fn owner(from: &mut Cursor<'_>) -> Result<OwnerId, WireError> {
    from.u64().map(OwnerId)
}

fn lock(from: &mut Cursor<'_>) -> Result<LockId, WireError> {
    from.u64().map(LockId)
}

fn token(from: &mut Cursor<'_>) -> Result<Token, WireError> {
    from.u64().map(Token)
}

fn mode(from: &mut Cursor<'_>) -> Result<Mode, WireError> {
    Mode::of_code(from.u8()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_encoding_is_the_one_documented() {
        let (owner, lock) = (OwnerId(2), LockId(3));
        let acquire = Command::Acquire { owner, lock, mode: Mode::Exclusive };
        assert_eq!(acquire.to_bytes(), b"\x05\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01");
        let write = Command::Write { register: lock, token: Token(7), value: b"v" };
        assert_eq!(write.to_bytes(), b"\x0b\x03\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0v");
        assert_eq!(Command::Policy(Policy::WoundWait).to_bytes(), b"\x00\x02");
    }

    #[test]
    fn what_is_cut_off_left_over_or_out_of_range_is_refused() {
        let whole = Command::Release { owner: OwnerId(1), lock: LockId(2), token: Token(3) }.to_bytes();
        for len in 0..whole.len() {
            assert!(matches!(Command::parse(&whole[..len]), Err(WireError::Short { .. })), "{len} bytes");
        }
        let longer = [&whole[..], b"!"].concat();
        assert_eq!(Command::parse(&longer), Err(WireError::Trailing(1)));
        for ttl_ns in [0, TTL_NS_MIN - 1, TTL_NS_MAX + 1, u64::MAX] {
            let open = Command::Open { ttl_ns }.to_bytes();
            assert!(matches!(Command::parse(&open), Err(WireError::Invalid { .. })), "{ttl_ns}");
        }
        for bytes in [&b"\x0e"[..], b"\x00\x03", &[&[ACQUIRE][..], &[0; 16], &[2]].concat()] {
            assert!(matches!(Command::parse(bytes), Err(WireError::Invalid { .. })), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_parsed_is_what_was_encoded(op in 0_u8..14, numbers in any::<[u32; 3]>(), rest: Vec<u8>) {
            let mut bytes = vec![op];
            for number in numbers {
                // Small enough for a time to live.
                bytes.extend_from_slice(&u64::from(number).to_le_bytes());
            }
            bytes.extend_from_slice(&rest);
            // Whatever the operation, some prefix has its length.
            for len in 1..=bytes.len() {
                if let Ok(command) = Command::parse(&bytes[..len]) {
                    prop_assert_eq!(command.to_bytes(), &bytes[..len]);
                }
            }
        }
    }
}
