//! The program `qlab`: finds the verb and prints what it returns.

#![forbid(unsafe_code)]

use std::{
    io::{self, Write},
    iter,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};
use clap::Parser;
use laboratory::{
    byzantine, check,
    cli::{BookArgs, CheckArgs, Cli, DoctorArgs, InspectArgs, JournalVerb, ResultsVerb, RunArgs, Verb},
    doctor, inspect,
    interrupt::Interrupt,
    runner::{self, Summary},
    sim::{self, SimArgs, SimError},
    studies,
    study::{self, StudyArgs},
};
use qlab_report::{
    Output, Verdict,
    book::{self, Mode},
    fault_table,
    layout::Layout,
    table,
    validate::{self, Inventory},
};
use tracing_subscriber::EnvFilter;

/// Something was violated or failed.
const FAILED: u8 = 1;
/// Something is unknown, or the command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            let error = format!("{error:#}");
            eprintln!("qlab: {error}{}", advice(&error));
            ExitCode::from(FAILED)
        }
    }
}

/// What to do about errors of the system that do not say so themselves.
fn advice(error: &str) -> &'static str {
    if error.contains("(os error 24)") {
        "\nraise the limit of open files and start again: ulimit -n 4096"
    } else if error.contains("(os error 28)") {
        "\nmake space, or name a folder on another disk with --out"
    } else {
        ""
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        None => run(&RunArgs { out: "results".into(), ..RunArgs::default() }),
        Some(Verb::Run(args)) => run(&args),
        Some(Verb::Replica { config }) => replica(|| qlab_node::process::run(&config)),
        Some(Verb::ByzantineReplica { config }) => replica(|| byzantine::run(&config)),
        Some(Verb::Leashed { command }) => leashed(&command),
        Some(Verb::Doctor(args)) => examine(&args),
        Some(Verb::Book(args)) => derive_book(&args),
        Some(Verb::Results(ResultsVerb::Validate { dir })) => validate_results(&dir),
        Some(Verb::Check(args)) => check_history(args),
        Some(Verb::Sim(args)) => simulate(&args),
        Some(Verb::Study(args)) => ask(&args),
        Some(Verb::Journal(JournalVerb::Inspect(args))) => inspect_journal(&args),
    }
}

fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    match args.study() {
        Ok(None) => {}
        Ok(Some(plan)) => return ask_processes(&plan, args),
        Err(error) => return usage(&error),
    }
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(error) => return usage(&error),
    };
    if let Err(error) = runner::check_options(&plan) {
        return usage(&format!("{error:#}"));
    }
    // This very program, even if another was built in its place meanwhile.
    let summary = runner::run(&plan, Path::new("/proc/self/exe"), &args.out, &Interrupt::listen()?)?;
    let text = if args.json {
        let output = Output { run_dir: Some(summary.run_dir.clone()), cells: summary.cells.clone() };
        serde_json::to_string(&output)? + "\n"
    } else {
        let faults = fault_table::layout(&summary.cells);
        let tables = iter::once(Layout::of(&summary.cells)).chain(faults);
        let tables: String = tables.map(|layout| table::render(&layout, None) + "\n").collect();
        format!("{tables}{}\n", summary.run_dir.display())
    };
    print(&text)?;
    if summary.interrupted {
        eprintln!(
            "qlab: interrupted: {} of {} cells were measured",
            summary.cells.len(),
            plan.schedule().len()
        );
    }
    Ok(verdict_code(&summary))
}

fn ask_processes(plan: &studies::Plan, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let program = Path::new("/proc/self/exe");
    let told = studies::run(plan, program, &args.out, args.json, &Interrupt::listen()?)?;
    print(&told.text)?;
    Ok(if told.holds { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn usage(error: &impl std::fmt::Display) -> anyhow::Result<ExitCode> {
    eprintln!("qlab: {error}");
    Ok(ExitCode::from(USAGE))
}

/// 0 only when every verdict holds.
fn verdict_code(summary: &Summary) -> ExitCode {
    let verdicts = || summary.cells.iter().map(|cell| cell.verdict);
    if verdicts().any(|verdict| verdict == Verdict::Violated) || summary.interrupted {
        ExitCode::from(FAILED)
    } else if summary.cells.is_empty() || !verdicts().all(Verdict::holds) {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

fn replica(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_env("QLAB_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    run()?;
    Ok(ExitCode::SUCCESS)
}

/// Becomes another program that ends when whoever started this one does.
fn leashed(command: &[String]) -> anyhow::Result<ExitCode> {
    let [program, arguments @ ..] = command else { bail!("leashed: name a program") };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot start {program}"))
}

fn examine(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let diagnosis = doctor::examine(&args.data_dir);
    let text = if args.json {
        serde_json::to_string(&diagnosis)? + "\n"
    } else {
        table::render(&diagnosis.layout(), None)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn derive_book(args: &BookArgs) -> anyhow::Result<ExitCode> {
    if !Path::new(book::RESULTS).is_dir() {
        return usage(&format!(
            "there is no folder {} here: run this in the root of the repository",
            book::RESULTS
        ));
    }
    let mode = if args.check { Mode::Check } else { Mode::Write };
    let stale = book::refresh(Path::new("."), mode).context("book")?;
    let told = if args.check { "stale" } else { "renewed" };
    for block in &stale {
        print(&format!("{}: {told}: {}\n", block.path.display(), block.name))?;
    }
    if args.check && !stale.is_empty() {
        print("results has changed since: qlab book derives these anew\n")?;
    }
    Ok(if args.check && !stale.is_empty() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn validate_results(dir: &Path) -> anyhow::Result<ExitCode> {
    let Inventory { runs, campaigns, studies, problems } = validate::validate_all(dir).context("results")?;
    if runs + campaigns + studies == 0 && problems.is_empty() {
        return usage(&format!(
            "{}: no run, campaign or study is there: name the folder that --out named",
            dir.display()
        ));
    }
    for problem in &problems {
        print(&format!("{problem}\n"))?;
    }
    print(&format!("{runs} runs, {campaigns} campaigns, {studies} studies, {} problems\n", problems.len()))?;
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn check_history(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let origin = check::Origin::of(&args.file);
    let report = match check::judge(&origin, args.model) {
        Ok(report) => report,
        Err(error) => return usage(&error),
    };
    if let Some(path) = &args.html {
        let page = check::page(&report, &origin);
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&if args.json { check::json(&report)? } else { check::text(&report) })?;
    Ok(match report.verdict {
        qlab_checker::Verdict::Valid => ExitCode::SUCCESS,
        qlab_checker::Verdict::Invalid => ExitCode::from(FAILED),
        qlab_checker::Verdict::Unknown => ExitCode::from(USAGE),
    })
}

fn simulate(args: &SimArgs) -> anyhow::Result<ExitCode> {
    let told = match sim::simulate(args, &Interrupt::listen()?) {
        Ok(told) => told,
        Err(SimError::Usage(error)) => return usage(&error),
        Err(SimError::Failed(error)) => return Err(error),
    };
    print(&told.text)?;
    Ok(if told.holds { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn ask(args: &StudyArgs) -> anyhow::Result<ExitCode> {
    let told = study::study(args, &Interrupt::listen()?)?;
    print(&told.text)?;
    Ok(if told.holds { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn inspect_journal(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let found = match inspect::inspect(&args.dir, args.frames) {
        Ok(found) => found,
        Err(error) => return usage(&error),
    };
    print(&if args.json { serde_json::to_string(&found)? + "\n" } else { found.text() })?;
    Ok(if found.sound { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}
