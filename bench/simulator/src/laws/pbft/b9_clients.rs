//! B9: a client believes what f + 1 different replicas gave it alike, and nothing else. Counted again, item by item.

use std::collections::HashMap;

use qlab_kernel::client::{AnswerBody, answers};
use qlab_kernel::{NodeId, NodeSet, SessionId};

use crate::desk::ClientNumber;
use crate::laws::{Verdict, broken};

const LAW: &str = "B9 f + 1 replicas are believed";

/// What every replica told every client.
#[derive(Debug)]
pub(crate) struct Clients {
    matching: usize,
    said: HashMap<(ClientNumber, SessionId, u64), Vec<(Said, NodeSet)>>,
}

/// One command's answer: whether it is a value, the index, the status, and the number or value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said(bool, u64, u8, Vec<u8>);

impl Clients {
    pub(crate) fn new(matching: usize) -> Self {
        Self { matching, said: HashMap::new() }
    }

    pub(crate) fn answered(&mut self, client: ClientNumber, from: NodeId, frame: &[u8]) {
        for (session, number, said) in items(frame) {
            let words = self.said.entry((client, session, number)).or_default();
            match words.iter_mut().find(|(known, _)| *known == said) {
                Some((_, voters)) => {
                    voters.insert(from);
                }
                None => words.push((said, [from].into_iter().collect())),
            }
        }
    }

    pub(crate) fn believed(&self, client: ClientNumber, frame: &[u8]) -> Verdict {
        for (session, number, said) in items(frame) {
            let words = self.said.get(&(client, session, number));
            let voters = words.and_then(|words| words.iter().find(|(known, _)| *known == said));
            let voters = voters.map_or(0, |(_, voters)| voters.len());
            if voters < self.matching {
                let what =
                    format!("client {client} believes {said:?} for {number}, as {voters} replicas say");
                return broken(LAW, what);
            }
        }
        Ok(())
    }
}

/// Everything that a frame says about commands, up to the first thing that cannot be read.
fn items(frame: &[u8]) -> Vec<(SessionId, u64, Said)> {
    let mut items = Vec::new();
    for answer in answers(frame).map_while(Result::ok) {
        let (session, numbers, index) = (answer.session, answer.first.0.., answer.index.0);
        match answer.body {
            AnswerBody::Written(outcomes) => {
                items.extend(numbers.zip(outcomes.iter()).map(|(number, it)| {
                    (session, number, Said(false, index, it.status, it.number.to_le_bytes().to_vec()))
                }))
            }
            AnswerBody::Values(values) => {
                items.extend(numbers.zip(values.iter()).map(|(number, (status, value))| {
                    (session, number, Said(true, index, status, value.to_vec()))
                }))
            }
            AnswerBody::Refused(_) | AnswerBody::Moved(_) => {}
        }
    }
    items
}
