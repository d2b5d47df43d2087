//! What a line of a story can say.

use std::fmt;
use std::time::Duration;

use qlab_kernel::NodeId;

/// One command. Printed, it reads as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Which protocol acts.
    System(String),
    /// What a replica's journal holds before it starts.
    Log(GivenLog),
    /// So many replicas start, with these options of their configuration.
    Start {
        /// How many.
        nodes: usize,
        /// Options and their values.
        options: Vec<(String, String)>,
    },
    /// All clocks move on.
    Wait(Duration),
    /// One clock moves on.
    Tick(NodeId, Duration),
    /// A replica's deadline comes: its clock moves there, and its timer rings.
    Timeout(NodeId),
    /// A client asks a replica to write a value under a key.
    Propose {
        /// Whom.
        node: NodeId,
        /// Where.
        key: String,
        /// What.
        value: String,
    },
    /// A client asks a replica for a key's value.
    Read {
        /// Whom.
        node: NodeId,
        /// Which key.
        key: String,
    },
    /// Something happens to the messages in flight.
    Move {
        /// What.
        motion: Motion,
        /// To those on these links.
        links: Links,
        /// To those of this kind only.
        kind: Option<String>,
    },
    /// A replica's disk finishes what it was given, and the replica hears of it.
    Sync(NodeId),
    /// A replica's process ends.
    Crash {
        /// Which.
        node: NodeId,
        /// What its disk keeps.
        crash: Crash,
    },
    /// A replica starts from what its disk holds.
    Restart {
        /// Which.
        node: NodeId,
        /// Also under an identity that has run before, from an empty disk: what no host does.
        anyway: bool,
    },
    /// A process stands still.
    Pause(NodeId),
    /// It goes on.
    Resume(NodeId),
    /// The disk of a process that ended is replaced by an empty one.
    Wipe(NodeId),
    /// Only within these groups do messages arrive.
    Partition(Vec<Vec<NodeId>>),
    /// Messages on these links are lost.
    Cut(Links),
    /// They are not any more.
    Mend(Links),
    /// No link is cut.
    Heal,
    /// Everything in flight is delivered and every disk finishes, until there is nothing left to do.
    Settle,
    /// A replica is told to hand leadership over.
    Yield {
        /// Who.
        node: NodeId,
        /// To whom.
        to: Option<NodeId>,
    },
    /// From now on a replica lies.
    Lie {
        /// Who.
        node: NodeId,
        /// How, by name.
        lie: String,
    },
    /// The story fails unless this is so.
    Expect(Expectation),
    /// Prints something.
    Show(Shown),
}

/// The journal of a replica as if it had run before: entries by their terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenLog {
    /// Whose.
    pub node: NodeId,
    /// The terms of its entries, from the first; they never fall.
    pub terms: Vec<u64>,
    /// The replica's own term, at least the last entry's.
    pub term: u64,
}

/// What happens to messages in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// They arrive; what arrives at a replica by one command, it takes in as one burst.
    Deliver,
    /// They are lost.
    Drop,
    /// Each is in flight twice; the copy is held.
    Duplicate,
    /// They stay in flight until they are released, whatever is delivered.
    Hold,
    /// They are not held any more.
    Release,
}

/// A set of links, by their ends; `None` is everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Who sends.
    pub from: Option<NodeId>,
    /// Who receives.
    pub to: Option<NodeId>,
    /// In the other direction as well.
    pub both_ways: bool,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before what waits for the disk has been given to it.
    Idle,
    /// After that, but before the disk has answered: the disk keeps it, though nobody was told.
    Writing,
    /// The power fails meanwhile: of what was being written, only the first bytes are on the disk.
    Torn {
        /// How many.
        bytes: usize,
    },
}

/// What must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// A replica plays this role; `down` while its process is not there.
    Role(NodeId, String),
    /// Its term.
    Term(NodeId, u64),
    /// The last index that it knows to be committed.
    Commit(NodeId, u64),
    /// The last index that its state machine executed.
    Applied(NodeId, u64),
    /// Its log, as it is shown.
    Log(NodeId, String),
    /// What its state machine holds under a key.
    Value(NodeId, String, String),
    /// That its state machine holds nothing under a key.
    Lacks(NodeId, String),
    /// How the last request was answered, or that the last start was refused.
    Answer(Answered),
    /// That a law was broken by the command before: the end of the story.
    Broken(String),
}

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Not yet.
    Not,
    /// It was not taken.
    Refused,
    /// The value is written.
    Written,
    /// It is not, as the register holds another, for ever.
    Taken,
    /// This value was read.
    Found(String),
    /// There is no value to read.
    Absent,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Everything about a replica, in a line.
    Node(NodeId),
    /// What is in flight.
    Messages,
    /// Everybody's log.
    Log,
}

