//! What Paxos replicas say to each other: steps of many instances in one message.

use bytes::Bytes;
use qlab_kernel::command::VALUE_BYTES_MAX;
use qlab_kernel::wire::put_bytes;
use qlab_kernel::{Lane, NodeId, Reader, Sequence, SessionId, Sink, Wire, WireError, mutant};

use super::record::{ITEM_BYTES, put_key, take_key};
use crate::Ballot;

/// What is proposed: somebody's request, by its identity, and the bytes it wants to be there. Whoever retries a request proposes
/// the same value again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// Whose request.
    pub session: SessionId,
    /// Its number.
    pub sequence: Sequence,
    /// What is to be stored.
    pub bytes: Bytes,
}

/// A value and the ballot it was accepted in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accepted {
    /// The ballot; [`Ballot::CHOSEN`] once the value is known to be chosen.
    pub ballot: Ballot,
    /// The value.
    pub value: Value,
}

/// One step of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Phase 1a.
    Prepare {
        /// The proposer's ballot.
        ballot: Ballot,
    },
    /// Phase 1b: nothing is accepted below the ballot any more.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// What was accepted last.
        accepted: Option<Accepted>,
    },
    /// Phase 2a.
    Accept {
        /// The proposer's ballot.
        ballot: Ballot,
        /// The value.
        value: Value,
    },
    /// Phase 2b: the value of this ballot is accepted, durably.
    Accepted {
        /// The ballot.
        ballot: Ballot,
    },
    /// Neither promised nor accepted, as a higher ballot is promised.
    Rejected {
        /// The ballot rejected.
        ballot: Ballot,
        /// The one promised.
        promised: Ballot,
    },
    /// A reader asks what is accepted.
    Ask {
        /// The reader's number for this round of questions, never used twice.
        round: u64,
    },
    /// Answers [`Step::Ask`].
    Told {
        /// The round.
        round: u64,
        /// What was accepted last, durably.
        accepted: Option<Accepted>,
    },
    /// What was accepted in this ballot is chosen: whoever accepted it then knows what that is.
    Chosen {
        /// The ballot.
        ballot: Ballot,
    },
    /// Answers whatever was asked: this value is chosen.
    Decided {
        /// The value.
        value: Value,
    },
}

impl Step {
    /// Bytes that it adds to a message about `key`, at most.
    pub(crate) fn bytes_max(&self, key: &Bytes) -> usize {
        ITEM_BYTES + key.len() + self.value().map_or(0, |value| value.bytes.len())
    }

    /// The value that it carries.
    #[must_use]
    pub const fn value(&self) -> Option<&Value> {
        match self {
            Self::Promise { accepted: Some(accepted), .. } | Self::Told { accepted: Some(accepted), .. } => {
                Some(&accepted.value)
            }
            Self::Accept { value, .. } | Self::Decided { value } => Some(value),
            _ => None,
        }
    }

    /// Whether a correct replica `from` can have said this to `me`.
    fn is_sound(&self, from: NodeId, me: NodeId) -> bool {
        mutant!("paxos: a ballot without its node", { return true });
        match self {
            Self::Prepare { ballot } | Self::Accept { ballot, .. } => {
                ballot.node == from && ballot.is_proposable()
            }
            Self::Promise { ballot, accepted } => {
                let below = |accepted: &Accepted| accepted.ballot <= *ballot;
                ballot.node == me && accepted.as_ref().is_none_or(below)
            }
            Self::Accepted { ballot } => ballot.node == me,
            Self::Rejected { ballot, promised } => {
                ballot.node == me && promised > ballot && promised.is_proposable()
            }
            Self::Told { accepted, .. } => {
                accepted.as_ref().is_none_or(|accepted| accepted.ballot.is_proposable())
            }
            Self::Chosen { ballot } => ballot.is_proposable(),
            Self::Ask { .. } | Self::Decided { .. } => true,
        }
    }
}

/// Steps of many instances, by key, in the order they are to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The steps.
    pub steps: Vec<(Bytes, Step)>,
}

impl Message {
    /// Whether a correct replica `from` can have said this to `me`.
    pub(crate) fn is_sound(&self, from: NodeId, me: NodeId) -> bool {
        self.steps.iter().all(|(_, step)| step.is_sound(from, me))
    }
}

impl qlab_kernel::Message for Message {
    fn lane(&self) -> Lane {
        // Values can be long; nothing small should wait behind them.
        if self.steps.iter().any(|(_, step)| step.value().is_some()) { Lane::Bulk } else { Lane::Control }
    }
}

/// Steps in one message.
pub const STEPS_MAX: usize = 1 << 14;

