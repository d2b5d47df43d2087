//! How true the clocks of processes are, against what they claim.
//!
//! Every replica takes for its clock an oscillator that the laboratory bends: ahead by so much, faster by so much. What the replica
//! makes of it is compared with the host's clock, which is the true time and which true references show. A reference whose
//! oscillator is bent is a false one: it says in good faith that it is right.

mod figures;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qlab_loadgen::clock::monotonic_ns;
use qlab_machines::MachineKind;
use qlab_node::clock::Oscillator;
use qlab_node::control::{Order, Status};
use qlab_report::study::{ClockRun, Expected};
use serde::Deserialize;

use super::{OneOrMany, Slot, in_range, until};
use crate::clock::{Stopwatch, wait};
use crate::fleet::{Fleet, FleetSpec};

/// Between two readings of every clock. No divisor of a poll interval, so that readings come at all ages of an answer.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(17);
/// Polls within which a clock is synchronised if it ever will be: eight, and as many again for each of those that may be lost.
const WARM_UP_POLLS: u32 = 48;
const CLOCKS_MAX: u16 = 32;

/// A cell as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cell {
    name: String,
    references: u16,
    followers: u16,
    /// How far the first of the references are ahead; the others are true.
    #[serde(default)]
    false_by_us: Vec<i64>,
    /// How far followers' oscillators are ahead, in turn.
    #[serde(default = "unbent")]
    ahead_us: OneOrMany<i64>,
    /// How much faster they run, in turn.
    #[serde(default = "unbent")]
    fast_ppm: OneOrMany<i64>,
    #[serde(default = "default_poll_interval_ms")]
    poll_interval_ms: u64,
    #[serde(default = "default_frequency_error_ppm_max")]
    frequency_error_ppm_max: u32,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    jitter_ms: u64,
    #[serde(default)]
    loss_percent: u32,
    #[serde(default)]
    busy_threads: u16,
    #[serde(default)]
    isolated: bool,
    #[serde(default)]
    expected: Expected,
}

/// One cluster.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) cell: String,
    references: u16,
    followers: u16,
    false_by_us: Vec<i64>,
    ahead_us: Vec<i64>,
    fast_ppm: Vec<i64>,
    poll_interval_ms: u64,
    frequency_error_ppm_max: u32,
    delay_ms: u64,
    jitter_ms: u64,
    loss_percent: u32,
    busy_threads: u16,
    /// Whether followers can ask nobody for a third of the time.
    isolated: bool,
    expected: Expected,
}

const fn unbent() -> OneOrMany<i64> {
    OneOrMany::One(0)
}

const fn default_poll_interval_ms() -> u64 {
    100
}

const fn default_frequency_error_ppm_max() -> u32 {
    500
}

/// The clusters that a cell stands for: one.
pub(super) fn expand(cell: Cell) -> Result<Vec<Point>, String> {
    let point = Point {
        cell: cell.name,
        references: cell.references,
        followers: cell.followers,
        false_by_us: cell.false_by_us,
        ahead_us: cell.ahead_us.into_vec(),
        fast_ppm: cell.fast_ppm.into_vec(),
        poll_interval_ms: cell.poll_interval_ms,
        frequency_error_ppm_max: cell.frequency_error_ppm_max,
        delay_ms: cell.delay_ms,
        jitter_ms: cell.jitter_ms,
        loss_percent: cell.loss_percent,
        busy_threads: cell.busy_threads,
        isolated: cell.isolated,
        expected: cell.expected,
    };
    point.check().map_err(|reason| format!("cell {:?}: {reason}", point.cell))?;
    Ok(vec![point])
}

impl Point {
    fn check(&self) -> Result<(), String> {
        in_range("references", self.references.into(), 1.0, CLOCKS_MAX.into())?;
        in_range("followers", self.followers.into(), 1.0, (CLOCKS_MAX - self.references).into())?;
        in_range("loss_percent", self.loss_percent.into(), 0.0, 90.0)?;
        in_range("busy_threads", self.busy_threads.into(), 0.0, 64.0)?;
        if self.false_by_us.len() > self.references.into() {
            let named = self.false_by_us.len();
            return Err(format!("false_by_us names {named} references, but there are {}", self.references));
        }
        for fast_ppm in &self.fast_ppm {
            let bound = f64::from(self.frequency_error_ppm_max);
            // A clock that is worse than the configuration says voids every bound.
            in_range("fast_ppm", *fast_ppm as f64, -bound, bound)?;
        }
        if self.ahead_us.is_empty() || self.fast_ppm.is_empty() {
            return Err("ahead_us and fast_ppm name at least one value".into());
        }
        qlab_node::systems::check("clock", &self.options(), self.clocks().into()).map_err(|e| e.to_string())
    }

