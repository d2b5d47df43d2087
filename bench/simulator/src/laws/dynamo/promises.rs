//! V7: what clients were promised. A write is answered when as many disks hold it as are wanted; where quorums meet, a read knows every
//! write that was answered before it was asked. And no reader is told that it has seen what it has not (V2).

use std::collections::HashMap;

use bytes::Bytes;
use qlab_clocks::{Dot, VectorClock};
use qlab_kernel::client::{AnswerBody, answers};
use qlab_kernel::command::{ABSENT, FOUND, STORED};
use qlab_kernel::{Batch, Command, Request, Sequence, SessionId, Wire};
use qlab_quorum::Dynamo;
use qlab_quorum::dynamo::Config;
use qlab_quorum::dynamo::envelope::{Reading, Update};

use super::disks::Disks;
use super::truth::Truth;
use crate::laws::{Verdict, broken};

const WRITTEN: &str = "V7 what is answered is on as many disks as were promised";
const READ: &str = "V7 where quorums meet, reads see what was answered";

/// What was asked and answered.
#[derive(Debug)]
pub(crate) struct Promises {
    write_quorum: usize,
    is_sloppy: bool,
    reads_see_writes: bool,
    asked: HashMap<(SessionId, Sequence), Asked>,
    /// The names of writes that were answered, by key, in that order.
    answered: HashMap<Bytes, Vec<Dot>>,
}

#[derive(Clone, Debug)]
struct Asked {
    key: Bytes,
    /// What is to be written, if it is a put.
    value: Option<Bytes>,
    /// How many writes of the key had been answered.
    answered: usize,
}

impl Promises {
    pub(crate) fn new(nodes: usize, config: &Config) -> Self {
        Self {
            write_quorum: config.quorums(nodes).write,
            is_sloppy: config.sloppy,
            reads_see_writes: config.reads_see_writes(nodes),
            asked: HashMap::new(),
            answered: HashMap::new(),
        }
    }

    /// Every write that was answered.
    pub(crate) fn answered(&self) -> impl Iterator<Item = (&Bytes, Dot)> {
        self.answered.iter().flat_map(|(key, dots)| dots.iter().map(move |dot| (key, *dot)))
    }

    pub(crate) fn asked(&mut self, request: &Request, truth: &mut Truth) {
        let (Request::Write(batch) | Request::Read(batch)) = request;
        for (place, command) in commands(batch) {
            if self.asked.contains_key(&place) {
                continue;
            }
            let key = Bytes::copy_from_slice(command.key());
            let mut put = None;
            if let Command::Put { value, .. } = command {
                let update =
                    Update::decode(Bytes::copy_from_slice(value)).expect("clients write what can be read");
                let seen = clock(update.context);
                truth.ask(&key, update.value.clone(), seen);
                put = update.value;
            }
            let answered = self.answered.get(&key).map_or(0, Vec::len);
            self.asked.insert(place, Asked { key, value: put, answered });
        }
    }

    /// Looks at what clients are told.
    pub(crate) fn check(&mut self, frame: &[u8], truth: &Truth, disks: &Disks, core: &Dynamo) -> Verdict {
        for answer in answers(frame) {
            let answer = answer.expect("replicas send what can be read");
            let place = |at: u64| (answer.session, Sequence(answer.first.0 + at));
            match answer.body {
                AnswerBody::Written(outcomes) => {
                    for (at, outcome) in (0..).zip(outcomes.iter()) {
                        if outcome.status == STORED {
                            self.written(place(at), truth, disks, core)?;
                        }
                    }
                }
                AnswerBody::Values(values) => {
                    for (at, (status, value)) in (0..).zip(values.iter()) {
                        if matches!(status, FOUND | ABSENT) {
                            self.read(place(at), value, truth)?;
                        }
                    }
                }
                AnswerBody::Refused(_) | AnswerBody::Moved(_) => {}
            }
        }
        Ok(())
    }

    fn written(
        &mut self,
        place: (SessionId, Sequence),
        truth: &Truth,
        disks: &Disks,
        core: &Dynamo,
    ) -> Verdict {
        let Some(Asked { key, value: Some(value), .. }) = self.asked.get(&place).cloned() else {
            return Ok(());
        };
        let Some(dot) = truth.dot_of(&key, &value) else {
            return broken(WRITTEN, format!("a put of {key:?} is answered that was never written down"));
        };
        let homes = core.homes_of(&key);
        let holders =
            disks.knowers(&key, dot).iter().filter(|node| self.is_sloppy || homes.contains(*node)).count();
        if holders < self.write_quorum {
            return broken(WRITTEN, format!("{key:?}: {dot:?} is answered, and {holders} disks hold it"));
        }
        self.answered.entry(key).or_default().push(dot);
        Ok(())
    }

    fn read(&mut self, place: (SessionId, Sequence), value: &[u8], truth: &Truth) -> Verdict {
        let Some(Asked { key, answered, .. }) = self.asked.get(&place) else { return Ok(()) };
        let reading = Reading::decode(Bytes::copy_from_slice(value)).expect("replicas send what can be read");
        let context = clock(reading.context);
        truth.check_reading(key, &context, &reading.values)?;
        if !self.reads_see_writes {
            return Ok(());
        }
        let dots = self.answered.get(key).map_or(&[][..], |dots| &dots[..*answered]);
        let is_missed = |dot: &&Dot| dot.count > context.get(dot.node) && !truth.is_buried(key, **dot);
        match dots.iter().find(is_missed) {
            Some(dot) => {
                broken(READ, format!("{key:?}: a read does not know {dot:?}, which was answered before"))
            }
            None => Ok(()),
        }
    }
}

fn clock(context: Bytes) -> VectorClock {
    if context.is_empty() {
        return VectorClock::new();
    }
    VectorClock::decode_all(context).expect("contexts are clocks")
}

fn commands(batch: &Batch) -> impl Iterator<Item = ((SessionId, Sequence), Command<'_>)> {
    let bursts = batch.bursts().filter(|burst| !burst.opens_session());
    bursts.flat_map(|burst| {
        let session = burst.session;
        burst.commands().filter_map(move |(sequence, command)| {
            Command::parse(command).ok().map(|command| ((session, sequence), command))
        })
    })
}
