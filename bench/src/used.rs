//! What a replica has used: the costs behind a row.

/// What one replica has used since its start. `None` where it does not tell.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// Whether it leads.
    pub leads: Option<bool>,
    /// Disk syncs.
    pub syncs: Option<u64>,
    /// Messages to other replicas, and from and to clients.
    pub messages: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// States it sent to repair copies, in whichever way.
    pub repairs: Option<u64>,
    /// Values it decided by itself.
    pub decisions: Option<u64>,
    /// Questions that it asked of a quorum for those.
    pub round_trips: Option<u64>,
}
