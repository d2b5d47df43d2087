//! A replica process from its first line to its last.

use std::collections::VecDeque;
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use qlab_clocks::sync::Clock;
use qlab_gossip::Gossip;
use qlab_journal::{
    Disk, Durability, FileDisk, Journal, JournalOptions, JournalThread, MemoryDisk, Pressure,
};
use qlab_kernel::{Effects, Lsn, NodeId, NodeSet, Protocol, Seat, Wire};
use qlab_machines::MachineKind;
use qlab_paxos::{MultiPaxos, Paxos};
use qlab_pbft::Pbft;
use qlab_quorum::{Abd, Dynamo};
use qlab_raft::Raft;
use qlab_transport::{Endpoint, Identity, Inbox, LinkControl, Options, ReplicaEntry, Roster, Socket};
use qlab_unreplicated::Unreplicated;
use tokio::sync::mpsc;

use crate::clients::Clients;
use crate::config::Config;
use crate::control::{Order, Report, Status, report};
use crate::host::{self, Host};
use crate::observed::Observations;
use crate::state::State;
use crate::{clock, keys, systems};

/// Orders that may wait for the replica.
const ORDERS_MAX: usize = 64;

/// Runs the replica that `config` describes until it is told to stop or its standard input closes. An error has been
/// reported on standard output as well.
pub fn run(config: &Path) -> anyhow::Result<()> {
    told(read(config).and_then(|config| {
        let systems = async {
            match config.system.as_str() {
                Unreplicated::NAME => {
                    serve::<Unreplicated>(&config, systems::unreplicated(&config.options)?, no_one).await
                }
                Raft::NAME => serve::<Raft>(&config, systems::raft(&config.options)?, no_one).await,
                MultiPaxos::NAME => {
                    let options = systems::multi_paxos(&config.options, config.replicas.len())?;
                    serve::<MultiPaxos>(&config, options, no_one).await
                }
                Paxos::NAME => serve::<Paxos>(&config, systems::paxos(&config.options)?, no_one).await,
                Pbft::NAME => serve::<Pbft>(&config, pbft(&config)?, no_one).await,
                Abd::NAME => {
                    serve::<Abd>(&config, systems::abd(&config.options, config.replicas.len())?, no_one).await
                }
                Dynamo::NAME => {
                    let options = systems::dynamo(&config.options, config.replicas.len())?;
                    serve::<Dynamo>(&config, options, no_one).await
                }
                Gossip::NAME => serve::<Gossip>(&config, systems::gossip(&config.options)?, no_one).await,
                Clock::NAME => {
                    let options = systems::clock(&config.options, config.replicas.len())?;
                    serve::<Clock>(&config, options, no_one).await
                }
                other => Err(systems::OptionsError::UnknownSystem(other.into()).into()),
            }
        };
        block_on(systems)
    }))
}

/// The same with a protocol of the caller's, such as a wrapper around one of these, with what it makes of the configuration.
/// Lines of standard input for which `takes` answers true are its own, and no orders to the host.
pub fn run_as<P: Protocol>(
    config: &Path,
    options: impl FnOnce(&Config) -> anyhow::Result<P::Config>,
    takes: impl FnMut(&str) -> bool + Send + 'static,
) -> anyhow::Result<()> {
    told(read(config).and_then(|config| block_on(serve::<P>(&config, options(&config)?, takes))))
}

/// PBFT as a configuration has it, with this replica's keys.
pub fn pbft(config: &Config) -> anyhow::Result<qlab_pbft::Config> {
    let keys = keys::keyring(config, &Identity::load(&config.identity)?)?;
    Ok(systems::pbft(&config.options, config.replicas.len(), keys)?)
}

/// All lines are orders.
fn no_one(_: &str) -> bool {
    false
}

fn told(outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    if let Err(error) = &outcome {
        report(&Report::Failed { reason: format!("{error:#}") });
    }
    outcome
}

