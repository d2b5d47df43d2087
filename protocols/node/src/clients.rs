//! Whose session is connected where, and the answers on their way.

use std::collections::{BTreeMap, HashMap};

use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::limits::{FRAME_BYTES_MAX, SESSIONS_MAX};
use qlab_kernel::{Batch, NodeId, Refusal, SessionId};
use qlab_machines::Answers;
use qlab_transport::{ClientId, Endpoint};

/// Sessions whose connection is remembered: several times what the service itself remembers.
const ROUTES_MAX: usize = 4 * SESSIONS_MAX;

/// Every client connected here, and which sessions asked through which connection last.
pub(crate) struct Clients {
    endpoint: Endpoint,
    /// Whether a session that has not asked here is answered, too, at any connection of its owner.
    answers_everyone: bool,
    answers: HashMap<ClientId, AnswerBuilder>,
    /// Each connection's client, by its place in the roster.
    owners: HashMap<ClientId, usize>,
    /// Each client's connections, as they came.
    connections: BTreeMap<usize, Vec<ClientId>>,
    sessions: HashMap<SessionId, ClientId>,
    /// Those with something to send; whoever is named twice has nothing left the second time.
    touched: Vec<ClientId>,
}

impl Clients {
    pub(crate) fn new(endpoint: Endpoint, answers_everyone: bool) -> Self {
        Self {
            endpoint,
            answers_everyone,
            answers: HashMap::new(),
            owners: HashMap::new(),
            connections: BTreeMap::new(),
            sessions: HashMap::new(),
            touched: Vec::new(),
        }
    }

    /// The client at place `owner` of the roster has connected.
    pub(crate) fn arrive(&mut self, client: ClientId, owner: usize) {
        self.answers.insert(client, AnswerBuilder::new());
        self.owners.insert(client, owner);
        self.connections.entry(owner).or_default().push(client);
    }

    pub(crate) fn leave(&mut self, client: ClientId) {
        self.answers.remove(&client);
        if let Some(owner) = self.owners.remove(&client)
            && let Some(connections) = self.connections.get_mut(&owner)
        {
            connections.retain(|connection| *connection != client);
        }
        self.sessions.retain(|_, at| *at != client);
    }

    /// Whether every session in a request is that of the client who asks: nobody speaks for another.
    pub(crate) fn owns(&self, client: ClientId, batch: &Batch) -> bool {
        self.owners.get(&client).is_some_and(|owner| batch.belongs_to(*owner))
    }

    /// Remembers where the sessions of a request are answered: wherever they asked last. False if there is no room.
    pub(crate) fn note(&mut self, client: ClientId, batch: &Batch) -> bool {
        for burst in batch.bursts() {
            if self.sessions.len() >= ROUTES_MAX && !self.sessions.contains_key(&burst.session) {
                return false;
            }
            self.sessions.insert(burst.session, client);
        }
        true
    }

    pub(crate) fn refuse(&mut self, client: ClientId, batch: &Batch, refusal: Refusal) {
        for burst in batch.bursts() {
            if let Some(answer) = self.builder(client, 64) {
                answer.refuse(&burst, refusal);
            }
        }
    }

    /// Tells everyone that this replica stopped leading.
    pub(crate) fn moved(&mut self, leader: Option<NodeId>) {
        for client in self.answers.keys().copied().collect::<Vec<_>>() {
            if let Some(answer) = self.builder(client, 64) {
                answer.moved(leader);
            }
        }
    }

    /// Sends what was gathered: a frame to each client that has one.
    pub(crate) fn flush(&mut self) {
        for client in std::mem::take(&mut self.touched) {
            self.send(client);
        }
    }

    fn route(&self, session: SessionId) -> Option<ClientId> {
        let asked_at = self.sessions.get(&session).copied();
        let owner = || self.connections.get(&session.owner().into())?.last().copied();
        asked_at.or_else(|| if self.answers_everyone { owner() } else { None })
    }

    fn builder(&mut self, client: ClientId, bytes: usize) -> Option<&mut AnswerBuilder> {
        let full = self.answers.get(&client)?.len() + bytes > FRAME_BYTES_MAX;
        if full {
            self.send(client);
        }
        let answer = self.answers.get_mut(&client)?;
        if answer.is_empty() && self.touched.last() != Some(&client) {
            self.touched.push(client);
        }
        Some(answer)
    }

    fn send(&mut self, client: ClientId) {
        if let Some(answer) = self.answers.get_mut(&client)
            && !answer.is_empty()
        {
            let frame = answer.finish();
            // A client that is gone or does not read will ask again, there or elsewhere.
            let _ = self.endpoint.reply(client, |sink| qlab_kernel::Sink::put_shared(sink, &frame));
        }
    }
}

impl Answers for Clients {
    fn room(&mut self, session: SessionId, bytes: usize) -> Option<&mut AnswerBuilder> {
        let client = self.route(session)?;
        self.builder(client, bytes)
    }
}
