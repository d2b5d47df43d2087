//! PBFT on the stage.

use std::time::Duration;

use qlab_kernel::{Index, NodeId, Term};
use qlab_pbft::keys::{Authentication, Digest};
use qlab_pbft::message::{Message, PrePrepare, Prepared};
use qlab_pbft::{Config, Pbft, Record};

use super::actor::{Actor, Stand};
use super::command::GivenLog;
use crate::byzantine::pbft::{Forger, Lie, by_name};

const OPTIONS: &str =
    "authentication (macs, signatures), batching, checkpoint_entries, log_window, view_timeout_ms";
/// Entries after the last checkpoint that are shown.
const SHOWN_ENTRIES: u64 = 32;

impl Actor for Pbft {
    const KINDS: &'static [&'static str] = &[
        "relay",
        "pre-prepare",
        "prepare",
        "commit",
        "checkpoint",
        "stable",
        "view-change",
        "new-view",
        "fetch-votes",
        "fetch-body",
        "body",
        "fetch-state",
        "state",
        "status",
        "doubt",
        "vouch",
        "executed",
    ];

    fn configuration() -> Config {
        Config {
            checkpoint_entries: 4,
            log_window: 8,
            window_entries: 2,
            ..Config::new(crate::subject::keys())
        }
    }

    fn configure(config: &mut Config, option: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("{option} = {value} is no option of pbft; there are {OPTIONS}");
        let number = || value.parse().map_err(|_| unknown());
        match (option, value) {
            ("authentication", "macs") => config.authentication = Authentication::Macs,
            ("authentication", "signatures") => config.authentication = Authentication::Signatures,
            ("batching", _) => config.batching = value.parse().map_err(|_| unknown())?,
            ("checkpoint_entries", _) => config.checkpoint_entries = number()?,
            ("log_window", _) => config.log_window = number()?,
            ("view_timeout_ms", _) => config.view_timeout = Duration::from_millis(number()? as u64),
            _ => return Err(unknown()),
        }
        config.validate(4).map_err(|error| error.to_string())
    }

    fn records(_: &GivenLog) -> Result<Vec<Record>, String> {
        Err("no log can be given: what is prepared must be signed by those who prepared it".to_owned())
    }

    fn stand(&self) -> Stand {
        let role = match (self.is_active(), self.is_primary()) {
            (false, _) => "changing",
            (true, true) => "primary",
            (true, false) => "backup",
        };
        Stand { role, term: self.view(), commit: self.executed(), log: log(self) }
    }

    fn lie(name: &str, me: NodeId, nodes: usize, config: &Config) -> Option<Lie> {
        by_name(name, Forger { me, nodes, config: config.clone() })
    }

    fn kind(message: &Message) -> &'static str {
        match message {
            Message::Relay(_) => "relay",
            Message::PrePrepare(_) => "pre-prepare",
            Message::Prepare { .. } => "prepare",
            Message::Commit { .. } => "commit",
            Message::Checkpoint { .. } => "checkpoint",
            Message::Stable(_) => "stable",
            Message::ViewChange(_) => "view-change",
            Message::NewView(_) => "new-view",
            Message::FetchVotes { .. } => "fetch-votes",
            Message::FetchBody { .. } => "fetch-body",
            Message::Body { .. } => "body",
            Message::FetchState { .. } => "fetch-state",
            Message::State { .. } => "state",
            Message::Status { .. } => "status",
            Message::Doubt { .. } => "doubt",
            Message::Vouch { .. } => "vouch",
            Message::Executed { .. } => "executed",
        }
    }

    fn describe(message: &Message) -> String {
        let kind = Self::kind(message);
        match message {
            Message::Relay(request) => format!("{kind} of a request of client {}", request.client()),
            Message::PrePrepare(PrePrepare { view, seq, requests, .. }) => {
                format!("{kind} of {}: {} requests", place(*view, *seq), requests.len())
            }
            Message::Prepare { view, seq, .. } | Message::Commit { view, seq, .. } => {
                format!("{kind} of {}", place(*view, *seq))
            }
            Message::Checkpoint { seq, .. } => format!("{kind} at {seq}"),
            Message::Stable(stable) => format!("{kind} checkpoint at {}", stable.seq),
            Message::ViewChange(vote) => format!(
                "{kind} of {} to view {}: checkpoint at {}, prepared {}",
                vote.voter,
                vote.view,
                vote.stable.seq,
                prepared(&vote.prepared)
            ),
            Message::NewView(new_view) => {
                let voters: Vec<String> = new_view.votes.iter().map(|(voter, _)| voter.to_string()).collect();
                let proposed: Vec<String> = new_view.proposals.iter().map(|it| it.seq.to_string()).collect();
                let proposed = if proposed.is_empty() { "nothing".to_owned() } else { proposed.join(", ") };
                format!("{kind} {} by votes of {}: proposes {proposed}", new_view.view, voters.join(", "))
            }
            Message::FetchVotes { view } => format!("{kind} for view {view}"),
            Message::FetchBody { seq, .. } | Message::Body { seq, .. } => format!("{kind} of {seq}"),
            Message::FetchState { seq, have_bytes } => format!("{kind} at {seq} from byte {have_bytes}"),
            Message::State { chunk, .. } => format!("{kind} at {} from byte {}", chunk.index, chunk.offset),
            Message::Status { view, active, stable, executed } => {
                let on_the_way = if *active { "" } else { "on the way to " };
                format!("{kind}: {on_the_way}view {view}, checkpoint at {stable}, executed up to {executed}")
            }
            Message::Doubt { .. } | Message::Vouch { .. } => kind.to_owned(),
            Message::Executed { seq, .. } => format!("{kind}: {seq}"),
        }
    }
}

fn place(view: Term, seq: Index) -> String {
    format!("{seq} in view {view}")
}

fn prepared(list: &[Prepared]) -> String {
    let places: Vec<String> = list.iter().map(|it| format!("{}@{}", it.seq, it.view)).collect();
    if places.is_empty() { "nothing".to_owned() } else { places.join(", ") }
}

/// Each entry after the last checkpoint by what is known of it: `c` committed, `p1` prepared in view 1, `a` accepted, `.` nothing.
fn log(pbft: &Pbft) -> String {
    let base = pbft.stable().0;
    let word = |seq: u64| {
        let seq = Index(seq);
        let known: Option<Digest> = pbft.committed_at(seq);
        match (known, pbft.prepared_at(seq), pbft.accepted_at(seq)) {
            (Some(_), ..) => "c".to_owned(),
            (None, Some((view, _)), _) => format!("p{view}"),
            (None, None, Some(_)) => "a".to_owned(),
            (None, None, None) => ".".to_owned(),
        }
    };
    let mut words: Vec<String> = (base + 1..=base + SHOWN_ENTRIES).map(word).collect();
    while words.last().is_some_and(|word| word == ".") {
        words.pop();
    }
    let replaced = (base > 0).then(|| format!("[1-{base}]"));
    replaced.into_iter().chain(words).collect::<Vec<_>>().join(" ")
}
