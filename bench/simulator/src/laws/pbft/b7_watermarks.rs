//! B7: nothing is accepted or prepared outside the watermarks; a checkpoint is stable by 2f + 1 equal digests, which are those of the
//! image that honest replicas made; and a replica says that it holds one once that is durable.

use std::collections::HashMap;

use qlab_kernel::Index;
use qlab_pbft::Pbft;
use qlab_pbft::keys::Digest;
use qlab_pbft::message::{Message, PrePrepare, StableCheckpoint};

use super::b5_beginnings::prove_stable;
use super::ledger::Ledger;
use crate::laws::{Glimpse, Verdict, broken};
use crate::process::Done;

const WINDOW: &str = "B7 between the watermarks";
const STABLE: &str = "B7 stable by a quorum";
const DURABLE: &str = "B7 a checkpoint is durable before it is told";

/// What honest replicas know about images.
#[derive(Debug)]
pub(crate) struct Watermarks {
    log_window: usize,
    images: HashMap<Index, Digest>,
}

impl Watermarks {
    pub(crate) fn new(log_window: usize) -> Self {
        Self { log_window, images: HashMap::new() }
    }

    /// A replica accepts something, or has it prepared.
    pub(crate) fn check_window(&self, glimpse: &Glimpse<'_, Pbft>, seq: Index) -> Verdict {
        let low = glimpse.core.stable();
        if seq <= low || seq.0 > low.0 + self.log_window as u64 {
            let node = glimpse.node;
            return broken(WINDOW, format!("{node} takes part in {seq}; its checkpoint is at {low}"));
        }
        Ok(())
    }

    pub(crate) fn check_image(&mut self, done: &Done) -> Verdict {
        if let Done::Captured { index, hash } = done {
            self.images.entry(*index).or_insert(Digest(*hash));
        }
        Ok(())
    }

    /// A replica takes a checkpoint for stable.
    pub(crate) fn check_stable(&self, stable: &StableCheckpoint, ledger: &Ledger) -> Verdict {
        prove_stable(stable, ledger).or_else(|why| broken(STABLE, why))?;
        if self.images.get(&stable.seq).is_some_and(|image| *image != stable.digest) {
            return broken(STABLE, format!("the image at {} is another one", stable.seq));
        }
        Ok(())
    }

    /// A replica says something.
    pub(crate) fn check_message(
        &self,
        glimpse: &Glimpse<'_, Pbft>,
        message: &Message,
        ledger: &Ledger,
    ) -> Verdict {
        let seq = match message {
            Message::PrePrepare(PrePrepare { seq, .. })
            | Message::Prepare { seq, .. }
            | Message::Commit { seq, .. } => *seq,
            Message::Checkpoint { seq, .. } if ledger.disk(glimpse.process).image < *seq => {
                let what = format!("{} tells of its image at {seq}, which is not durable", glimpse.node);
                return broken(DURABLE, what);
            }
            _ => return Ok(()),
        };
        // What waited for the disk may be about an entry that is in an image by now.
        if seq.0 > glimpse.core.stable().0 + self.log_window as u64 {
            return broken(WINDOW, format!("{} speaks of {seq}, beyond its window", glimpse.node));
        }
        Ok(())
    }

    /// The log below a checkpoint goes once the checkpoint is durable.
    pub(crate) fn check_state(&self, glimpse: &Glimpse<'_, Pbft>, ledger: &Ledger) -> Verdict {
        let (stable, durable) = (glimpse.core.stable(), ledger.disk(glimpse.process).stable);
        if stable > durable {
            let node = glimpse.node;
            return broken(
                STABLE,
                format!("{node} forgets up to {stable}; its disk knows {durable} to be stable"),
            );
        }
        Ok(())
    }
}
