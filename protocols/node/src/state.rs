//! The state machine and what it is asked to do.

use bytes::Bytes;
use qlab_kernel::{Chain, Commit, Index};
use qlab_machines::{Kv, RestoreError, Service};

use crate::clients::Clients;

/// The key-value service, counted.
#[derive(Default)]
pub(crate) struct State {
    service: Service<Kv>,
    pub(crate) commands: u64,
    pub(crate) entries: u64,
    pub(crate) queries: u64,
    pub(crate) images: u64,
}

impl State {
    /// Does what was committed. An image, if that was asked for, is to be handed back to the core.
    pub(crate) fn execute(
        &mut self,
        commit: Commit,
        clients: &mut Clients,
    ) -> Result<Option<(Index, Bytes)>, RestoreError> {
        match commit {
            Commit::Apply { index, batch } => {
                self.service.apply(index, &batch, clients);
                self.entries += 1;
                self.commands += batch.commands() as u64;
            }
            Commit::Query { batch, .. } => {
                // Answered by session, wherever that asked last, like everything else.
                self.service.query(&batch, clients);
                self.queries += batch.commands() as u64;
            }
            Commit::Capture => {
                self.images += 1;
                return Ok(Some((self.chain().index, self.service.capture())));
            }
            Commit::Restore { index, image } => {
                self.images += 1;
                self.service.restore(index, image)?;
            }
        }
        Ok(None)
    }

    pub(crate) fn chain(&self) -> Chain {
        self.service.chain()
    }
}
