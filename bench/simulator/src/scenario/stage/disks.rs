//! Disks finish, processes end and begin.

use qlab_journal::FaultDisk;
use qlab_journal::fault_disk::{Fate, SECTOR_BYTES};
use qlab_kernel::NodeId;

use super::{Stage, Trouble, journal};
use crate::laws::Laws;
use crate::scenario::actor::Actor;
use crate::scenario::command::{Answered, Crash};

impl<S: Actor> Stage<S> {
    /// A replica's disk finishes.
    pub(crate) fn sync(&mut self, node: NodeId) -> Result<(), Trouble> {
        let process = self.awake(node)?;
        let running = self.replicas[process].running.as_mut().expect("it is awake");
        running.commit().map_err(|error| journal(&error))?;
        self.laws.synced(process, running.durable());
        self.burst(node, Vec::new())
    }

    /// A process ends.
    pub(crate) fn crash(&mut self, node: NodeId, crash: Crash) -> Result<(), Trouble> {
        let process = self.place(node)?;
        let replica = &mut self.replicas[process];
        let Some(running) = &mut replica.running else {
            return Err(Trouble::Impossible(format!("{node} is down already")));
        };
        if crash != Crash::Idle {
            if !running.wants_commit() {
                return Err(Trouble::Impossible(format!("{node} has nothing to write")));
            }
            replica.disk = std::mem::take(&mut replica.disk).stop_after(1);
            running.commit().expect_err("one operation is the write, and the sync fails");
        }
        replica.running = None;
        let mut kept_bytes = if let Crash::Torn { bytes } = crash { bytes } else { usize::MAX };
        replica.disk.lose_power(|| torn(&mut kept_bytes));
        replica.is_paused = false;
        self.laws.ended(process);
        Laws::<S>::ended(&mut self.common, process);
        Ok(())
    }

    /// It starts again; from an empty disk only if `anyway`.
    pub(crate) fn restart(&mut self, node: NodeId, anyway: bool) -> Result<(), Trouble> {
        let process = self.down(node)?;
        self.answered = Answered::Not;
        if self.replicas[process].disk.segments().is_empty() && !anyway {
            self.refuse(format!("{node} does not start: it has run before, but its disk is empty"));
            return Ok(());
        }
        self.start(node, Vec::new())
    }

    /// Its disk is replaced by an empty one.
    pub(crate) fn wipe(&mut self, node: NodeId) -> Result<(), Trouble> {
        let process = self.down(node)?;
        self.replicas[process].disk = FaultDisk::default();
        Ok(())
    }

    /// A process stands still.
    pub(crate) fn pause(&mut self, node: NodeId) -> Result<(), Trouble> {
        let process = self.awake(node)?;
        self.replicas[process].is_paused = true;
        Ok(())
    }

    /// It goes on.
    pub(crate) fn resume(&mut self, node: NodeId) -> Result<(), Trouble> {
        let process = self.place(node)?;
        if std::mem::take(&mut self.replicas[process].is_paused) {
            return Ok(());
        }
        Err(Trouble::Impossible(format!("{node} is not paused")))
    }
}

/// The fate of the next sector of a write of which the first bytes are kept.
fn torn(kept_bytes: &mut usize) -> Fate {
    let bytes = (*kept_bytes).min(SECTOR_BYTES);
    *kept_bytes -= bytes;
    match bytes {
        0 => Fate::Lost,
        SECTOR_BYTES => Fate::Kept,
        bytes => Fate::Torn { bytes },
    }
}
