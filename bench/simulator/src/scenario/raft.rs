//! Raft on the stage.

use qlab_kernel::{Index, Term};
use qlab_raft::message::Ballot;
use qlab_raft::{Config, Entry, Message, Place, Raft, Reads, Record};

use super::actor::{Actor, Stand};
use super::clients::given_entry;
use super::command::GivenLog;

const OPTIONS: &str = "reads (index, lease), snapshot_log_bytes, retained_log_bytes";

impl Actor for Raft {
    const KINDS: &'static [&'static str] = &[
        "pre-vote",
        "vote",
        "transfer-vote",
        "pre-vote-reply",
        "vote-reply",
        "append",
        "matched",
        "conflict",
        "heartbeat",
        "heartbeat-reply",
        "install",
        "install-reply",
        "take-over",
        "stale",
    ];

    fn configuration() -> Config {
        Config::default()
    }

    fn configure(config: &mut Config, option: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("{option} = {value} is no option of raft; there are {OPTIONS}");
        match (option, value) {
            ("reads", "index") => config.reads = Reads::Index,
            ("reads", "lease") => config.reads = Reads::Lease,
            ("snapshot_log_bytes", _) => config.snapshot_log_bytes = value.parse().map_err(|_| unknown())?,
            ("retained_log_bytes", _) => config.retained_log_bytes = value.parse().map_err(|_| unknown())?,
            _ => return Err(unknown()),
        }
        config.validate().map_err(|error| error.to_string())
    }

    fn records(given: &GivenLog) -> Result<Vec<Record>, String> {
        let vote = Record::Vote { term: Term(given.term), voted_for: None };
        let entries = (1..).zip(&given.terms).map(|(index, term)| Record::Append {
            index: Index(index),
            entry: Entry { term: Term(*term), batch: given_entry(index, *term) },
        });
        Ok([vote].into_iter().chain(entries).collect())
    }

    fn stand(&self) -> Stand {
        Stand { role: self.role(), term: self.term(), commit: self.commit_index(), log: log(self) }
    }

    fn kind(message: &Message) -> &'static str {
        match message {
            Message::Vote { ballot: Ballot::Pre, .. } => "pre-vote",
            Message::Vote { ballot: Ballot::Real, .. } => "vote",
            Message::Vote { ballot: Ballot::Transfer, .. } => "transfer-vote",
            Message::VoteReply { pre: true, .. } => "pre-vote-reply",
            Message::VoteReply { pre: false, .. } => "vote-reply",
            Message::Append { .. } => "append",
            Message::Matched { .. } => "matched",
            Message::Conflict { .. } => "conflict",
            Message::Heartbeat { .. } => "heartbeat",
            Message::HeartbeatReply { .. } => "heartbeat-reply",
            Message::Install { .. } => "install",
            Message::InstallReply { .. } => "install-reply",
            Message::TakeOver { .. } => "take-over",
            Message::Stale { .. } => "stale",
        }
    }

    fn describe(message: &Message) -> String {
        let (kind, term) = (Self::kind(message), message.term());
        let head = format!("{kind} in term {term}");
        match message {
            Message::Vote { last, .. } => format!("{head}: the log ends at {}", place(*last)),
            Message::VoteReply { granted, .. } => {
                format!("{head}: {}", if *granted { "granted" } else { "denied" })
            }
            Message::Append { previous, commit, entry, .. } => {
                let what = entry.as_ref().map_or("nothing".to_owned(), |entry| {
                    place(Place { index: previous.index.next(), term: entry.term })
                });
                format!("{head}: {what} after {}, commit {commit}", place(*previous))
            }
            Message::Matched { matched, .. } => format!("{head}: up to {matched}"),
            Message::Conflict { previous, hint, .. } => {
                format!("{head}: not after {previous}, perhaps after {}", place(*hint))
            }
            Message::Heartbeat { round, commit, .. } => format!("{head}: round {round}, commit {commit}"),
            Message::HeartbeatReply { round, received, .. } => {
                format!("{head}: round {round}, received {received}")
            }
            Message::Install { chunk, .. } => {
                let whole = Place { index: chunk.index, term: chunk.term };
                format!("{head}: image of {}, from byte {}", place(whole), chunk.offset)
            }
            Message::InstallReply { index, have_bytes, .. } => {
                format!("{head}: {have_bytes} bytes of image {index}")
            }
            Message::TakeOver { .. } | Message::Stale { .. } => head,
        }
    }
}

/// As the paper's figures number places.
fn place(place: Place) -> String {
    format!("{}@{}", place.index, place.term)
}

/// The terms of the entries, after the range of those that an image has replaced.
fn log(raft: &Raft) -> String {
    let last = raft.last().index.0;
    let is_known = |index: &u64| raft.term_at(Index(*index)).is_some();
    // The place just before the first entry is known, too.
    let base = (0..=last).rev().take_while(is_known).last().unwrap_or(last);
    let replaced = (base > 0).then(|| format!("[1-{base}]"));
    let terms = (base + 1..=last).filter_map(|index| raft.term_at(Index(index))).map(|term| term.to_string());
    replaced.into_iter().chain(terms).collect::<Vec<_>>().join(" ")
}
