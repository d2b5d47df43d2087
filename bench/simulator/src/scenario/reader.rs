//! From a line to a command.

use std::str::FromStr;
use std::time::Duration;

use qlab_kernel::NodeId;

use super::command::{Answered, Command, Crash, Expectation, GivenLog, Links, Motion, Shown};

/// Replicas of a story.
pub const NODES_MAX: usize = 15;
/// Entries of a log that is given.
pub const GIVEN_ENTRIES_MAX: usize = 100;
/// Terms of a log that is given.
pub const GIVEN_TERM_MAX: u64 = 1_000_000;
/// How far one command moves a clock.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);

const COMMANDS: &str = "system, log, start, wait, tick, timeout, propose, read, deliver, drop, duplicate, hold, release, \
                        sync, crash, restart, pause, resume, wipe, partition, cut, mend, heal, settle, yield, lie, expect, show";

/// What is wrong with a line, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct Unreadable {
    /// From 1, in bytes.
    pub column: usize,
    /// What is wrong, and what is valid.
    pub what: String,
}

/// Reads one command; there must be one.
pub fn command(line: &str) -> Result<Command, Unreadable> {
    let mut words = Words::new(line);
    let command = words.command()?;
    match words.peek(0) {
        Some(word) => words.fail(format!("nothing follows here, but there is {word:?}")),
        None => Ok(command),
    }
}

