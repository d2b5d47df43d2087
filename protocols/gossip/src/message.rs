//! What gossiping nodes say to each other: each message fits a datagram, none must arrive.

use qlab_kernel::{Lane, NodeId, Reader, Sink, Wire, WireError};

use crate::digest::{Digest, Summary, put_summaries, take_summaries};
use crate::membership::{Incarnation, RUMOURS_PER_MESSAGE_MAX, Rumour};
use crate::store::Delta;

/// One message: what it is for, and what travels along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's own incarnation: that it is alive in it needs no other word.
    pub incarnation: Incarnation,
    /// What the sender has heard of others, and of the receiver; at most [`RUMOURS_PER_MESSAGE_MAX`].
    pub rumours: Vec<Rumour>,
    /// What it is for.
    pub body: Body,
}

/// What a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "This is how much I know."
    Digest(Digest),
    /// "Tell me more of these writers; this is how much I know of them."
    Want(Vec<Summary>),
    /// "Here is what you lack."
    Deltas(Vec<Delta>),
    /// "Are you alive?"
    Ping {
        /// Numbers the asker's probes.
        sequence: u64,
        /// Who wants to know.
        asker: NodeId,
    },
    /// "I am", or that of another, passed on.
    Ack {
        /// The probe's number.
        sequence: u64,
        /// Who wanted to know.
        asker: NodeId,
        /// Who is alive.
        target: NodeId,
    },
    /// "Ask that node for me" (SWIM §3.1).
    PingRequest {
        /// The probe's number.
        sequence: u64,
        /// Whom to ask.
        target: NodeId,
    },
}

/// Bytes of a message around what it is for, at most.
pub const ENVELOPE_BYTES_MAX: usize = 8 + 4 + RUMOURS_PER_MESSAGE_MAX * Rumour::BYTES + 1 + 4;

impl qlab_kernel::Message for Message {
    /// Nothing here must arrive, nor in order.
    fn lane(&self) -> Lane {
        Lane::Datagram
    }
}

impl Wire for Message {
    fn encode(&self, sink: &mut impl Sink) {
        self.incarnation.encode(sink);
        put_count(sink, self.rumours.len());
        for rumour in &self.rumours {
            rumour.encode(sink);
        }
        self.body.encode(sink);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let incarnation = Incarnation::decode(reader)?;
        let count = reader.u32()?;
        if count as usize > RUMOURS_PER_MESSAGE_MAX {
            return Err(WireError::Invalid { what: "number of rumours", value: count.into() });
        }
        let rumours = (0..count).map(|_| Rumour::decode(reader)).collect::<Result<_, _>>()?;
        Ok(Self { incarnation, rumours, body: Body::decode(reader)? })
    }
}

const DIGEST: u8 = 0;
const WANT: u8 = 1;
const DELTAS: u8 = 2;
const PING: u8 = 3;
const ACK: u8 = 4;
const PING_REQUEST: u8 = 5;

impl Wire for Body {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Digest(digest) => {
                DIGEST.encode(sink);
                digest.encode(sink);
            }
            Self::Want(summaries) => {
                WANT.encode(sink);
                put_summaries(sink, summaries);
            }
            Self::Deltas(deltas) => {
                DELTAS.encode(sink);
                put_count(sink, deltas.len());
                for delta in deltas {
                    delta.encode(sink);
                }
            }
            Self::Ping { sequence, asker } => {
                PING.encode(sink);
                sequence.encode(sink);
                asker.encode(sink);
            }
            Self::Ack { sequence, asker, target } => {
                ACK.encode(sink);
                sequence.encode(sink);
                asker.encode(sink);
                target.encode(sink);
            }
            Self::PingRequest { sequence, target } => {
                PING_REQUEST.encode(sink);
                sequence.encode(sink);
                target.encode(sink);
            }
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(match reader.u8()? {
            DIGEST => Self::Digest(Digest::decode(reader)?),
            WANT => Self::Want(take_summaries(reader)?),
            DELTAS => Self::Deltas(take_deltas(reader)?),
            PING => Self::Ping { sequence: reader.u64()?, asker: NodeId::decode(reader)? },
            ACK => Self::Ack {
                sequence: reader.u64()?,
                asker: NodeId::decode(reader)?,
                target: NodeId::decode(reader)?,
            },
            PING_REQUEST => Self::PingRequest { sequence: reader.u64()?, target: NodeId::decode(reader)? },
            other => return Err(WireError::Invalid { what: "message", value: other.into() }),
        })
    }
}

fn take_deltas(reader: &mut Reader) -> Result<Vec<Delta>, WireError> {
    let count = reader.u32()?;
    let mut deltas = Vec::new();
    for _ in 0..count {
        deltas.push(Delta::decode(reader)?);
    }
    Ok(deltas)
}

fn put_count(sink: &mut impl Sink, count: usize) {
    u32::try_from(count).expect("messages are far below 2^32 items").encode(sink);
}

/// Bytes that a value takes on the wire.
#[must_use]
pub fn encoded_bytes(value: &impl Wire) -> usize {
    let mut tally = Tally(0);
    value.encode(&mut tally);
    tally.0
}

struct Tally(usize);

impl Sink for Tally {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}
