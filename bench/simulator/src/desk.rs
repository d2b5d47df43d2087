//! Where a simulated replica's answers go: the session's client, frame by frame, as in a real host.

use std::collections::BTreeMap;

use bytes::Bytes;
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::limits::FRAME_BYTES_MAX;
use qlab_kernel::{Batch, NodeId, Refusal, SessionId};
use qlab_machines::Answers;

/// A client of the world, by number.
pub(crate) type ClientNumber = u64;

/// Which sessions asked here, and the answers on their way.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Whether a session that has not asked here is answered, too: everyone is connected.
    answers_everyone: bool,
    sessions: BTreeMap<SessionId, ClientNumber>,
    builders: BTreeMap<ClientNumber, AnswerBuilder>,
    frames: Vec<(ClientNumber, Bytes)>,
}

impl Desk {
    pub(crate) fn new(answers_everyone: bool) -> Self {
        Self { answers_everyone, sessions: BTreeMap::new(), builders: BTreeMap::new(), frames: Vec::new() }
    }

    /// Remembers who asked as these sessions.
    pub(crate) fn note(&mut self, client: ClientNumber, batch: &Batch) {
        for burst in batch.bursts() {
            self.sessions.insert(burst.session, client);
        }
    }

    pub(crate) fn refuse(&mut self, client: ClientNumber, batch: &Batch, refusal: Refusal) {
        for burst in batch.bursts() {
            self.builder(client, 64).refuse(&burst, refusal);
        }
    }

    /// Tells everyone who asked here that this replica stopped leading.
    pub(crate) fn moved(&mut self, leader: Option<NodeId>) {
        let clients: Vec<ClientNumber> = self.builders.keys().copied().collect();
        for client in clients {
            self.builder(client, 64).moved(leader);
        }
    }

    /// The frames made since the last call.
    pub(crate) fn take_frames(&mut self, frames: &mut Vec<(ClientNumber, Bytes)>) {
        frames.append(&mut self.frames);
        let begun = self.builders.iter_mut().filter(|(_, builder)| !builder.is_empty());
        frames.extend(begun.map(|(client, builder)| (*client, builder.finish())));
    }

    fn builder(&mut self, client: ClientNumber, bytes: usize) -> &mut AnswerBuilder {
        let builder = self.builders.entry(client).or_default();
        if builder.len() + bytes > FRAME_BYTES_MAX {
            self.frames.push((client, builder.finish()));
        }
        builder
    }
}

impl Answers for Desk {
    fn room(&mut self, session: SessionId, bytes: usize) -> Option<&mut AnswerBuilder> {
        let asked = self.sessions.get(&session).copied();
        let client = asked.or_else(|| self.answers_everyone.then(|| session.owner().into()))?;
        Some(self.builder(client, bytes))
    }
}
