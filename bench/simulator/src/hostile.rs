//! Clients that do not play by the rules, where replicas do not rely on that: they convince some replicas and not others, say
//! different things under one number, speak for others, ask for much at once. What they write is under a key of their own, so that
//! what the others see can be judged; nobody looks at what they are answered.

use bytes::Bytes;
use qlab_kernel::{Batch, BatchBuilder, NodeId, NodeSet, Request, Sequence, SessionId};
use qlab_machines::Command;
use qlab_pbft::keys::MAC_BYTES;
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::desk::ClientNumber;

/// A key that no honest client asks for.
const KEY: &[u8] = b"hostile";
/// Requests of a flood at one moment.
const FLOOD_REQUESTS: usize = 8;
/// Bytes of a huge request's value: several times what an entry of these worlds holds.
const HUGE_BYTES: usize = 8 << 10;

/// One such client.
#[derive(Debug)]
pub(crate) struct Hostile {
    pub(crate) number: ClientNumber,
    nodes: usize,
    session: SessionId,
    next: Sequence,
    way: Way,
}

/// What it does.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Proves nothing to anybody.
    ProvingNothing,
    /// Proves who it is to some replicas only: the "big MAC" attack.
    ConvincingSome,
    /// Says something else to each replica, under the same number.
    TwoFaced,
    /// Speaks in another client's session.
    Impersonating,
    /// Asks for large things.
    Huge,
    /// Asks for many things at once.
    Flooding,
}

/// A request to a replica.
#[derive(Debug)]
pub(crate) struct Shot {
    pub(crate) to: NodeId,
    pub(crate) request: Request,
    /// Whom it does not convince.
    pub(crate) spoiled_for: NodeSet,
}

impl Hostile {
    pub(crate) fn drawn(number: ClientNumber, nodes: usize, chance: &mut Pcg32) -> Self {
        use Way::*;
        let ways = [ProvingNothing, ConvincingSome, ConvincingSome, TwoFaced, Impersonating, Huge, Flooding];
        let way = ways[chance.random_range(0..ways.len())];
        let session = SessionId::owned(number as u16, 1);
        Self { number, nodes, session, next: Sequence(1), way }
    }

    /// What it sends now.
    pub(crate) fn shoot(&mut self, chance: &mut Pcg32) -> Vec<Shot> {
        let everyone = NodeSet::first(self.nodes);
        match self.way {
            Way::ProvingNothing => {
                let request = self.write(1, chance);
                everyone
                    .iter()
                    .map(|to| Shot { to, request: request.clone(), spoiled_for: everyone })
                    .collect()
            }
            Way::ConvincingSome => {
                let spoiled_for = everyone.iter().filter(|_| chance.random()).collect();
                let request = self.write(1, chance);
                everyone.iter().map(|to| Shot { to, request: request.clone(), spoiled_for }).collect()
            }
            Way::TwoFaced => {
                let number = self.next;
                let mut other = |to| {
                    self.next = number;
                    Shot { to, request: self.write(1, chance), spoiled_for: NodeSet::EMPTY }
                };
                everyone.iter().map(&mut other).collect()
            }
            Way::Impersonating => {
                let own = std::mem::replace(&mut self.session, SessionId::owned(0, 1));
                let request = self.write(1, chance);
                self.session = own;
                self.to_one(request, chance).into_iter().collect()
            }
            Way::Huge => {
                let request = self.write(HUGE_BYTES, chance);
                self.to_one(request, chance).into_iter().collect()
            }
            Way::Flooding => (0..FLOOD_REQUESTS)
                .filter_map(|_| {
                    let request = self.write(1, chance);
                    self.to_one(request, chance)
                })
                .collect(),
        }
    }

    fn to_one(&self, request: Request, chance: &mut Pcg32) -> Option<Shot> {
        let to = NodeId(chance.random_range(0..self.nodes) as u16);
        Some(Shot { to, request, spoiled_for: NodeSet::EMPTY })
    }

    /// The next request: now and then its session is opened.
    fn write(&mut self, bytes: usize, chance: &mut Pcg32) -> Request {
        let mut builder = BatchBuilder::new();
        if chance.random_ratio(1, 8) {
            builder.begin(self.session, Sequence::ZERO, Sequence::ZERO);
            return Request::Write(builder.finish());
        }
        let value = vec![chance.random(); bytes];
        let mut command = Vec::new();
        Command::Put { key: KEY, value: &value }.encode(&mut command);
        builder.begin(self.session, self.next, self.next);
        builder.push_bytes(&command);
        self.next = self.next.next();
        let batch: Batch = builder.finish();
        Request::Write(batch)
    }
}

/// A proof that shows nothing to these: of codes, theirs are wrong; a signature is wrong for all.
pub(crate) fn spoil(proof: &Bytes, spoiled_for: NodeSet) -> Bytes {
    let mut proof = proof.to_vec();
    for node in spoiled_for.iter() {
        let place = (usize::from(node.0) * MAC_BYTES).min(proof.len().saturating_sub(1));
        proof.get_mut(place).into_iter().for_each(|byte| *byte ^= 1 + (node.0 as u8 & 1));
    }
    Bytes::from(proof)
}
