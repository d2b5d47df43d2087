//! What must hold after every burst, as far as one replica can see it.

use crate::Pbft;

pub(crate) fn check(pbft: &Pbft) {
    let (base, stable, executed) = (pbft.slots.base(), pbft.stable.seq, pbft.executed);
    assert_eq!(base, stable, "the log begins after {base} and the stable checkpoint is at {stable}");
    assert!(stable <= executed, "the checkpoint at {stable} is ahead of {executed} executed");
    assert!(
        pbft.slots.last().0 <= stable.0 + pbft.config.log_window as u64,
        "entry {} lies beyond the window after {stable}",
        pbft.slots.last()
    );
    assert!(
        stable.0 == 0 || pbft.checkpoints.images.contains_key(&stable),
        "the stable image {stable} is lost"
    );
    // What is executed was looked at when it was not, and hardly changes any more; there may be thousands of such entries.
    for (seq, slot) in pbft.slots.after(executed) {
        if let Some((prepared, _)) = &slot.prepared {
            assert_eq!(prepared.seq, seq, "a certificate lies in another's place");
            assert!(prepared.view <= pbft.view, "entry {seq} is prepared in a view to come");
            assert_eq!(
                prepared.prepares.len(),
                pbft.quorum.prepares(),
                "a certificate of entry {seq} is too short"
            );
            assert!(slot.body(&prepared.digest).is_some(), "entry {seq} is prepared without its requests");
        }
        assert!(pbft.active || slot.accepted.is_none(), "entry {seq} is accepted while the view changes");
    }
    pbft.backlog.check();
}
