//! Messages of a world, between replicas and with clients.

use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::client::answers;
use qlab_kernel::{Message as _, NodeId, NodeSet, Request, Time, Wire};
use rand::RngExt;

use super::{Happening, World};
use crate::clients::{Receivers, Wish};
use crate::desk::ClientNumber;
use crate::faults::Fault;
use crate::hostile::{Shot, spoil};
use crate::laws::{Laws, Verdict};
use crate::network::{below, percent};
use crate::subject::Subject;

/// How long a hostile client waits between two attacks at most.
const HOSTILE_WAIT_MAX: Duration = Duration::from_millis(100);
/// Old messages that a network may send again.
const REMEMBERED_MAX: usize = 256;

/// How long a client waits for its newest attempt. One event is kept for it, which moves on when it comes too early: most
/// attempts are answered long before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vigil {
    until: Time,
    attempt_number: u64,
    /// Whether there is an event.
    is_kept: bool,
}

impl<S: Subject> World<'_, S> {
    pub(super) fn send(&mut self, from: NodeId, to: NodeId, message: S::Message) {
        let message = if self.through_codec { through_codec(&message) } else { message };
        self.transmit(from, to, &message);
        let replay_percent = self.network.weather.replay_percent;
        if replay_percent == 0 {
            return;
        }
        let replay = percent(&mut self.chance, replay_percent);
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.push((from, to, message));
        } else {
            let place = self.chance.random_range(0..REMEMBERED_MAX);
            self.remembered[place] = (from, to, message);
        }
        if replay {
            let place = self.chance.random_range(0..self.remembered.len());
            let (from, to, message) = self.remembered[place].clone();
            self.outcome.tally.count(Fault::Replay);
            self.transmit(from, to, &message);
        }
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, message: &S::Message) {
        for process in [usize::from(to.0), usize::from(to.0) + self.schedule.nodes] {
            if process >= self.processes.len() {
                continue;
            }
            let link = (usize::from(from.0), usize::from(to.0));
            let (chance, tally) = (&mut self.chance, &mut self.outcome.tally);
            let arrivals = self.network.carry(self.now, link, message.lane(), chance, tally);
            for at in arrivals.into_iter().flatten() {
                self.schedule_at(at, Happening::Arrive { process, from, message: message.clone() });
            }
        }
    }

    pub(super) fn ask(&mut self, client: ClientNumber) {
        if !self.lockers.is_empty() {
            return self.ask_of_locks(client);
        }
        let asker = &mut self.clients[client as usize];
        if self.asking && !asker.is_waiting() {
            let wish = asker.ask(self.now, &mut self.clientele, &mut self.chance);
            self.grant(client, wish);
        }
    }

    /// A hostile client does what it does, until everybody else is served in a healed world.
    pub(super) fn shoot(&mut self, hostile: usize) {
        if !self.asking && self.is_everything_answered() {
            return;
        }
        let client = self.hostiles[hostile].number;
        for Shot { to, request, spoiled_for } in self.hostiles[hostile].shoot(&mut self.chance) {
            let proof = spoil(&S::proof(&self.config, client as u16, &request), spoiled_for);
            self.send_request(client, to, &request, &proof);
        }
        let wait = below(&mut self.chance, HOSTILE_WAIT_MAX);
        self.schedule_in(wait, Happening::Shoot { hostile });
    }

    pub(super) fn patience(&mut self, client: ClientNumber) {
        let vigil = &mut self.vigils[client as usize];
        vigil.is_kept = false;
        if self.now < vigil.until {
            self.keep_vigil(client);
            return;
        }
        let attempt_number = vigil.attempt_number;
        let wish = match self.lockers.get_mut(client as usize) {
            Some(locker) => locker.on_patience(attempt_number),
            None => self.clients[client as usize].on_patience(attempt_number, &mut self.clientele),
        };
        wish.into_iter().for_each(|wish| self.grant(client, wish));
    }

    fn keep_vigil(&mut self, client: ClientNumber) {
        let vigil = &mut self.vigils[client as usize];
        if !std::mem::replace(&mut vigil.is_kept, true) {
            let until = vigil.until;
            self.schedule_at(until, Happening::Patience { client });
        }
    }

    pub(super) fn answer(&mut self, client: ClientNumber, from: NodeId, frame: Bytes) -> Verdict {
        self.outcome.messages += 1;
        if (client as usize) < self.lockers.len() {
            return self.answer_of_locks(client, &frame);
        }
        if client as usize >= self.clients.len() {
            // A hostile one does not care.
            return Ok(());
        }
        self.laws.answered(client, from, &frame);
        let mut believed = std::mem::take(&mut self.believed);
        let asker = &mut self.clients[client as usize];
        let wish = asker.hear(from, frame, &mut self.clientele, &mut believed);
        wish.into_iter().for_each(|wish| self.grant(client, wish));
        let verdict = believed.iter().try_for_each(|frame| self.laws.believed(client, frame));
        for answer in believed.iter().flat_map(|frame| answers(frame)) {
            let answer = answer.expect("replicas that are believed send what can be read");
            let asker = &mut self.clients[client as usize];
            if let Some(wish) = asker.on_answer(self.now, &answer, &mut self.clientele) {
                self.grant(client, wish);
            }
        }
        believed.clear();
        self.believed = believed;
        verdict
    }

    pub(super) fn grant(&mut self, client: ClientNumber, wish: Wish) {
        match wish {
            Wish::Think => {
                let wait = below(&mut self.chance, self.network.weather.think_max);
                self.schedule_in(wait, Happening::Ask { client });
            }
            Wish::Ask { to, request, patience, attempt_number } => {
                if let Request::Read(batch) = &request {
                    let query = batch.bursts().next().expect("a query has a burst");
                    self.laws.queried(query.session, query.first.0);
                }
                self.laws.asked(&request);
                match to {
                    Receivers::One(node) => self.ask_replica(client, node, &request),
                    Receivers::Everyone => NodeSet::first(self.schedule.nodes)
                        .iter()
                        .for_each(|node| self.ask_replica(client, node, &request)),
                }
                // Not all at the same moment.
                let patience = patience + below(&mut self.chance, patience);
                let vigil = &mut self.vigils[client as usize];
                (vigil.until, vigil.attempt_number) = (self.now + patience, attempt_number);
                self.keep_vigil(client);
            }
        }
    }

    fn ask_replica(&mut self, client: ClientNumber, node: NodeId, request: &Request) {
        self.story.tell(self.now, || format!("client {client} asks {node}: {request:?}"));
        let proof = S::proof(&self.config, client as u16, request);
        self.send_request(client, node, request, &proof);
    }

    /// To both, if it runs twice.
    fn send_request(&mut self, client: ClientNumber, node: NodeId, request: &Request, proof: &Bytes) {
        for process in [usize::from(node.0), usize::from(node.0) + self.schedule.nodes] {
            if process >= self.processes.len() {
                continue;
            }
            let (chance, tally) = (&mut self.chance, &mut self.outcome.tally);
            for at in self.network.carry_client(self.now, chance, tally).into_iter().flatten() {
                let (request, proof) = (request.clone(), proof.clone());
                self.schedule_at(at, Happening::Request { process, client, request, proof });
            }
        }
    }
}

/// What a message is after it went over a wire.
fn through_codec<M: Wire>(message: &M) -> M {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    M::decode_all(bytes.into()).expect("what was encoded is decoded")
}
