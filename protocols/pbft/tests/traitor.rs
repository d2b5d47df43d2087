//! One replica of four says whatever it likes, in its own name and properly signed.

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod world;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use qlab_kernel::{Batch, Index, NodeId, Request, Term};
use qlab_pbft::keys::{Digest, Keyring};
use qlab_pbft::message::{
    Message, NewView, PrePrepare, ViewChange, checkpoint_statement, commit_statement, pre_prepare_statement,
    prepare_statement,
};
use qlab_pbft::request::Requests;
use qlab_pbft::{Authentication, Config};
use world::{World, config};

const SECOND: Duration = Duration::from_secs(1);

/// A traitor: what it lies about is drawn from its own chance.
struct Traitor {
    me: NodeId,
    keys: Keyring,
    authentication: Authentication,
    chance: u64,
    /// One in so many messages is told the truth.
    honesty: u64,
    heard: Vec<Message>,
}

impl Traitor {
    fn draw(&mut self, below: u64) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % below
    }

    fn twist(&mut self, message: Message) -> Vec<Message> {
        if self.draw(self.honesty) == 0 {
            return vec![message];
        }
        if self.heard.len() < 64 {
            self.heard.push(message.clone());
        }
        match self.draw(6) {
            0 => vec![],
            1 => vec![message.clone(), message],
            2 => {
                let old = self.draw(self.heard.len() as u64) as usize;
                vec![self.heard[old].clone(), message]
            }
            3 => {
                let lie = self.lie(message.clone());
                vec![lie, message]
            }
            _ => vec![self.lie(message)],
        }
    }

    fn digest(&mut self, truth: Digest) -> Digest {
        match self.draw(3) {
            0 => truth,
            1 => *Requests::null().digest(),
            _ => Digest([self.draw(3) as u8; 32]),
        }
    }

    fn near(&mut self, number: u64) -> u64 {
        (number + self.draw(5)).saturating_sub(2)
    }

    /// The same kind of message, with something else in it.
    fn lie(&mut self, message: Message) -> Message {
        let (me, keys) = (self.me, self.keys.clone());
        match message {
            Message::PrePrepare(PrePrepare { view, seq, requests, .. }) => {
                let (view, seq) = (Term(self.near(view.0)), Index(self.near(seq.0)));
                let requests = if self.draw(2) == 0 { Requests::null() } else { requests };
                let signature = keys.sign(me, &pre_prepare_statement(view, seq, requests.digest()));
                Message::PrePrepare(PrePrepare { view, seq, requests, signature })
            }
            Message::Prepare { view, seq, digest, .. } => {
                let (view, seq, digest) =
                    (Term(self.near(view.0)), Index(self.near(seq.0)), self.digest(digest));
                let signature = keys.sign(me, &prepare_statement(view, seq, &digest));
                Message::Prepare { view, seq, digest, signature }
            }
            Message::Commit { view, seq, digest, .. } => {
                let (view, seq, digest) =
                    (Term(self.near(view.0)), Index(self.near(seq.0)), self.digest(digest));
                let are_signed = self.authentication == Authentication::Signatures;
                let signature = are_signed.then(|| keys.sign(me, &commit_statement(view, seq, &digest)));
                Message::Commit { view, seq, digest, signature }
            }
            Message::Checkpoint { seq, digest, .. } => {
                let digest = self.digest(digest);
                Message::Checkpoint {
                    seq,
                    digest,
                    signature: keys.sign(me, &checkpoint_statement(seq, &digest)),
                }
            }
            Message::ViewChange(vote) => self.other_vote(&vote),
            Message::NewView(new_view) => self.other_new_view(&new_view),
            Message::Body { seq, .. } => Message::Body { seq, requests: Requests::null() },
            Message::State { mut chunk, last } => {
                chunk.bytes = vec![1; chunk.bytes.len()].into();
                Message::State { chunk, last }
            }
            Message::Status { view, active, stable, executed } => Message::Status {
                view: Term(self.near(view.0)),
                active,
                stable,
                executed: Index(self.near(executed.0)),
            },
            other => other,
        }
    }

    fn other_vote(&mut self, vote: &Arc<ViewChange>) -> Message {
        let mut vote = (**vote).clone();
        match self.draw(3) {
            0 => vote.prepared.clear(),
            1 => drop(vote.prepared.pop()),
            _ => vote.view = Term(self.near(vote.view.0)),
        }
        vote.voter = self.me;
        vote.signature = self.keys.sign(self.me, &vote.digest());
        Message::ViewChange(Arc::new(vote))
    }

    fn other_new_view(&mut self, new_view: &Arc<NewView>) -> Message {
        let mut new_view = (**new_view).clone();
        if self.draw(2) == 0 {
            new_view.proposals.pop();
        } else if let Some(first) = new_view.proposals.first_mut() {
            first.digest = *Requests::null().digest();
            first.signature =
                self.keys.sign(self.me, &pre_prepare_statement(new_view.view, first.seq, &first.digest));
        }
        new_view.signature = self.keys.sign(self.me, &new_view.statement());
        Message::NewView(Arc::new(new_view))
    }
}

fn holds(executed: &[Batch], wanted: &Batch) -> bool {
    executed
        .iter()
        .any(|batch| batch.bytes().windows(wanted.len()).any(|window| window == &wanted.bytes()[..]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_traitor_neither_divides_the_others_nor_stops_them(
        traitor in 0..4_u16, chance in any::<u64>(), honesty in 1..6_u64, signed in any::<bool>(),
        restarts in prop::collection::vec((0..4_usize, 1..900_u64), 0..3),
    ) {
        let authentication = if signed { Authentication::Signatures } else { Authentication::Macs };
        let small = Config { log_window: 16, checkpoint_entries: 4, window_entries: 4, authentication, ..config() };
        let mut world = World::new(small);
        let keys = world.config.keys.clone();
        let mut liar = Traitor { me: NodeId(traitor), keys, authentication, chance, honesty: honesty + 1, heard: vec![] };
        world.liars = vec![NodeId(traitor)];
        world.twist = Box::new(move |_, message| liar.twist(message));
        for (place, ms) in restarts {
            for client in 0..3 {
                let request = world.write(client);
                world.ask_all(request);
            }
            world.run(Duration::from_millis(ms));
            world.restart(place);
        }
        for round in 0..12_u16 {
            let request = world.write(round % 4);
            let (Request::Write(wanted) | Request::Read(wanted)) = request.0.clone();
            let mut patience = 0;
            loop {
                world.ask_all(request.clone());
                world.run(SECOND);
                let honest = world.nodes.iter().filter(|node| node.me != NodeId(traitor));
                // f + 1 of them are enough for the client: one is correct.
                if honest.filter(|node| holds(&node.executed(), &wanted)).count() >= 2 {
                    break;
                }
                patience += 1;
                prop_assert!(patience < 200, "request {round} is not executed: {}", world.summary());
            }
        }
    }
}
