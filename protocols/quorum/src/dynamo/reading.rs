//! Reads: what as many as are wanted have told, joined; and repair of whoever is behind (§5).

use bytes::Bytes;
use qlab_kernel::command::{ABSENT, FOUND};
use qlab_kernel::{Effects, NodeSet, ReplyBody, Time};

use super::content::{Content, State};
use super::coordinator::{Client, counted};
use super::digest::Digest;
use super::message::Step;
use super::operation::{Operation, Read, Task};
use super::{Dynamo, envelope};

/// Keys that wait to be compared at most; trees find what is behind of the others.
const UNCOMPARED_MAX: usize = 1 << 16;

impl Dynamo {
    pub(super) fn begin_read(&mut self, now: Time, client: Client, key: &[u8], effects: &mut Effects<Self>) {
        self.counts.reads += 1;
        let key = Bytes::copy_from_slice(key);
        if self.is_at_hand(&key) {
            self.answer(client, &self.held(&key).0, effects);
            self.compare_later(now, key);
        } else {
            let asked = self.first_asked(&key);
            self.read(now, Some(client), key, asked, effects);
        }
    }

    /// Whether this replica's word is enough, and it may give it.
    fn is_at_hand(&self, key: &[u8]) -> bool {
        let is_durable = self.store.get(key).is_none_or(|entry| entry.lsn <= self.durable);
        self.quorums.read == 1 && self.homes(key).contains(self.seat.me) && is_durable
    }

    /// Whom a read asks at first: all homes if it is to repair, as many as are enough otherwise.
    fn first_asked(&self, key: &[u8]) -> NodeSet {
        let homes = self.homes(key);
        if self.config.read_repair {
            return homes;
        }
        let me = homes.iter().filter(|home| *home == self.seat.me);
        let others = self.ring.homes_in_order(key).filter(|home| *home != self.seat.me);
        me.chain(others).take(self.quorums.read).collect()
    }

    /// Asks for what is held under a key, for a client or only to repair.
    fn read(
        &mut self,
        now: Time,
        client: Option<Client>,
        key: Bytes,
        asked: NodeSet,
        effects: &mut Effects<Self>,
    ) {
        let (me, homes) = (self.seat.me, self.homes(&key));
        let (base, known, lsn) = self.held(&key);
        let read = Read { base, known, joined: State::default(), told: Vec::new(), asked };
        let has_word = homes.contains(me) || self.store.get(&key).is_some();
        let round = self.begin(now, Operation { key: key.clone(), homes, client, task: Task::Read(read) });
        for peer in asked.without(me).iter() {
            self.ask(peer, round, &key);
        }
        if !has_word {
            return;
        }
        if lsn <= self.durable {
            self.on_same(now, me, round, effects);
        } else {
            self.own.push_back((lsn, round));
        }
    }

    /// Of what was read here alone, the other homes are asked when that is in nobody's way, and once for many reads.
    fn compare_later(&mut self, now: Time, key: Bytes) {
        if !self.config.read_repair {
            return;
        }
        if self.uncompared.is_empty() {
            self.uncompared_at = now + self.config.read_repair_interval;
        }
        if self.uncompared.len() < UNCOMPARED_MAX {
            self.uncompared.insert(key);
        }
    }

    /// Asks all homes of what was read here alone, so as to repair whoever is behind.
    pub(super) fn compare_reads(&mut self, now: Time, effects: &mut Effects<Self>) {
        if now < self.uncompared_at {
            return;
        }
        for key in std::mem::take(&mut self.uncompared) {
            let homes = self.homes(&key);
            self.read(now, None, key, homes, effects);
        }
    }

    /// Answers once enough have told; ends when all that were asked have.
    pub(super) fn progress_read(&mut self, now: Time, round: u64, effects: &mut Effects<Self>) {
        let Some(operation) = self.operations.get_mut(&round) else { return };
        let Task::Read(read) = &operation.task else { return };
        let heard = read.heard();
        let is_enough = counted(heard, operation.homes, self.config.sloppy) >= self.quorums.read;
        let is_all = read.asked.iter().all(|node| heard.contains(node));
        let client = operation.client.take_if(|_| is_enough);
        let is_over = is_all && operation.client.is_none();
        if let Some(client) = client {
            let joined = read.joined.clone();
            self.answer(client, &joined, effects);
        }
        if is_over {
            self.end_read(now, round, effects);
        }
    }

    fn answer(&mut self, client: Client, state: &State, effects: &mut Effects<Self>) {
        self.counts.siblings += state.values().filter(|content| !content.is_deletion()).count() as u64;
        self.waiting.remove(&client);
        // Early: all of it is durable where it was told.
        effects.reply_early(client.0, client.1, found(state));
    }

    /// Brings whoever is behind up to date (§5).
    pub(super) fn end_read(&mut self, now: Time, round: u64, effects: &mut Effects<Self>) {
        let Some(Operation { key, homes, task: Task::Read(read), .. }) = self.operations.remove(&round)
        else {
            return;
        };
        if read.is_unanimous() || !self.config.read_repair {
            return;
        }
        let joined = Digest::of(&key, &read.joined);
        let behind = read.told.iter().filter(|(node, digest)| homes.contains(*node) && *digest != joined);
        let behind: NodeSet = behind.map(|(node, _)| *node).collect();
        if behind.contains(self.seat.me) {
            self.counts.repairs += 1;
            self.absorb(now, &key, &read.joined, effects);
        }
        for peer in behind.without(self.seat.me).iter() {
            self.counts.repairs += 1;
            // Early: all of it is durable where it was told. Nobody waits for the answer: what is lost, trees will find.
            let (key, state) = (key.clone(), read.joined.clone());
            self.outbox.early(peer, Step::Store { round, key, state });
        }
    }
}

/// What a client is told of a state.
fn found(state: &State) -> ReplyBody {
    let is_there = state.values().any(|content: &Content| !content.is_deletion());
    ReplyBody::Found { status: if is_there { FOUND } else { ABSENT }, value: envelope::reading(state) }
}