impl Motion {
    /// All of them, with the words for them.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("deliver", Self::Deliver),
        ("drop", Self::Drop),
        ("duplicate", Self::Duplicate),
        ("hold", Self::Hold),
        ("release", Self::Release),
    ];

    fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, motion)| *motion == self).expect("all are there").0
    }
}

impl Links {
    /// Every link there is.
    pub const ALL: Self = Self { from: None, to: None, both_ways: false };

    /// Whether the link between these two is one of them.
    #[must_use]
    pub fn contain(&self, from: NodeId, to: NodeId) -> bool {
        let fits =
            |from, to| self.from.is_none_or(|node| node == from) && self.to.is_none_or(|node| node == to);
        fits(from, to) || self.both_ways && fits(to, from)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(name) => write!(f, "system {name}"),
            Self::Log(log) => write!(f, "{log}"),
            Self::Start { nodes, options } => {
                write!(f, "start {nodes}")?;
                for (place, (option, value)) in options.iter().enumerate() {
                    write!(f, "{} {option} = {value}", if place == 0 { " with" } else { "," })?;
                }
                Ok(())
            }
            Self::Wait(time) => write!(f, "wait {}", Time(*time)),
            Self::Tick(node, time) => write!(f, "tick {node} {}", Time(*time)),
            Self::Timeout(node) => write!(f, "timeout {node}"),
            Self::Propose { node, key, value } => write!(f, "propose {node} {key} {value}"),
            Self::Read { node, key } => write!(f, "read {node} {key}"),
            Self::Move { motion, links, kind } => {
                write!(f, "{} {links}", motion.word())?;
                kind.iter().try_for_each(|kind| write!(f, " {kind}"))
            }
            Self::Sync(node) => write!(f, "sync {node}"),
            Self::Crash { node, crash } => write!(f, "crash {node}{crash}"),
            Self::Restart { node, anyway } => {
                write!(f, "restart {node}{}", if *anyway { " anyway" } else { "" })
            }
            Self::Pause(node) => write!(f, "pause {node}"),
            Self::Resume(node) => write!(f, "resume {node}"),
            Self::Wipe(node) => write!(f, "wipe {node}"),
            Self::Partition(groups) => {
                let groups: Vec<String> = groups.iter().map(|group| list(group)).collect();
                write!(f, "partition {}", groups.join(" | "))
            }
            Self::Cut(links) => write!(f, "cut {links}"),
            Self::Mend(links) => write!(f, "mend {links}"),
            Self::Heal => f.write_str("heal"),
            Self::Settle => f.write_str("settle"),
            Self::Yield { node, to } => {
                write!(f, "yield {node}")?;
                to.iter().try_for_each(|to| write!(f, " {to}"))
            }
            Self::Lie { node, lie } => write!(f, "lie {node} {lie}"),
            Self::Expect(expectation) => write!(f, "expect {expectation}"),
            Self::Show(Shown::Node(node)) => write!(f, "show {node}"),
            Self::Show(Shown::Messages) => f.write_str("show messages"),
            Self::Show(Shown::Log) => f.write_str("show log"),
        }
    }
}

impl fmt::Display for GivenLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {}:", self.node)?;
        self.terms.iter().try_for_each(|term| write!(f, " {term}"))?;
        write!(f, " in term {}", self.term)
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |node: Option<NodeId>| node.map_or("*".to_owned(), |node| node.to_string());
        let arrow = if self.both_ways { "<->" } else { "->" };
        write!(f, "{} {arrow} {}", end(self.from), end(self.to))
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => Ok(()),
            Self::Writing => f.write_str(" writing"),
            Self::Torn { bytes } => write!(f, " torn {bytes}"),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(node, role) => write!(f, "{node} role {role}"),
            Self::Term(node, term) => write!(f, "{node} term {term}"),
            Self::Commit(node, index) => write!(f, "{node} commit {index}"),
            Self::Applied(node, index) => write!(f, "{node} applied {index}"),
            Self::Log(node, log) => write!(f, "{node} log {log}"),
            Self::Value(node, key, value) => write!(f, "{node} value {key} {value}"),
            Self::Lacks(node, key) => write!(f, "{node} lacks {key}"),
            Self::Answer(answered) => write!(f, "{answered}"),
            Self::Broken(law) => write!(f, "broken {law}"),
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Not => f.write_str("unanswered"),
            Self::Refused => f.write_str("refused"),
            Self::Written => f.write_str("written"),
            Self::Taken => f.write_str("taken"),
            Self::Found(value) => write!(f, "found {value}"),
            Self::Absent => f.write_str("absent"),
        }
    }
}

/// A time as it is written: in the largest unit that leaves no fraction.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            us if us % 1_000_000 == 0 => write!(f, "{}s", us / 1_000_000),
            us if us % 1_000 == 0 => write!(f, "{}ms", us / 1_000),
            us => write!(f, "{us}us"),
        }
    }
}

fn list(nodes: &[NodeId]) -> String {
    let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    nodes.join(",")
}
