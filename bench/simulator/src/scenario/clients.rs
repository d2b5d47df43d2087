//! Who asks: every request comes from a client of its own, and what all of them saw is judged as one history.

use bytes::Bytes;
use qlab_checker::{ABSENT, History, Operation};
use qlab_kernel::client::{Answer, AnswerBody};
use qlab_kernel::command::TAKEN;
use qlab_kernel::{
    Batch, BatchBuilder, NodeId, Outcome, Refusal, Request, Sequence, SessionId, Ticket, Votes,
};
use qlab_machines::{Command, kv};

use super::command::{Answered, GivenLog};

/// Whose sessions those of given entries are: nobody's who asks.
const GIVEN: u16 = u16::MAX;

/// An entry of a log that is given: it writes its term under its index, in a session of its own.
pub(crate) fn given_entry(index: u64, term: u64) -> Batch {
    write(given_session(index, term), &index.to_string(), &term.to_string())
}

/// Whose session that is.
pub(crate) const fn given_session(index: u64, term: u64) -> SessionId {
    SessionId::owned(GIVEN, index << 32 | term)
}

/// All clients of a story.
#[derive(Debug)]
pub(crate) struct Clients {
    nodes: usize,
    /// How many replicas must say the same.
    matching: usize,
    asked: Vec<Asked>,
    /// What may have been written before the story began.
    given: Vec<(String, String)>,
    /// Moments at which something was asked or answered.
    now_ns: u64,
}

#[derive(Debug)]
struct Asked {
    key: String,
    /// What to write; `None` for a read.
    value: Option<String>,
    at_ns: u64,
    answered: Answered,
    answered_at_ns: u64,
    /// What the replicas said, where none is believed alone.
    votes: Option<Votes>,
}

impl Clients {
    /// Of `nodes` replicas, `matching` of which are believed.
    pub(crate) fn new(nodes: usize, matching: usize) -> Self {
        Self { nodes, matching, asked: Vec::new(), given: Vec::new(), now_ns: 0 }
    }

    /// Learns what a given log may write.
    pub(crate) fn expect_given(&mut self, log: &GivenLog) {
        self.given.extend(
            (1..).zip(&log.terms).map(|(index, term): (u64, _)| (index.to_string(), term.to_string())),
        );
    }

    /// The next client's request, and its session.
    pub(crate) fn ask(&mut self, key: &str, value: Option<&str>) -> (Ticket, SessionId, Request) {
        let at_ns = self.tick();
        let number = self.asked.len() as u64;
        let session = SessionId::owned(number as u16, 1);
        let request = match value {
            Some(value) => Request::Write(write(session, key, value)),
            None => Request::Read(read(session, key)),
        };
        let votes = (self.matching > 1).then(|| {
            let mut votes = Votes::new(self.nodes, self.matching);
            votes.asked(&request);
            votes
        });
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        self.asked.push(Asked { key, value, at_ns, answered: Answered::Not, answered_at_ns: 0, votes });
        (Ticket(number), session, request)
    }

    /// How the last request was answered.
    pub(crate) fn last(&self) -> Answered {
        self.asked.last().map_or(Answered::Not, |asked| asked.answered.clone())
    }

    /// What a client believes of a replica's frame.
    pub(crate) fn believe(&mut self, client: u64, from: NodeId, frame: &Bytes) -> Vec<Bytes> {
        let asked = usize::try_from(client).ok().and_then(|client| self.asked.get_mut(client));
        let Some(votes) = asked.and_then(|asked| asked.votes.as_mut()) else { return vec![frame.clone()] };
        let mut believed = Vec::new();
        // One that lies may send what cannot be read.
        let _ = votes.take(from, frame, &mut believed);
        believed
    }

