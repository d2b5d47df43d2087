//! B5 and B6: a view begins with what its 2f + 1 votes demand and nothing else, recomputed here; and whatever was committed in an
//! earlier view is among it. A vote tells everything that its voter knows to be prepared.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use qlab_kernel::{Index, NodeSet, Term};
use qlab_pbft::Pbft;
use qlab_pbft::keys::Digest;
use qlab_pbft::message::{
    NewView, StableCheckpoint, ViewChange, checkpoint_statement, pre_prepare_statement,
};
use qlab_pbft::request::Requests;

use super::b3_certificates::prove;
use super::ledger::{Ledger, Lock};
use crate::laws::{Glimpse, Verdict, broken};

const FUNCTION: &str = "B5 a view begins with what its votes demand";
const COMMITTED: &str = "B6 what is committed is in every later view";
const COMPLETE: &str = "B6 a vote tells everything prepared";

/// Every beginning of a view that an honest replica believed.
#[derive(Debug)]
pub(crate) struct Beginnings {
    log_window: usize,
    checked: HashSet<Digest>,
    begun: Vec<Begun>,
}

#[derive(Debug)]
struct Begun {
    view: Term,
    stable: Index,
    proposals: BTreeMap<Index, Digest>,
}

impl Beginnings {
    pub(crate) fn new(log_window: usize) -> Self {
        Self { log_window, checked: HashSet::new(), begun: Vec::new() }
    }

    /// A replica enters a view.
    pub(crate) fn check(&mut self, glimpse: &Glimpse<'_, Pbft>, view: Term, ledger: &Ledger) -> Verdict {
        let Some((new_view, votes)) = glimpse.core.begun().filter(|(new_view, _)| new_view.view == view)
        else {
            return Ok(());
        };
        if !self.checked.insert(new_view.statement()) {
            return Ok(());
        }
        let (stable, demanded) = match self.demanded(new_view, votes, ledger) {
            Ok(demanded) => demanded,
            Err(why) => return broken(FUNCTION, format!("{} enters view {view}: {why}", glimpse.node)),
        };
        let proposals: BTreeMap<Index, Digest> =
            new_view.proposals.iter().map(|it| (it.seq, it.digest)).collect();
        if proposals != demanded || proposals.len() != new_view.proposals.len() {
            let what = format!("view {view} begins with {proposals:?}; its votes demand {demanded:?}");
            return broken(FUNCTION, what);
        }
        let begun = Begun { view, stable, proposals };
        ledger.all_committed().try_for_each(|lock| holds(&begun, lock))?;
        self.begun.push(begun);
        Ok(())
    }

    /// Something has become committed: no later view may have begun without it.
    pub(crate) fn check_lock(&self, lock: &Lock) -> Verdict {
        self.begun.iter().try_for_each(|begun| holds(begun, lock))
    }

    /// A replica votes.
    pub(crate) fn check_own_vote(&self, process: usize, vote: &ViewChange, ledger: &Ledger) -> Verdict {
        let told: BTreeMap<Index, Term> = vote.prepared.iter().map(|it| (it.seq, it.view)).collect();
        for (seq, (view, _)) in ledger.prepared_after(process, vote.stable.seq) {
            if told.get(&seq).is_none_or(|told| *told < view) {
                let what = format!("process {process} conceals that {seq} is prepared in view {view}");
                return broken(COMPLETE, what);
            }
        }
        Ok(())
    }

    /// The paper's *min-s* and *O*, from votes that are looked at one by one; or what is wrong with them.
    fn demanded(
        &self,
        new_view: &NewView,
        votes: &[Arc<ViewChange>],
        ledger: &Ledger,
    ) -> Result<(Index, BTreeMap<Index, Digest>), String> {
        let view = new_view.view;
        let primary = ledger.primary(view);
        if !ledger.is_signed(primary, &new_view.statement(), new_view.signature) {
            return Err(format!("{primary} has not signed its beginning"));
        }
        let voters: NodeSet = votes.iter().map(|vote| vote.voter).collect();
        if voters.len() < ledger.certificate() || voters.len() != votes.len() {
            return Err(format!("{} votes of {} replicas", votes.len(), voters.len()));
        }
        let mut latest = Index::ZERO;
        let mut prepared: BTreeMap<Index, (Term, Digest)> = BTreeMap::new();
        for vote in votes {
            self.is_valid(vote, view, ledger)?;
            latest = latest.max(vote.stable.seq);
            for it in &vote.prepared {
                let highest = prepared.entry(it.seq).or_insert((it.view, it.digest));
                *highest = (*highest).max((it.view, it.digest));
            }
        }
        let last = prepared.last_key_value().map_or(latest, |(seq, _)| *seq);
        let null = *Requests::null().digest();
        let demand = |seq: u64| (Index(seq), prepared.get(&Index(seq)).map_or(null, |(_, digest)| *digest));
        let demanded: BTreeMap<Index, Digest> = (latest.0 + 1..=last.0).map(demand).collect();
        for proposal in &new_view.proposals {
            let statement = pre_prepare_statement(view, proposal.seq, &proposal.digest);
            if !ledger.is_signed(primary, &statement, proposal.signature) {
                return Err(format!("the proposal of {} is not signed", proposal.seq));
            }
        }
        Ok((latest, demanded))
    }

    fn is_valid(&self, vote: &ViewChange, view: Term, ledger: &Ledger) -> Result<(), String> {
        let ViewChange { voter, stable, prepared, .. } = vote;
        if vote.view != view || !ledger.is_signed(*voter, &vote.digest(), vote.signature) {
            return Err(format!("{voter} did not vote so"));
        }
        prove_stable(stable, ledger)?;
        let last = stable.seq.0 + self.log_window as u64;
        for it in prepared {
            prove(it, ledger)?;
            if it.view >= view || it.seq <= stable.seq || it.seq.0 > last {
                return Err(format!("{voter} calls {} prepared in view {}", it.seq, it.view));
            }
        }
        Ok(())
    }
}

fn holds(begun: &Begun, lock: &Lock) -> Verdict {
    let Lock { seq, view, digest } = *lock;
    if view < begun.view && seq > begun.stable && begun.proposals.get(&seq) != Some(&digest) {
        let what =
            format!("{digest:?} was committed at {seq} in view {view}; view {} begins without", begun.view);
        return broken(COMMITTED, what);
    }
    Ok(())
}

/// What is wrong with a proof that a checkpoint is stable, if anything is.
pub(crate) fn prove_stable(stable: &StableCheckpoint, ledger: &Ledger) -> Result<(), String> {
    let StableCheckpoint { seq, digest, signatures } = stable;
    if *seq == Index::ZERO {
        return Ok(());
    }
    let statement = checkpoint_statement(*seq, digest);
    let signed =
        signatures.iter().filter(|(node, signature)| ledger.is_signed(*node, &statement, *signature));
    let signers: NodeSet = signed.map(|(node, _)| *node).collect();
    if signers.len() < ledger.certificate() {
        return Err(format!("the checkpoint at {seq} is signed by {} replicas", signers.len()));
    }
    Ok(())
}
