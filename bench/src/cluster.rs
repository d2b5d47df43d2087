//! What is measured: our replicas, or somebody else's, behind one face.

use std::path::{Path, PathBuf};

use anyhow::Context;
use qlab_node::control::Status;
use qlab_report::Durability;

use crate::etcd::EtcdCluster;
use crate::fleet::{Fleet, FleetSpec};
use crate::plan::{Point, System, option_value};
use crate::used::Used;

/// A running cluster.
pub enum Cluster {
    /// The laboratory's own.
    Ours(Box<Fleet>),
    /// etcd's.
    Etcd(EtcdCluster),
}

impl Cluster {
    /// Starts what `point` asks for, in an empty folder `dir`, as processes of `program`.
    pub fn start(point: &Point, program: &Path, dir: PathBuf, seed: u64) -> anyhow::Result<Self> {
        let replicas = u16::try_from(point.replicas).context("replicas fit a node set")?;
        if point.system == System::Etcd {
            return Ok(Self::Etcd(EtcdCluster::start(usize::from(replicas), program, dir)?));
        }
        let durability = match point.durability {
            Durability::Fdatasync => "fdatasync",
            Durability::Buffered => "buffered",
            Durability::Memory => "memory",
        };
        let spec = FleetSpec {
            program: program.to_owned(),
            dir,
            system: point.system.name().into(),
            options: options(point),
            machine: point.machine.kind,
            replicas,
            durability: durability.into(),
            seed,
            emulated_link: point.faults.needs_links(),
            byzantine: point.faults.lies(),
            oscillators: Vec::new(),
        };
        Ok(Self::Ours(Box::new(Fleet::start(spec)?)))
    }

    /// What every replica has used so far.
    pub fn used(&mut self) -> anyhow::Result<Vec<Used>> {
        match self {
            Self::Ours(fleet) => Ok(fleet.statuses()?.iter().map(used).collect()),
            Self::Etcd(cluster) => cluster.used(),
        }
    }

    /// Fails if a replica has ended by itself.
    pub fn expect_alive(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Ours(fleet) => fleet.expect_alive(),
            Self::Etcd(cluster) => cluster.expect_alive(),
        }
    }

    /// Ends it and removes its folder.
    pub fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Ours(fleet) => fleet.stop(),
            Self::Etcd(cluster) => cluster.stop(),
        }
    }
}

/// A point's switches for its own system, as the protocol's options.
pub fn options(point: &Point) -> toml::Table {
    let prefix = format!("{}.", point.system);
    let own = point.switches.iter().filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?, value)));
    own.map(|(name, value)| (name.to_owned(), option_value(value))).collect()
}

/// What replicas count whose copies agree later: repair on reading, handing over, comparing trees.
const REPAIRS: [&str; 3] = ["repairs", "handoffs", "exchanged"];

fn used(status: &Status) -> Used {
    let transport = &status.transport;
    Used {
        cpu_us: status.cpu_us,
        leads: Some(status.leader == Some(status.node)),
        syncs: Some(status.journal.syncs),
        messages: Some(transport.peer_frames_out + transport.client_frames_in + transport.client_frames_out),
        repairs: REPAIRS
            .iter()
            .filter_map(|name| status.counters.get(*name).copied())
            .reduce(u64::wrapping_add),
        decisions: status.counters.get("decisions").copied(),
        round_trips: status.counters.get("round_trips").copied(),
        bytes: Some(transport.peer_bytes_out + transport.client_bytes_in + transport.client_bytes_out),
    }
}