    /// Takes an answer in; what it says, unless it says nothing about the request itself.
    pub(crate) fn hear(&mut self, client: u64, answer: &Answer<'_>) -> Option<String> {
        let now_ns = self.tick();
        let asked = usize::try_from(client).ok().and_then(|client| self.asked.get_mut(client))?;
        // Its session's opening may stand before it, in the same answer or in one of its own.
        let place = usize::try_from(1_u64.checked_sub(answer.first.0)?).ok()?;
        let what = asked.value.as_ref().map_or(asked.key.clone(), |value| format!("{} = {value}", asked.key));
        let (answered, says) = match answer.body {
            AnswerBody::Written(outcomes) => match outcomes.iter().nth(place)?.status {
                kv::STORED => (Answered::Written, format!("{what} is written")),
                TAKEN => (Answered::Taken, format!("{what} is not written: another value is")),
                status => (Answered::Refused, format!("{what} is not written: {}", status_name(status))),
            },
            AnswerBody::Values(values) => match values.iter().nth(place)? {
                (kv::FOUND, value) => {
                    let value = String::from_utf8_lossy(value).into_owned();
                    (Answered::Found(value.clone()), format!("{what} is {value}"))
                }
                _ => (Answered::Absent, format!("{what} is absent")),
            },
            AnswerBody::Refused(_) if place > 0 => return None,
            AnswerBody::Refused(refusal) => {
                (Answered::Refused, format!("{what} is refused: {}", reason(refusal)))
            }
            AnswerBody::Moved(_) => return None,
        };
        (asked.answered, asked.answered_at_ns) = (answered, now_ns);
        Some(says)
    }

    /// What all of them saw so far; what was not answered may have happened, what was refused must not have.
    pub(crate) fn history(&self) -> History {
        let mut names = Names::default();
        let mut history = History::default();
        for (key, value) in &self.given {
            history.push(Operation::put(0, names.number(key), names.number(value)).unknown_since(0));
        }
        for (process, asked) in (1..).zip(&self.asked) {
            asked.operation(process, &mut names).into_iter().for_each(|operation| history.push(operation));
        }
        history
    }

    fn tick(&mut self) -> u64 {
        self.now_ns += 1;
        self.now_ns
    }
}

impl Asked {
    fn operation<'a>(&'a self, process: u32, names: &mut Names<'a>) -> Option<Operation> {
        let key = names.number(&self.key);
        let (operation, is_done) = match (&self.value, &self.answered) {
            (Some(value), Answered::Written) => (Operation::put(process, key, names.number(value)), true),
            (Some(value), Answered::Not) => (Operation::put(process, key, names.number(value)), false),
            (Some(value), Answered::Taken) => {
                let refused = Operation::put(process, key, names.number(value));
                return Some(refused.failed_during(self.at_ns, self.answered_at_ns));
            }
            (None, Answered::Found(value)) => (Operation::get(process, key, names.number(value)), true),
            (None, Answered::Absent) => (Operation::get(process, key, ABSENT), true),
            _ => return None,
        };
        Some(if is_done {
            operation.during(self.at_ns, self.answered_at_ns)
        } else {
            operation.unknown_since(self.at_ns)
        })
    }
}

/// Keys and values by number, as the judge wants them.
#[derive(Default)]
struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    fn number(&mut self, name: &'a str) -> u64 {
        let known = self.0.iter().position(|known| *known == name);
        let place = known.unwrap_or_else(|| {
            self.0.push(name);
            self.0.len() - 1
        });
        place as u64
    }
}

fn write(session: SessionId, key: &str, value: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(session, Sequence::ZERO, Sequence::ZERO);
    builder.begin(session, Sequence(1), Sequence(1));
    builder.push_bytes(&encoded(&Command::Put { key: key.as_bytes(), value: value.as_bytes() }));
    builder.finish()
}

fn read(session: SessionId, key: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(session, Sequence(1), Sequence(1));
    builder.push_bytes(&encoded(&Command::Get { key: key.as_bytes() }));
    builder.finish()
}

/// A command's bytes.
pub(crate) fn encoded(command: &Command<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    bytes
}

fn reason(refusal: Refusal) -> String {
    match refusal {
        Refusal::NotLeader(Some(leader)) => format!("{leader} leads"),
        Refusal::NotLeader(None) => "nobody is known to lead".to_owned(),
        Refusal::Busy => "busy".to_owned(),
    }
}

fn status_name(status: u8) -> String {
    match status {
        kv::TOO_LARGE => "too large".to_owned(),
        kv::FULL => "the store is full".to_owned(),
        Outcome::EXPIRED => "the session is forgotten".to_owned(),
        other => format!("status {other}"),
    }
}
