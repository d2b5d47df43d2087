//! Each rule by which the beginning of a view is rejected, by itself (OSDI '99 §4.4), told to one backup.

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod world;

use std::sync::Arc;

use qlab_kernel::{Event, Index, NodeId, Term};
use qlab_pbft::Message;
use qlab_pbft::keys::{Digest, SIGNATURE_BYTES, Signature};
use qlab_pbft::message::{
    NewView, Prepared, Proposal, StableCheckpoint, ViewChange, checkpoint_statement, pre_prepare_statement,
    prepare_statement,
};
use qlab_pbft::request::Requests;
use world::{World, config};

const ME: usize = 2;
const PRIMARY: u16 = 1;
const NOBODY: Signature = Signature([0; SIGNATURE_BYTES]);

struct Stage {
    world: World,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new(config());
        [0, 1, 3].into_iter().for_each(|place| world.crash(place));
        Self { world }
    }

    fn sign(&self, node: u16, statement: &Digest) -> Signature {
        self.world.config.keys.sign(NodeId(node), statement)
    }

    fn certificate(&self, view: u64, seq: u64, digest: Digest) -> Prepared {
        let (view, seq) = (Term(view), Index(seq));
        let primary = (view.0 % 4) as u16;
        let statement = prepare_statement(view, seq, &digest);
        let backups = (0..4).filter(|node| *node != primary).take(2);
        Prepared {
            view,
            seq,
            digest,
            pre_prepare: self.sign(primary, &pre_prepare_statement(view, seq, &digest)),
            prepares: backups.map(|node| (NodeId(node), self.sign(node, &statement))).collect(),
        }
    }

    fn stable(&self, seq: u64) -> StableCheckpoint {
        let (seq, digest) = (Index(seq), Digest([5; 32]));
        let statement = checkpoint_statement(seq, &digest);
        let signatures = (0..3).map(|node| (NodeId(node), self.sign(node, &statement))).collect();
        StableCheckpoint { seq, digest, signatures }
    }

    fn vote(&self, view: u64, voter: u16, change: impl Fn(&mut ViewChange)) -> Arc<ViewChange> {
        let mut vote = ViewChange {
            view: Term(view),
            voter: NodeId(voter),
            stable: StableCheckpoint::default(),
            prepared: Vec::new(),
            signature: NOBODY,
        };
        change(&mut vote);
        vote.signature = self.sign(voter, &vote.digest());
        Arc::new(vote)
    }

    fn votes(&self) -> Vec<Arc<ViewChange>> {
        let certificate = self.certificate(0, 2, Digest([1; 32]));
        [0, 1, 3]
            .into_iter()
            .map(|voter| {
                self.vote(1, voter, |vote| {
                    if voter == 3 {
                        vote.prepared = vec![certificate.clone()];
                    }
                })
            })
            .collect()
    }

    fn proposals(&self) -> Vec<Proposal> {
        self.proposed(&[(1, *Requests::null().digest()), (2, Digest([1; 32]))])
    }

    fn proposed(&self, digests: &[(u64, Digest)]) -> Vec<Proposal> {
        let propose = |(seq, digest): &(u64, Digest)| {
            let seq = Index(*seq);
            let signature = self.sign(PRIMARY, &pre_prepare_statement(Term(1), seq, digest));
            Proposal { seq, digest: *digest, signature }
        };
        digests.iter().map(propose).collect()
    }

    fn new_view(&self, votes: &[Arc<ViewChange>], proposals: Vec<Proposal>) -> NewView {
        let votes = votes.iter().map(|vote| (vote.voter, vote.digest())).collect();
        NewView { view: Term(1), votes, proposals, signature: NOBODY }
    }

    fn signed(&self, signer: u16, mut new_view: NewView) -> Message {
        new_view.signature = self.sign(signer, &new_view.statement());
        Message::NewView(Arc::new(new_view))
    }

    /// Tells it the votes and the beginning of the view, in this order or the other; whether it enters the view.
    fn enters(mut self, votes: &[Arc<ViewChange>], new_view: &Message) -> bool {
        for beginning_first in [true, false] {
            self.world.restart(ME);
            let votes = votes.iter().map(|vote| Message::ViewChange(Arc::clone(vote)));
            let mut messages: Vec<Message> = votes.collect();
            messages.insert(if beginning_first { 0 } else { messages.len() }, new_view.clone());
            for message in messages {
                self.world.hear(ME, PRIMARY, message);
                self.world.settle();
            }
            let events = &self.world.nodes[ME].events;
            if events.contains(&Event::ViewEntered(Term(1))) {
                assert_eq!(self.world.core(ME).view(), Term(1));
                return true;
            }
            assert!(events.contains(&Event::Misbehaved(NodeId(PRIMARY))), "rejected by rule: {events:?}");
        }
        false
    }
}

#[test]
fn a_sound_one_is_believed() {
    let stage = Stage::new();
    let new_view = stage.signed(PRIMARY, stage.new_view(&stage.votes(), stage.proposals()));
    let votes = stage.votes();
    assert!(stage.enters(&votes, &new_view));
}

#[test]
fn a_sound_one_with_a_stable_checkpoint_is_believed() {
    let stage = Stage::new();
    let mut votes = stage.votes();
    votes[0] = stage.vote(1, 0, |vote| {
        vote.stable = stage.stable(1);
        vote.prepared = vec![stage.certificate(0, 2, Digest([1; 32]))];
    });
    let new_view = stage.signed(PRIMARY, stage.new_view(&votes, stage.proposed(&[(2, Digest([1; 32]))])));
    assert!(stage.enters(&votes, &new_view));
}

