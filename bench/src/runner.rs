//! Runs a plan: every point of every round, each on a fresh cluster, each row written as soon as it is there.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use qlab_loadgen::arrivals::{Load as Offered, Spacing as Gaps};
use qlab_loadgen::mix::Mix;
use qlab_loadgen::run::Spec;
use qlab_loadgen::values::ValueSizes;
use qlab_report::manifest::FORMAT;
use qlab_report::{Cell, Design, Health, Manifest, RunWriter, Status, Utc, Verdict};

use crate::clock::Stopwatch;
use crate::fleet::CLIENT;
use crate::interrupt::Interrupt;
use crate::machine::HealthProbe;
use crate::measure::{Measurement, measure};
use crate::plan::{Load, Plan, Point, Rate, SESSION_OUTSTANDING_MAX, Slot, Spacing, System};
use crate::{cluster, code, etcd, machine, row, verdict};

/// Load that goes on after the window, so that its last operations meet the same system as its first.
const COOLDOWN: Duration = Duration::from_millis(300);
/// Slices are a second, or as much shorter as a window needs to have some.
const SLICE_MAX: Duration = Duration::from_secs(1);
const SLICES_MIN: u32 = 6;
/// With faults, slices are short enough to see how long each of them was felt.
const FAULT_SLICE: Duration = Duration::from_millis(100);
/// What copies that agree later take to agree, if nothing goes wrong.
const SETTLE: Duration = Duration::from_secs(2);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);
/// Sent again, elsewhere, after this; given up after the last.
const TIMEOUT: Duration = Duration::from_secs(1);
/// With faults: clients that are more patient would hide how fast a cluster recovers.
const FAULT_TIMEOUT: Duration = Duration::from_millis(250);
const GIVE_UP: Duration = Duration::from_secs(10);
/// The page in a run's folder on which all its violations are drawn; not there if there are none.
const VIOLATION_PAGE: &str = "violation.html";

/// What a run came to.
#[derive(Debug)]
pub struct Summary {
    /// The run's folder.
    pub run_dir: PathBuf,
    /// Its rows.
    pub cells: Vec<Cell>,
    /// What was wrong or left out, for people.
    pub remarks: Vec<String>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

/// Checks every point's protocol options before anything starts.
pub fn check_options(plan: &Plan) -> anyhow::Result<()> {
    for point in plan.points.iter().filter(|point| point.system != System::Etcd) {
        qlab_node::systems::check(point.system.name(), &cluster::options(point), point.replicas as usize)
            .with_context(|| format!("cell {:?}", point.cell))?;
    }
    Ok(())
}

/// Runs `plan` with replicas of `program`, writes under `out`.
pub fn run(plan: &Plan, program: &Path, out: &Path, interrupt: &Interrupt) -> anyhow::Result<Summary> {
    check_options(plan)?;
    let work = out.join(format!(".work-{}", std::process::id()));
    std::fs::create_dir_all(&work).with_context(|| format!("cannot write to {}", out.display()))?;
    let mut runner = Runner::new(plan, program, out, work, interrupt)?;
    let outcome = runner.run_all();
    runner.finish(outcome)
}

struct Runner<'a> {
    plan: &'a Plan,
    program: &'a Path,
    work: PathBuf,
    interrupt: &'a Interrupt,
    writer: RunWriter,
    health: HealthProbe,
    since: Stopwatch,
    progress: ProgressBar,
    remarks: Vec<String>,
    /// Those of the page [`VIOLATION_PAGE`].
    violations: Vec<qlab_checker::Section>,
}

impl<'a> Runner<'a> {
    fn new(
        plan: &'a Plan,
        program: &'a Path,
        out: &Path,
        work: PathBuf,
        interrupt: &'a Interrupt,
    ) -> anyhow::Result<Self> {
        let health = HealthProbe::start();
        let manifest = manifest(plan, &work, health.read());
        let writer = RunWriter::create(out, manifest, &plan.source, &plan.switch_names())?;
        let progress = progress(plan.schedule().len());
        if cfg!(debug_assertions) {
            eprintln!(
                "qlab: this program was built without optimisation: its figures mean nothing (cargo run --release)"
            );
        }
        Ok(Self {
            plan,
            program,
            work,
            interrupt,
            writer,
            health,
            since: Stopwatch::start(),
            progress,
            remarks: Vec::new(),
            violations: Vec::new(),
        })
    }

