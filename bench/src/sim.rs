//! Worlds of the simulator: a campaign of many seeds, one seed and its story, or a story that somebody wrote.

use std::fmt::Write as _;
use std::fs;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use qlab_clocks::sync::Clock;
use qlab_gossip::Gossip;
use qlab_kernel::Protocol;
use qlab_machines::MachineKind;
use qlab_node::systems;
use qlab_paxos::{MultiPaxos, Paxos};
use qlab_pbft::Pbft;
use qlab_quorum::{Abd, Dynamo};
use qlab_raft::Raft;
use qlab_report::{Campaign, Code, Utc, campaign, numbers, table};
use qlab_simulator::scenario::{self, StoryError};
use qlab_simulator::{Choice, Outcome, Schedule, Setup, Subject, Summary, attempt, cut_down};
use qlab_unreplicated::Unreplicated;

use crate::clock::Stopwatch;
use crate::interrupt::Interrupt;
use crate::{code, machine};

/// Lines of a failing world's story that a campaign prints.
const STORY_LINES_MAX: usize = 40;

const EXAMPLES: &str = "\
Examples:
  qlab sim raft                                   a thousand worlds
  qlab sim raft --seeds 0..100000 --out results   a campaign, kept
  qlab sim raft --seed 42 --trace                 one world, told line by line
  qlab sim raft --seed 42 --shrink --trace        the smallest world found in which the same law is broken
  qlab sim --scenario bench/simulator/scenarios/raft/figure-8-overwritten.txt
  qlab sim raft --faults loss,partition,power-loss
  qlab sim raft --machine locks                   the lock service on it

Faults: loss duplicate replay reorder delay partition one-way partial kill power-loss blackout pause slow-node disk-stall
disk-full sync-error read-error bit-flip wipe clock-drift clock-jump clock-strobe transfer; swarm: a random subset in each world.

Exit code: 0 when every law holds in every world, 1 when one is broken.";

/// Flags of `sim`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SimArgs {
    /// The system.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(systems::NAMES), required_unless_present = "scenario")]
    pub system: Option<String>,
    /// What is replicated: a key-value store, or locks (raft, multi-paxos and unreplicated only).
    #[arg(long, value_name = "NAME", default_value_t = MachineKind::Kv)]
    pub machine: MachineKind,
    /// Seeds FROM..TO, each a world.
    #[arg(long, value_name = "FROM..TO", default_value = "0..1000", value_parser = seeds)]
    pub seeds: Range<u64>,
    /// One seed instead.
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Which faults: swarm, none, or kinds separated by commas; see below.
    #[arg(long, value_name = "KINDS", default_value = "swarm")]
    pub faults: String,
    /// Tell what happens in the one world.
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// If a law is broken in the one world, look for a smaller one.
    #[arg(long, requires = "seed")]
    pub shrink: bool,
    /// Perform a story instead: a script that says what happens, line by line, and what is to come of it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["system", "machine", "seeds", "seed", "faults", "out", "json"])]
    pub scenario: Option<PathBuf>,
    /// Write what the story printed into its file, where it says something else.
    #[arg(long, requires = "scenario")]
    pub rewrite: bool,
    /// Keep the summary under this folder of results.
    #[arg(long, value_name = "DIR", conflicts_with = "seed")]
    pub out: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The command line is wrong: correct it.
    #[error("{0}")]
    Usage(String),
    /// Something else went wrong.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// What to print, and whether every law held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// For standard output.
    pub text: String,
    /// Whether every law held in every world.
    pub holds: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.filter(|range| !range.is_empty()).ok_or_else(|| {
        "seeds are two numbers, the first below the second, as in 0..1000; the second is not run".to_owned()
    })
}

/// Does what the flags say.
pub fn simulate(args: &SimArgs, interrupt: &Interrupt) -> Result<Told, SimError> {
    if let Some(path) = &args.scenario {
        return perform(path, args.rewrite);
    }
    let choice: Choice = args.faults.parse().map_err(|error| SimError::Usage(format!("{error}")))?;
    let system = args.system.as_deref().unwrap_or_default();
    check_machine(system, args.machine)?;
    match system {
        Unreplicated::NAME => simulate_system::<Unreplicated>(args, choice, interrupt),
        Raft::NAME => simulate_system::<Raft>(args, choice, interrupt),
        MultiPaxos::NAME => simulate_system::<MultiPaxos>(args, choice, interrupt),
        Paxos::NAME => simulate_system::<Paxos>(args, choice, interrupt),
        Pbft::NAME => simulate_system::<Pbft>(args, choice, interrupt),
        Abd::NAME => simulate_system::<Abd>(args, choice, interrupt),
        Dynamo::NAME => simulate_system::<Dynamo>(args, choice, interrupt),
        Gossip::NAME => simulate_system::<Gossip>(args, choice, interrupt),
        Clock::NAME => simulate_system::<Clock>(args, choice, interrupt),
        other => Err(SimError::Usage(format!("unknown system {other:?}"))),
    }
}

