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

impl Dynamo {
    pub(super) fn begin_read(&mut self, now: Time, client: Client, key: &[u8], effects: &mut Effects<Self>) {
        self.counts.reads += 1;
        let key = Bytes::copy_from_slice(key);
        let (me, homes) = (self.seat.me, self.homes(&key));
        let (base, known, lsn) = self.held(&key);
        let read = Read {
            base,
            known,
            joined: State::default(),
            told: Vec::new(),
            asked: self.first_asked(&key, homes),
        };
        let asked = read.asked;
        let has_word = homes.contains(me) || self.store.get(&key).is_some();
        let task = Task::Read(read);
        let round = self.begin(now, Operation { key: key.clone(), homes, client: Some(client), task });
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

    /// Whom a read asks at first: all homes if it is to repair, as many as are enough otherwise.
    fn first_asked(&self, key: &[u8], homes: NodeSet) -> NodeSet {
        if self.config.read_repair {
            return homes;
        }
        let me = homes.iter().filter(|home| *home == self.seat.me);
        let others = self.ring.homes_in_order(key).filter(|home| *home != self.seat.me);
        me.chain(others).take(self.quorums.read).collect()
    }

    /// Answers once enough have told; ends when all that were asked have.
    pub(super) fn progress_read(&mut self, now: Time, round: u64, effects: &mut Effects<Self>) {
        let Some(operation) = self.operations.get_mut(&round) else { return };
        let Task::Read(read) = &operation.task else { return };
        let (heard, asked) = (read.heard(), read.asked);
        if counted(heard, operation.homes, self.config.sloppy) >= self.quorums.read
            && let Some(client) = operation.client.take()
        {
            let body = found(&read.joined);
            self.counts.siblings +=
                read.joined.values().filter(|content| !content.is_deletion()).count() as u64;
            self.waiting.remove(&client);
            // Early: all of it is durable where it was told.
            effects.reply_early(client.0, client.1, body);
        }
        if operation.client.is_none() && asked.iter().all(|node| heard.contains(node)) {
            self.end_read(now, round, effects);
        }
    }

    /// Brings whoever is behind up to date (§5).
    pub(super) fn end_read(&mut self, now: Time, round: u64, effects: &mut Effects<Self>) {
        let Some(Operation { key, homes, task: Task::Read(read), .. }) = self.operations.remove(&round)
        else {
            return;
        };
        let joined = Digest::of(&key, &read.joined);
        let behind = read.told.iter().filter(|(node, digest)| homes.contains(*node) && *digest != joined);
        let behind: NodeSet = behind.map(|(node, _)| *node).collect();
        if behind.is_empty() || !self.config.read_repair || read.joined.context().is_empty() {
            return;
        }
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