    fn run_all(&mut self) -> anyhow::Result<()> {
        for slot in self.plan.schedule() {
            if self.interrupt.is_asked() {
                break;
            }
            self.run_slot(slot)?;
            self.progress.inc(1);
        }
        Ok(())
    }

    fn run_slot(&mut self, slot: Slot) -> anyhow::Result<()> {
        let point = &self.plan.points[slot.point];
        let step = format!("{} {} {}", slot.round, point.cell, point.system);
        self.progress.set_message(format!("round {step}"));
        if point.system == System::Etcd && !etcd::is_installed() {
            self.remark(
                "etcd is not installed (Debian: apt install etcd-server); its cells are left out".into(),
            );
            return Ok(());
        }
        let Some(rate_per_s) = self.rate(slot, point) else {
            self.remark(format!("{step}: the cell that its load is a share of has no throughput; left out"));
            return Ok(());
        };
        let spec = spec(self.plan, slot, point, rate_per_s)?;
        let (health, started) = (HealthProbe::start(), self.since.elapsed());
        let dir = self.work.join(format!("{}-{}", slot.round, slot.point));
        let measured =
            measure(point, &spec, self.program, dir, self.interrupt).with_context(|| step.clone())?;
        let cell = row::cell(self.plan, slot, point, rate_per_s, &measured, health.read().steal_fraction);
        self.writer.note_order(step.clone());
        self.keep(&cell, &measured, started)?;
        for remark in &measured.remarks {
            self.remark(format!("{step}: {remark}"));
        }
        Ok(())
    }

    fn keep(&mut self, cell: &Cell, measured: &Measurement, started: Duration) -> anyhow::Result<()> {
        let recorder = &measured.outcome.recorder;
        self.writer.append(cell, &row::latencies(cell, recorder, started))?;
        self.writer.append_slices(&row::slices(cell, &measured.outcome))?;
        if cell.verdict == Verdict::Violated {
            self.keep_violation(cell, measured)?;
        }
        Ok(())
    }

    /// Whoever doubts the verdict can look at the contradiction, and judge the history again with `qlab check`.
    fn keep_violation(&mut self, cell: &Cell, measured: &Measurement) -> anyhow::Result<()> {
        let Cell { round, cell, system, .. } = cell;
        let history = verdict::judged(&measured.outcome.history);
        // Of locks it holds nothing: their contradiction is in words.
        if !history.operations().is_empty() {
            let name = format!("violation-{round}-{}-{system}.jsonl", cell.replace('/', "-"));
            let file = std::io::BufWriter::new(std::fs::File::create(self.writer.dir().join(name))?);
            qlab_checker::write_json_lines(&history, file)?;
        }
        let heading = format!("round {round}, {cell}, {system}");
        self.violations.push(verdict::section(heading, &measured.judgement));
        let page = qlab_checker::page(&format!("Violations: {}", self.plan.name), &self.violations);
        Ok(std::fs::write(self.writer.dir().join(VIOLATION_PAGE), page)?)
    }

    /// Operations per second to offer: `Some(None)` in a closed loop, `None` if the cell referred to has no throughput.
    fn rate(&self, slot: Slot, point: &Point) -> Option<Option<f64>> {
        match point.load {
            Load::Closed { .. } => Some(None),
            Load::Open { rate: Rate::PerSecond(rate), .. } => Some(Some(rate)),
            Load::Open { rate: Rate::Percent(percent), .. } => {
                let reference = self.plan.reference(point)?;
                let rows = self.writer.cells().iter().filter(|row| row.round == slot.round);
                let of_reference = rows.filter(|row| {
                    reference.iter().any(|other| other.cell == row.cell && other.system.name() == row.system)
                });
                let weakest = of_reference.filter_map(|row| row.throughput_per_s).min_by(f64::total_cmp)?;
                Some(Some((weakest * percent / 100.0).max(1.0)))
            }
        }
    }