    const fn clocks(&self) -> u16 {
        self.references + self.followers
    }

    fn options(&self) -> toml::Table {
        let integer = |value: u64| toml::Value::Integer(value.cast_signed());
        toml::Table::from_iter([
            ("references".to_owned(), integer(self.references.into())),
            ("poll_interval_ms".to_owned(), integer(self.poll_interval_ms)),
            ("frequency_error_ppm_max".to_owned(), integer(self.frequency_error_ppm_max.into())),
        ])
    }

    const fn has_link(&self) -> bool {
        self.delay_ms + self.jitter_ms > 0 || self.loss_percent > 0 || self.isolated
    }

    fn link(&self, is_cut: bool) -> Order {
        let loss = if is_cut { 1.0 } else { f64::from(self.loss_percent) / 100.0 };
        Order::Link { delay_ms: self.delay_ms, jitter_ms: self.jitter_ms, loss }
    }

    /// What everybody takes for their clock, by seat: references first.
    fn oscillators(&self, since_ns: u64) -> Vec<Oscillator> {
        let reference = |seat: usize| Oscillator {
            ahead_ns: self.false_by_us.get(seat).map_or(0, |us| us * 1000),
            ..Oscillator::default()
        };
        let follower = |number: usize| Oscillator {
            ahead_ns: self.ahead_us[number % self.ahead_us.len()] * 1000,
            fast_ppb: self.fast_ppm[number % self.fast_ppm.len()] * 1000,
            since_ns,
        };
        let references = (0..self.references.into()).map(reference);
        references.chain((0..self.followers.into()).map(follower)).collect()
    }
}

/// Runs one cluster and says what was seen.
pub(super) fn observe(point: &Point, slot: Slot<'_>) -> anyhow::Result<ClockRun> {
    let mut fleet = Fleet::start(FleetSpec {
        program: slot.program.to_owned(),
        dir: slot.dir.to_owned(),
        system: "clock".into(),
        options: point.options(),
        machine: MachineKind::Kv,
        replicas: point.clocks(),
        durability: "memory".into(),
        seed: slot.seed,
        emulated_link: point.has_link(),
        byzantine: false,
        oscillators: point.oscillators(monotonic_ns()),
    })?;
    if point.has_link() {
        (0..fleet.replicas()).try_for_each(|node| fleet.order(node, &point.link(false)))?;
    }
    let samples = busy(point.busy_threads, || watch(&mut fleet, point, slot))?;
    fleet.stop()?;
    Ok(figures::row(point, slot, &samples))
}

/// Reads every follower's clock, again and again.
fn watch(fleet: &mut Fleet, point: &Point, slot: Slot<'_>) -> anyhow::Result<Vec<Vec<Status>>> {
    let polls = Duration::from_millis(point.poll_interval_ms) * WARM_UP_POLLS;
    // Those who find no majority never claim anything, and are watched all the same.
    until(fleet, polls, slot.interrupt, |fleet| {
        let claims = |status: &Status| status.counters.contains_key("earliest_ns");
        Ok(fleet.statuses()?.iter().all(claims).then_some(()))
    })?;
    let watched = Stopwatch::start();
    let (mut samples, mut is_cut) = (Vec::new(), false);
    let isolation = slot.measure / 3..slot.measure / 3 * 2;
    while watched.elapsed() < slot.measure {
        anyhow::ensure!(!slot.interrupt.is_asked(), "interrupted: nothing is kept");
        fleet.expect_alive()?;
        if point.isolated && isolation.contains(&watched.elapsed()) != is_cut {
            is_cut = !is_cut;
            let followers = usize::from(point.references)..fleet.replicas();
            followers.into_iter().try_for_each(|node| fleet.order(node, &point.link(is_cut)))?;
        }
        let mut statuses = fleet.statuses()?;
        statuses.retain(|status| status.node >= point.references);
        samples.push(statuses);
        wait(SAMPLE_INTERVAL);
    }
    Ok(samples)
}

/// Does something while so many threads keep the processors busy.
fn busy<T>(threads: u16, watch: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let watched = watch();
        is_over.store(true, Ordering::Relaxed);
        watched
    })
}
