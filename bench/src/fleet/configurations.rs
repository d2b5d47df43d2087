//! What each replica of a cluster is told before it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::bail;
use qlab_node::config::Config;
use qlab_node::keys::{self, Credentials, PublicKey};
use qlab_transport::Identity;

use super::FleetSpec;

/// A configuration for every seat, with an identity made for it, and what the client needs to be believed by them.
pub(super) fn configurations(
    spec: &FleetSpec,
    client: &Identity,
) -> anyhow::Result<(Vec<Config>, Option<Credentials>)> {
    if spec.replicas == 0 {
        bail!("a cluster has at least one replica");
    }
    let made: Vec<(PathBuf, Identity)> =
        (0..spec.replicas).map(|node| identity(&spec.dir, node)).collect::<anyhow::Result<_>>()?;
    let (paths, identities): (Vec<_>, Vec<_>) = made.into_iter().unzip();
    let credentials = keys::credentials(&spec.system, &spec.options, &identities, client)?;
    let fingerprints: Vec<_> = identities.iter().map(Identity::fingerprint).collect();
    let replica_keys: Vec<_> = identities.iter().map(PublicKey::of).collect();
    let configs = (0..).zip(paths).map(|(node, path)| Config {
        cluster: format!("qlab-{}", std::process::id()),
        node,
        system: spec.system.clone(),
        options: spec.options.clone(),
        machine: spec.machine.name().to_owned(),
        identity: path,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        replicas: fingerprints.clone(),
        clients: vec![client.fingerprint()],
        replica_keys: replica_keys.clone(),
        client_keys: vec![PublicKey::of(client)],
        data: spec.dir.join(format!("journal-{node}")),
        durability: spec.durability.clone(),
        first_start: true,
        seed: spec.seed.wrapping_add(u64::from(node)),
        emulated_link: spec.emulated_link,
        oscillator: spec.oscillators.get(usize::from(node)).copied().unwrap_or_default(),
    });
    Ok((configs.collect(), credentials))
}

fn identity(dir: &Path, node: u16) -> anyhow::Result<(PathBuf, Identity)> {
    let path = dir.join(format!("replica-{node}.key"));
    let identity = Identity::generate()?;
    identity.save(&path)?;
    Ok((path, identity))
}
