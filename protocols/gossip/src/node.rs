//! One gossiping node: rounds of anti-entropy, membership, objects. It has no bound on the size of the cluster; hosts drive it
//! through [`Gossip`](crate::Gossip), large worlds directly.

use std::collections::VecDeque;

use bytes::Bytes;
use qlab_kernel::{NodeId, Sink, Time};
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::digest::{Digest, Summary};
use crate::key::{Key, Kind, NAME_BYTES_MAX};
use crate::membership::{Belief, Membership, Rumour};
use crate::message::{Body, Message, encoded_bytes};
use crate::objects::{Object, Objects, Operation};
use crate::store::{Delta, Entry, Store};
use crate::{Actor, Config, Exchange, Life, Roster};

/// Messages on their way out.
pub type Outbox = Vec<(NodeId, Message)>;

/// Why a write is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing that large fits a message: write less, or configure larger messages on all nodes.
    #[error("name and value take more than the {entry_bytes_max} bytes that a message has room for")]
    TooLarge {
        /// Bytes of an encoded entry, at most.
        entry_bytes_max: usize,
    },
    /// The node keeps as much as it may: delete something, or configure more.
    #[error("the store holds its {store_bytes_max} bytes")]
    Full {
        /// Bytes of the store, at most.
        store_bytes_max: usize,
    },
}

/// A node.
#[derive(Debug)]
pub struct Node {
    me: NodeId,
    config: Config,
    roster: Roster,
    chance: Pcg32,
    store: Store,
    objects: Objects,
    membership: Membership,
    /// Own deletions that are still told of.
    deletions: VecDeque<(Time, u64)>,
    /// Rounds begun.
    rounds: u64,
    /// Where the next digest begins.
    digest_from: Actor,
    next_round: Time,
}

impl Node {
    /// A node at the beginning of a life. Rounds and probes begin at `first_round`.
    #[must_use]
    pub fn new(
        me: NodeId,
        life: Life,
        roster: Roster,
        config: &Config,
        seed: u64,
        first_round: Time,
    ) -> Self {
        assert!(roster.contains(me), "node {me} is not in its own roster");
        Self {
            me,
            config: config.clone(),
            chance: Pcg32::new(seed, u64::from(me.0)),
            store: Store::new(config.store_bytes_max),
            objects: Objects::default(),
            membership: Membership::new(me, life, roster.clone(), config, first_round),
            roster,
            deletions: VecDeque::new(),
            rounds: 0,
            digest_from: Actor::MIN,
            next_round: first_round,
        }
    }

    /// Who writes here: this node in its present life.
    #[must_use]
    pub const fn actor(&self) -> Actor {
        Actor { node: self.me, life: self.membership.incarnation().life }
    }

    /// Who is alive, as this node believes.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// What is known of what everybody wrote.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// An object as this node knows it; `None` if nothing is known to have happened to it.
    #[must_use]
    pub fn object(&self, kind: Kind, name: &Bytes) -> Option<&Object> {
        self.objects.get(kind, name)
    }

    /// Every object, in the order of kinds and names.
    pub fn objects(&self) -> impl Iterator<Item = (Kind, &Bytes, &Object)> {
        self.objects.iter()
    }

    /// Rounds that this node has begun.
    #[must_use]
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// A hash of [all objects](Self::encode_objects): nodes that know the same have the same.
    #[must_use]
    pub fn content(&self) -> u64 {
        let mut bytes = Vec::new();
        self.encode_objects(&mut bytes);
        let hash = blake3::hash(&bytes);
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
    }

    /// All objects in one encoding: nodes that know the same have the same bytes.
    pub fn encode_objects(&self, sink: &mut impl Sink) {
        self.objects.encode(sink);
    }

    /// Does something to an object; peers hear of it in the rounds that follow.
    pub fn operate(&mut self, name: &Bytes, operation: Operation) -> Result<(), WriteError> {
        let entry_bytes_max = self.config.entry_bytes_max();
        let fits = name.len() <= NAME_BYTES_MAX && operation.fits();
        let change = self.objects.prepare(self.actor(), name, operation, entry_bytes_max);
        let change = change.filter(|_| fits).ok_or(WriteError::TooLarge { entry_bytes_max })?;
        self.write(change.key.clone(), Some(change.value.clone()))?;
        self.objects.commit(change);
        Ok(())
    }

    /// Writes bytes that only this node writes, and everybody gets to know.
    pub fn set(&mut self, name: Bytes, value: Bytes) -> Result<(), WriteError> {
        let entry_bytes_max = self.config.entry_bytes_max();
        let entry = Entry { version: 1, key: Key::own(name), value: Some(value) };
        if entry.key.name.len() > NAME_BYTES_MAX || encoded_bytes(&entry) > entry_bytes_max {
            return Err(WriteError::TooLarge { entry_bytes_max });
        }
        self.write(entry.key, entry.value).map(|_| ())
    }

    /// Deletes what [`Self::set`] wrote; nothing happens if it is not there.
    pub fn delete(&mut self, now: Time, name: Bytes) -> Result<(), WriteError> {
        let key = Key::own(name);
        if self.store.value(self.actor(), &key).is_some() {
            let version = self.write(key, None)?;
            self.deletions.push_back((now + self.config.deletion_told, version));
        }
        Ok(())
    }

    fn write(&mut self, key: Key, value: Option<Bytes>) -> Result<u64, WriteError> {
        let full = WriteError::Full { store_bytes_max: self.config.store_bytes_max };
        self.store.write(self.actor(), key, value).ok_or(full)
    }

