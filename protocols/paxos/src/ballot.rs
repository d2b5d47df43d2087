//! Numbers of attempts.

use qlab_kernel::{NodeId, Reader, Sink, Term, Wire, WireError};

/// A proposal number (Paxos Made Simple §2.2): ordered, and never shared by two proposers, as each carries its proposer's own;
/// nor by two lives of one, as it is durable before anybody hears of it, or else carries the life's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Counts attempts.
    pub round: Term,
    /// Whose it is.
    pub node: NodeId,
    /// In which of its lives; zero where a life begins above every ballot of those before.
    pub incarnation: u32,
}

impl Ballot {
    /// Before every ballot.
    pub const ZERO: Self = Self { round: Term::ZERO, node: NodeId(0), incarnation: 0 };
    /// After every ballot: a value known to be chosen is as if accepted in it, as nothing can take its place any more.
    pub const CHOSEN: Self = Self { round: Term(u64::MAX), node: NodeId(u16::MAX), incarnation: u32::MAX };
    /// Rounds that a ballot may have: nobody lives to see more, and arithmetic on them cannot overflow.
    pub const ROUND_MAX: u64 = 1 << 62;

    /// The first ballot of `node` after this one's round.
    #[must_use]
    pub const fn next_of(self, node: NodeId) -> Self {
        Self { round: self.round.next(), node, incarnation: 0 }
    }

    /// The same, in one of the proposer's lives.
    #[must_use]
    pub const fn in_life(self, incarnation: u32) -> Self {
        Self { incarnation, ..self }
    }

    /// Whether somebody may propose in it.
    #[must_use]
    pub fn is_proposable(self) -> bool {
        (1..=Self::ROUND_MAX).contains(&self.round.0)
    }
}

impl std::fmt::Display for Ballot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.round, self.node)?;
        if self.incarnation > 0 { write!(f, ".{}", self.incarnation) } else { Ok(()) }
    }
}

impl Wire for Ballot {
    fn encode(&self, sink: &mut impl Sink) {
        self.round.encode(sink);
        self.node.encode(sink);
        self.incarnation.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { round: Term::decode(reader)?, node: NodeId::decode(reader)?, incarnation: reader.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ballots_of_two_nodes_differ_and_later_ones_are_larger(
            round in 0..Ballot::ROUND_MAX, node in 0_u16..64, other in 0_u16..64,
        ) {
            let seen = Ballot { round: Term(round), node: NodeId(node), incarnation: 0 };
            prop_assert!(seen.next_of(NodeId(other)) > seen && seen.next_of(NodeId(other)) < Ballot::CHOSEN);
            prop_assert_eq!(seen.next_of(NodeId(node)) == seen.next_of(NodeId(other)), node == other);
        }
    }
}
