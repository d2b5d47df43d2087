//! Multi-Paxos on the stage.

use std::time::Duration;

use qlab_kernel::{Index, Term};
use qlab_paxos::multi::{Config, Message, Quorums, Reads, Record};
use qlab_paxos::{Ballot, MultiPaxos};

use super::actor::{Actor, Stand};
use super::clients::given_entry;
use super::command::GivenLog;

const OPTIONS: &str = "reads (confirm, lease), batching, thrifty_hedge_ms, quorums (phase 1 and 2: 3+1), snapshot_log_bytes, retained_log_bytes";

impl Actor for MultiPaxos {
    const KINDS: &'static [&'static str] = &[
        "canvass",
        "canvass-reply",
        "prepare",
        "promise",
        "fetch",
        "value",
        "accept",
        "accepted",
        "heartbeat",
        "heartbeat-reply",
        "learn",
        "chosen",
        "image",
        "take-over",
        "stale",
    ];

    fn configuration() -> Config {
        Config::default()
    }

    fn configure(config: &mut Config, option: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("{option} = {value} is no option of multi-paxos; there are {OPTIONS}");
        let number = || value.parse().map_err(|_| unknown());
        match (option, value) {
            ("reads", "confirm") => config.reads = Reads::Confirm,
            ("reads", "lease") => config.reads = Reads::Lease,
            ("batching", _) => config.batching = value.parse().map_err(|_| unknown())?,
            ("thrifty_hedge_ms", _) => config.thrifty = Some(Duration::from_millis(number()? as u64)),
            ("quorums", _) => config.quorums = Some(quorums(value).ok_or_else(unknown)?),
            ("snapshot_log_bytes", _) => config.snapshot_log_bytes = number()?,
            ("retained_log_bytes", _) => config.retained_log_bytes = number()?,
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// Ballots that are given are replica 0's.
    fn records(given: &GivenLog) -> Result<Vec<Record>, String> {
        let ballot = |round| Ballot { round: Term(round), ..Ballot::ZERO };
        let promise = Record::Promise { ballot: ballot(given.term) };
        let accepts = (1..).zip(&given.terms).map(|(index, round)| Record::Accept {
            ballot: ballot(*round),
            index: Index(index),
            batch: given_entry(index, *round),
        });
        Ok([promise].into_iter().chain(accepts).collect())
    }

    fn stand(&self) -> Stand {
        Stand { role: self.role(), term: self.promised().round, commit: self.chosen(), log: log(self) }
    }

    fn kind(message: &Message) -> &'static str {
        match message {
            Message::Canvass { .. } => "canvass",
            Message::CanvassReply { .. } => "canvass-reply",
            Message::Prepare { .. } => "prepare",
            Message::Promise { .. } => "promise",
            Message::Fetch { .. } => "fetch",
            Message::Value { .. } => "value",
            Message::Accept { .. } => "accept",
            Message::Accepted { .. } => "accepted",
            Message::Heartbeat { .. } => "heartbeat",
            Message::HeartbeatReply { .. } => "heartbeat-reply",
            Message::Learn { .. } => "learn",
            Message::Chosen { .. } => "chosen",
            Message::Image { .. } => "image",
            Message::TakeOver { .. } => "take-over",
            Message::Stale { .. } => "stale",
        }
    }

    fn describe(message: &Message) -> String {
        let kind = Self::kind(message);
        match message {
            Message::Canvass { ballot, chosen } => format!("{kind} for {ballot}: knows up to {chosen}"),
            Message::CanvassReply { ballot, granted, .. } => {
                format!("{kind} for {ballot}: {}", if *granted { "yes" } else { "no" })
            }
            Message::Prepare { ballot, first, .. } => format!("{kind} {ballot} from slot {first} on"),
            Message::Promise { ballot, runs, chosen, .. } => {
                let accepted: Vec<String> = runs
                    .iter()
                    .map(|run| format!("{} in {}", slots(run.first, run.last), run.ballot))
                    .collect();
                let accepted = if accepted.is_empty() { "nothing".to_owned() } else { accepted.join(", ") };
                format!("{kind} {ballot}: accepted {accepted}; knows up to {chosen}")
            }
            Message::Fetch { ballot, index, accepted_in } => {
                format!("{kind} for {ballot}: what slot {index} holds in {accepted_in}")
            }
            Message::Value { ballot, index, accepted_in, .. } => {
                format!("{kind} for {ballot}: slot {index} in {accepted_in}")
            }
            Message::Accept { ballot, index, commit, batch } => {
                let what = if batch.is_empty() { "nothing" } else { "a value" };
                format!("{kind} in {ballot}: {what} in slot {index}; chosen up to {commit}")
            }
            Message::Accepted { ballot, spans } => {
                let which: Vec<String> = spans.iter().map(|span| slots(span.first, span.last)).collect();
                format!("{kind} in {ballot}: slots {}", which.join(", "))
            }
            Message::Heartbeat { ballot, round, commit, .. } => {
                format!("{kind} in {ballot}: round {round}, chosen up to {commit}")
            }
            Message::HeartbeatReply { ballot, round, .. } => format!("{kind} in {ballot}: round {round}"),
            Message::Learn { first, .. } => format!("{kind} from slot {first} on"),
            Message::Chosen { index, .. } => format!("{kind}: slot {index}"),
            Message::Image { chunk, .. } => {
                format!("{kind} up to slot {}, from byte {}", chunk.index, chunk.offset)
            }
            Message::TakeOver { ballot } => format!("{kind} from {ballot}"),
            Message::Stale { promised } => format!("{kind}: {promised} is promised"),
        }
    }
}

/// `3+1`: three must promise, one must accept.
fn quorums(text: &str) -> Option<Quorums> {
    let (phase_1, phase_2) = text.split_once('+')?;
    Some(Quorums { phase_1: phase_1.parse().ok()?, phase_2: phase_2.parse().ok()? })
}

fn slots(first: Index, last: Index) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// For each slot the ballot in which something was last accepted there, `+` if it was told to be chosen, `.` if there is nothing;
/// after the range of those that an image has replaced.
fn log(paxos: &MultiPaxos) -> String {
    let base = paxos.base().0;
    let replaced = (base > 0).then(|| format!("[1-{base}]"));
    let held = (base + 1..=paxos.last_slot().0).map(|index| match paxos.accepted_in(Index(index)) {
        None => ".".to_owned(),
        Some(Ballot::CHOSEN) => "+".to_owned(),
        Some(ballot) => ballot.to_string(),
    });
    replaced.into_iter().chain(held).collect::<Vec<_>>().join(" ")
}