    fn remark(&mut self, remark: String) {
        if !self.remarks.contains(&remark) {
            self.progress.suspend(|| eprintln!("qlab: {remark}"));
            self.remarks.push(remark);
        }
    }

    /// Names the folder, whatever happened: what was measured is kept.
    fn finish(self, outcome: anyhow::Result<()>) -> anyhow::Result<Summary> {
        self.progress.finish_and_clear();
        let interrupted = self.interrupt.is_asked() || outcome.is_err();
        let status = if interrupted { Status::Interrupted } else { Status::Complete };
        let cells = self.writer.cells().to_vec();
        let run_dir = self.writer.finish(status, self.health.read())?;
        if let Err(error) = outcome {
            let (run_dir, work) = (run_dir.display(), self.work.display());
            bail!("{error:#}\nwhat was measured before is in {run_dir}, the failed cluster's logs in {work}");
        }
        let _ = std::fs::remove_dir_all(&self.work);
        Ok(Summary { run_dir, cells, remarks: self.remarks, interrupted })
    }
}

fn spec(plan: &Plan, slot: Slot, point: &Point, rate_per_s: Option<f64>) -> anyhow::Result<Spec> {
    let load = match (point.load, rate_per_s) {
        (Load::Open { spacing, .. }, Some(rate_per_s)) => {
            let spacing = match spacing {
                Spacing::Poisson => Gaps::Poisson,
                Spacing::Constant => Gaps::Constant,
            };
            Offered::Open { rate_per_s, spacing }
        }
        (Load::Closed { outstanding }, _) => Offered::Closed { outstanding },
        (Load::Open { .. }, None) => unreachable!("open loads have a rate"),
    };
    let has_faults = !point.faults.is_empty();
    Ok(Spec {
        client: CLIENT,
        load,
        workload: point.machine.workload(),
        mix: Mix::reads(point.read_fraction).context("a share of reads lies in 0 to 1")?,
        keys: point.keys,
        key_distribution: point.key_distribution.to_string().parse()?,
        values: ValueSizes::fixed(point.value_bytes)?,
        sessions: point.connections as usize,
        window: SESSION_OUTSTANDING_MAX.into(),
        preload: point.preloads(),
        verify: point.verifies(),
        settle: if point.system.has_contexts() { SETTLE } else { Duration::ZERO },
        contexts: point.system.has_contexts(),
        warmup: plan.warmup,
        measure: plan.measure,
        cooldown: COOLDOWN,
        slice: if has_faults { FAULT_SLICE } else { SLICE_MAX.min(plan.measure / SLICES_MIN) },
        connect_timeout: CONNECT_TIME_MAX,
        timeout: if has_faults { FAULT_TIMEOUT } else { TIMEOUT },
        give_up: GIVE_UP,
        // Equal for the systems of a cell within a round: all of them hear the same tape.
        seed: plan.seed.wrapping_add(u64::from(slot.round)),
        entropy: u64::from(std::process::id()),
        first_value_id: 1,
    })
}

fn manifest(plan: &Plan, work: &Path, health_before: Health) -> Manifest {
    Manifest {
        format: FORMAT,
        run: String::new(),
        plan: plan.name.clone(),
        status: Status::Interrupted,
        started: Utc::now(),
        finished: Utc::now(),
        code: code::code(),
        machine_key: String::new(),
        machine: machine::machine(work),
        health_before,
        health_after: health_before,
        design: Design {
            rounds: plan.rounds,
            warmup_ms: u64::try_from(plan.warmup.as_millis()).unwrap_or(u64::MAX),
            measure_ms: u64::try_from(plan.measure.as_millis()).unwrap_or(u64::MAX),
            seed: plan.seed,
            shuffled: plan.shuffle,
            order: Vec::new(),
        },
        summary: qlab_report::manifest::Summary::default(),
        files: std::collections::BTreeMap::new(),
        supersedes: None,
        withdrawn: None,
    }
}

fn progress(slots: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {msg}")
        .expect("a valid template");
    let bar = ProgressBar::new(slots as u64).with_style(style);
    if std::io::stderr().is_terminal() {
        bar.enable_steady_tick(Duration::from_millis(500));
    }
    bar
}
