//! Anti-entropy (DeCandia et al. 2007, §4.7): from time to time each replica compares the tree of a range with another home's. Where they
//! differ they go down, a few branches at a time, to the buckets in which they do, and tell each other what is in them.

use bytes::Bytes;
use qlab_kernel::{NodeId, Time, mutant};

use super::Dynamo;
use super::content::is_tombstone;
use super::digest::{CHILDREN, Digest, LEVELS};
use super::message::{BUCKET_KEYS_MAX, Step};

/// Branches that are followed from one node: the others differ another time.
const BRANCHES_MAX: usize = 4;

impl Dynamo {
    /// Compares the next range with the next home of it.
    pub(super) fn compare(&mut self, now: Time) {
        if now < self.compare_at {
            return;
        }
        self.compare_at = now + self.config.anti_entropy_interval;
        let Some((peer, range)) = self.pairs.get(self.compared % self.pairs.len().max(1)).copied() else {
            return;
        };
        self.compared += 1;
        self.counts.comparisons += 1;
        if let Some(tree) = self.store.tree(range) {
            let root = tree.root();
            // Early, like everything here but states: digests promise nothing, they only say where to look.
            self.outbox.early(peer, Step::Root { range, root });
        }
    }

    pub(super) fn on_root(&mut self, from: NodeId, range: u16, root: Digest) {
        mutant!("dynamo: roots that differ are not looked into", { return });
        let Some(tree) = self.store.tree(range) else { return };
        if tree.root() != root {
            self.send_branch(from, range, 0, 0);
        }
    }

    fn send_branch(&mut self, to: NodeId, range: u16, level: u8, index: u16) {
        let children = self.store.tree(range).and_then(|tree| tree.children(level, index));
        if let Some(children) = children {
            self.outbox.early(to, Step::Branch { range, level, index, children: Box::new(children) });
        }
    }

    pub(super) fn on_branch(
        &mut self,
        from: NodeId,
        range: u16,
        (level, index): (u8, u16),
        theirs: &[Digest; CHILDREN],
    ) {
        let mine = self.store.tree(range).and_then(|tree| tree.children(level, index));
        let Some(mine) = mine else { return };
        let differing = (0..CHILDREN).filter(|at| mine[*at] != theirs[*at]).take(BRANCHES_MAX);
        for at in differing {
            let child = index * CHILDREN as u16 + at as u16;
            if level + 1 == LEVELS {
                self.send_bucket(from, range, child, false);
            } else {
                self.send_branch(from, range, level + 1, child);
            }
        }
    }

    fn send_bucket(&mut self, to: NodeId, range: u16, bucket: u16, is_answer: bool) {
        let entries = self.store.bucket(range, bucket).take(BUCKET_KEYS_MAX);
        let keys = entries.map(|entry| (entry.key.clone(), entry.digest)).collect();
        self.outbox.early(to, Step::Bucket { range, bucket, is_answer, keys });
    }

    /// Tells what the other side lacks; it does the same with the answer.
    pub(super) fn on_bucket(
        &mut self,
        from: NodeId,
        (range, bucket): (u16, u16),
        is_answer: bool,
        theirs: &[(Bytes, Digest)],
    ) {
        if !is_answer {
            self.send_bucket(from, range, bucket, true);
        }
        let theirs: std::collections::HashMap<&Bytes, Digest> =
            theirs.iter().map(|(key, digest)| (key, *digest)).collect();
        // Deletions are for those who know what was deleted: others may have forgotten both.
        let lacked = self.store.bucket(range, bucket).filter(|entry| match theirs.get(&entry.key) {
            Some(digest) => *digest != entry.digest,
            None => !is_tombstone(&entry.state),
        });
        let lacked: Vec<_> =
            lacked.map(|entry| (entry.key.clone(), entry.state.clone(), entry.lsn)).collect();
        for (key, state, lsn) in lacked {
            self.counts.exchanged += 1;
            let round = self.next_round();
            self.say_after(lsn, from, Step::Store { round, key, state });
        }
    }
}
