//! How fast updates spread among processes that gossip, what that costs, and whether they know who of them lives.
//!
//! Each update is the element of a grow-only set that a client puts at one node; every node says when it came to know it. All
//! processes of a host share one clock, so these moments can be compared with the moment at which the update was due. In the end
//! all nodes must hold what was put, to the byte.

mod figures;
mod writes;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use qlab_kernel::NodeId;
use qlab_loadgen::clock::monotonic_ns;
use qlab_machines::MachineKind;
use qlab_node::control::{Observation, Observed, Order, Status};
use qlab_report::study::GossipRun;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde::Deserialize;

use self::figures::Seen;
use self::writes::{Planned, Put};
use super::{OneOrMany, Slot, WATCH_INTERVAL, in_range, until};
use crate::clock::wait;
use crate::fleet::{Fleet, FleetSpec};
use crate::interrupt::Interrupt;

const NODES_MAX: u16 = 32;
/// Longest until everybody is connected with everybody and takes them for alive.
const ASSEMBLY_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest until the last update has reached everybody, and the last death.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Between what has been arranged and the first update.
const LEAD: Duration = Duration::from_millis(200);

/// A cell as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cell {
    name: String,
    nodes: OneOrMany<u16>,
    #[serde(default = "default_exchange")]
    exchange: OneOrMany<String>,
    #[serde(default = "default_fanout")]
    fanout: OneOrMany<u16>,
    #[serde(default = "default_round_interval_ms")]
    round_interval_ms: u64,
    #[serde(default = "default_probe_interval_ms")]
    probe_interval_ms: u64,
    #[serde(default = "default_probe_timeout_ms")]
    probe_timeout_ms: u64,
    #[serde(default = "default_updates_per_s")]
    updates_per_s: f64,
    #[serde(default = "default_update_bytes")]
    update_bytes: usize,
    #[serde(default)]
    kills: u16,
    #[serde(default)]
    partition: bool,
    #[serde(default)]
    loss_percent: u32,
}

/// One cluster.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) cell: String,
    nodes: u16,
    exchange: String,
    fanout: u16,
    round_interval_ms: u64,
    probe_interval_ms: u64,
    probe_timeout_ms: u64,
    updates_per_s: f64,
    update_bytes: usize,
    kills: u16,
    /// Whether one half cannot hear the other for a third of the time.
    partition: bool,
    loss_percent: u32,
}

fn default_exchange() -> OneOrMany<String> {
    OneOrMany::One("push-pull".into())
}

const fn default_fanout() -> OneOrMany<u16> {
    OneOrMany::One(3)
}

const fn default_round_interval_ms() -> u64 {
    100
}

const fn default_probe_timeout_ms() -> u64 {
    100
}

const fn default_probe_interval_ms() -> u64 {
    500
}

const fn default_updates_per_s() -> f64 {
    10.0
}

const fn default_update_bytes() -> usize {
    32
}

/// The clusters that a cell stands for.
pub(super) fn expand(cell: Cell) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    let (sizes, fanouts) = (cell.nodes.into_vec(), cell.fanout.into_vec());
    for exchange in cell.exchange.into_vec() {
        for nodes in &sizes {
            for fanout in &fanouts {
                points.push(Point {
                    cell: cell.name.clone(),
                    nodes: *nodes,
                    exchange: exchange.clone(),
                    fanout: *fanout,
                    round_interval_ms: cell.round_interval_ms,
                    probe_interval_ms: cell.probe_interval_ms,
                    probe_timeout_ms: cell.probe_timeout_ms,
                    updates_per_s: cell.updates_per_s,
                    update_bytes: cell.update_bytes,
                    kills: cell.kills,
                    partition: cell.partition,
                    loss_percent: cell.loss_percent,
                });
            }
        }
    }
    points.iter().try_for_each(Point::check).map_err(|reason| format!("cell {:?}: {reason}", cell.name))?;
    Ok(points)
}

impl Point {
    fn check(&self) -> Result<(), String> {
        in_range("nodes", self.nodes.into(), 2.0, NODES_MAX.into())?;
        in_range("kills", self.kills.into(), 0.0, f64::from(self.nodes - 1))?;
        in_range("updates_per_s", self.updates_per_s, 0.1, 10_000.0)?;
        in_range("update_bytes", self.update_bytes as f64, 8.0, 512.0)?;
        in_range("loss_percent", self.loss_percent.into(), 0.0, 90.0)?;
        qlab_node::systems::check("gossip", &self.options(), self.nodes.into()).map_err(|e| e.to_string())
    }

