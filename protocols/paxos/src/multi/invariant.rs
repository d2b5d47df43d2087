//! What must hold after every burst, as far as one replica can see it.

use super::{MultiPaxos, Role};

pub(crate) fn check(paxos: &MultiPaxos) {
    let base = paxos.slots.base();
    let image = paxos.images.index();
    assert!(base <= image, "slots begin after {base} and the image ends at {image}");
    assert!(image <= paxos.applied, "the image at {image} is ahead of {} applied", paxos.applied);
    assert!(paxos.applied <= paxos.chosen, "applied {} past {} chosen", paxos.applied, paxos.chosen);
    if let Role::Leader(leader) = &paxos.role {
        assert_eq!(paxos.promised.node, paxos.seat.me, "leads in somebody else's ballot");
        assert!(
            paxos.promise_lsn <= paxos.durable || paxos.images.newest().is_some(),
            "leads before its promise is durable"
        );
        leader.check(paxos.chosen);
    }
}
