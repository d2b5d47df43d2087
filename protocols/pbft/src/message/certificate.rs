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

    fn hash(&self, hasher: &mut Hasher) {
        hasher.field(&self.seq).field(&self.digest);
        hash_signed(hasher, &self.signatures);
    }
}

impl Prepared {
    fn is_formed(&self, quorum: Quorum) -> bool {
        let primary = quorum.primary(self.view);
        self.prepares.len() == quorum.prepares()
            && quorum.are_distinct(self.prepares.iter().map(|(node, _)| *node))
            && self.prepares.iter().all(|(node, _)| *node != primary)
    }

    /// Everything that must be true for it to be valid and is in none of the certificates `known`, which are valid.
    fn claims<'a>(&self, known: impl Iterator<Item = &'a Self>, quorum: Quorum, claims: &mut Vec<Claim>) {
        let known: Vec<&Self> = known.filter(|other| self.says_the_same_as(other)).collect();
        if known.iter().all(|other| other.pre_prepare != self.pre_prepare) {
            let first = (quorum.primary(self.view), self.pre_prepare);
            claims.push(claim(first, pre_prepare_statement(self.view, self.seq, &self.digest)));
        }
        let is_news = |signed: &&Signed| known.iter().all(|other| !other.prepares.contains(signed));
        let statement = prepare_statement(self.view, self.seq, &self.digest);
        claims.extend(self.prepares.iter().filter(is_news).map(|signed| claim(*signed, statement)));
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        (self.view, self.seq, self.digest) == (other.view, other.seq, other.digest)
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
        let mut hasher = Hasher::new("view-change");
        hasher.field(&self.view).field(&self.voter);
        self.stable.hash(&mut hasher);
        hasher.field(&(self.prepared.len() as u64));
        for Prepared { view, seq, digest, pre_prepare, prepares } in &self.prepared {
            hasher.field(view).field(seq).field(digest).field(pre_prepare);
            hash_signed(&mut hasher, prepares);
        }
        hasher.finish()
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

    /// Everything that must be true for it to be valid; first, that its voter signed it. The very signatures that a certificate of
    /// `known`, which gives the valid ones for a sequence number, has already are left out: all correct voters carry nearly the same
    /// ones, thousands of them, and the view change waits for their verification.
    pub(crate) fn claims<'a, K: Iterator<Item = &'a Prepared>>(
        &self,
        known: impl Fn(Index) -> K,
        quorum: Quorum,
    ) -> Vec<Claim> {
        let mut claims = vec![claim((self.voter, self.signature), self.digest())];
        self.stable.claims(&mut claims);
        for prepared in &self.prepared {
            prepared.claims(known(prepared.seq), quorum, &mut claims);
        }
        claims
    }

    /// What it calls prepared at a sequence number.
    pub(crate) fn prepared_at(&self, seq: Index) -> Option<&Prepared> {
        let place = self.prepared.binary_search_by_key(&seq, |prepared| prepared.seq).ok()?;
        self.prepared.get(place)
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
        let mut hasher = Hasher::new("new-view");
        hasher.field(&self.view).field(&(self.votes.len() as u64));
        for (voter, digest) in &self.votes {
            hasher.field(voter).field(digest);
        }
        for Proposal { seq, digest, signature } in &self.proposals {
            hasher.field(seq).field(digest).field(signature);
        }
        hasher.finish()
    }
}

/// The claim that a replica's signature makes.
pub(crate) const fn claim((node, signature): Signed, statement: Statement) -> Claim {
    Claim { signer: Signer::Replica(node), statement, signature }
}

fn hash_signed(hasher: &mut Hasher, signatures: &[Signed]) {
    hasher.field(&(signatures.len() as u64));
    for (node, signature) in signatures {
        hasher.field(node).field(signature);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SIGNATURE_BYTES;

    /// Of four replicas; the primary of its view is replica 0.
    fn certificate(digest: u8, pre_prepare: u8, prepares: &[(u16, u8)]) -> Prepared {
        let signature = |byte: u8| Signature([byte; SIGNATURE_BYTES]);
        Prepared {
            view: Term(0),
            seq: Index(7),
            digest: Digest([digest; 32]),
            pre_prepare: signature(pre_prepare),
            prepares: prepares.iter().map(|(node, byte)| (NodeId(*node), signature(*byte))).collect(),
        }
    }

    /// The signers of what is left to be verified of a vote with this certificate, behind the voter itself.
    fn left(of: Prepared, known: &[Prepared]) -> Vec<Signer> {
        let unsigned = Signature([0; SIGNATURE_BYTES]);
        let stable = StableCheckpoint::default();
        let vote =
            ViewChange { view: Term(1), voter: NodeId(3), stable, prepared: vec![of], signature: unsigned };
        let quorum = Quorum::of(NodeSet::first(4));
        let claims = vote.claims(|seq| known.iter().filter(move |known| known.seq == seq), quorum);
        assert_eq!(
            claims[0].signer,
            Signer::Replica(NodeId(3)),
            "whether the voter signed it is always asked"
        );
        claims[1..].iter().map(|claim| claim.signer).collect()
    }

    #[test]
    fn of_a_vote_only_those_signatures_are_verified_that_no_valid_certificate_has() {
        let replicas = |nodes: &[u16]| -> Vec<Signer> {
            nodes.iter().map(|node| Signer::Replica(NodeId(*node))).collect()
        };
        let vote = || certificate(9, 1, &[(1, 11), (2, 12)]);
        assert_eq!(left(vote(), &[]), replicas(&[0, 1, 2]));
        assert_eq!(left(vote(), &[vote()]), replicas(&[]));
        let other_quorum = certificate(9, 1, &[(1, 11), (3, 13)]);
        assert_eq!(left(vote(), std::slice::from_ref(&other_quorum)), replicas(&[2]));
        assert_eq!(left(vote(), &[other_quorum, certificate(9, 1, &[(2, 12), (3, 13)])]), replicas(&[]));
    }

    #[test]
    fn a_signature_is_known_only_for_what_it_signs_and_byte_for_byte() {
        let vote = || certificate(9, 1, &[(1, 11), (2, 12)]);
        assert_eq!(left(vote(), &[certificate(8, 1, &[(1, 11), (2, 12)])]).len(), 3, "another digest");
        assert_eq!(left(vote(), &[Prepared { view: Term(4), ..vote() }]).len(), 3, "another view");
        assert_eq!(left(vote(), &[Prepared { seq: Index(8), ..vote() }]).len(), 3, "another entry");
        assert_eq!(left(vote(), &[certificate(9, 2, &[(1, 11), (2, 13)])]).len(), 2, "other signatures");
        assert_eq!(left(vote(), &[certificate(9, 1, &[(2, 11), (3, 12)])]).len(), 2, "of others");
    }
}