    fn options(&self) -> toml::Table {
        let integer = |value: u64| toml::Value::Integer(value.cast_signed());
        toml::Table::from_iter([
            ("exchange".to_owned(), self.exchange.clone().into()),
            ("fanout".to_owned(), integer(self.fanout.into())),
            ("round_interval_ms".to_owned(), integer(self.round_interval_ms)),
            ("probe_interval_ms".to_owned(), integer(self.probe_interval_ms)),
            ("probe_timeout_ms".to_owned(), integer(self.probe_timeout_ms)),
        ])
    }

    /// Those who will die: the highest seats. Nothing is put there, as what only the dead knew is lost.
    fn victims(&self) -> Vec<u16> {
        (self.nodes - self.kills..self.nodes).collect()
    }

    /// What is put where and when: gaps are equal, nodes drawn. Each node puts one element into a set at most, so that what it put
    /// is never told as part of something later.
    fn tape(&self, seed: u64, measure: Duration) -> Vec<Planned> {
        let mut chance = Pcg64::seed_from_u64(seed);
        let mut puts = vec![0_u32; self.nodes.into()];
        let count = (measure.as_secs_f64() * self.updates_per_s).floor().max(1.0) as u32;
        let planned = (0..count).map(|number| {
            let node = chance.random_range(0..self.nodes - self.kills);
            let set = &mut puts[usize::from(node)];
            *set += 1;
            let mut element = vec![0; self.update_bytes];
            element[..4].copy_from_slice(&number.to_le_bytes());
            Planned {
                node: NodeId(node),
                due: Duration::from_secs_f64(f64::from(number) / self.updates_per_s),
                name: format!("set {set}").into(),
                element: element.into(),
            }
        });
        planned.collect()
    }
}

/// Runs one cluster and says what was seen.
pub(super) fn observe(point: &Point, slot: Slot<'_>) -> anyhow::Result<GossipRun> {
    let mut fleet = Fleet::start(FleetSpec {
        program: slot.program.to_owned(),
        dir: slot.dir.to_owned(),
        system: "gossip".into(),
        options: point.options(),
        machine: MachineKind::Kv,
        replicas: point.nodes,
        durability: "fdatasync".into(),
        seed: slot.seed,
        emulated_link: point.loss_percent > 0 || point.partition,
        byzantine: false,
        oscillators: Vec::new(),
    })?;
    assemble(&mut fleet, Duration::from_millis(point.probe_interval_ms), slot.interrupt)?;
    if point.loss_percent > 0 {
        let rule = Order::Link { delay_ms: 0, jitter_ms: 0, loss: f64::from(point.loss_percent) / 100.0 };
        (0..fleet.replicas()).try_for_each(|node| fleet.order(node, &rule))?;
    }
    let before = fleet.statuses()?;
    let (puts, killed_at_ns) = disturb(&mut fleet, point, slot)?;
    let mut observations = Vec::new();
    let settled = until(&mut fleet, SETTLE_TIME_MAX, slot.interrupt, |fleet| {
        observations.extend(fleet.observations()?);
        let deaths = deaths_found(&observations, point);
        Ok((deaths && level(&fleet.statuses()?).is_some()).then_some(()))
    })?;
    observations.extend(fleet.observations()?);
    let after = fleet.statuses()?;
    fleet.stop()?;
    let seen = Seen { puts, observations, before, after, killed_at_ns, is_settled: settled.is_some() };
    Ok(figures::row(point, slot, &seen))
}

/// Waits until everybody is connected with everybody, and nobody is suspected for having been late.
fn assemble(fleet: &mut Fleet, probe_interval: Duration, interrupt: &Interrupt) -> anyhow::Result<()> {
    let peers = fleet.replicas() as u64 - 1;
    let meshed = until(fleet, ASSEMBLY_TIME_MAX, interrupt, |fleet| {
        let statuses = fleet.statuses()?;
        Ok(statuses.iter().all(|status| status.transport.connections >= peers).then_some(()))
    })?;
    meshed.context("the nodes were not all connected in time")?;
    // Until probes have ended that began before there were connections.
    wait(2 * probe_interval);
    let mut distrusted: BTreeSet<(usize, u16)> = BTreeSet::new();
    let trusted = until(fleet, ASSEMBLY_TIME_MAX, interrupt, |fleet| {
        for (node, observations) in fleet.observations()? {
            for Observation { what, .. } in observations {
                match what {
                    Observed::Suspected(of) | Observed::DeclaredDead(of) => _ = distrusted.insert((node, of)),
                    Observed::FoundAlive(of) => _ = distrusted.remove(&(node, of)),
                    Observed::Learned { .. } => {}
                }
            }
        }
        Ok(distrusted.is_empty().then_some(()))
    })?;
    trusted.context("nodes went on suspecting each other")
}

