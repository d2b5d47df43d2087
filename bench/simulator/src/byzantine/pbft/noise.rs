//! Lies at random: silence, old messages, messages in which anything is changed.

use qlab_kernel::{Effects, Index, NodeId, Outgoing, Term, Time, Wire};
use qlab_pbft::Pbft;
use qlab_pbft::message::{Message, PrePrepare};
use rand::RngExt;
use rand_pcg::Pcg32;

use std::sync::Arc;

use super::{Forger, any_digest, edit};
use crate::byzantine::Byzantine;

/// Messages that are remembered to be sent again.
const REMEMBERED_MAX: usize = 128;

/// Says nothing to some, or to all.
#[derive(Debug)]
pub struct Silent {
    /// Bit by bit, to whom.
    to: u64,
}

impl Silent {
    /// Silent to everybody.
    #[must_use]
    pub const fn to_all() -> Self {
        Self { to: u64::MAX }
    }

    /// Silent to everybody, or to some.
    #[must_use]
    pub fn drawn(chance: &mut Pcg32) -> Self {
        if chance.random() { Self::to_all() } else { Self { to: chance.random() } }
    }
}

impl Byzantine<Pbft> for Silent {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, _: &mut Pcg32) {
        edit(effects, |to, message| (self.to >> to.0 & 1 == 0).then_some(message));
    }
}

/// Says old things again, to anybody.
#[derive(Debug, Default)]
pub struct Replaying {
    remembered: Vec<Message>,
    receivers: Vec<NodeId>,
}

impl Byzantine<Pbft> for Replaying {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        let sends: Vec<Outgoing<Message>> = effects.take_sends().collect();
        for Outgoing { to, message, .. } in sends {
            if !self.receivers.contains(&to) {
                self.receivers.push(to);
            }
            if self.remembered.len() < REMEMBERED_MAX {
                self.remembered.push(message.clone());
            } else {
                self.remembered[chance.random_range(0..REMEMBERED_MAX)] = message.clone();
            }
            effects.send_early(to, message);
            if chance.random_bool(0.3) {
                let old = self.remembered[chance.random_range(0..self.remembered.len())].clone();
                effects.send_early(self.receivers[chance.random_range(0..self.receivers.len())], old);
            }
        }
    }
}

/// Changes anything in what it says: a bit of its bytes, or a field that it signs again.
#[derive(Debug)]
pub struct Changing {
    forger: Forger,
}

impl Changing {
    /// One that signs with these keys.
    #[must_use]
    pub const fn new(forger: Forger) -> Self {
        Self { forger }
    }

    fn change(&self, message: Message, chance: &mut Pcg32) -> Option<Message> {
        match chance.random_range(0..4) {
            0 | 1 => Some(message),
            2 => flipped(&message, chance),
            _ => Some(self.sign_another(message, chance)),
        }
    }

    /// Another view, sequence number or digest, well signed.
    fn sign_another(&self, message: Message, chance: &mut Pcg32) -> Message {
        match message {
            Message::PrePrepare(PrePrepare { view, seq, requests, .. }) => {
                self.forger.pre_prepare(near_view(view, chance), near(seq, chance), requests)
            }
            Message::Prepare { view, seq, digest, .. } => {
                let digest = if chance.random() { digest } else { any_digest(chance) };
                self.forger.prepare(near_view(view, chance), near(seq, chance), digest)
            }
            Message::Commit { view, seq, digest, .. } => {
                let digest = if chance.random() { digest } else { any_digest(chance) };
                self.forger.commit(near_view(view, chance), near(seq, chance), digest)
            }
            Message::Checkpoint { seq, digest, .. } => self.forger.checkpoint(near(seq, chance), digest),
            Message::ViewChange(vote) => {
                let view = near_view(vote.view, chance);
                Message::ViewChange(Arc::new(self.forger.vote(
                    view,
                    vote.stable.clone(),
                    vote.prepared.clone(),
                )))
            }
            Message::Status { view, active, stable, executed } => Message::Status {
                view: near_view(view, chance),
                active: active == chance.random::<bool>(),
                stable: near(stable, chance),
                executed: near(executed, chance),
            },
            other => other,
        }
    }
}

impl Byzantine<Pbft> for Changing {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        edit(effects, |_, message| self.change(message, chance));
    }
}

/// With a bit flipped on the wire; nothing if that cannot be read.
fn flipped(message: &Message, chance: &mut Pcg32) -> Option<Message> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let place = chance.random_range(0..bytes.len());
    bytes[place] ^= 1 << chance.random_range(0..8);
    Message::decode_all(bytes.into()).ok()
}

fn near(seq: Index, chance: &mut Pcg32) -> Index {
    Index((seq.0 + chance.random_range(0..5)).saturating_sub(2))
}

fn near_view(view: Term, chance: &mut Pcg32) -> Term {
    Term((view.0 + chance.random_range(0..3)).saturating_sub(1))
}
