//! One row: a cluster started, loaded, watched, judged and ended.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use qlab_kernel::{NodeId, Request};
use qlab_loadgen::run::{Moment, Outcome, Spec};
use qlab_loadgen::targets::etcd::Etcd;
use qlab_loadgen::targets::quic::Quic;
use qlab_loadgen::targets::voting::Voting;
use qlab_machines::MachineKind;
use qlab_node::keys::Credentials;
use qlab_node::systems;
use qlab_report::{Freshness, Verdict};
use qlab_transport::{ClientEndpoint, Identity, Options, Roster, Socket};

use crate::clock::{Stopwatch, wait};
use crate::cluster::{self, Cluster};
use crate::eventual::{self, Staleness};
use crate::fleet::Fleet;
use crate::interrupt::Interrupt;
use crate::nemesis::{Nemesis, Strike};
use crate::plan::Point;
use crate::used::Used;
use crate::verdict::{self, Judgement};

/// How often somebody looks whether all replicas are alive.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Longest that replicas may take to be level after the load.
const LEVEL_TIME_MAX: Duration = Duration::from_secs(20);
/// Bytes of requests that one connection may have waiting.
const CLIENT_QUEUE_BYTES: usize = 64 << 20;

/// What came of one measurement.
pub struct Measurement {
    /// What clients saw.
    pub outcome: Outcome,
    /// What each replica used inside the window; empty if the window was never reached, or a replica was killed in it.
    pub used: Vec<Used>,
    /// What became of the faults that were asked for.
    pub strikes: Vec<Strike>,
    /// Was it right?
    pub judgement: Judgement,
    /// How fresh reads were where they may be stale; the costs of repair are in `used`.
    pub freshness: Freshness,
    /// What people should know of it.
    pub remarks: Vec<String>,
}

/// Starts `point`'s cluster in `dir`, puts `spec`'s load on it, judges what happened, ends the cluster.
pub fn measure(
    point: &Point,
    spec: &Spec,
    program: &Path,
    dir: PathBuf,
    interrupt: &Interrupt,
) -> anyhow::Result<Measurement> {
    let mut cluster = Cluster::start(point, program, dir, spec.seed)?;
    let mut edges: Vec<Vec<Used>> = Vec::new();
    let mut nemesis = Nemesis::new(&point.faults, point.system.has_leader());
    let outcome = drive(&mut cluster, point.connections as usize, spec, interrupt, |cluster, moment| {
        match moment {
            Some((Moment::MeasureStart, now_ns)) => {
                nemesis.begin(now_ns);
                edges.push(cluster.used()?);
            }
            Some((Moment::MeasureEnd, _)) => {
                ours(cluster).map_or(Ok(()), |fleet| nemesis.heal(fleet))?;
                edges.push(cluster.used()?);
            }
            _ => {}
        }
        let next = ours(cluster).map_or(Ok(None), |fleet| nemesis.act(fleet))?;
        Ok(next.unwrap_or(WATCH_INTERVAL))
    })?;
    let (mut remarks, mut freshness) = (Vec::new(), Freshness::default());
    let mut judgement = match (&outcome.sightings, point.machine.kind) {
        (Some(sightings), _) => {
            let guarantee = systems::dynamo_guarantee(&cluster::options(point), point.replicas as usize)?;
            freshness = Staleness::of(&outcome.history, sightings).told(guarantee.name);
            eventual::judge(&outcome.history, sightings, guarantee.may_lose)
        }
        (None, MachineKind::Kv) => verdict::judge(&outcome.history, point.system.model()),
        (None, MachineKind::Locks) => verdict::judge_locks(&outcome.history),
    };
    if spec.verify && !outcome.verified {
        judgement.doubt("not every key could be read after the load");
    }
    if let Some(fleet) = ours(&mut cluster)
        && let Err(error) = judge_agreement(fleet, &nemesis.liars(), &mut judgement)
    {
        judgement.doubt(&format!("the replicas could not be compared: {error:#}"));
    }
    remarks.extend(cluster.stop().err().map(|error| format!("{error:#}")));
    remarks.extend((!judgement.explanation.is_empty()).then(|| judgement.explanation.clone()));
    let used = match &edges[..] {
        // The counters of a killed replica began again.
        [before, after] if !point.faults.kills() => difference(before, after),
        _ => Vec::new(),
    };
    Ok(Measurement { outcome, used, strikes: nemesis.into_strikes(), judgement, freshness, remarks })
}

