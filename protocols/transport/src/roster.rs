//! Who belongs to a cluster: which keys are replicas and where they listen, which keys are clients.

use std::net::SocketAddr;

use qlab_kernel::{NodeId, NodeSet};

use crate::Fingerprint;

/// Bytes of a cluster's name.
pub const CLUSTER_BYTES_MAX: usize = 64;

/// Why a roster is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// The name does not fit into a protocol name on the wire.
    #[error("cluster name {0:?} must have 1 to {CLUSTER_BYTES_MAX} graphic ASCII characters")]
    Name(String),
    /// A seat number is taken twice.
    #[error("replica {0} is listed twice: seat numbers must differ")]
    SeatTaken(NodeId),
    /// A seat number is too large.
    #[error("replica {0} is out of range: seats go from 0 to 63")]
    SeatOutOfRange(NodeId),
    /// A key stands for two.
    #[error("key {0} is listed twice: everyone needs a key of their own")]
    KeyTaken(Fingerprint),
}

/// A replica's seat, key and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaEntry {
    /// Its seat number, 0 to 63.
    pub node: NodeId,
    /// Its key.
    pub fingerprint: Fingerprint,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What a connection's key proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The replica of this seat.
    Replica(NodeId),
    /// The client at this place in the roster.
    Client(usize),
}

/// The members of a cluster and those who may ask it things. Fixed for an endpoint's life.
#[derive(Clone, Debug)]
pub struct Roster {
    cluster: String,
    replicas: Vec<ReplicaEntry>,
    clients: Vec<Fingerprint>,
}

impl Roster {
    /// A roster in which every seat and key occurs once.
    pub fn new(
        cluster: impl Into<String>,
        replicas: Vec<ReplicaEntry>,
        clients: Vec<Fingerprint>,
    ) -> Result<Self, RosterError> {
        let roster = Self { cluster: cluster.into(), replicas, clients };
        roster.check_name()?;
        roster.check_seats()?;
        roster.check_keys()?;
        Ok(roster)
    }

    /// The cluster's name: part of the protocol names on the wire, so that clusters never mix.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// All replicas as listed.
    #[must_use]
    pub fn replicas(&self) -> &[ReplicaEntry] {
        &self.replicas
    }

    /// The seats that are taken.
    #[must_use]
    pub fn members(&self) -> NodeSet {
        self.replicas.iter().map(|replica| replica.node).collect()
    }

    /// A replica by its seat.
    #[must_use]
    pub fn replica(&self, node: NodeId) -> Option<&ReplicaEntry> {
        self.replicas.iter().find(|replica| replica.node == node)
    }

    /// Who holds a key; `None` for a stranger.
    #[must_use]
    pub fn role(&self, fingerprint: Fingerprint) -> Option<Role> {
        let replica = self.replicas.iter().find(|replica| replica.fingerprint == fingerprint);
        replica
            .map(|replica| Role::Replica(replica.node))
            .or_else(|| self.clients.iter().position(|client| *client == fingerprint).map(Role::Client))
    }

    fn check_name(&self) -> Result<(), RosterError> {
        let fits = (1..=CLUSTER_BYTES_MAX).contains(&self.cluster.len());
        let graphic = self.cluster.bytes().all(|byte| byte.is_ascii_graphic());
        if fits && graphic { Ok(()) } else { Err(RosterError::Name(self.cluster.clone())) }
    }

    fn check_seats(&self) -> Result<(), RosterError> {
        let mut seats = NodeSet::EMPTY;
        for ReplicaEntry { node, .. } in &self.replicas {
            if usize::from(node.0) >= NodeSet::CAPACITY {
                return Err(RosterError::SeatOutOfRange(*node));
            }
            if !seats.insert(*node) {
                return Err(RosterError::SeatTaken(*node));
            }
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), RosterError> {
        let replicas = self.replicas.iter().map(|replica| replica.fingerprint);
        let mut keys: Vec<Fingerprint> = replicas.chain(self.clients.iter().copied()).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1]);
        twice.map_or(Ok(()), |pair| Err(RosterError::KeyTaken(pair[0])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(node: u16, key: u8) -> ReplicaEntry {
        let address = SocketAddr::from(([127, 0, 0, 1], 1000 + node));
        ReplicaEntry { node: NodeId(node), fingerprint: Fingerprint::of(&[key]), address }
    }

    #[test]
    fn keys_prove_roles() {
        let roster = Roster::new("c", vec![entry(0, 0), entry(2, 2)], vec![Fingerprint::of(&[9])]).unwrap();
        assert_eq!(roster.role(Fingerprint::of(&[2])), Some(Role::Replica(NodeId(2))));
        assert_eq!(roster.role(Fingerprint::of(&[9])), Some(Role::Client(0)));
        assert_eq!(roster.role(Fingerprint::of(&[7])), None);
    }

    #[test]
    fn ambiguous_rosters_are_refused() {
        let twice = Roster::new("c", vec![entry(1, 0), entry(1, 1)], vec![]);
        assert_eq!(twice.unwrap_err(), RosterError::SeatTaken(NodeId(1)));
        let shared = Roster::new("c", vec![entry(0, 5)], vec![Fingerprint::of(&[5])]);
        assert_eq!(shared.unwrap_err(), RosterError::KeyTaken(Fingerprint::of(&[5])));
        let far = Roster::new("c", vec![entry(64, 0)], vec![]);
        assert_eq!(far.unwrap_err(), RosterError::SeatOutOfRange(NodeId(64)));
        for name in ["", "two words", &"x".repeat(65)] {
            assert_eq!(Roster::new(name, vec![], vec![]).unwrap_err(), RosterError::Name(name.to_owned()));
        }
    }
}
