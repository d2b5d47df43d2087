//! Raft: leader election, log replication, reads, snapshots.
