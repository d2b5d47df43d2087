//! Carries a story's commands out, one after the other.

use super::actor::Actor;
use super::command::{Command, Expectation, GivenLog, Shown};
use super::script::{self, Line};
use super::stage::{Stage, Trouble};
use super::{Difference, Performance, StoryError};
use crate::laws::Violation;
use crate::panics::catch;

const PANIC: &str = "panic";

/// Performs a story that begins with the name of this system.
pub(crate) fn direct<S: Actor>(lines: &[Line<'_>]) -> Result<Performance, StoryError> {
    let mut director = Director::<S> { given: Vec::new(), stage: None, broken: None, has_ended: false };
    let (mut rewritten, mut difference) = (String::new(), None);
    for line in lines {
        let printed = match &line.command {
            Some(command) => director.carry_out(line.number, command)?,
            None => Vec::new(),
        };
        if printed != line.expected && difference.is_none() {
            let expected = line.expected.iter().map(|line| (*line).to_owned()).collect();
            difference = Some(Difference { line: line.number, expected, printed: printed.clone() });
        }
        script::write(&mut rewritten, line.text, &printed);
    }
    director.finish()?;
    Ok(Performance { rewritten, difference })
}

struct Director<S: Actor> {
    given: Vec<GivenLog>,
    /// Once it has started.
    stage: Option<Stage<S>>,
    /// Which law was broken, and in which line.
    broken: Option<(usize, Violation)>,
    /// The broken law was expected: there is nothing to go on with.
    has_ended: bool,
}

impl<S: Actor> Director<S> {
    /// Carries a command out; what it prints.
    fn carry_out(&mut self, line: usize, command: &Command) -> Result<Vec<String>, StoryError> {
        if self.has_ended {
            let what = "a story ends where a law is broken".to_owned();
            return Err(StoryError::Impossible { line, what });
        }
        if let Some((_, violation)) = &self.broken {
            self.has_ended = is_expected(command, violation);
            self.finish()?;
            return Ok(Vec::new());
        }
        let result = self.act_or_panic(command);
        let stage = self.stage.as_mut();
        let mut printed = stage.map(|stage| std::mem::take(&mut stage.printed)).unwrap_or_default();
        match result {
            Ok(()) => {}
            Err(Trouble::Impossible(what)) => return Err(StoryError::Impossible { line, what }),
            Err(Trouble::Unexpected { expected, found }) => {
                return Err(StoryError::Unexpected { line, expected, found });
            }
            Err(Trouble::Broken(violation)) => {
                let what = violation.what.lines().next().unwrap_or_default();
                printed.push(format!("BROKEN {}: {what}", violation.law));
                self.broken = Some((line, violation));
            }
        }
        Ok(printed)
    }

    /// A panic is a broken law, too.
    fn act_or_panic(&mut self, command: &Command) -> Result<(), Trouble> {
        catch(|| self.act(command)).unwrap_or_else(|said| {
            // Its first line says where in the code: stories do not depend on that.
            let what = said.lines().nth(1).unwrap_or_default().to_owned();
            Err(Trouble::Broken(Violation { law: PANIC, what }))
        })
    }

    /// A law that was broken must have been expected.
    fn finish(&self) -> Result<(), StoryError> {
        match &self.broken {
            Some((line, Violation { law, what })) if !self.has_ended => {
                Err(StoryError::Broken { line: *line, law: (*law).to_owned(), what: what.clone() })
            }
            _ => Ok(()),
        }
    }

    fn act(&mut self, command: &Command) -> Result<(), Trouble> {
        match command {
            Command::System(_) if self.given.is_empty() && self.stage.is_none() => Ok(()),
            Command::System(_) => impossible("`system` comes first"),
            Command::Log(log) if self.stage.is_none() => self.give(log),
            Command::Log(_) => impossible("a log is given before the start"),
            Command::Start { nodes, options } if self.stage.is_none() => self.start(*nodes, options),
            Command::Start { .. } => impossible("the replicas have started; one of them again: `restart`"),
            _ => match &mut self.stage {
                Some(stage) => act_on(stage, command),
                None => impossible("nobody is there yet: `start 3` first"),
            },
        }
    }

    fn give(&mut self, log: &GivenLog) -> Result<(), Trouble> {
        if self.given.iter().any(|given| given.node == log.node) {
            return impossible("this replica has a log already");
        }
        self.given.push(log.clone());
        Ok(())
    }

    fn start(&mut self, nodes: usize, options: &[(String, String)]) -> Result<(), Trouble> {
        if nodes != S::nodes(nodes) {
            return impossible(&format!("{} has {} replicas", S::NAME, S::nodes(nodes)));
        }
        let mut config = S::configuration();
        for (option, value) in options {
            S::configure(&mut config, option, value).map_err(Trouble::Impossible)?;
        }
        if let Some(log) = self.given.iter().find(|log| usize::from(log.node.0) >= nodes) {
            return impossible(&format!("replica {} has a log, but they are 0 to {}", log.node, nodes - 1));
        }
        self.stage = Some(Stage::open(nodes, config, &self.given)?);
        Ok(())
    }
}

fn act_on<S: Actor>(stage: &mut Stage<S>, command: &Command) -> Result<(), Trouble> {
    match command {
        Command::System(_) | Command::Log(_) | Command::Start { .. } => {
            unreachable!("they come before the stage")
        }
        Command::Wait(time) => stage.wait(*time),
        Command::Tick(node, time) => return stage.tick(*node, *time),
        Command::Timeout(node) => return stage.timeout(*node),
        Command::Propose { node, key, value } => return stage.ask(*node, key, Some(value)),
        Command::Read { node, key } => return stage.ask(*node, key, None),
        Command::Move { motion, links, kind } => return stage.move_messages(*motion, links, kind.as_deref()),
        Command::Sync(node) => return stage.sync(*node),
        Command::Crash { node, crash } => return stage.crash(*node, *crash),
        Command::Restart { node, anyway } => return stage.restart(*node, *anyway),
        Command::Pause(node) => return stage.pause(*node),
        Command::Resume(node) => return stage.resume(*node),
        Command::Wipe(node) => return stage.wipe(*node),
        Command::Partition(groups) => return stage.partition(groups),
        Command::Cut(links) => stage.cut(links),
        Command::Mend(links) => stage.mend(links),
        Command::Heal => stage.heal(),
        Command::Settle => return stage.settle(),
        Command::Lie { node, lie } => return stage.lie(*node, lie),
        Command::Yield { node, to } => return stage.yield_to(*node, *to),
        Command::Expect(expectation) => return expect(stage, expectation),
        Command::Show(Shown::Node(node)) => return stage.show(*node),
        Command::Show(Shown::Messages) => stage.show_messages(),
        Command::Show(Shown::Log) => return stage.show_logs(),
    }
    Ok(())
}

fn expect<S: Actor>(stage: &Stage<S>, expectation: &Expectation) -> Result<(), Trouble> {
    let found = match expectation {
        Expectation::Role(node, _) => {
            let role = stage.stand(*node)?.map_or("down", |(stand, _)| stand.role);
            Expectation::Role(*node, role.to_owned())
        }
        Expectation::Value(node, key, _) | Expectation::Lacks(node, key) => match stage.value(*node, key)? {
            Some(value) => Expectation::Value(*node, key.clone(), value),
            None => Expectation::Lacks(*node, key.clone()),
        },
        Expectation::Answer(_) => Expectation::Answer(stage.answered().clone()),
        Expectation::Broken(law) => return compare(&format!("law {law} to be broken"), "every law holds"),
        Expectation::Term(node, _)
        | Expectation::Commit(node, _)
        | Expectation::Applied(node, _)
        | Expectation::Log(node, _) => {
            let Some((stand, applied)) = stage.stand(*node)? else {
                return impossible(&format!("{node} is down"));
            };
            match expectation {
                Expectation::Term(..) => Expectation::Term(*node, stand.term.0),
                Expectation::Commit(..) => Expectation::Commit(*node, stand.commit.0),
                Expectation::Applied(..) => Expectation::Applied(*node, applied),
                _ => Expectation::Log(*node, stand.log),
            }
        }
    };
    compare(&expectation.to_string(), &found.to_string())
}

fn compare(expected: &str, found: &str) -> Result<(), Trouble> {
    if expected == found {
        return Ok(());
    }
    Err(Trouble::Unexpected { expected: expected.to_owned(), found: found.to_owned() })
}

fn impossible(what: &str) -> Result<(), Trouble> {
    Err(Trouble::Impossible(what.to_owned()))
}

/// Whether the command is the one that may follow a broken law.
fn is_expected(command: &Command, violation: &Violation) -> bool {
    let Command::Expect(Expectation::Broken(law)) = command else { return false };
    violation.law.split_whitespace().next() == Some(law)
}
