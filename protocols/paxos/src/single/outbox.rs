//! What is said in one burst: the steps of many instances to each peer, in as few messages as hold them.

use bytes::Bytes;
use qlab_kernel::{Effects, NodeId, NodeSet};

use super::Paxos;
use super::message::{Message, STEPS_MAX, Step};

/// Bytes of a message, or one step.
const MESSAGE_BYTES: usize = 256 << 10;

/// Steps on their way out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    peers: Vec<ToPeer>,
}

/// Steps on their way to one peer.
#[derive(Clone, Debug)]
struct ToPeer {
    peer: NodeId,
    /// What may leave at once.
    early: Vec<(Bytes, Step)>,
    /// What waits for the records of this burst.
    gated: Vec<(Bytes, Step)>,
}

impl Outbox {
    pub(crate) fn new(peers: NodeSet) -> Self {
        let to_peer = |peer| ToPeer { peer, early: Vec::new(), gated: Vec::new() };
        Self { peers: peers.iter().map(to_peer).collect() }
    }

    /// Whoever calls this says why it is safe.
    pub(crate) fn early(&mut self, to: NodeId, key: Bytes, step: Step) {
        self.to(to).early.push((key, step));
    }

    pub(crate) fn gated(&mut self, to: NodeId, key: Bytes, step: Step) {
        self.to(to).gated.push((key, step));
    }

    /// Hands everything over. Nothing is early before the record of this life is durable.
    pub(crate) fn emit(&mut self, is_life_durable: bool, effects: &mut Effects<Paxos>) {
        for ToPeer { peer, early, gated } in &mut self.peers {
            for message in messages(early) {
                if is_life_durable {
                    effects.send_early(*peer, message);
                } else {
                    effects.send(*peer, message);
                }
            }
            messages(gated).into_iter().for_each(|message| effects.send(*peer, message));
        }
    }

    fn to(&mut self, to: NodeId) -> &mut ToPeer {
        self.peers.iter_mut().find(|to_peer| to_peer.peer == to).expect("only peers are spoken to")
    }
}

/// Packs steps into messages, in order.
fn messages(steps: &mut Vec<(Bytes, Step)>) -> Vec<Message> {
    let mut packed: Vec<Message> = Vec::new();
    let mut bytes = 0;
    for (key, step) in steps.drain(..) {
        bytes += step.bytes_max(&key);
        match packed.last_mut() {
            Some(last) if bytes <= MESSAGE_BYTES && last.steps.len() < STEPS_MAX => {
                last.steps.push((key, step));
            }
            _ => {
                bytes = step.bytes_max(&key);
                packed.push(Message { steps: vec![(key, step)] });
            }
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::single::message::Value;
    use qlab_kernel::{Sequence, SessionId};

    #[test]
    fn messages_end_before_they_grow_too_long_and_keep_the_order() {
        let value = Value { session: SessionId(1), sequence: Sequence(1), bytes: vec![0; 100 << 10].into() };
        let big = |key: u8| (Bytes::from(vec![key]), Step::Decided { value: value.clone() });
        let small = |key: u8| (Bytes::from(vec![key]), Step::Ask { round: 1 });
        let packed = messages(&mut vec![big(1), small(2), big(3), big(4), small(5)]);
        let keys: Vec<Vec<u8>> =
            packed.iter().map(|m| m.steps.iter().map(|(key, _)| key[0]).collect()).collect();
        assert_eq!(keys, [vec![1, 2, 3], vec![4, 5]]);
        let many = messages(&mut vec![small(0); STEPS_MAX + 1]);
        assert!(many.iter().all(|message| message.steps.len() <= STEPS_MAX));
        assert_eq!(many.iter().map(|message| message.steps.len()).sum::<usize>(), STEPS_MAX + 1);
    }
}