    /// Takes a message in. False if its sender breaks the rules; what does is ignored.
    pub fn receive(&mut self, now: Time, from: NodeId, message: Message, outbox: &mut Outbox) -> bool {
        if from == self.me || !self.roster.contains(from) {
            return false;
        }
        let own_word = Rumour { node: from, belief: Belief::alive(message.incarnation) };
        let mut fair = self.membership.hear(now, own_word);
        for rumour in message.rumours {
            fair &= self.membership.hear(now, rumour);
        }
        fair & self.receive_body(from, message.body, outbox)
    }

    fn receive_body(&mut self, from: NodeId, body: Body, outbox: &mut Outbox) -> bool {
        match body {
            Body::Digest(digest) => self.receive_digest(from, &digest, outbox),
            Body::Want(wanted) => self.send_deltas(from, wanted, outbox),
            Body::Deltas(deltas) => return self.receive_deltas(deltas),
            Body::Ping { sequence, asker } => {
                let answer = self.membership.answer_ping(sequence, asker);
                self.send(from, answer, outbox);
            }
            Body::Ack { sequence, asker, target } => {
                let passed_on = self.membership.hear_ack(sequence, asker, target);
                self.send_all(passed_on, outbox);
            }
            Body::PingRequest { sequence, target } => {
                let passed_on = self.membership.relay_ping(from, sequence, target);
                self.send_all(passed_on, outbox);
            }
        }
        true
    }

    fn receive_digest(&mut self, from: NodeId, digest: &Digest, outbox: &mut Outbox) {
        for summary in &digest.summaries {
            self.remember_me(*summary);
        }
        if self.config.exchange != Exchange::Push {
            let news = self.store.news_for(digest);
            self.send_deltas(from, news, outbox);
        }
        if self.config.exchange != Exchange::Pull {
            let wanted = self.store.wanted_of(digest);
            if !wanted.is_empty() {
                self.send(from, Body::Want(wanted), outbox);
            }
        }
    }

    /// Peers that know more of this life than this node does know one that it has forgotten.
    fn remember_me(&mut self, theirs: Summary) {
        let me = self.actor();
        let newer = theirs.origin == me && theirs.version > self.store.summary(me).version;
        if newer || (theirs.origin.node == self.me && theirs.origin.life > me.life) {
            self.membership.outlive(theirs.origin.life);
        }
    }

    fn receive_deltas(&mut self, deltas: Vec<Delta>) -> bool {
        let mut fair = true;
        for delta in deltas {
            if !self.roster.contains(delta.origin.node) {
                fair = false;
                continue;
            }
            self.remember_me(Summary {
                origin: delta.origin,
                forgotten: delta.forgotten,
                version: delta.version,
                fingerprint: 0,
            });
            // Nobody knows better what this node writes.
            if delta.origin != self.actor() {
                fair &= self.apply(delta);
            }
        }
        fair
    }

    fn apply(&mut self, delta: Delta) -> bool {
        let mut fair = true;
        for entry in self.store.apply(delta) {
            if entry.key.kind != Kind::Own {
                fair &= self.objects.join(&entry).is_ok();
            }
        }
        fair
    }

    /// Whichever writer comes first gets most of the room, so the first is drawn anew each time.
    fn send_deltas(&mut self, to: NodeId, mut theirs: Vec<Summary>, outbox: &mut Outbox) {
        if theirs.is_empty() {
            return;
        }
        let first = self.chance.random_range(0..theirs.len());
        theirs.rotate_left(first);
        let deltas = self.store.deltas(&theirs, self.chance.random(), self.config.deltas_bytes_max());
        if !deltas.is_empty() {
            self.send(to, Body::Deltas(deltas), outbox);
        }
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.next_round.min(self.membership.deadline())
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time, outbox: &mut Outbox) {
        if self.next_round <= now {
            self.next_round = now + self.config.round_interval;
            self.forget_deletions(now);
            self.begin_round(outbox);
        }
        let probes = self.membership.tick(now, &mut self.chance);
        self.send_all(probes, outbox);
    }

    /// Compares digests with some peers, the dead among them: that is how the halves of a healed network find each other.
    fn begin_round(&mut self, outbox: &mut Outbox) {
        self.rounds += 1;
        let digest = self.store.digest(self.digest_from, self.config.digest_writers_max);
        self.digest_from = digest.until.unwrap_or(Actor::MIN);
        for peer in self.roster.choose(self.config.fanout, &[self.me], &mut self.chance) {
            self.send(peer, Body::Digest(digest.clone()), outbox);
        }
    }

    fn forget_deletions(&mut self, now: Time) {
        while let Some((_, version)) = self.deletions.pop_front_if(|(until, _)| *until <= now) {
            self.store.forget(self.actor(), version);
        }
    }

    fn send_all(&mut self, bodies: impl IntoIterator<Item = (NodeId, Body)>, outbox: &mut Outbox) {
        for (to, body) in bodies {
            self.send(to, body, outbox);
        }
    }

    fn send(&mut self, to: NodeId, body: Body, outbox: &mut Outbox) {
        let rumours = self.membership.rumours_for(to);
        let incarnation = self.membership.incarnation();
        outbox.push((to, Message { incarnation, rumours, body }));
    }

    /// Panics if an invariant of this node alone is broken.
    pub fn check(&self) {
        self.store.check();
        self.membership.check();
    }
}
