//! The state machine and what it is asked to do.

use bytes::Bytes;
use qlab_kernel::{Batch, Chain, Commit, Index, Time};
use qlab_machines::{Application, MachineKind, RestoreError};

use crate::clients::Clients;
use crate::clock;

/// The machine that is replicated, counted.
pub(crate) struct State {
    application: Application,
    pub(crate) commands: u64,
    pub(crate) entries: u64,
    pub(crate) queries: u64,
    pub(crate) images: u64,
}

impl State {
    pub(crate) fn new(kind: MachineKind) -> Self {
        Self { application: Application::new(kind), commands: 0, entries: 0, queries: 0, images: 0 }
    }

    /// Does what was committed. An image, if that was asked for, is to be handed back to the core.
    pub(crate) fn execute(
        &mut self,
        commit: Commit,
        clients: &mut Clients,
    ) -> Result<Option<(Index, Bytes)>, RestoreError> {
        match commit {
            Commit::Apply { index, batch } => {
                self.application.apply(index, &batch, clients);
                self.entries += 1;
                self.commands += batch.commands() as u64;
            }
            Commit::Query { batch, .. } => {
                // Answered by session, wherever that asked last, like everything else.
                self.application.query(&batch, clock::now(), clients);
                self.queries += batch.commands() as u64;
            }
            Commit::Capture => {
                self.images += 1;
                return Ok(Some((self.chain().index, self.application.capture())));
            }
            Commit::Restore { index, image } => {
                self.images += 1;
                self.application.restore(index, image)?;
            }
        }
        Ok(None)
    }

    /// After everything that a burst has brought about.
    pub(crate) fn conclude(&mut self, clients: &mut Clients) {
        self.application.conclude(clock::now(), clients);
    }

    /// What this replica asks for on its own account if it leads.
    pub(crate) fn propose(&mut self, now: Time) -> Option<Batch> {
        self.application.propose(now)
    }

    /// When a replica that leads is to be asked for that again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.application.deadline()
    }

    pub(crate) fn chain(&self) -> Chain {
        self.application.chain()
    }
}