/// Puts a load on a cluster. `watch` hears of every moment of the load with its time, and of nothing in between; it may disturb
/// the cluster, and says after which time, at most [`WATCH_INTERVAL`], it is to be called again. The first failure, its own or a
/// replica's, ends the load.
pub fn drive(
    cluster: &mut Cluster,
    connections: usize,
    spec: &Spec,
    interrupt: &Interrupt,
    mut watch: impl FnMut(&mut Cluster, Option<(Moment, u64)>) -> anyhow::Result<Duration>,
) -> anyhow::Result<Outcome> {
    let target = Target::of(cluster)?;
    let (told, moments) = mpsc::channel();
    let load_ended_early = Interrupt::default();
    std::thread::scope(|scope| {
        let ended = load_ended_early.clone();
        let load = std::thread::Builder::new().name("load".into()).spawn_scoped(scope, move || {
            load(target, connections, spec, told, async {
                tokio::select! {
                    () = interrupt.asked() => {}
                    () = ended.asked() => {}
                }
            })
        });
        let load = load.context("cannot start the load generator's thread")?;
        let mut patience = Ok(WATCH_INTERVAL);
        while let Ok(wait) = &patience {
            let moment = match moments.recv_timeout(WATCH_INTERVAL.min(*wait)) {
                Ok(moment) => Some(moment),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            patience = cluster.expect_alive().and_then(|()| watch(cluster, moment));
        }
        let failure = patience.err();
        if failure.is_some() {
            load_ended_early.ask();
        }
        let outcome = load.join().map_err(|_| anyhow!("the load generator panicked"))?;
        failure.map_or(outcome, Err)
    })
}

/// The laboratory's own replicas, which can be disturbed and compared; etcd's cannot.
fn ours(cluster: &mut Cluster) -> Option<&mut Fleet> {
    match cluster {
        Cluster::Ours(fleet) => Some(fleet),
        Cluster::Etcd(_) => None,
    }
}

/// Whom the load is for.
enum Target {
    Ours { roster: Roster, identity: Box<Identity>, credentials: Option<Credentials> },
    Etcd(Vec<std::net::SocketAddr>),
}

impl Target {
    fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        Ok(match cluster {
            Cluster::Ours(fleet) => Self::Ours {
                roster: fleet.roster()?,
                identity: Box::new(fleet.client().clone()),
                credentials: fleet.credentials().cloned(),
            },
            Cluster::Etcd(cluster) => Self::Etcd(cluster.clients().to_vec()),
        })
    }
}

/// The load generator: one thread with a runtime of its own.
fn load(
    target: Target,
    connections: usize,
    spec: &Spec,
    told: mpsc::Sender<(Moment, u64)>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let observe = move |moment, now_ns| _ = told.send((moment, now_ns));
    runtime.block_on(async {
        match target {
            Target::Ours { roster, identity, credentials } => {
                let nodes: Vec<NodeId> = roster.replicas().iter().map(|replica| replica.node).collect();
                let socket =
                    Socket::bind(([127, 0, 0, 1], 0).into()).context("cannot open the client's socket")?;
                let options = Options { client_queue_bytes_max: CLIENT_QUEUE_BYTES, ..Options::default() };
                let endpoint = ClientEndpoint::start(socket, *identity, roster, options)?;
                let outcome = match credentials {
                    None => {
                        let quic = Quic::start(endpoint.clone(), nodes, connections);
                        qlab_loadgen::run::run(quic, spec, observe, stop).await
                    }
                    Some(Credentials { prover, matching }) => {
                        let prove = move |request: &Request| prover.prove(request);
                        let replicas = u16::try_from(nodes.len()).context("replicas fit a node set")?;
                        let voting = Voting::start(endpoint.clone(), replicas, matching, connections, prove);
                        qlab_loadgen::run::run(voting, spec, observe, stop).await
                    }
                };
                endpoint.close().await;
                Ok(outcome?)
            }
            Target::Etcd(members) => {
                let etcd = Etcd::start(members, connections);
                Ok(qlab_loadgen::run::run(etcd, spec, observe, stop).await?)
            }
        }
    })
}

/// Waits until all replicas have applied the same index, then compares what they applied. Nothing is expected of liars.
fn judge_agreement(fleet: &mut Fleet, liars: &[usize], judgement: &mut Judgement) -> anyhow::Result<()> {
    let waited = Stopwatch::start();
    loop {
        let mut statuses = fleet.statuses()?;
        statuses.retain(|status| !liars.contains(&usize::from(status.node)));
        let agreement = verdict::convergence(&statuses).and_then(|()| verdict::agreement(&statuses));
        match agreement {
            Some(Ok(())) => return Ok(()),
            Some(Err(difference)) => {
                judgement.verdict = Verdict::Violated;
                judgement.explanation += &difference;
                return Ok(());
            }
            None if waited.elapsed() > LEVEL_TIME_MAX => {
                judgement.doubt(&format!("the replicas are not level after {LEVEL_TIME_MAX:?}"));
                return Ok(());
            }
            None => wait(WATCH_INTERVAL),
        }
    }
}

fn difference(before: &[Used], after: &[Used]) -> Vec<Used> {
    let grown = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
    let pairs = before.iter().zip(after);
    let differences = pairs.map(|(before, after)| Used {
        cpu_us: after.cpu_us.saturating_sub(before.cpu_us),
        // A replica that led for a part of the window is neither.
        leads: after.leads.filter(|leads| before.leads == Some(*leads)),
        syncs: grown(before.syncs, after.syncs),
        messages: grown(before.messages, after.messages),
        bytes: grown(before.bytes, after.bytes),
        repairs: grown(before.repairs, after.repairs),
        decisions: grown(before.decisions, after.decisions),
        round_trips: grown(before.round_trips, after.round_trips),
    });
    differences.collect()
}