/// Checks that a system can carry a machine; those that no process runs carry none.
fn check_machine(system: &str, machine: MachineKind) -> Result<(), SimError> {
    let checked = match system {
        Gossip::NAME | Clock::NAME if machine == MachineKind::Kv => Ok(()),
        Gossip::NAME | Clock::NAME => {
            Err(format!("{system} cannot carry the machine {machine}: it replicates no log"))
        }
        _ => systems::check_machine(system, machine).map_err(|error| error.to_string()),
    };
    checked.map_err(SimError::Usage)
}

/// Performs a story. It holds if every law and every expectation does, and if it prints what its file says.
fn perform(path: &Path, rewrite: bool) -> Result<Told, SimError> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| SimError::Usage(named(&error)))?;
    let performance = match scenario::perform(&text) {
        Ok(performance) => performance,
        Err(error @ StoryError::Unreadable { .. }) => {
            return Err(SimError::Usage(format!("{}:{error}", path.display())));
        }
        Err(error) => return Ok(Told { text: format!("{}:{error}\n", path.display()), holds: false }),
    };
    let told = |text: &str, holds| Ok(Told { text: format!("{}: {text}\n", path.display()), holds });
    match performance.difference {
        None => told("every law and every expectation holds", true),
        Some(_) if rewrite => {
            fs::write(path, performance.rewritten).map_err(|error| anyhow::anyhow!(named(&error)))?;
            told("rewritten", true)
        }
        Some(difference) => told(&difference.to_string(), false),
    }
}

fn simulate_system<S: Subject>(
    args: &SimArgs,
    choice: Choice,
    interrupt: &Interrupt,
) -> Result<Told, SimError> {
    match args.seed {
        Some(seed) => Ok(one::<S>(seed, choice, args)),
        None => many::<S>(args, choice, interrupt),
    }
}

fn setup<S: Subject>(args: &SimArgs) -> Setup<S> {
    Setup { machine: args.machine, ..Setup::default() }
}

/// The system's name, with its machine's if that is not what systems carry unless it is said.
fn subject_name<S: Subject>(args: &SimArgs) -> String {
    match args.machine {
        MachineKind::Kv => S::NAME.to_owned(),
        MachineKind::Locks => format!("{}-{}", S::NAME, args.machine),
    }
}

fn one<S: Subject>(seed: u64, choice: Choice, args: &SimArgs) -> Told {
    let setup = Setup::<S> { tells_story: args.trace, ..setup(args) };
    let mut schedule = qlab_simulator::campaign::schedule::<S>(seed, choice);
    let mut outcome = attempt(&schedule, &setup);
    if args.shrink
        && outcome.violation.is_some()
        && let Some(smaller) = cut_down(&schedule, &setup)
    {
        (schedule, outcome) = smaller;
    }
    let holds = outcome.violation.is_none();
    let text = if args.json { one_as_json(seed, &outcome) } else { one_as_text(&schedule, &outcome) };
    Told { text, holds }
}

fn one_as_json(seed: u64, outcome: &Outcome) -> String {
    let violation = outcome.violation.as_ref().map(|v| serde_json::json!({ "law": v.law, "what": v.what }));
    let told = serde_json::json!({
        "seed": seed,
        "events": outcome.events,
        "messages": outcome.messages,
        "operations": outcome.operations,
        "simulated_ms": millis(outcome.simulated),
        "digest": format!("{:016x}", outcome.digest),
        "violation": violation,
        "story": outcome.story,
    });
    told.to_string() + "\n"
}

fn one_as_text(schedule: &Schedule, outcome: &Outcome) -> String {
    let mut text = String::new();
    if !outcome.story.is_empty() {
        writeln!(text, "{}", schedule.in_words()).expect("memory takes everything");
    }
    for line in &outcome.story {
        writeln!(text, "{line}").expect("memory takes everything");
    }
    let verdict = match &outcome.violation {
        None => "every law holds".to_owned(),
        Some(violation) => format!("BROKEN {}: {}", violation.law, violation.what),
    };
    let (events, simulated) = (outcome.events, outcome.simulated);
    writeln!(
        text,
        "seed {}: {verdict}; {events} events in {simulated:.1?} of simulated time, digest {:016x}",
        schedule.seed, outcome.digest
    )
    .expect("memory takes everything");
    text
}