impl Wire for Message {
    fn encode(&self, sink: &mut impl Sink) {
        u32::try_from(self.steps.len()).expect("within STEPS_MAX").encode(sink);
        for (key, step) in &self.steps {
            put_key(sink, key);
            step.encode(sink);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let count = reader.u32()? as usize;
        if count == 0 || count > STEPS_MAX {
            return Err(WireError::Invalid { what: "steps in a message", value: count as u64 });
        }
        // Room for what may be there, not for what a count claims.
        let mut steps = Vec::with_capacity(count.min(reader.left() / 3));
        for _ in 0..count {
            steps.push((take_key(reader)?, Step::decode(reader)?));
        }
        Ok(Self { steps })
    }
}

impl Wire for Value {
    fn encode(&self, sink: &mut impl Sink) {
        self.session.encode(sink);
        self.sequence.encode(sink);
        put_bytes(sink, &self.bytes);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (session, sequence) = (SessionId::decode(reader)?, Sequence::decode(reader)?);
        Ok(Self { session, sequence, bytes: reader.take_bytes("value", VALUE_BYTES_MAX)? })
    }
}

impl Wire for Accepted {
    fn encode(&self, sink: &mut impl Sink) {
        self.ballot.encode(sink);
        self.value.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { ballot: Ballot::decode(reader)?, value: Value::decode(reader)? })
    }
}

impl Wire for Step {
    fn encode(&self, sink: &mut impl Sink) {
        self.tag().encode(sink);
        match self {
            Self::Prepare { ballot } | Self::Accepted { ballot } | Self::Chosen { ballot } => {
                ballot.encode(sink)
            }
            Self::Promise { ballot, accepted } => {
                ballot.encode(sink);
                accepted.encode(sink);
            }
            Self::Accept { ballot, value } => {
                ballot.encode(sink);
                value.encode(sink);
            }
            Self::Rejected { ballot, promised } => {
                ballot.encode(sink);
                promised.encode(sink);
            }
            Self::Ask { round } => round.encode(sink),
            Self::Told { round, accepted } => {
                round.encode(sink);
                accepted.encode(sink);
            }
            Self::Decided { value } => value.encode(sink),
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, WireError> {
        Ok(match r.u8()? {
            0 => Self::Prepare { ballot: Ballot::decode(r)? },
            1 => Self::Promise { ballot: Ballot::decode(r)?, accepted: Option::decode(r)? },
            2 => Self::Accept { ballot: Ballot::decode(r)?, value: Value::decode(r)? },
            3 => Self::Accepted { ballot: Ballot::decode(r)? },
            4 => Self::Rejected { ballot: Ballot::decode(r)?, promised: Ballot::decode(r)? },
            5 => Self::Ask { round: r.u64()? },
            6 => Self::Told { round: r.u64()?, accepted: Option::decode(r)? },
            7 => Self::Chosen { ballot: Ballot::decode(r)? },
            8 => Self::Decided { value: Value::decode(r)? },
            other => return Err(WireError::Invalid { what: "step", value: other.into() }),
        })
    }
}

impl Step {
    const fn tag(&self) -> u8 {
        match self {
            Self::Prepare { .. } => 0,
            Self::Promise { .. } => 1,
            Self::Accept { .. } => 2,
            Self::Accepted { .. } => 3,
            Self::Rejected { .. } => 4,
            Self::Ask { .. } => 5,
            Self::Told { .. } => 6,
            Self::Chosen { .. } => 7,
            Self::Decided { .. } => 8,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use qlab_kernel::Term;

    pub(crate) fn any_ballot() -> impl Strategy<Value = Ballot> {
        (any::<u64>(), any::<u16>(), any::<u32>()).prop_map(|(round, node, incarnation)| Ballot {
            round: Term(round),
            node: NodeId(node),
            incarnation,
        })
    }

    pub(crate) fn any_accepted() -> impl Strategy<Value = Accepted> {
        (any_ballot(), any_value()).prop_map(|(ballot, value)| Accepted { ballot, value })
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let bytes = prop::collection::vec(any::<u8>(), 0..20);
        (any::<u64>(), any::<u64>(), bytes).prop_map(|(session, sequence, bytes)| Value {
            session: SessionId(session),
            sequence: Sequence(sequence),
            bytes: bytes.into(),
        })
    }

    pub(crate) fn any_key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from)
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let accepted = || prop::option::of(any_accepted());
        prop_oneof![
            any_ballot().prop_map(|ballot| Step::Prepare { ballot }),
            (any_ballot(), accepted()).prop_map(|(ballot, accepted)| Step::Promise { ballot, accepted }),
            (any_ballot(), any_value()).prop_map(|(ballot, value)| Step::Accept { ballot, value }),
            any_ballot().prop_map(|ballot| Step::Accepted { ballot }),
            (any_ballot(), any_ballot()).prop_map(|(ballot, promised)| Step::Rejected { ballot, promised }),
            any::<u64>().prop_map(|round| Step::Ask { round }),
            (any::<u64>(), accepted()).prop_map(|(round, accepted)| Step::Told { round, accepted }),
            any_ballot().prop_map(|ballot| Step::Chosen { ballot }),
            any_value().prop_map(|value| Step::Decided { value }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(steps in prop::collection::vec((any_key(), any_step()), 1..6)) {
            let message = Message { steps };
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert!(bytes.len() <= 4 + message.steps.iter().map(|(key, step)| step.bytes_max(key)).sum::<usize>());
            prop_assert_eq!(Message::decode_all(bytes.into()), Ok(message));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(0_u8..9, 0..100)) {
            if let Ok(message) = Message::decode_all(bytes.clone().into()) {
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