fn read(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn block_on(replica: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // Killed whichever way, whoever started this process leaves no replica behind.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot ask to end with the parent process")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime: too few file descriptors?")?;
    runtime.block_on(replica)
}

async fn serve<P: Protocol>(
    config: &Config,
    options: P::Config,
    takes: impl FnMut(&str) -> bool + Send + 'static,
) -> anyhow::Result<()> {
    let socket = Socket::bind(config.listen)
        .with_context(|| format!("cannot listen on {}: is the port in use?", config.listen))?;
    report(&Report::Listening { address: socket.local_address() });
    let mut orders = read_orders(takes)?;
    let addresses = match orders.recv().await {
        Some(Order::Start { addresses }) => addresses,
        Some(other) => bail!("the first order must be to start, not {other:?}"),
        None => return Ok(()),
    };
    let link = config.emulated_link.then(|| LinkControl::new(config.seed));
    let (endpoint, inbox) = connect(config, socket, &addresses, link.clone())?;
    let durability: Durability = config.durability.parse()?;
    match durability {
        Durability::Memory => {
            if !config.first_start {
                bail!("with durability memory nothing survives a restart: start the whole cluster anew");
            }
            open::<P, _>(config, options, MemoryDisk::default(), durability, (endpoint, inbox), link, orders)
                .await
        }
        Durability::Fdatasync | Durability::Buffered => {
            check_start(config)?;
            let disk = FileDisk::open(&config.data)
                .with_context(|| format!("cannot open the journal in {}", config.data.display()))?;
            open::<P, _>(config, options, disk, durability, (endpoint, inbox), link, orders).await
        }
    }
}

async fn open<P: Protocol, D: Disk + Send + 'static>(
    config: &Config,
    options: P::Config,
    disk: D,
    durability: Durability,
    (endpoint, inbox): (Endpoint, Inbox),
    link: Option<LinkControl>,
    orders: mpsc::Receiver<Order>,
) -> anyhow::Result<()> {
    let identity =
        qlab_journal::Identity { cluster: cluster_number(&config.cluster), node: NodeId(config.node) };
    let journal_options = JournalOptions { durability, ..JournalOptions::new(identity) };
    let (journal, records) = Journal::open(disk, journal_options).context("cannot recover the journal")?;
    let last = journal.durable();
    let mut effects = Effects::new(last);
    let seat =
        Seat { me: NodeId(config.node), members: NodeSet::first(config.replicas.len()), seed: config.seed };
    let records = decode::<P>(records)?;
    let now = config.oscillator.read(clock::now());
    let core = P::recover(seat, &options, now, records.into_iter(), &mut effects);
    let (journal, durable) = run_journal(journal, last)?;
    let mut clients = Clients::new(endpoint.clone(), P::EVERY_REPLICA_ANSWERS);
    let mut state = State::new(machine(config)?);
    for commit in effects.take_commits() {
        state.execute(commit, &mut clients).context("the recovered state cannot be restored")?;
    }
    report(&Report::Ready { recovered_index: state.chain().index.0 });
    let host = Host {
        core,
        effects,
        state,
        clients,
        endpoint,
        inbox,
        journal_counters: journal.counters(),
        journal,
        durability: durable,
        link,
        orders,
        gated: VecDeque::new(),
        gated_replies: Vec::new(),
        durable: last,
        pressure: Pressure::Room,
        counts: Status::default(),
        observations: Observations::default(),
        oscillator: config.oscillator,
        next: Vec::new(),
    };
    host.run().await
}

/// The machine that is to be replicated, if this system can carry it.
fn machine(config: &Config) -> anyhow::Result<MachineKind> {
    let kind = config.machine.parse()?;
    systems::check_machine(&config.system, kind)?;
    Ok(kind)
}

/// A replica that has lost its journal has forgotten promises it made under this identity. Every start leaves a segment, so
/// a folder without any was never, or is no longer, this replica's.
fn check_start(config: &Config) -> anyhow::Result<()> {
    let data = config.data.display();
    let empty = std::fs::read_dir(&config.data).map_or(true, |mut entries| entries.next().is_none());
    if empty && !config.first_start {
        bail!(
            "{data} holds no journal although replica {} has run before: it must not rejoin as itself",
            config.node
        );
    }
    if !empty && config.first_start {
        bail!(
            "{data} is not empty although this is a first start: name another folder, or start it as a restart"
        );
    }
    Ok(())
}

fn connect(
    config: &Config,
    socket: Socket,
    addresses: &[SocketAddr],
    link: Option<LinkControl>,
) -> anyhow::Result<(Endpoint, Inbox)> {
    if addresses.len() != config.replicas.len() {
        bail!("{} addresses for {} replicas", addresses.len(), config.replicas.len());
    }
    let identity = Identity::load(&config.identity)?;
    let replicas = (0..).zip(config.replicas.iter().zip(addresses)).map(|(node, (fingerprint, address))| {
        ReplicaEntry { node: NodeId(node), fingerprint: *fingerprint, address: *address }
    });
    let roster = Roster::new(config.cluster.clone(), replicas.collect(), config.clients.clone())?;
    Ok(Endpoint::start(socket, identity, roster, Options { link, ..Options::default() })?)
}

fn decode<P: Protocol>(records: Vec<(Lsn, Bytes)>) -> anyhow::Result<Vec<(Lsn, P::Record)>> {
    let decoded = records.into_iter().map(|(lsn, bytes)| {
        let record = P::Record::decode_all(bytes);
        record
            .map(|record| (lsn, record))
            .with_context(|| format!("journal record {lsn} is none of {}'s", P::NAME))
    });
    decoded.collect()
}

fn run_journal<D: Disk + Send + 'static>(
    journal: Journal<D>,
    last: Lsn,
) -> anyhow::Result<(JournalThread, Arc<host::Durability>)> {
    let durability = Arc::<host::Durability>::default();
    durability.durable(last);
    let (ours, theirs) = (Arc::clone(&durability), Arc::clone(&durability));
    let thread = JournalThread::spawn(
        journal,
        move |lsn| ours.durable(lsn),
        move |error| theirs.failed(format!("{:#}", anyhow::Error::new(error))),
    );
    Ok((thread.context("cannot start the journal's thread")?, durability))
}

/// Reads orders on a thread of its own: standard input blocks.
fn read_orders(
    mut takes: impl FnMut(&str) -> bool + Send + 'static,
) -> anyhow::Result<mpsc::Receiver<Order>> {
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if takes(&line) {
                continue;
            }
            match serde_json::from_str(&line) {
                Ok(order) => {
                    if sender.blocking_send(order).is_err() {
                        return;
                    }
                }
                Err(error) => tracing::error!(%error, line, "an order without meaning is ignored"),
            }
        }
    };
    std::thread::Builder::new().name("orders".into()).spawn(read).context("cannot read orders")?;
    Ok(receiver)
}

/// A cluster's name as a number, for the journal's headers.
fn cluster_number(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}
