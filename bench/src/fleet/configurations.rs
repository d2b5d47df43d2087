//! What each replica of a cluster is told before it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::bail;
use qlab_node::config::Config;
use qlab_transport::Identity;

use super::FleetSpec;

/// A configuration for every seat, with an identity made for it.
pub(super) fn configurations(spec: &FleetSpec, client: &Identity) -> anyhow::Result<Vec<Config>> {
    if spec.replicas == 0 {
        bail!("a cluster has at least one replica");
    }
    let identities: Vec<(PathBuf, Identity)> =
        (0..spec.replicas).map(|node| identity(&spec.dir, node)).collect::<anyhow::Result<_>>()?;
    let keys: Vec<_> = identities.iter().map(|(_, identity)| identity.fingerprint()).collect();
    let configs = (0..).zip(identities).map(|(node, (path, _))| Config {
        cluster: format!("qlab-{}", std::process::id()),
        node,
        system: spec.system.clone(),
        options: spec.options.clone(),
        identity: path,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        replicas: keys.clone(),
        clients: vec![client.fingerprint()],
        data: spec.dir.join(format!("journal-{node}")),
        durability: spec.durability.clone(),
        first_start: true,
        seed: spec.seed.wrapping_add(u64::from(node)),
        emulated_link: spec.emulated_link,
    });
    Ok(configs.collect())
}

fn identity(dir: &Path, node: u16) -> anyhow::Result<(PathBuf, Identity)> {
    let path = dir.join(format!("replica-{node}.key"));
    let identity = Identity::generate()?;
    identity.save(&path)?;
    Ok((path, identity))
}