struct Words<'a> {
    /// With their columns.
    words: Vec<(usize, &'a str)>,
    next: usize,
    end: usize,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        let column = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize + 1;
        let words = line.split_whitespace().map(|word| (column(word), word)).collect();
        Self { words, next: 0, end: line.trim_end().len() + 1 }
    }

    fn command(&mut self) -> Result<Command, Unreadable> {
        let word = self.word("a command")?;
        if let Some((_, motion)) = Motion::ALL.into_iter().find(|(name, _)| *name == word) {
            return self.motion(motion);
        }
        Ok(match word {
            "system" => Command::System(self.name("the name of a system")?),
            "log" => Command::Log(self.given_log()?),
            "start" => self.start()?,
            "wait" => Command::Wait(self.time()?),
            "tick" => Command::Tick(self.node()?, self.time()?),
            "timeout" => Command::Timeout(self.node()?),
            "propose" => Command::Propose {
                node: self.node()?,
                key: self.name("a key")?,
                value: self.name("a value")?,
            },
            "read" => Command::Read { node: self.node()?, key: self.name("a key")? },
            "sync" => Command::Sync(self.node()?),
            "crash" => Command::Crash { node: self.node()?, crash: self.crash()? },
            "restart" => Command::Restart { node: self.node()?, anyway: self.take_if("anyway") },
            "pause" => Command::Pause(self.node()?),
            "resume" => Command::Resume(self.node()?),
            "wipe" => Command::Wipe(self.node()?),
            "partition" => self.partition()?,
            "cut" => Command::Cut(self.links()?),
            "mend" => Command::Mend(self.links()?),
            "heal" => Command::Heal,
            "settle" => Command::Settle,
            "yield" => Command::Yield { node: self.node()?, to: self.node_if_any()? },
            "lie" => Command::Lie { node: self.node()?, lie: self.name("a lie")? },
            "expect" => Command::Expect(self.expectation()?),
            "show" => Command::Show(self.shown()?),
            other => return self.fail_back(format!("{other:?} is no command; there are {COMMANDS}")),
        })
    }

    fn motion(&mut self, motion: Motion) -> Result<Command, Unreadable> {
        let links = if is_arrow(self.peek(1)) { self.links()? } else { Links::ALL };
        let kind = self.peek(0).map(str::to_owned);
        self.next += usize::from(kind.is_some());
        Ok(Command::Move { motion, links, kind })
    }

    fn links(&mut self) -> Result<Links, Unreadable> {
        let from = self.end_of_link()?;
        let arrow = self.word("-> or <->")?;
        if !is_arrow(Some(arrow)) {
            return self.fail_back(format!("a link is written FROM -> TO or A <-> B, not with {arrow:?}"));
        }
        Ok(Links { from, to: self.end_of_link()?, both_ways: arrow == "<->" })
    }

    fn end_of_link(&mut self) -> Result<Option<NodeId>, Unreadable> {
        if self.take_if("*") { Ok(None) } else { self.node().map(Some) }
    }

    fn given_log(&mut self) -> Result<GivenLog, Unreadable> {
        let word = self.word("a replica and a colon")?;
        let Some(node) = word.strip_suffix(':').and_then(node) else {
            return self.fail_back(format!("a log is written `log 2: 1 1 4 in term 5`, not with {word:?}"));
        };
        let mut terms: Vec<u64> = Vec::new();
        while self.peek(0).is_some_and(|word| word != "in") {
            let term = self.number("the term of an entry, or `in term`")?;
            if !(terms.last().copied().unwrap_or(1)..=GIVEN_TERM_MAX).contains(&term) {
                return self
                    .fail_back("the terms of entries begin at 1 and never fall, up to 1000000".to_owned());
            }
            if terms.len() == GIVEN_ENTRIES_MAX {
                return self.fail_back(format!("a given log has at most {GIVEN_ENTRIES_MAX} entries"));
            }
            terms.push(term);
        }
        let last = terms.last().copied().unwrap_or(0);
        if !self.take_if("in") {
            return Ok(GivenLog { node, terms, term: last });
        }
        self.exactly("term")?;
        let term = self.number("the replica's term")?;
        if !(last..=GIVEN_TERM_MAX).contains(&term) {
            return self
                .fail_back(format!("a replica with an entry of term {last} is in that term or a later one"));
        }
        Ok(GivenLog { node, terms, term })
    }

    fn start(&mut self) -> Result<Command, Unreadable> {
        let nodes = self.number::<usize>("how many replicas")?;
        if !(1..=NODES_MAX).contains(&nodes) {
            return self.fail_back(format!("a story has 1 to {NODES_MAX} replicas, not {nodes}"));
        }
        let mut options = Vec::new();
        let mut more = self.take_if("with");
        while more {
            let option = self.name("an option")?;
            self.exactly("=")?;
            let value = self.name("its value")?;
            more = value.ends_with(',');
            options.push((option, value.trim_end_matches(',').to_owned()));
        }
        Ok(Command::Start { nodes, options })
    }

    fn crash(&mut self) -> Result<Crash, Unreadable> {
        match self.peek(0) {
            None => Ok(Crash::Idle),
            Some("writing") => {
                self.next += 1;
                Ok(Crash::Writing)
            }
            Some("torn") => {
                self.next += 1;
                Ok(Crash::Torn { bytes: self.number("how many bytes of what was being written are kept")? })
            }
            Some(other) => self.fail(format!("a crash is `writing` or `torn BYTES` or plain, not {other:?}")),
        }
    }

    fn partition(&mut self) -> Result<Command, Unreadable> {
        let mut groups = vec![self.group()?];
        while self.take_if("|") {
            groups.push(self.group()?);
        }
        let mut named: Vec<NodeId> = groups.concat();
        named.sort_unstable();
        if named.windows(2).any(|two| two[0] == two[1]) {
            return self.fail_back("a replica is in one group only".to_owned());
        }
        Ok(Command::Partition(groups))
    }

    fn group(&mut self) -> Result<Vec<NodeId>, Unreadable> {
        let word = self.word("replicas, like 0,1")?;
        match word.split(',').map(node).collect() {
            Some(nodes) => Ok(nodes),
            None => self.fail_back(format!("{word:?} is no group; groups are written `partition 0,1 | 2`")),
        }
    }

    fn expectation(&mut self) -> Result<Expectation, Unreadable> {
        let word = self.word("a replica, or broken, refused, written, taken, found, absent, unanswered")?;
        if let Some(node) = node(word) {
            return self.expectation_of(node);
        }
        Ok(match word {
            "broken" => Expectation::Broken(self.name("the number of a law")?),
            "refused" => Expectation::Answer(Answered::Refused),
            "written" => Expectation::Answer(Answered::Written),
            "taken" => Expectation::Answer(Answered::Taken),
            "found" => Expectation::Answer(Answered::Found(self.name("a value")?)),
            "absent" => Expectation::Answer(Answered::Absent),
            "unanswered" => Expectation::Answer(Answered::Not),
            other => {
                return self.fail_back(format!(
                    "{other:?} cannot be expected; a replica's role, term, commit, applied, log, value and lacks can, and \
                     broken, refused, written, taken, found, absent, unanswered"
                ));
            }
        })
    }

    fn expectation_of(&mut self, node: NodeId) -> Result<Expectation, Unreadable> {
        Ok(match self.word("what of it")? {
            "role" => Expectation::Role(node, self.name("a role")?),
            "term" => Expectation::Term(node, self.number("a term")?),
            "commit" => Expectation::Commit(node, self.number("an index")?),
            "applied" => Expectation::Applied(node, self.number("an index")?),
            "log" => Expectation::Log(node, self.rest()),
            "value" => Expectation::Value(node, self.name("a key")?, self.name("a value")?),
            "lacks" => Expectation::Lacks(node, self.name("a key")?),
            other => {
                return self.fail_back(format!(
                    "a replica has no {other:?}, but role, term, commit, applied, log, value and lacks"
                ));
            }
        })
    }

    fn shown(&mut self) -> Result<Shown, Unreadable> {
        match self.word("a replica, messages or log")? {
            "messages" => Ok(Shown::Messages),
            "log" => Ok(Shown::Log),
            _ => {
                self.next -= 1;
                self.node().map(Shown::Node)
            }
        }
    }

    fn time(&mut self) -> Result<Duration, Unreadable> {
        let word = self.word("a time, like 150ms")?;
        let time = word.find(|letter: char| !letter.is_ascii_digit()).and_then(|at| {
            let (count, unit) = word.split_at(at);
            let count: u64 = count.parse().ok()?;
            match unit {
                "us" => Some(Duration::from_micros(count)),
                "ms" => Some(Duration::from_millis(count)),
                "s" => Some(Duration::from_secs(count)),
                _ => None,
            }
        });
        match time {
            Some(time) if time <= WAIT_MAX => Ok(time),
            Some(_) => self.fail_back(format!("{word} is more than an hour")),
            None => self.fail_back(format!("{word:?} is no time; write 20us, 150ms or 2s")),
        }
    }

    fn node(&mut self) -> Result<NodeId, Unreadable> {
        let word = self.word("a replica's number")?;
        node(word).map_or_else(
            || self.fail_back(format!("{word:?} is no replica; they are 0 to {}", NODES_MAX - 1)),
            Ok,
        )
    }

    fn node_if_any(&mut self) -> Result<Option<NodeId>, Unreadable> {
        self.peek(0).is_some().then(|| self.node()).transpose()
    }

    fn number<N: FromStr>(&mut self, what: &str) -> Result<N, Unreadable> {
        let word = self.word(what)?;
        word.parse().or_else(|_| self.fail_back(format!("{word:?} is no number; here goes {what}")))
    }

    fn name(&mut self, what: &str) -> Result<String, Unreadable> {
        self.word(what).map(str::to_owned)
    }

    fn rest(&mut self) -> String {
        let rest: Vec<&str> = self.words[self.next..].iter().map(|(_, word)| *word).collect();
        self.next = self.words.len();
        rest.join(" ")
    }

    fn exactly(&mut self, wanted: &str) -> Result<(), Unreadable> {
        let word = self.word(wanted)?;
        if word == wanted { Ok(()) } else { self.fail_back(format!("here goes {wanted:?}, not {word:?}")) }
    }

    fn take_if(&mut self, wanted: &str) -> bool {
        let takes = self.peek(0) == Some(wanted);
        self.next += usize::from(takes);
        takes
    }

    fn word(&mut self, what: &str) -> Result<&'a str, Unreadable> {
        match self.peek(0) {
            Some(word) => {
                self.next += 1;
                Ok(word)
            }
            None => self.fail(format!("here goes {what}")),
        }
    }

    fn peek(&self, ahead: usize) -> Option<&'a str> {
        self.words.get(self.next + ahead).map(|(_, word)| *word)
    }

    /// Something is wrong with the next word, or with there being none.
    fn fail<T>(&self, what: String) -> Result<T, Unreadable> {
        let column = self.words.get(self.next).map_or(self.end, |(column, _)| *column);
        Err(Unreadable { column, what })
    }

    /// Something is wrong with the word taken last.
    fn fail_back<T>(&self, what: String) -> Result<T, Unreadable> {
        let (column, _) = self.words[self.next - 1];
        Err(Unreadable { column, what })
    }
}

fn is_arrow(word: Option<&str>) -> bool {
    matches!(word, Some("->" | "<->"))
}

fn node(word: &str) -> Option<NodeId> {
    word.parse().ok().filter(|node| usize::from(*node) < NODES_MAX).map(NodeId)
}
