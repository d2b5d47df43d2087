//! Lies about proposals: of a primary that says different things to different backups, or too late, or nothing of one client's.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use qlab_kernel::{Effects, Index, Input, NodeId, Request, Term, Time};
use qlab_pbft::keys::Digest;
use qlab_pbft::message::{Message, PrePrepare};
use qlab_pbft::request::Requests;
use qlab_pbft::{Config, Pbft};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::{Forger, VotingForAll, edit};
use crate::byzantine::Byzantine;

/// Clients that may be censored: the first ones are in every world.
const CENSORED_MAX: u16 = 3;

/// Proposes one thing to some and another to the rest, and votes for both.
#[derive(Debug)]
pub struct Equivocating {
    forger: Forger,
    voting: VotingForAll,
    /// Who is told the other thing, in each view.
    deceived: BTreeMap<Term, Vec<bool>>,
}

impl Equivocating {
    /// One that signs with these keys.
    #[must_use]
    pub fn new(forger: Forger) -> Self {
        Self { voting: VotingForAll::new(forger.clone()), forger, deceived: BTreeMap::new() }
    }

    fn is_deceived(&mut self, view: Term, to: NodeId, chance: &mut Pcg32) -> bool {
        let nodes = self.forger.nodes;
        let deceived =
            self.deceived.entry(view).or_insert_with(|| (0..nodes).map(|_| chance.random()).collect());
        deceived[usize::from(to.0)]
    }
}

impl Byzantine<Pbft> for Equivocating {
    fn hear(&mut self, input: Input<Message>) -> Option<Input<Message>> {
        self.voting.hear(input)
    }

    fn rewrite(&mut self, now: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        self.voting.rewrite(now, effects, chance);
        edit(effects, |to, message| {
            Some(match message {
                Message::PrePrepare(PrePrepare { view, seq, requests, .. })
                    if self.forger.primary(view) == self.forger.me && self.is_deceived(view, to, chance) =>
                {
                    self.forger.pre_prepare(view, seq, other_than(&requests))
                }
                other => other,
            })
        });
    }
}

/// The same requests in another order, or none.
fn other_than(requests: &Requests) -> Requests {
    let mut list: Vec<_> = requests.iter().cloned().collect();
    if list.len() < 2 {
        return Requests::null();
    }
    list.reverse();
    Requests::new(list)
}

/// Proposes as late as the others' patience allows.
#[derive(Debug)]
pub struct Dripping {
    holds_back: Duration,
    held: VecDeque<(Time, NodeId, Message)>,
}

impl Dripping {
    /// As slow as this configuration allows.
    #[must_use]
    pub fn new(config: &Config, chance: &mut Pcg32) -> Self {
        let percent = chance.random_range(40..100);
        Self { holds_back: config.view_timeout * percent / 100, held: VecDeque::new() }
    }
}

impl Byzantine<Pbft> for Dripping {
    fn rewrite(&mut self, now: Time, effects: &mut Effects<Pbft>, _: &mut Pcg32) {
        let (at, held) = (now + self.holds_back, &mut self.held);
        edit(effects, |to, message| {
            if let Message::PrePrepare(_) = message {
                held.push_back((at, to, message));
                return None;
            }
            Some(message)
        });
        while let Some((_, to, message)) = self.held.pop_front_if(|(at, ..)| *at <= now) {
            effects.send_early(to, message);
        }
    }
}

/// Never hears of one client's requests.
#[derive(Debug)]
pub struct Censoring {
    client: u16,
}

impl Censoring {
    /// One of the first clients is not heard.
    #[must_use]
    pub fn drawn(chance: &mut Pcg32) -> Self {
        Self { client: chance.random_range(0..CENSORED_MAX) }
    }
}

impl Byzantine<Pbft> for Censoring {
    fn hear(&mut self, input: Input<Message>) -> Option<Input<Message>> {
        let client = match &input {
            Input::Request { request: Request::Write(batch) | Request::Read(batch), .. } => {
                batch.bursts().next().map(|burst| burst.session.owner())
            }
            Input::Message { message: Message::Relay(request), .. } => Some(request.client()),
            _ => None,
        };
        (client != Some(self.client)).then_some(input)
    }

    fn rewrite(&mut self, _: Time, _: &mut Effects<Pbft>, _: &mut Pcg32) {}
}

/// What is proposed, in which view, for which entry.
pub(super) type Place = (Term, Index, Digest);
