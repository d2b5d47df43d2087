//! Digests of what is held, and trees of them (Merkle 1987; DeCandia et al. 2007, §4.7): whether two replicas hold the same, and
//! where they differ, in a few messages.
//!
//! A node of a tree is the exclusive or of the digests beneath it: a change costs one operation on each level and no hashing, and two
//! histories that come to the same have the same tree. That stands up to chance, as digests are 128 bits of a strong hash; not to
//! someone who chooses keys to make them cancel out, whom this protocol does not survive anyway.

use qlab_kernel::{Reader, Sink, Wire, WireError};

use super::content::{State, is_tombstone};
use super::ring::BUCKETS;

/// A digest of a key and of which writes of it are current and known; zero stands for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// Of a key's state: of the names of writes, which tell their values.
    #[must_use]
    pub fn of(key: &[u8], state: &State) -> Self {
        let mut bytes = Vec::with_capacity(key.len() + 64);
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(key);
        state.context().encode(&mut bytes);
        for (dot, _) in state.dotted() {
            dot.node.encode(&mut bytes);
            dot.count.encode(&mut bytes);
        }
        let hash = blake3::hash(&bytes);
        let (half, _) = hash.as_bytes().split_first_chunk::<16>().expect("a hash has 32 bytes");
        Self(u128::from_le_bytes(*half))
    }

    /// What a key adds to a tree: nothing once it is deleted, as replicas forget deletions one after the other.
    pub(crate) fn in_tree(self, state: &State) -> Self {
        if is_tombstone(state) { Self::default() } else { self }
    }
}

impl Wire for Digest {
    fn encode(&self, sink: &mut impl Sink) {
        sink.put(&self.0.to_le_bytes());
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let (low, high) = (reader.u64()?, reader.u64()?);
        Ok(Self(u128::from(high) << 64 | u128::from(low)))
    }
}

/// Children of a node.
pub const CHILDREN: usize = 16;
/// Levels below the root; the last one's nodes are buckets.
pub const LEVELS: u8 = 3;

/// The tree of a range.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// By level, the root's first.
    levels: [Vec<Digest>; LEVELS as usize + 1],
}

impl Default for Tree {
    fn default() -> Self {
        Self { levels: std::array::from_fn(|level| vec![Digest::default(); CHILDREN.pow(level as u32)]) }
    }
}

impl Tree {
    pub(crate) fn root(&self) -> Digest {
        self.levels[0][0]
    }

    /// Takes a key's digest into its bucket, or out if it is there.
    pub(crate) fn toggle(&mut self, bucket: u16, digest: Digest) {
        let mut index = usize::from(bucket);
        for level in self.levels.iter_mut().rev() {
            level[index].0 ^= digest.0;
            index /= CHILDREN;
        }
    }

    /// The digests below a node above the buckets; `None` if there is no such node.
    pub(crate) fn children(&self, level: u8, index: u16) -> Option<[Digest; CHILDREN]> {
        let first = usize::from(index) * CHILDREN;
        let children = self.levels.get(usize::from(level) + 1)?.get(first..first + CHILDREN)?;
        children.try_into().ok()
    }
}

const _: () = assert!(CHILDREN.pow(LEVELS as u32) == BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_contents_have_equal_trees_and_a_difference_is_found(
            mut digests in prop::collection::vec((0_u16..BUCKETS as u16, 1_u128..9), 1..30), odd in 0_u16..BUCKETS as u16,
        ) {
            let (mut one, mut other) = (Tree::default(), Tree::default());
            digests.iter().for_each(|(bucket, digest)| one.toggle(*bucket, Digest(*digest)));
            digests.reverse();
            digests.iter().for_each(|(bucket, digest)| other.toggle(*bucket, Digest(*digest)));
            prop_assert_eq!(one.root(), other.root());
            other.toggle(odd, Digest(1 << 100));
            prop_assert_ne!(one.root(), other.root());
            let mut index = 0;
            for level in 0..LEVELS {
                let (mine, theirs) = (one.children(level, index).unwrap(), other.children(level, index).unwrap());
                let differ: Vec<usize> = (0..CHILDREN).filter(|at| mine[*at] != theirs[*at]).collect();
                prop_assert_eq!(differ.len(), 1);
                index = index * CHILDREN as u16 + differ[0] as u16;
            }
            prop_assert_eq!(index, odd);
            prop_assert_eq!(one.children(LEVELS, 0), None);
            prop_assert_eq!(one.children(1, CHILDREN as u16), None);
        }
    }
}