/// Puts updates by the clock; what goes wrong does so after a third of the time, and what can be healed is after two.
fn disturb(fleet: &mut Fleet, point: &Point, slot: Slot<'_>) -> anyhow::Result<(Vec<Put>, Option<u64>)> {
    let (tape, roster) = (point.tape(slot.seed, slot.measure), fleet.roster()?);
    let (client, start_ns) = (fleet.client().clone(), monotonic_ns() + nanoseconds(LEAD));
    let mut nemesis = Nemesis::new(point, start_ns, nanoseconds(slot.measure));
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new()
            .name("updates".into())
            .spawn_scoped(scope, || writes::put(roster, client, &tape, start_ns))
            .context("cannot start the thread that puts updates")?;
        while !writer.is_finished() {
            nemesis.act(fleet)?;
            fleet.expect_alive()?;
            wait(WATCH_INTERVAL / 10);
        }
        nemesis.heal(fleet)?;
        let puts = writer.join().map_err(|_| anyhow::anyhow!("the thread that puts updates panicked"))??;
        Ok((puts, nemesis.killed_at_ns))
    })
}

/// What goes wrong, and when.
struct Nemesis<'a> {
    point: &'a Point,
    strike_ns: u64,
    heal_ns: u64,
    has_struck: bool,
    is_healed: bool,
    killed_at_ns: Option<u64>,
}

impl<'a> Nemesis<'a> {
    const fn new(point: &'a Point, start_ns: u64, measure_ns: u64) -> Self {
        let (strike_ns, heal_ns) = (start_ns + measure_ns / 3, start_ns + measure_ns / 3 * 2);
        Self { point, strike_ns, heal_ns, has_struck: false, is_healed: false, killed_at_ns: None }
    }

    fn act(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        let now_ns = monotonic_ns();
        if !self.has_struck && now_ns >= self.strike_ns {
            self.strike(fleet)?;
        }
        if now_ns >= self.heal_ns { self.heal(fleet) } else { Ok(()) }
    }

    fn strike(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        self.has_struck = true;
        if self.point.kills > 0 {
            self.killed_at_ns = Some(monotonic_ns());
            self.point.victims().into_iter().try_for_each(|node| fleet.kill(node.into()))?;
        }
        if self.point.partition {
            let half = fleet.replicas() / 2;
            for node in 0..fleet.replicas() {
                let others = if node < half { half..fleet.replicas() } else { 0..half };
                let from = others.map(|other| fleet.address(other)).collect();
                fleet.order(node, &Order::Partition { from })?;
            }
        }
        Ok(())
    }

    /// Once; again it does nothing.
    fn heal(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        if !std::mem::replace(&mut self.is_healed, true) && self.point.partition {
            let whole = Order::Partition { from: Vec::new() };
            (0..fleet.replicas()).try_for_each(|node| fleet.order(node, &whole))?;
        }
        Ok(())
    }
}

/// Whether every node that lives takes every victim for dead, as of the last that it said of it.
fn deaths_found(observations: &[(usize, Vec<Observation>)], point: &Point) -> bool {
    let mut found = BTreeSet::new();
    for (node, seen) in observations {
        for Observation { what, .. } in seen {
            match what {
                Observed::DeclaredDead(of) => _ = found.insert((*node, *of)),
                Observed::FoundAlive(of) => _ = found.remove(&(*node, *of)),
                Observed::Suspected(_) | Observed::Learned { .. } => {}
            }
        }
    }
    let survivors = 0..usize::from(point.nodes - point.kills);
    let victims = point.victims();
    survivors.into_iter().all(|node| victims.iter().all(|victim| found.contains(&(node, *victim))))
}

/// What everybody holds, if that is the same.
fn level(statuses: &[Status]) -> Option<u64> {
    let mut contents = statuses.iter().map(|status| status.counters.get("content").copied());
    let first = contents.next()??;
    contents.all(|content| content == Some(first)).then_some(first)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
