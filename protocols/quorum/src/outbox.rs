//! What is said in one burst: the steps to each peer, in as few messages as hold them.

use qlab_kernel::{Effects, NodeId, NodeSet, Protocol};

use crate::steps::{STEPS_MAX, Step, Steps};

/// Bytes of a message, or one step.
const MESSAGE_BYTES: usize = 256 << 10;

/// Steps on their way out.
#[derive(Clone, Debug)]
pub(crate) struct Outbox<S> {
    peers: Vec<ToPeer<S>>,
}

/// Steps on their way to one peer.
#[derive(Clone, Debug)]
struct ToPeer<S> {
    peer: NodeId,
    /// What may leave at once.
    early: Vec<S>,
    /// What waits for the records of this burst.
    gated: Vec<S>,
}

impl<S: Step> Outbox<S> {
    pub(crate) fn new(peers: NodeSet) -> Self {
        let to_peer = |peer| ToPeer { peer, early: Vec::new(), gated: Vec::new() };
        Self { peers: peers.iter().map(to_peer).collect() }
    }

    /// Whoever calls this says why it is safe.
    pub(crate) fn early(&mut self, to: NodeId, step: S) {
        self.to(to).early.push(step);
    }

    pub(crate) fn gated(&mut self, to: NodeId, step: S) {
        self.to(to).gated.push(step);
    }

    /// Hands everything over. Nothing is early before the record of this life is durable.
    pub(crate) fn emit<P: Protocol<Message = Steps<S>>>(
        &mut self,
        is_life_durable: bool,
        effects: &mut Effects<P>,
    ) {
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

    fn to(&mut self, to: NodeId) -> &mut ToPeer<S> {
        self.peers.iter_mut().find(|to_peer| to_peer.peer == to).expect("only peers are spoken to")
    }
}

/// Packs steps into messages, in order.
fn messages<S: Step>(steps: &mut Vec<S>) -> Vec<Steps<S>> {
    let mut packed: Vec<Steps<S>> = Vec::new();
    let mut bytes = 0;
    for step in steps.drain(..) {
        bytes += step.bytes_max();
        match packed.last_mut() {
            Some(last) if bytes <= MESSAGE_BYTES && last.steps.len() < STEPS_MAX => last.steps.push(step),
            _ => {
                bytes = step.bytes_max();
                packed.push(Steps { steps: vec![step] });
            }
        }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abd::{Step, Tag, Version};

    #[test]
    fn messages_end_before_they_grow_too_long_and_keep_the_order() {
        let version = Version { tag: Tag::ZERO, value: Some(vec![0; 100 << 10].into()) };
        let big = |round| Step::Told { round, version: version.clone() };
        let small = |round| Step::Stored { round, tag: Tag::ZERO };
        let packed = messages(&mut vec![big(1), small(2), big(3), big(4), small(5)]);
        let rounds: Vec<Vec<u64>> =
            packed.iter().map(|message| message.steps.iter().map(Step::round).collect()).collect();
        assert_eq!(rounds, [vec![1, 2, 3], vec![4, 5]]);
        let many = messages(&mut vec![small(0); STEPS_MAX + 1]);
        assert!(many.iter().all(|message| message.steps.len() <= STEPS_MAX));
        assert_eq!(many.iter().map(|message| message.steps.len()).sum::<usize>(), STEPS_MAX + 1);
    }
}
