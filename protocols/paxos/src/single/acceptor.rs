//! The acceptor of every instance (Paxos Made Simple §2.2): promising, accepting, telling.

use bytes::Bytes;
use qlab_kernel::{NodeId, mutant};

use super::Paxos;
use super::message::{Accepted, Step, Value};
use super::record::Change;
use super::registers::Place;
use crate::Ballot;

impl Paxos {
    pub(super) fn on_prepare(&mut self, from: NodeId, key: &[u8], ballot: Ballot) {
        let Some(place) = self.place_for(key, 0) else { return };
        let register = self.registers.get(place);
        if let Some(value) = register.decided() {
            let value = value.clone();
            return self.tell_decided(from, place, value);
        }
        let promised = register.promised;
        if ballot < promised {
            return self.answer_step(from, place, Step::Rejected { ballot, promised });
        }
        let accepted = register.accepted.clone();
        if ballot > promised {
            self.registers.promise(place, ballot);
            self.change(place, Change::Promise { ballot });
        }
        mutant!("paxos: a promise is told before it is durable", {
            if from != self.seat.me {
                return self.say_early(from, place, Step::Promise { ballot, accepted });
            }
        });
        self.answer_step(from, place, Step::Promise { ballot, accepted });
    }

    pub(super) fn on_accept(&mut self, from: NodeId, key: &[u8], ballot: Ballot, value: &Value) {
        let Some(place) = self.place_for(key, value.bytes.len()) else { return };
        let register = self.registers.get(place);
        if let Some(value) = register.decided() {
            let value = value.clone();
            return self.tell_decided(from, place, value);
        }
        let promised = register.promised;
        let is_below = mutant!(
            ballot < promised,
            "paxos: only what is above the promise is accepted",
            ballot <= promised
        );
        mutant!("paxos: the promise does not bind", is_below = false);
        if is_below {
            return self.answer_step(from, place, Step::Rejected { ballot, promised });
        }
        if register.accepted.as_ref().is_none_or(|accepted| accepted.ballot != ballot) {
            self.registers.accept(place, ballot, value);
            self.change(place, Change::Accept { ballot, value: value.clone() });
        }
        mutant!("paxos: an accept is told before it is durable", {
            if from != self.seat.me {
                return self.say_early(from, place, Step::Accepted { ballot });
            }
        });
        self.answer_step(from, place, Step::Accepted { ballot });
    }

    pub(super) fn on_ask(&mut self, from: NodeId, key: &Bytes, round: u64) {
        let Some(place) = self.registers.place(key) else {
            return self.outbox.gated(from, key.clone(), Step::Told { round, accepted: None });
        };
        match &self.registers.get(place).accepted {
            Some(Accepted { ballot: Ballot::CHOSEN, value }) => {
                let value = value.clone();
                self.tell_decided(from, place, value);
            }
            accepted => {
                let accepted = accepted.clone();
                self.answer_step(from, place, Step::Told { round, accepted });
            }
        }
    }

    /// The register of a key that a peer names, `None` if there is no room for it: as if the message had been lost.
    fn place_for(&mut self, key: &[u8], value_bytes: usize) -> Option<Place> {
        let is_full = self.registers.weight_bytes() + value_bytes > self.config.registers_bytes_max;
        if is_full {
            self.registers.place(key).filter(|_| value_bytes == 0)
        } else {
            Some(self.registers.enter(key))
        }
    }

    fn tell_decided(&mut self, to: NodeId, place: Place, value: Value) {
        if to != self.seat.me {
            // Early: what is chosen is chosen, whatever this replica forgets.
            self.say_early(to, place, Step::Decided { value });
        }
    }

    fn change(&mut self, place: Place, change: Change) {
        self.changes.push((self.registers.get(place).key.clone(), change));
    }

    /// What an acceptor says waits for the records that make it true, the own proposer's ears included.
    fn answer_step(&mut self, to: NodeId, place: Place, step: Step) {
        if to == self.seat.me {
            self.own_new.push((place, step));
        } else {
            self.outbox.gated(to, self.registers.get(place).key.clone(), step);
        }
    }
}
