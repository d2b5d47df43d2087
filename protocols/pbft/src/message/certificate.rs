//! What is carried on as proof: certificates, and the messages of a view change that are made of them.

use qlab_kernel::{Index, NodeId, NodeSet, Term};

use super::{Signed, checkpoint_statement, pre_prepare_statement, prepare_statement};
use crate::keys::{Claim, Digest, Hasher, Signature, Signer, Statement};
use crate::quorum::Quorum;

/// Proof that a quorum holds the same image (OSDI '99 §4.3). The one of sequence number 0 needs no signatures: everybody begins
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StableCheckpoint {
    /// The last entry in the image.
    pub seq: Index,
    /// The image's hash.
    pub digest: Digest,
    /// In ascending order of who signed.
    pub signatures: Vec<Signed>,
}

/// Proof that an entry is prepared: the primary's word, and that of 2f backups (OSDI '99 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// In which view.
    pub view: Term,
    /// Which entry.
    pub seq: Index,
    /// What it holds.
    pub digest: Digest,
    /// The primary's.
    pub pre_prepare: Signature,
    /// The backups', in ascending order.
    pub prepares: Vec<Signed>,
}

/// A vote for the next view (OSDI '99 §4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewChange {
    /// The view voted for.
    pub view: Term,
    /// Who votes.
    pub voter: NodeId,
    /// The paper's *n* and *C*: its last stable checkpoint.
    pub stable: StableCheckpoint,
    /// The paper's *P*: what it knows to be prepared after that, each in its highest view, in ascending order.
    pub prepared: Vec<Prepared>,
    /// The voter's, over [`ViewChange::digest`].
    pub signature: Signature,
}

/// An entry of *O*: what a view's primary must propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Which entry.
    pub seq: Index,
    /// What it holds.
    pub digest: Digest,
    /// The new primary's, over its pre-prepare.
    pub signature: Signature,
}

/// How a view begins (OSDI '99 §4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewView {
    /// The view.
    pub view: Term,
    /// The paper's *V*, by voter and hash, in ascending order: the votes themselves went to everybody.
    pub votes: Vec<(NodeId, Digest)>,
    /// The paper's *O*, in ascending order.
    pub proposals: Vec<Proposal>,
    /// The new primary's, over [`NewView::statement`].
    pub signature: Signature,
}

impl StableCheckpoint {
    /// Whether it has the form of a proof; its signatures are what [`Self::claims`] says.
    pub(crate) fn is_formed(&self, quorum: Quorum) -> bool {
        self.seq == Index::ZERO && self.digest == Digest::default() && self.signatures.is_empty()
            || self.seq > Index::ZERO
                && self.signatures.len() == quorum.certificate()
                && quorum.are_distinct(self.signatures.iter().map(|(node, _)| *node))
    }

    pub(crate) fn claims(&self, claims: &mut Vec<Claim>) {
        let statement = checkpoint_statement(self.seq, &self.digest);
        claims.extend(self.signatures.iter().map(|signed| claim(*signed, statement)));
    }

    fn hash(&self, hasher: Hasher) -> Hasher {
        let hasher = hasher.field(&self.seq).field(&self.digest);
        hash_signed(hasher, &self.signatures)
    }
}

impl Prepared {
    fn is_formed(&self, quorum: Quorum) -> bool {
        let primary = quorum.primary(self.view);
        self.prepares.len() == quorum.prepares()
            && quorum.are_distinct(self.prepares.iter().map(|(node, _)| *node))
            && self.prepares.iter().all(|(node, _)| *node != primary)
    }

    fn claims(&self, quorum: Quorum, claims: &mut Vec<Claim>) {
        let first = (quorum.primary(self.view), self.pre_prepare);
        claims.push(claim(first, pre_prepare_statement(self.view, self.seq, &self.digest)));
        let statement = prepare_statement(self.view, self.seq, &self.digest);
        claims.extend(self.prepares.iter().map(|signed| claim(*signed, statement)));
    }

    /// Who said so.
    #[must_use]
    pub fn backups(&self) -> NodeSet {
        self.prepares.iter().map(|(node, _)| *node).collect()
    }
}

impl ViewChange {
    /// What its voter signs, and what a [`NewView`] names it by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let hasher = Hasher::new("view-change").field(&self.view).field(&self.voter);
        let hasher = self.stable.hash(hasher).field(&(self.prepared.len() as u64));
        let hash = |hasher: Hasher, prepared: &Prepared| {
            let hasher = hasher.field(&prepared.view).field(&prepared.seq).field(&prepared.digest);
            hash_signed(hasher.field(&prepared.pre_prepare), &prepared.prepares)
        };
        self.prepared.iter().fold(hasher, hash).finish()
    }

    /// Whether it has the form of a vote: what it calls prepared lies in its window, in order, in earlier views.
    pub(crate) fn is_formed(&self, quorum: Quorum, log_window: usize) -> bool {
        let mut after = self.stable.seq;
        let last = Index(after.0 + log_window as u64);
        let in_order = self.prepared.iter().all(|prepared| {
            let fits = prepared.seq > after && prepared.seq <= last && prepared.view < self.view;
            after = prepared.seq;
            fits && prepared.is_formed(quorum)
        });
        self.view > Term::ZERO && quorum.has(self.voter) && self.stable.is_formed(quorum) && in_order
    }

    /// Everything that must be true for it to be valid.
    pub(crate) fn claims(&self, quorum: Quorum) -> Vec<Claim> {
        let mut claims = vec![claim((self.voter, self.signature), self.digest())];
        self.stable.claims(&mut claims);
        self.prepared.iter().for_each(|prepared| prepared.claims(quorum, &mut claims));
        claims
    }

    /// Bytes of its encoding with so many certificates, at most.
    pub(crate) const fn bytes_max(prepared: usize, replicas: usize) -> usize {
        let signed = 2 + 64;
        let faulty = (replicas - 1) / 3;
        let stable = 8 + 32 + 2 + (2 * faulty + 1) * signed;
        let certificate = 8 + 8 + 32 + 64 + 2 + 2 * faulty * signed;
        // Room for the record or message around it.
        64 + 8 + 2 + stable + 4 + prepared * certificate + 64
    }
}

impl NewView {
    /// What its primary signs.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let hasher = Hasher::new("new-view").field(&self.view).field(&(self.votes.len() as u64));
        let hasher =
            self.votes.iter().fold(hasher, |hasher, (voter, digest)| hasher.field(voter).field(digest));
        let hash = |hasher: Hasher, proposal: &Proposal| {
            hasher.field(&proposal.seq).field(&proposal.digest).field(&proposal.signature)
        };
        self.proposals.iter().fold(hasher, hash).finish()
    }
}

/// The claim that a replica's signature makes.
pub(crate) const fn claim((node, signature): Signed, statement: Statement) -> Claim {
    Claim { signer: Signer::Replica(node), statement, signature }
}

fn hash_signed(hasher: Hasher, signatures: &[Signed]) -> Hasher {
    let hasher = hasher.field(&(signatures.len() as u64));
    signatures.iter().fold(hasher, |hasher, (node, signature)| hasher.field(node).field(signature))
}
