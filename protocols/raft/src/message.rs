//! What Raft replicas say to each other.

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Batch, Index, Lane, Reader, Sink, Term, Wire, WireError};

/// Where a log stands: an entry's index and term. Equal places mean equal logs up to there (Raft §5.3, Log Matching).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The entry's index; zero is before the first.
    pub index: Index,
    /// The entry's term.
    pub term: Term,
}

/// An entry on its way to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term it was proposed in.
    pub term: Term,
    /// What it holds.
    pub batch: Batch,
}

/// How a vote is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// "Would you vote for me?" Changes nothing (thesis §9.6).
    Pre,
    /// A real election.
    Real,
    /// A real election that the leader itself asked for: voters need not wait for its silence (thesis §3.10).
    Transfer,
}

/// One message. Every one carries its sender's term, but a pre-vote's, which carries the term it would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Asks for a vote.
    Vote {
        /// The candidate's term, or the one it would have.
        term: Term,
        /// How it asks.
        ballot: Ballot,
        /// Where the candidate's log ends.
        last: Place,
    },
    /// Answers [`Message::Vote`]. A granted pre-vote carries the term asked for, any other answer the voter's own.
    VoteReply {
        /// See above.
        term: Term,
        /// Whether a pre-vote was asked for.
        pre: bool,
        /// Whether the vote is given.
        granted: bool,
    },
    /// The leader's entry after `previous`; without one, a question whether `previous` matches.
    Append {
        /// The leader's term.
        term: Term,
        /// What the entry follows.
        previous: Place,
        /// How far the leader has committed.
        commit: Index,
        /// The entry.
        entry: Option<Entry>,
    },
    /// The follower's log is durable, and equal to the leader's, up to `matched`.
    Matched {
        /// The follower's term.
        term: Term,
        /// The last entry that matches.
        matched: Index,
    },
    /// `previous` of an [`Message::Append`] does not match.
    Conflict {
        /// The follower's term.
        term: Term,
        /// The index that was asked about.
        previous: Index,
        /// The last place at or before `previous` whose term is not above that of `previous`: no later one can match.
        hint: Place,
    },
    /// The leader is here.
    Heartbeat {
        /// The leader's term.
        term: Term,
        /// Numbers the leader's heartbeats.
        round: u64,
        /// How far this follower may commit.
        commit: Index,
    },
    /// Answers [`Message::Heartbeat`].
    HeartbeatReply {
        /// The follower's term.
        term: Term,
        /// The heartbeat answered.
        round: u64,
        /// How far the follower has received the leader's log, durable or not.
        received: Index,
    },
    /// A piece of the leader's snapshot.
    Install {
        /// The leader's term.
        term: Term,
        /// The piece.
        chunk: Chunk,
    },
    /// How much of a snapshot has come.
    InstallReply {
        /// The follower's term.
        term: Term,
        /// The snapshot's last index.
        index: Index,
        /// Bytes of it that are here, without a gap.
        have_bytes: u64,
    },
    /// The leader asks its follower to take over at once.
    TakeOver {
        /// The leader's term.
        term: Term,
    },
    /// The receiver's term is over.
    Stale {
        /// The sender's term.
        term: Term,
    },
}

impl Message {
    /// The term it carries.
    #[must_use]
    pub const fn term(&self) -> Term {
        match self {
            Self::Vote { term, .. }
            | Self::VoteReply { term, .. }
            | Self::Append { term, .. }
            | Self::Matched { term, .. }
            | Self::Conflict { term, .. }
            | Self::Heartbeat { term, .. }
            | Self::HeartbeatReply { term, .. }
            | Self::Install { term, .. }
            | Self::InstallReply { term, .. }
            | Self::TakeOver { term }
            | Self::Stale { term } => *term,
        }
    }
}

impl Message {
    /// Whether its terms go together: nobody has entries of a term that is still to come, nor entries in falling terms.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Append { term, previous, entry, .. } => {
                let standing = entry.as_ref().map_or(*term, |entry| entry.term);
                previous.term <= standing && standing <= *term
            }
            Self::Vote { term, last, .. } => last.term < *term,
            Self::Install { term, chunk } => chunk.term <= *term,
            _ => true,
        }
    }
}

