//! A3, A4: what a write is answered for, or a read returns, is on the disks of a write quorum by then, and every operation that is
//! asked later comes after it: a read returns its tag or a later one. A5: a write gets a later one.

use std::collections::HashMap;

use bytes::Bytes;
use qlab_kernel::client::{AnswerBody, answers};
use qlab_kernel::command::{ABSENT, FOUND, STORED};
use qlab_kernel::{Batch, Command, Request, Sequence, SessionId};
use qlab_quorum::abd::Tag;

use super::a1_tags::Tags;
use super::a2_holding::Holding;
use crate::laws::{Verdict, broken};

const WRITTEN: &str = "A3 what is written is on a write quorum's disks";
const READ: &str = "A4 what is read is on a write quorum's disks";
const BACK: &str = "A4 reads never go back";
const ABOVE: &str = "A5 a write goes above what was there";
const PHANTOM: &str = "A6 what is read was written";

/// What was asked, and what was known when it was.
#[derive(Debug)]
pub(crate) struct Order {
    quorum: usize,
    asked: HashMap<(SessionId, Sequence), Asked>,
    /// The highest tag of each key that an answer was for.
    answered: HashMap<Bytes, Tag>,
}

#[derive(Clone, Debug)]
struct Asked {
    key: Bytes,
    /// What is to be written, if it is a put.
    value: Option<Bytes>,
    /// The highest tag that an answer had been for.
    floor: Tag,
}

impl Order {
    /// With write quorums of this size.
    pub(crate) fn new(quorum: usize) -> Self {
        Self { quorum, asked: HashMap::new(), answered: HashMap::new() }
    }

    pub(crate) fn asked(&mut self, request: &Request) {
        let (Request::Write(batch) | Request::Read(batch)) = request;
        for (place, command) in commands(batch) {
            let key = Bytes::copy_from_slice(command.key());
            let value = match command {
                Command::Put { value, .. } => Some(Bytes::copy_from_slice(value)),
                _ => None,
            };
            let floor = self.answered.get(&key).copied().unwrap_or_default();
            self.asked.entry(place).or_insert(Asked { key, value, floor });
        }
    }

    /// Looks at what clients are told.
    pub(crate) fn check(&mut self, frame: &[u8], tags: &Tags, holding: &Holding) -> Verdict {
        for answer in answers(frame) {
            let answer = answer.expect("replicas send what can be read");
            let asked = |at: u64| (answer.session, Sequence(answer.first.0 + at));
            match answer.body {
                AnswerBody::Written(outcomes) => {
                    for (at, outcome) in (0..).zip(outcomes.iter()) {
                        if outcome.status == STORED {
                            self.written(asked(at), tags, holding)?;
                        }
                    }
                }
                AnswerBody::Values(values) => {
                    for (at, (status, value)) in (0..).zip(values.iter()) {
                        self.read(asked(at), status, value, tags, holding)?;
                    }
                }
                AnswerBody::Refused(_) | AnswerBody::Moved(_) => {}
            }
        }
        Ok(())
    }

    fn written(&mut self, place: (SessionId, Sequence), tags: &Tags, holding: &Holding) -> Verdict {
        let Some(Asked { key, value: Some(value), floor }) = self.asked.get(&place).cloned() else {
            return Ok(());
        };
        let Some(tag) = tags.tag_of(&key, &value) else {
            return broken(WRITTEN, format!("a put of {key:?} is answered that was never given a tag"));
        };
        if tag <= floor {
            return broken(
                ABOVE,
                format!("{key:?}: a put is given {tag}, but {floor} was answered before it"),
            );
        }
        self.is_held(WRITTEN, &key, tag, holding)
    }

    fn read(
        &mut self,
        place: (SessionId, Sequence),
        status: u8,
        value: &[u8],
        tags: &Tags,
        holding: &Holding,
    ) -> Verdict {
        let Some(Asked { key, floor, .. }) = self.asked.get(&place).cloned() else { return Ok(()) };
        let tag = match status {
            FOUND => tags.tag_of(&key, &Bytes::copy_from_slice(value)),
            // Which deletion it came after cannot be told: the last one, then, if there was any.
            ABSENT => Some(tags.deleted(&key)),
            _ => return Ok(()),
        };
        let Some(tag) = tag else {
            return broken(PHANTOM, format!("{key:?} is read with a value that nobody wrote"));
        };
        if tag < floor {
            return broken(BACK, format!("{key:?} is read as of {tag}, but {floor} was answered before"));
        }
        if status == FOUND { self.is_held(READ, &key, tag, holding) } else { Ok(()) }
    }

    fn is_held(&mut self, law: &'static str, key: &Bytes, tag: Tag, holding: &Holding) -> Verdict {
        let holders = holding.holders(key, tag);
        if holders.len() < self.quorum {
            return broken(
                law,
                format!("{key:?}: an answer is for {tag}, which only {} hold", holders.len()),
            );
        }
        let answered = self.answered.entry(key.clone()).or_default();
        *answered = tag.max(*answered);
        Ok(())
    }
}

fn commands(batch: &Batch) -> impl Iterator<Item = ((SessionId, Sequence), Command<'_>)> {
    batch.bursts().flat_map(|burst| {
        let session = burst.session;
        burst
            .commands()
            .filter_map(move |(sequence, command)| Some(((session, sequence), Command::parse(command).ok()?)))
    })
}
