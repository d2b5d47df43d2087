//! Single-decree Paxos on the stage: registers where the others have a log.

use bytes::Bytes;
use qlab_kernel::{Index, Sequence, Term};
use qlab_paxos::single::{Accepted, Change, Config, FirstBallot, Image, Message, Record, Step, Value};
use qlab_paxos::{Ballot, Paxos};

use super::actor::{Actor, Stand};
use super::clients::given_session;
use super::command::GivenLog;

const OPTIONS: &str = "first_ballot (prepare, promised), rewrite_log_bytes";
/// A message with steps of more than one kind.
const MIXED: &str = "mixed";

impl Actor for Paxos {
    const KINDS: &'static [&'static str] =
        &["prepare", "promise", "accept", "accepted", "rejected", "ask", "told", "chosen", "decided", MIXED];

    fn configuration() -> Config {
        Config::default()
    }

    fn configure(config: &mut Config, option: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("{option} = {value} is no option of paxos; there are {OPTIONS}");
        match (option, value) {
            ("first_ballot", "prepare") => config.first_ballot = FirstBallot::Prepare,
            ("first_ballot", "promised") => config.first_ballot = FirstBallot::Promised,
            ("rewrite_log_bytes", _) => config.rewrite_log_bytes = value.parse().map_err(|_| unknown())?,
            _ => return Err(unknown()),
        }
        config.validate().map_err(|error| error.to_string())
    }

    /// An entry is what its register accepted, and the term what each of these registers promised. Given ballots are replica 0's,
    /// in no life of its own.
    fn records(given: &GivenLog) -> Result<Vec<Record>, String> {
        if given.terms.is_empty() {
            return Err(
                "a log without entries names no register that could have promised anything".to_owned()
            );
        }
        let ballot = |round| Ballot { round: Term(round), ..Ballot::ZERO };
        let changes = (1..).zip(&given.terms).flat_map(|(index, round): (u64, _)| {
            let key = Bytes::from(index.to_string());
            let bytes = Bytes::from(round.to_string());
            let value = Value { session: given_session(index, *round), sequence: Sequence(1), bytes };
            let accept = Change::Accept { ballot: ballot(*round), value };
            [(key.clone(), accept), (key, Change::Promise { ballot: ballot(given.term) })]
        });
        Ok(vec![Record::Changes { changes: changes.collect() }])
    }

    fn stand(&self) -> Stand {
        let promised = self.acceptors().map(|(_, image)| image.promised.round).max();
        Stand {
            role: self.role(),
            term: promised.unwrap_or_default(),
            commit: Index(self.decided_count() as u64),
            log: registers(self),
        }
    }

    fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.decided().find(|(decided, _)| *decided == key).map(|(_, value)| value.bytes.to_vec())
    }

    fn kind(message: &Message) -> &'static str {
        let mut kinds = message.steps.iter().map(|(_, step)| kind(step));
        let first = kinds.next().unwrap_or(MIXED);
        if kinds.all(|other| other == first) { first } else { MIXED }
    }

    fn describe(message: &Message) -> String {
        let mixed = (Self::kind(message) == MIXED).then(|| format!("{MIXED}: "));
        let steps: Vec<String> = message.steps.iter().map(|(key, step)| told(key, step)).collect();
        format!("{}{}", mixed.unwrap_or_default(), steps.join("; "))
    }
}

const fn kind(step: &Step) -> &'static str {
    match step {
        Step::Prepare { .. } => "prepare",
        Step::Promise { .. } => "promise",
        Step::Accept { .. } => "accept",
        Step::Accepted { .. } => "accepted",
        Step::Rejected { .. } => "rejected",
        Step::Ask { .. } => "ask",
        Step::Told { .. } => "told",
        Step::Chosen { .. } => "chosen",
        Step::Decided { .. } => "decided",
    }
}

fn told(key: &Bytes, step: &Step) -> String {
    let (kind, key) = (kind(step), text(key));
    match step {
        Step::Prepare { ballot } | Step::Accepted { ballot } | Step::Chosen { ballot } => {
            format!("{kind} {key} in {ballot}")
        }
        Step::Promise { ballot, accepted } => {
            format!("{kind} {key} in {ballot}: {}", holds_or_not(accepted.as_ref()))
        }
        Step::Accept { ballot, value } => format!("{kind} {key} in {ballot}: {}", text(&value.bytes)),
        Step::Rejected { ballot, promised } => format!("{kind} {key} in {ballot}: {promised} is promised"),
        Step::Ask { .. } => format!("{kind} {key}"),
        Step::Told { accepted, .. } => format!("{kind} {key}: {}", holds_or_not(accepted.as_ref())),
        Step::Decided { value } => format!("{kind} {key}: {}", text(&value.bytes)),
    }
}

/// For each register, by key, what is promised there, and what was accepted last or is known to be chosen.
fn registers(paxos: &Paxos) -> String {
    let mut all: Vec<(&Bytes, Image)> = paxos.acceptors().collect();
    all.sort_unstable_by_key(|(key, _)| *key);
    let all: Vec<String> = all.iter().map(|(key, image)| register(key, image)).collect();
    all.join("; ")
}

fn register(key: &Bytes, Image { promised, accepted }: &Image) -> String {
    let accepted = accepted.as_ref().map_or(String::new(), |accepted| format!(", {}", holds(accepted)));
    format!("{} promised {promised}{accepted}", text(key))
}

fn holds_or_not(accepted: Option<&Accepted>) -> String {
    accepted.map_or("accepted nothing".to_owned(), holds)
}

fn holds(Accepted { ballot, value }: &Accepted) -> String {
    let value = text(&value.bytes);
    if *ballot == Ballot::CHOSEN {
        format!("chosen {value}")
    } else {
        format!("accepted {value} in {ballot}")
    }
}

fn text(bytes: &Bytes) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