impl qlab_kernel::Message for Message {
    fn lane(&self) -> Lane {
        match self {
            Self::Append { .. } | Self::Install { .. } => Lane::Bulk,
            _ => Lane::Control,
        }
    }
}

impl Wire for Place {
    fn encode(&self, sink: &mut impl Sink) {
        self.index.encode(sink);
        self.term.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { index: Index::decode(reader)?, term: Term::decode(reader)? })
    }
}

impl Wire for Entry {
    fn encode(&self, sink: &mut impl Sink) {
        self.term.encode(sink);
        self.batch.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { term: Term::decode(reader)?, batch: Batch::decode(reader)? })
    }
}

impl Wire for Ballot {
    fn encode(&self, sink: &mut impl Sink) {
        (*self as u8).encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        match reader.u8()? {
            0 => Ok(Self::Pre),
            1 => Ok(Self::Real),
            2 => Ok(Self::Transfer),
            other => Err(WireError::Invalid { what: "ballot", value: other.into() }),
        }
    }
}

impl Wire for Message {
    fn encode(&self, sink: &mut impl Sink) {
        self.tag().encode(sink);
        self.term().encode(sink);
        match self {
            Self::Vote { ballot, last, .. } => {
                ballot.encode(sink);
                last.encode(sink);
            }
            Self::VoteReply { pre, granted, .. } => {
                pre.encode(sink);
                granted.encode(sink);
            }
            Self::Append { previous, commit, entry, .. } => {
                previous.encode(sink);
                commit.encode(sink);
                entry.encode(sink);
            }
            Self::Matched { matched, .. } => matched.encode(sink),
            Self::Conflict { previous, hint, .. } => {
                previous.encode(sink);
                hint.encode(sink);
            }
            Self::Heartbeat { round, commit, .. } => {
                round.encode(sink);
                commit.encode(sink);
            }
            Self::HeartbeatReply { round, received, .. } => {
                round.encode(sink);
                received.encode(sink);
            }
            Self::Install { chunk, .. } => chunk.encode(sink),
            Self::InstallReply { index, have_bytes, .. } => {
                index.encode(sink);
                have_bytes.encode(sink);
            }
            Self::TakeOver { .. } | Self::Stale { .. } => {}
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        let tag = r.u8()?;
        let term = Term::decode(r)?;
        Ok(match tag {
            0 => Self::Vote { term, ballot: Ballot::decode(r)?, last: Place::decode(r)? },
            1 => Self::VoteReply { term, pre: r.bool("pre")?, granted: r.bool("granted")? },
            2 => Self::Append {
                term,
                previous: Place::decode(r)?,
                commit: Index::decode(r)?,
                entry: Option::decode(r)?,
            },
            3 => Self::Matched { term, matched: Index::decode(r)? },
            4 => Self::Conflict { term, previous: Index::decode(r)?, hint: Place::decode(r)? },
            5 => Self::Heartbeat { term, round: r.u64()?, commit: Index::decode(r)? },
            6 => Self::HeartbeatReply { term, round: r.u64()?, received: Index::decode(r)? },
            7 => Self::Install { term, chunk: Chunk::decode(r)? },
            8 => Self::InstallReply { term, index: Index::decode(r)?, have_bytes: r.u64()? },
            9 => Self::TakeOver { term },
            10 => Self::Stale { term },
            other => return Err(WireError::Invalid { what: "message tag", value: other.into() }),
        })
    }
}

impl Message {
    const fn tag(&self) -> u8 {
        match self {
            Self::Vote { .. } => 0,
            Self::VoteReply { .. } => 1,
            Self::Append { .. } => 2,
            Self::Matched { .. } => 3,
            Self::Conflict { .. } => 4,
            Self::Heartbeat { .. } => 5,
            Self::HeartbeatReply { .. } => 6,
            Self::Install { .. } => 7,
            Self::InstallReply { .. } => 8,
            Self::TakeOver { .. } => 9,
            Self::Stale { .. } => 10,
        }
    }
}
