//! What a protocol tells the stage about itself, as text.

use qlab_kernel::{Index, NodeId, Term};

use super::command::GivenLog;
use crate::byzantine::Byzantine;
use crate::subject::Subject;

/// A protocol that can act in a story.
pub trait Actor: Subject {
    /// The kinds of messages, by the words that a script picks them with.
    const KINDS: &'static [&'static str];

    /// What a story begins with.
    fn configuration() -> Self::Config;

    /// Sets an option of a configuration, and checks it. The error says what is wrong, and which options there are.
    fn configure(config: &mut Self::Config, option: &str, value: &str) -> Result<(), String>;

    /// The records of a replica whose log is as given; an entry's batch is made by `clients::given_entry`. The error says why there
    /// can be no such log.
    fn records(given: &GivenLog) -> Result<Vec<Self::Record>, String>;

    /// Where a replica stands.
    fn stand(&self) -> Stand;

    /// What it holds under a key itself, if it has no state machine to hold it.
    fn value(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// A way to lie, by its name in a story; there is none where replicas believe each other.
    fn lie(
        _name: &str,
        _node: NodeId,
        _nodes: usize,
        _config: &Self::Config,
    ) -> Option<Box<dyn Byzantine<Self>>> {
        None
    }

    /// One of [`KINDS`](Self::KINDS).
    fn kind(message: &Self::Message) -> &'static str;

    /// What a message says, its kind first.
    fn describe(message: &Self::Message) -> String;
}

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// What it is at the moment: a word.
    pub role: &'static str,
    /// Its term, view or ballot.
    pub term: Term,
    /// The last index that it knows to be committed.
    pub commit: Index,
    /// Its log: a word for each entry, and one for what an image has replaced.
    pub log: String,
}