#[test]
fn one_about_a_view_that_has_begun_changes_nothing() {
    let stage = Stage::new();
    let votes = stage.votes();
    let new_view = stage.signed(PRIMARY, stage.new_view(&votes, stage.proposals()));
    let mut world = stage.world;
    votes.iter().for_each(|vote| world.hear(ME, PRIMARY, Message::ViewChange(Arc::clone(vote))));
    world.hear(ME, PRIMARY, new_view.clone());
    world.settle();
    let records = world.nodes[ME].journal.len();
    world.hear(ME, PRIMARY, new_view);
    world.settle();
    assert_eq!((world.core(ME).view(), world.nodes[ME].journal.len()), (Term(1), records));
}

#[test]
fn one_that_is_not_signed_by_the_primary_of_its_view_is_rejected() {
    let stage = Stage::new();
    let votes = stage.votes();
    let new_view = stage.signed(3, stage.new_view(&votes, stage.proposals()));
    assert!(!stage.enters(&votes, &new_view));
}

#[test]
fn one_whose_voters_are_no_members_is_rejected() {
    let stage = Stage::new();
    let votes = stage.votes();
    let mut new_view = stage.new_view(&votes, stage.proposals());
    new_view.votes[2].0 = NodeId(4);
    let new_view = stage.signed(PRIMARY, new_view);
    assert!(!stage.enters(&votes, &new_view));
}

#[test]
fn the_new_primarys_own_vote_does_not_count_twice() {
    let stage = Stage::new();
    let all = stage.votes();
    let votes = vec![Arc::clone(&all[1]), Arc::clone(&all[1]), Arc::clone(&all[2])];
    let new_view = stage.signed(PRIMARY, stage.new_view(&votes, stage.proposals()));
    assert!(!stage.enters(&votes, &new_view));
}

#[test]
fn two_votes_are_too_few() {
    let stage = Stage::new();
    let votes = stage.votes().split_off(1);
    let new_view = stage.signed(PRIMARY, stage.new_view(&votes, stage.proposals()));
    assert!(!stage.enters(&votes, &new_view));
}

#[test]
fn a_vote_for_another_view_does_not_count() {
    let stage = Stage::new();
    let mut votes = stage.votes();
    votes[0] = stage.vote(2, 0, |_| {});
    let new_view = stage.signed(PRIMARY, stage.new_view(&votes, stage.proposals()));
    assert!(!stage.enters(&votes, &new_view));
}

#[test]
fn every_vote_must_be_valid() {
    let wrong: [fn(&Stage, &mut ViewChange); 9] = [
        // Not signed by whom it names.
        |stage, vote| vote.prepared[0].prepares[0].1 = stage.sign(3, &Digest([9; 32])),
        |stage, vote| vote.prepared[0].pre_prepare = stage.sign(1, &Digest([9; 32])),
        // The primary's word twice; one backup's word twice; too few.
        |_, vote| vote.prepared[0].prepares[0].0 = NodeId(0),
        |_, vote| vote.prepared[0].prepares[0] = vote.prepared[0].prepares[1],
        |_, vote| vote.prepared[0].prepares.truncate(1),
        // Prepared in the view to come; beyond the window; out of order.
        |stage, vote| vote.prepared = vec![stage.certificate(1, 2, Digest([1; 32]))],
        |stage, vote| vote.prepared = vec![stage.certificate(0, 2049, Digest([1; 32]))],
        |_, vote| vote.prepared.push(vote.prepared[0].clone()),
        // A checkpoint that too few vouch for.
        |stage, vote| {
            vote.stable = stage.stable(1);
            vote.stable.signatures.pop();
        },
    ];
    for (which, spoil) in wrong.into_iter().enumerate() {
        let stage = Stage::new();
        let mut votes = stage.votes();
        votes[2] = stage.vote(1, 3, |vote| {
            vote.prepared = vec![stage.certificate(0, 2, Digest([1; 32]))];
            spoil(&stage, vote);
        });
        let new_view = stage.signed(PRIMARY, stage.new_view(&votes, stage.proposals()));
        assert!(!stage.enters(&votes, &new_view), "spoilt in way {which}");
    }
}

#[test]
fn what_it_proposes_must_be_what_the_votes_demand() {
    let null = *Requests::null().digest();
    let (prepared, other) = (Digest([1; 32]), Digest([2; 32]));
    for wrong in [
        vec![],
        vec![(2, prepared)],
        vec![(1, null), (2, other)],
        vec![(1, null), (2, null)],
        vec![(1, other), (2, prepared)],
        vec![(1, null), (2, prepared), (3, other)],
        vec![(2, prepared), (1, null)],
    ] {
        let stage = Stage::new();
        let votes = stage.votes();
        let new_view = stage.signed(PRIMARY, stage.new_view(&votes, stage.proposed(&wrong)));
        assert!(!stage.enters(&votes, &new_view), "{wrong:?}");
    }
}

#[test]
fn what_it_proposes_must_be_signed_by_the_primary() {
    let stage = Stage::new();
    let votes = stage.votes();
    let mut proposals = stage.proposals();
    proposals[1].signature = proposals[0].signature;
    let new_view = stage.signed(PRIMARY, stage.new_view(&votes, proposals));
    assert!(!stage.enters(&votes, &new_view));
}
