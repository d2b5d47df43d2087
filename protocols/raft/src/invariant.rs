//! What must hold after every burst, as far as one replica can see it.

use crate::{Raft, Role};

pub(crate) fn check(raft: &Raft) {
    let last = raft.log.last();
    let base = raft.log.base();
    let image = raft.images.index();
    assert!(base.index <= raft.applied, "applied {} before the log's base {}", raft.applied, base.index);
    assert!(base.index <= image, "the log begins at {} and the image ends at {image}", base.index);
    assert!(image <= raft.applied, "the image at {image} is ahead of {} applied", raft.applied);
    assert!(raft.applied <= raft.commit, "applied {} past commit {}", raft.applied, raft.commit);
    assert!(raft.commit <= last.index, "committed {} past the log's end {}", raft.commit, last.index);
    assert!(last.term <= raft.term, "an entry of term {} in term {}", last.term, raft.term);
    assert!(raft.log.durable() <= last.index, "durable past the log's end");
    if let Role::Leader(leader) = &raft.role {
        assert_eq!(raft.voted_for, Some(raft.seat.me), "leads a term it did not vote for itself in");
        assert!(
            raft.vote_lsn <= raft.durable || raft.images.newest().is_some(),
            "leads before its vote is durable"
        );
        for peer in leader.peers() {
            peer.check(last.index);
        }
    }
}
