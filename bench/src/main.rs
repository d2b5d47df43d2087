//! The program `qlab`: finds the verb and prints what it returns.

#![forbid(unsafe_code)]

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Parser;
use laboratory::{
    check,
    cli::{BookArgs, CheckArgs, Cli, DoctorArgs, InspectArgs, JournalVerb, ResultsVerb, RunArgs, Verb},
    doctor, inspect,
};
use qlab_checker::Verdict;
use qlab_report::{
    book::{self, Mode},
    table, validate,
};

/// Something was violated or failed.
const FAILED: u8 = 1;
/// Something is unknown, or the command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("qlab: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        None => run(&RunArgs { out: "results".into(), ..RunArgs::default() }),
        Some(Verb::Run(args)) => run(&args),
        Some(Verb::Doctor(args)) => examine(&args),
        Some(Verb::Book(args)) => derive_book(&args),
        Some(Verb::Results(ResultsVerb::Validate { dir })) => validate_results(&dir),
        Some(Verb::Check(args)) => check_history(args),
        Some(Verb::Journal(JournalVerb::Inspect(args))) => inspect_journal(&args),
    }
}

fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    match args.plan() {
        Ok(plan) => bail!("run: the plan {:?} is sound, but nothing measures it yet", plan.name),
        Err(error) => {
            eprintln!("qlab: {error}");
            Ok(ExitCode::from(USAGE))
        }
    }
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
    let mode = if args.check { Mode::Check } else { Mode::Write };
    let stale = book::refresh(Path::new("."), mode).context("book")?;
    let told = if args.check { "stale" } else { "renewed" };
    for block in &stale {
        print(&format!("{}: {told}: {}\n", block.path.display(), block.name))?;
    }
    Ok(if args.check && !stale.is_empty() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn validate_results(dir: &Path) -> anyhow::Result<ExitCode> {
    let (runs, problems) = validate::validate_all(dir).context("results")?;
    for problem in &problems {
        print(&format!("{problem}\n"))?;
    }
    print(&format!("{runs} runs, {} problems\n", problems.len()))?;
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn check_history(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let report = match check::judge(check::Origin::of(&args.file), args.model) {
        Ok(report) => report,
        Err(error) => return Ok(refuse(&error)),
    };
    print(&if args.json { check::json(&report)? } else { check::text(&report) })?;
    Ok(match report.verdict {
        Verdict::Valid => ExitCode::SUCCESS,
        Verdict::Invalid => ExitCode::from(FAILED),
        Verdict::Unknown => ExitCode::from(USAGE),
    })
}

fn inspect_journal(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let found = match inspect::inspect(&args.dir, args.frames) {
        Ok(found) => found,
        Err(error) => return Ok(refuse(&error)),
    };
    print(&if args.json { serde_json::to_string(&found)? + "\n" } else { found.text() })?;
    Ok(if found.sound { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// What was given cannot be looked at: that is no verdict.
fn refuse(error: &dyn Error) -> ExitCode {
    eprintln!("qlab: {error}");
    ExitCode::from(USAGE)
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}
