//! Replicas of PBFT that lie: each runs a correct core, hears what it likes, and says what it likes, signed with its own keys.
//!
//! | module | lies |
//! |---|---|
//! | `primaries` | about proposals: different ones to different replicas, late ones, none of one client's |
//! | `votes` | in the three phases: for everything, with bad signatures |
//! | `views` | about views: votes that conceal or invent, two of them, beginnings that do not follow from their votes |
//! | `state` | about the state: wrong checkpoints, pieces of images, bodies, answers to clients |
//! | `noise` | at random: old messages, changed messages, silence |
//!
//! What a liar cannot do is what cryptography keeps it from: sign for others. Everything else is fair.

mod noise;
mod primaries;
mod state;
mod views;
mod votes;

use std::sync::Arc;

use qlab_kernel::{Effects, Index, Input, NodeId, Outgoing, Term, Time};
use qlab_pbft::keys::{Authentication, Digest, SIGNATURE_BYTES, Signature, Statement};
use qlab_pbft::message::{
    Message, NewView, PrePrepare, Prepared, Proposal, StableCheckpoint, ViewChange, checkpoint_statement,
    commit_statement, pre_prepare_statement, prepare_statement,
};
use qlab_pbft::request::Requests;
use qlab_pbft::{Config, Pbft};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::Byzantine;

pub use noise::{Changing, Replaying, Silent};
pub use primaries::{Censoring, Dripping, Equivocating};
pub use state::{LyingToClients, WrongBodies, WrongState};
pub use views::{FalseBeginnings, FalseVotes, Restless};
pub use votes::{BadSignatures, VotingForAll};

/// A lie at work.
pub type Lie = Box<dyn Byzantine<Pbft>>;

/// One chance in so many, after each burst, that a liar of many kinds becomes another.
const TURNS: u32 = 40;

/// One of the ways to lie, or several that take turns.
pub fn liar(node: NodeId, nodes: usize, config: &Config, chance: &mut Pcg32) -> Option<Lie> {
    let forger = Forger { me: node, nodes, config: config.clone() };
    let count = [1, 1, 2, 4][chance.random_range(0..4)];
    let mut lies: Vec<Lie> = (0..count).map(|_| one(&forger, chance)).collect();
    if count == 1 { lies.pop() } else { Some(Box::new(Turning { lies, turn: 0 })) }
}

fn one(forger: &Forger, chance: &mut Pcg32) -> Lie {
    let forger = forger.clone();
    match chance.random_range(0..16) {
        0 | 1 => Box::new(Equivocating::new(forger)),
        2 => Box::new(VotingForAll::new(forger)),
        3 => Box::new(Silent::drawn(chance)),
        4 => Box::new(Dripping::new(&forger.config, chance)),
        5 => Box::new(Censoring::drawn(chance)),
        6 => Box::new(Restless::new(forger)),
        7 | 8 => Box::new(FalseVotes::new(forger)),
        9 | 10 => Box::new(FalseBeginnings::new(forger)),
        11 => Box::new(WrongState::new(forger)),
        12 => Box::new(BadSignatures),
        13 => Box::new(WrongBodies::new(forger)),
        14 => [Box::new(Replaying::default()) as Lie, Box::new(LyingToClients)]
            .into_iter()
            .nth(chance.random_range(0..2))
            .expect("there are two"),
        _ => Box::new(Changing::new(forger)),
    }
}

/// What a liar can sign.
#[derive(Clone, Debug)]
pub struct Forger {
    /// Who lies.
    pub me: NodeId,
    /// To how many.
    pub nodes: usize,
    /// With which keys.
    pub config: Config,
}

impl Forger {
    fn sign(&self, statement: &Statement) -> Signature {
        self.config.keys.sign(self.me, statement)
    }

    fn primary(&self, view: Term) -> NodeId {
        NodeId((view.0 % self.nodes as u64) as u16)
    }

    /// The paper's *2f + 1*.
    const fn certificate(&self) -> usize {
        (self.nodes - 1) / 3 * 2 + 1
    }

    fn pre_prepare(&self, view: Term, seq: Index, requests: Requests) -> Message {
        let signature = self.sign(&pre_prepare_statement(view, seq, requests.digest()));
        Message::PrePrepare(PrePrepare { view, seq, requests, signature })
    }

    fn prepare(&self, view: Term, seq: Index, digest: Digest) -> Message {
        let signature = self.sign(&prepare_statement(view, seq, &digest));
        Message::Prepare { view, seq, digest, signature }
    }

    fn commit(&self, view: Term, seq: Index, digest: Digest) -> Message {
        let are_signed = self.config.authentication == Authentication::Signatures;
        let signature = are_signed.then(|| self.sign(&commit_statement(view, seq, &digest)));
        Message::Commit { view, seq, digest, signature }
    }

    fn checkpoint(&self, seq: Index, digest: Digest) -> Message {
        Message::Checkpoint { seq, digest, signature: self.sign(&checkpoint_statement(seq, &digest)) }
    }

    fn vote(&self, view: Term, stable: StableCheckpoint, prepared: Vec<Prepared>) -> ViewChange {
        let unsigned = Signature([0; SIGNATURE_BYTES]);
        let mut vote = ViewChange { view, voter: self.me, stable, prepared, signature: unsigned };
        vote.signature = self.sign(&vote.digest());
        vote
    }

    /// A view begins, with these proposals.
    fn beginning(
        &self,
        view: Term,
        votes: Vec<(NodeId, Digest)>,
        proposals: Vec<(Index, Digest)>,
    ) -> NewView {
        let propose = |(seq, digest): (Index, Digest)| Proposal {
            seq,
            digest,
            signature: self.sign(&pre_prepare_statement(view, seq, &digest)),
        };
        let proposals = proposals.into_iter().map(propose).collect();
        let unsigned = Signature([0; SIGNATURE_BYTES]);
        let mut new_view = NewView { view, votes, proposals, signature: unsigned };
        new_view.signature = self.sign(&new_view.statement());
        new_view
    }
}

/// Several lies that take turns.
struct Turning {
    lies: Vec<Lie>,
    turn: usize,
}

impl Byzantine<Pbft> for Turning {
    fn hear(&mut self, input: Input<Message>) -> Option<Input<Message>> {
        self.lies[self.turn].hear(input)
    }

    fn rewrite(&mut self, now: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        if chance.random_ratio(1, TURNS) {
            self.turn = chance.random_range(0..self.lies.len());
        }
        self.lies[self.turn].rewrite(now, effects, chance);
    }
}

/// Takes out what a replica wants said and puts in what the lie makes of it; a liar waits for no disk.
fn edit(effects: &mut Effects<Pbft>, mut lie: impl FnMut(NodeId, Message) -> Option<Message>) {
    let sends: Vec<Outgoing<Message>> = effects.take_sends().collect();
    for Outgoing { to, message, .. } in sends {
        if let Some(message) = lie(to, message) {
            effects.send_early(to, message);
        }
    }
}

/// Some digest.
fn any_digest(chance: &mut Pcg32) -> Digest {
    Digest(std::array::from_fn(|_| chance.random()))
}

/// A lie by its name in a story.
pub(crate) fn by_name(name: &str, forger: Forger) -> Option<Lie> {
    Some(match name {
        "equivocates" => Box::new(Equivocating::new(forger)),
        "votes-for-all" => Box::new(VotingForAll::new(forger)),
        "keeps-silent" => Box::new(Silent::to_all()),
        "sends-wrong-state" => Box::new(WrongState::new(forger)),
        "lies-to-clients" => Box::new(LyingToClients),
        _ => return None,
    })
}
