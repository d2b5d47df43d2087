//! Stories as text: a stage on which nothing happens unless the script says so.
//!
//! The [`world`](crate::world) is random; this is its opposite. Real replicas run on real journals, their messages lie in
//! queues, their clocks stand still, their disks do not answer, until a line of the script moves one of them. Every law is
//! checked after every burst, as in a world.
//!
//! ```text
//! # What the story shows, and where that is from.
//! system raft
//! start 3
//! wait 150ms
//! timeout 0
//! settle
//! | 0 campaigns in term 1
//! | 0 leads in term 1
//! expect 0 role leader
//! ```
//!
//! One command to a line; `#` begins a comment; `|` begins what the command above prints, which must be so to the letter.
//! [`perform`] also returns the text with what was really printed, so that one flag rewrites it; expectations are never
//! rewritten.
//!
//! | command | what happens |
//! |---|---|
//! | `system NAME` | comes first: which protocol acts |
//! | `log NODE: TERMS… [in term TERM]` | before the start: the journal of a replica as if it had run before. An entry writes its term under its index |
//! | `start N [with OPTION = VALUE, …]` | replicas 0 to N − 1 start |
//! | `wait TIME`, `tick NODE TIME` | all clocks move on, or one; no timer rings by itself |
//! | `timeout NODE` | the clock moves to the replica's deadline, if it is not past it, and its timer rings |
//! | `propose NODE KEY VALUE`, `read NODE KEY` | a client of its own asks a replica |
//! | `deliver [LINKS] [KIND]` | messages in flight arrive: in the order sent, one burst for each receiver |
//! | `drop`, `duplicate`, `hold`, `release` | the same messages are lost, copied with the copies kept back, kept back, no longer kept back |
//! | `sync NODE` | the disk finishes |
//! | `crash NODE [writing \| torn BYTES]` | the process ends: before its disk was given what waits, after that but unheard, or with the power, after so many bytes |
//! | `restart NODE [anyway]` | it starts from its disk. No host starts one that ran before from an empty disk; `anyway` does |
//! | `pause NODE`, `resume NODE` | the process stands still; only its clock goes on |
//! | `wipe NODE` | the disk of a replica that is down is replaced by an empty one |
//! | `partition A,B \| C`, `cut LINKS`, `mend LINKS`, `heal` | which links lose everything, also what is in flight and not held; who is in no group is in one more |
//! | `settle` | all that can be delivered and synced is, until nothing is left |
//! | `yield NODE [TO]` | leadership is to be handed over |
//! | `lie NODE LIE` | from now on a replica lies, and no law looks at it: `equivocates`, `votes-for-all`, `keeps-silent`, `sends-wrong-state`, `lies-to-clients` |
//! | `expect NODE role\|term\|commit\|applied\|log\|value\|lacks …` | fails unless it is so; who is not there has the role `down` |
//! | `expect refused\|written\|taken\|found VALUE\|absent\|unanswered` | what became of the last request or restart |
//! | `expect broken LAW` | the command before broke this law: the end of the story |
//! | `show NODE\|messages\|log` | prints |
//!
//! LINKS are `0 -> 1`, `0 <-> 1`, with `*` for everybody. Places in a log are printed as `index@term`.
//!
//! Single-decree Paxos has registers instead of a log. An entry that is given was accepted by the register of its index, in a ballot
//! of its term; `in term` is what each of these registers has promised. A log that is shown is all registers, by key; the term is the
//! highest round promised in any, the commit index how many are known to be decided, and the role what is done in the first that
//! somebody waits for: `asking`, `preparing`, `proposing`, `backing-off`; otherwise `idle`.
//!
//! | module | holds |
//! |---|---|
//! | [`command`], [`reader`], `script` | what a line can say, how it is read, the text around it |
//! | [`actor`], `raft`, `multi_paxos`, `paxos`, `pbft` | what a protocol tells the stage; each of them |
//! | `stage`, `flight`, `clients` | replicas with clocks and disks; messages in flight; who asks |
//! | `director` | carries commands out |
//!
//! What is printed of a command is what happened: elections, truncations, answers, messages that arrive, unless `settle`
//! delivers them. A law that is broken ends the story; so does a replica that panics, under the name `panic`.

pub mod actor;
mod clients;
pub mod command;
mod director;
mod flight;
mod multi_paxos;
mod paxos;
mod pbft;
mod raft;
pub mod reader;
mod script;
mod stage;

use qlab_kernel::Protocol as _;
use qlab_paxos::{MultiPaxos, Paxos};
use qlab_pbft::Pbft;
use qlab_raft::Raft;

use command::Command;
pub use script::TEXT_BYTES_MAX;

/// The systems that can act.
const ACTORS: [&str; 4] = [Raft::NAME, MultiPaxos::NAME, Paxos::NAME, Pbft::NAME];

/// Why a story did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoryError {
    /// The text is no story: correct the place.
    #[error("{line}:{column}: {what}")]
    Unreadable {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What is wrong, and what is valid.
        what: String,
    },
    /// The command cannot be carried out as things are: correct the story.
    #[error("{line}: {what}")]
    Impossible {
        /// From 1.
        line: usize,
        /// What is in the way.
        what: String,
    },
    /// Something is not as expected: the story is wrong, or the protocol.
    #[error("{line}: expected {expected}; found {found}")]
    Unexpected {
        /// From 1.
        line: usize,
        /// What should be.
        expected: String,
        /// What is.
        found: String,
    },
    /// A law was broken: the protocol is wrong, or the story says `expect broken` next.
    #[error("{line}: BROKEN {law}: {what}")]
    Broken {
        /// From 1.
        line: usize,
        /// Which.
        law: String,
        /// How.
        what: String,
    },
}

/// A story that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Performance {
    /// The text with what was really printed. Performed again, it is its own.
    pub rewritten: String,
    /// The first command that printed something else than the text says.
    pub difference: Option<Difference>,
}

/// A command that printed something else than the text says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: prints something else\n- {}\n+ {}", .expected.join("\n- "), .printed.join("\n+ "))]
pub struct Difference {
    /// Its number, from 1.
    pub line: usize,
    /// What the text says.
    pub expected: Vec<String>,
    /// What was printed.
    pub printed: Vec<String>,
}

/// Performs a story from its text to its end, or to the first thing that is wrong.
pub fn perform(text: &str) -> Result<Performance, StoryError> {
    let lines = script::read(text)?;
    let first = lines.iter().find_map(|line| line.command.as_ref().map(|command| (line.number, command)));
    match first {
        Some((line, Command::System(name))) => match name.as_str() {
            Raft::NAME => director::direct::<Raft>(&lines),
            MultiPaxos::NAME => director::direct::<MultiPaxos>(&lines),
            Paxos::NAME => director::direct::<Paxos>(&lines),
            Pbft::NAME => director::direct::<Pbft>(&lines),
            _ => {
                let what = format!("{name:?} cannot act; there are {}", ACTORS.join(", "));
                Err(StoryError::Impossible { line, what })
            }
        },
        other => {
            let line = other.map_or(1, |(line, _)| line);
            let what = format!("a story begins with `system` and one of {}", ACTORS.join(", "));
            Err(StoryError::Impossible { line, what })
        }
    }
}
