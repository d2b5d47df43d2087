//! Lies in the three phases: a word for everything that anybody hears of, and signatures that only some find good.

use std::collections::BTreeSet;

use qlab_kernel::{Effects, Input, NodeId, Time};
use qlab_pbft::Pbft;
use qlab_pbft::message::{Message, PrePrepare};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::primaries::Place;
use super::{Forger, edit};
use crate::byzantine::Byzantine;

/// Agrees with everybody: whatever a replica says about an entry, it hears that this one prepared and committed the same. Two of
/// them need not know of each other to play together.
#[derive(Debug)]
pub struct VotingForAll {
    forger: Forger,
    heard: Vec<(NodeId, Place)>,
    agreed: BTreeSet<(NodeId, Place)>,
}

impl VotingForAll {
    /// One that signs with these keys.
    #[must_use]
    pub const fn new(forger: Forger) -> Self {
        Self { forger, heard: Vec::new(), agreed: BTreeSet::new() }
    }
}

impl Byzantine<Pbft> for VotingForAll {
    fn hear(&mut self, input: Input<Message>) -> Option<Input<Message>> {
        if let Input::Message { from, message } = &input {
            let place = match message {
                Message::PrePrepare(PrePrepare { view, seq, requests, .. }) => {
                    Some((*view, *seq, *requests.digest()))
                }
                Message::Prepare { view, seq, digest, .. } | Message::Commit { view, seq, digest, .. } => {
                    Some((*view, *seq, *digest))
                }
                _ => None,
            };
            self.heard.extend(place.map(|place| (*from, place)));
        }
        Some(input)
    }

    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, _: &mut Pcg32) {
        // What its core would say binds it to one digest.
        let is_bound =
            |message: &Message| matches!(message, Message::Prepare { .. } | Message::Commit { .. });
        edit(effects, |_, message| (!is_bound(&message)).then_some(message));
        for (from, place) in self.heard.drain(..) {
            if !self.agreed.insert((from, place)) {
                continue;
            }
            let (view, seq, digest) = place;
            if self.forger.primary(view) != self.forger.me {
                effects.send_early(from, self.forger.prepare(view, seq, digest));
            }
            effects.send_early(from, self.forger.commit(view, seq, digest));
        }
    }
}

/// Signs well for some and badly for others.
#[derive(Debug, Default)]
pub struct BadSignatures;

impl Byzantine<Pbft> for BadSignatures {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        edit(effects, |_, mut message| {
            if chance.random() {
                match &mut message {
                    Message::Prepare { signature, .. }
                    | Message::Checkpoint { signature, .. }
                    | Message::PrePrepare(PrePrepare { signature, .. })
                    | Message::Commit { signature: Some(signature), .. } => {
                        signature.0[chance.random_range(0..64)] ^= 1;
                    }
                    _ => {}
                }
            }
            Some(message)
        });
    }
}
