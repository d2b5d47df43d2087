//! What PBFT replicas say to each other (OSDI '99 §4).

mod certificate;
mod codec;

use std::sync::Arc;

use qlab_kernel::snapshot::Chunk;
use qlab_kernel::{Index, Lane, NodeId, Term};

use crate::keys::{Digest, Hasher, Signature, Statement};
use crate::request::{ClientRequest, Requests};

pub(crate) use certificate::claim;
pub use certificate::{NewView, Prepared, Proposal, StableCheckpoint, ViewChange};

/// The largest sequence number and view there may be: no cluster lives to see either.
pub const NUMBERS_MAX: u64 = 1 << 40;

/// The primary's word for what an entry is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrePrepare {
    /// In which view.
    pub view: Term,
    /// Which entry.
    pub seq: Index,
    /// What it holds.
    pub requests: Requests,
    /// The primary's, over [`pre_prepare_statement`].
    pub signature: Signature,
}

/// One message.
///
/// Whatever carries a signature may be carried on; the rest is believed only of who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A client asked me, and its proof convinces me; does it convince you?
    Relay(ClientRequest),
    /// The first phase.
    PrePrepare(PrePrepare),
    /// The second: I have the primary's word for this, and for nothing else in this view.
    Prepare {
        /// In which view.
        view: Term,
        /// Which entry.
        seq: Index,
        /// What it holds.
        digest: Digest,
        /// The sender's, over [`prepare_statement`].
        signature: Signature,
    },
    /// The third: I hold a certificate that this is prepared, durably.
    Commit {
        /// In which view.
        view: Term,
        /// Which entry.
        seq: Index,
        /// What it holds.
        digest: Digest,
        /// The sender's, over [`commit_statement`], where commits are signed.
        signature: Option<Signature>,
    },
    /// I have executed up to here, and hold the image durably.
    Checkpoint {
        /// The last entry in the image.
        seq: Index,
        /// The image's hash.
        digest: Digest,
        /// The sender's, over [`checkpoint_statement`].
        signature: Signature,
    },
    /// Proof that a checkpoint is stable, for those who missed it.
    Stable(StableCheckpoint),
    /// A replica wants the next view. Sent on by others, too.
    ViewChange(Arc<ViewChange>),
    /// How a view begins. Sent on by others, too.
    NewView(Arc<NewView>),
    /// Send me the votes that this view's beginning rests on.
    FetchVotes {
        /// The view.
        view: Term,
    },
    /// Send me an entry's requests.
    FetchBody {
        /// The entry.
        seq: Index,
        /// Their hash.
        digest: Digest,
    },
    /// Answers [`Message::FetchBody`].
    Body {
        /// The entry.
        seq: Index,
        /// Its requests.
        requests: Requests,
    },
    /// Send me the image of a stable checkpoint.
    FetchState {
        /// The last entry in it.
        seq: Index,
        /// Bytes of it that are here.
        have_bytes: u64,
    },
    /// Answers [`Message::FetchState`].
    State {
        /// A piece of the image.
        chunk: Chunk,
        /// Whether it ends the answer: ask again for more.
        last: bool,
    },
    /// How far I am: help me if you are further.
    Status {
        /// In which view, or on the way to which.
        view: Term,
        /// Whether that view has begun here.
        active: bool,
        /// The last stable checkpoint.
        stable: Index,
        /// The last entry executed.
        executed: Index,
    },
    /// This is committed, in whichever view: for those who are not in mine and cannot follow it there.
    Executed {
        /// Which entry.
        seq: Index,
        /// What it holds.
        digest: Digest,
    },
    /// The proof of this request, which you relayed or propose, shows me nothing.
    Doubt {
        /// The request.
        request: Digest,
    },
    /// It shows me who asks.
    Vouch {
        /// The request.
        request: Digest,
    },
}

/// What a primary signs for an entry.
#[must_use]
pub fn pre_prepare_statement(view: Term, seq: Index, digest: &Digest) -> Statement {
    Hasher::new("pre-prepare").field(&view).field(&seq).field(digest).finish()
}

/// What a backup signs for an entry.
#[must_use]
pub fn prepare_statement(view: Term, seq: Index, digest: &Digest) -> Statement {
    Hasher::new("prepare").field(&view).field(&seq).field(digest).finish()
}

/// What a replica signs that holds a certificate, where commits are signed.
#[must_use]
pub fn commit_statement(view: Term, seq: Index, digest: &Digest) -> Statement {
    Hasher::new("commit").field(&view).field(&seq).field(digest).finish()
}

/// What a replica signs that holds an image.
#[must_use]
pub fn checkpoint_statement(seq: Index, digest: &Digest) -> Statement {
    Hasher::new("checkpoint").field(&seq).field(digest).finish()
}

impl Message {
    /// Whether its numbers can exist.
    pub(crate) fn is_sound(&self) -> bool {
        let view_is = |view: Term| view.0 <= NUMBERS_MAX;
        let seq_is = |seq: Index| (1..=NUMBERS_MAX).contains(&seq.0);
        match self {
            Self::PrePrepare(PrePrepare { view, seq, .. })
            | Self::Prepare { view, seq, .. }
            | Self::Commit { view, seq, .. } => view_is(*view) && seq_is(*seq),
            Self::Checkpoint { seq, .. } | Self::FetchBody { seq, .. } | Self::Body { seq, .. } => {
                seq_is(*seq)
            }
            Self::FetchState { seq, .. } | Self::Executed { seq, .. } => seq_is(*seq),
            Self::Stable(stable) => seq_is(stable.seq),
            Self::ViewChange(vote) => view_is(vote.view) && vote.stable.seq.0 <= NUMBERS_MAX,
            Self::NewView(new_view) => view_is(new_view.view),
            Self::FetchVotes { view } => view_is(*view),
            Self::State { chunk, .. } => seq_is(chunk.index),
            Self::Status { view, stable, executed, .. } => {
                view_is(*view) && stable.0 <= NUMBERS_MAX && executed.0 <= NUMBERS_MAX
            }
            Self::Relay(_) | Self::Doubt { .. } | Self::Vouch { .. } => true,
        }
    }
}

impl qlab_kernel::Message for Message {
    fn lane(&self) -> Lane {
        match self {
            Self::Relay(_)
            | Self::PrePrepare(_)
            // In one lane with what the new primary proposes next.
            | Self::ViewChange(_)
            | Self::NewView(_)
            | Self::Body { .. }
            | Self::State { .. } => Lane::Bulk,
            _ => Lane::Control,
        }
    }
}

/// Who signed, and what came out: an entry of a certificate.
pub type Signed = (NodeId, Signature);