fn many<S: Subject>(args: &SimArgs, choice: Choice, interrupt: &Interrupt) -> Result<Told, SimError> {
    if let Some(out) = &args.out {
        // Before minutes are spent on what could not be kept.
        fs::create_dir_all(out)
            .map_err(|error| anyhow::anyhow!("cannot write to {}: {error}", out.display()))?;
    }
    // Before it begins: the checkout may move on meanwhile.
    let (began, code) = (Utc::now(), code::code());
    let (bar, watch) = (progress(&args.seeds), Stopwatch::start());
    let stop = AtomicBool::new(false);
    let on_progress = || {
        bar.inc(1);
        stop.store(interrupt.is_asked(), Ordering::Relaxed);
    };
    let summary =
        qlab_simulator::campaign::<S>(args.seeds.clone(), choice, || setup(args), &stop, on_progress);
    bar.finish_and_clear();
    let campaign = record::<S>(args, began, code, &summary, watch.elapsed());
    let mut text = if args.json {
        serde_json::to_string(&campaign).map_err(anyhow::Error::from)? + "\n"
    } else {
        as_text(&campaign) + &told_failure::<S>(args, &campaign, choice)
    };
    if interrupt.is_asked() {
        eprintln!("qlab: interrupted: nothing is kept");
    } else if let Some(out) = &args.out {
        let path = campaign.write(out).map_err(anyhow::Error::from)?;
        if !args.json {
            writeln!(text, "{}", path.display()).expect("memory takes everything");
        }
    }
    let holds = campaign.failures.is_empty() && !interrupt.is_asked();
    Ok(Told { text, holds })
}

fn record<S: Subject>(
    args: &SimArgs,
    began: Utc,
    code: Code,
    summary: &Summary,
    elapsed: Duration,
) -> Campaign {
    let owned = |(name, times): (&str, u64)| (name.to_owned(), times);
    let failure = |failure: &qlab_simulator::Failure| campaign::Failure {
        seed: failure.seed,
        law: failure.law.clone(),
        what: failure.what.clone(),
    };
    Campaign {
        format: campaign::FORMAT,
        system: subject_name::<S>(args),
        began: began.compact(),
        seed_from: args.seeds.start,
        seed_to: args.seeds.end,
        faults: args.faults.clone(),
        worlds: summary.seeds,
        events: summary.events,
        messages: summary.messages,
        operations: summary.operations,
        simulated_ms: millis(summary.simulated),
        elapsed_ms: millis(elapsed),
        faults_effective: summary.faults().into_iter().map(owned).collect(),
        marks: summary.marks.iter().map(owned).collect(),
        failures: summary.failures.iter().map(failure).collect(),
        code,
        machine: machine::machine(Path::new(".")),
    }
}

fn as_text(campaign: &Campaign) -> String {
    let per_s = |of: u64| numbers::count(of as f64 * 1_000.0 / campaign.elapsed_ms.max(1) as f64);
    let tables = [campaign::coverage(campaign), campaign::overview(&[campaign])];
    let tables = tables.map(|layout| table::render(&layout, None)).join("\n");
    let hours = campaign.simulated_hours() * 3_600_000.0 / campaign.elapsed_ms.max(1) as f64;
    format!(
        "{tables}\n{} events and {} messages per second, {hours:.1} simulated hours per hour\n",
        per_s(campaign.events),
        per_s(campaign.messages),
    )
}

/// The first failure, cut down, and how to see it again.
fn told_failure<S: Subject>(args: &SimArgs, campaign: &Campaign, choice: Choice) -> String {
    let Some(first) = campaign.failures.first() else { return String::new() };
    let mut text = String::new();
    for failure in &campaign.failures {
        text += &format!("seed {}: BROKEN {}: {}\n", failure.seed, failure.law, failure.what);
    }
    let setup = Setup::<S> { tells_story: true, ..setup(args) };
    let schedule = qlab_simulator::campaign::schedule::<S>(first.seed, choice);
    if let Some((smallest, outcome)) = cut_down(&schedule, &setup) {
        let lines = &outcome.story[outcome.story.len().saturating_sub(STORY_LINES_MAX)..];
        text +=
            &format!("\nThe smallest world found: {}\nIts end:\n{}\n", smallest.in_words(), lines.join("\n"));
    }
    let (system, machine, faults, seed) = (S::NAME, args.machine, &campaign.faults, first.seed);
    text + &format!(
        "\nAll of it: qlab sim {system} --machine {machine} --seed {seed} --faults {faults} --shrink --trace\n"
    )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn progress(seeds: &Range<u64>) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} worlds, {per_sec}, {eta} left")
            .expect("a valid template");
    let bar = ProgressBar::new(seeds.end - seeds.start).with_style(style);
    if std::io::stderr().is_terminal() {
        bar.enable_steady_tick(Duration::from_millis(500));
    }
    bar
}
