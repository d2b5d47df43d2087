//! Who is primary, and how many are enough.

use qlab_kernel::{NodeId, NodeSet, Term};

/// The members of a cluster of 3f + 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quorum {
    members: NodeSet,
}

impl Quorum {
    pub(crate) const fn of(members: NodeSet) -> Self {
        Self { members }
    }

    /// The paper's *f*: so many may do what they like.
    pub(crate) const fn faulty(self) -> usize {
        (self.members.len() - 1) / 3
    }

    /// f + 1: one of them is correct.
    pub(crate) const fn weak(self) -> usize {
        self.faulty() + 1
    }

    /// 2f: backups whose word makes an entry prepared.
    pub(crate) const fn prepares(self) -> usize {
        2 * self.faulty()
    }

    /// 2f + 1: any two such groups share a correct replica.
    pub(crate) const fn certificate(self) -> usize {
        2 * self.faulty() + 1
    }

    /// The paper's *p = v mod |R|*.
    pub(crate) fn primary(self, view: Term) -> NodeId {
        let place = view.0 % self.members.len() as u64;
        self.members.iter().nth(place as usize).expect("a remainder is below the number of members")
    }

    pub(crate) fn has(self, node: NodeId) -> bool {
        self.members.contains(node)
    }

    /// Whether these are members, in ascending order: each one once.
    pub(crate) fn are_distinct(self, nodes: impl Iterator<Item = NodeId>) -> bool {
        let mut before = None;
        nodes.into_iter().all(|node| {
            let ascends = before.is_none_or(|before| before < node);
            before = Some(node);
            ascends && self.has(node)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_certificates_share_a_correct_replica() {
        for faulty in 1..6 {
            let quorum = Quorum::of(NodeSet::first(3 * faulty + 1));
            assert_eq!(quorum.faulty(), faulty);
            assert!(2 * quorum.certificate() - (3 * faulty + 1) > faulty);
            assert_eq!(quorum.weak(), faulty + 1);
        }
    }

    #[test]
    fn everybody_is_primary_in_turn_and_nobody_counts_twice() {
        let quorum = Quorum::of(NodeSet::first(4));
        let primaries: Vec<u16> = (0..6).map(|view| quorum.primary(Term(view)).0).collect();
        assert_eq!(primaries, [0, 1, 2, 3, 0, 1]);
        let distinct = |nodes: &[u16]| quorum.are_distinct(nodes.iter().map(|node| NodeId(*node)));
        assert!(distinct(&[0, 1, 3]));
        assert!(!distinct(&[0, 0, 1]) && !distinct(&[1, 0]) && !distinct(&[0, 4]) && !distinct(&[0, 200]));
    }
}
