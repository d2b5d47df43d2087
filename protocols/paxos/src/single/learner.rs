//! The learner of every instance: what is chosen, who is told of it here, and who elsewhere.

use qlab_kernel::{Effects, Time};

use super::Paxos;
use super::message::{Step, Value};
use super::registers::Place;
use crate::Ballot;

/// Decisions that wait until the others are told of them.
const TIDINGS_MAX: usize = 1024;

impl Paxos {
    /// This value is chosen: whoever waits for that is answered.
    pub(super) fn learn(&mut self, place: Place, value: &Value, effects: &mut Effects<Self>) {
        self.registers.accept(place, Ballot::CHOSEN, value);
        let Some(attempt) = self.end_attempt(place) else { return };
        self.waiting -= attempt.waiting.len();
        for waiting in &attempt.waiting {
            // Early: a quorum's disks hold the value, whatever this one's does.
            effects.reply_early(waiting.session, waiting.sequence, waiting.answer(value));
        }
    }

    /// What was accepted in this ballot is chosen. Who has not accepted it there learns it when it asks.
    pub(super) fn on_chosen(&mut self, place: Place, ballot: Ballot, effects: &mut Effects<Self>) {
        let accepted = self.registers.get(place).accepted.as_ref();
        if let Some(accepted) = accepted.filter(|accepted| accepted.ballot == ballot) {
            let value = accepted.value.clone();
            self.learn(place, &value, effects);
        }
    }

    /// The others are to be told, soon.
    pub(super) fn note_chosen(&mut self, now: Time, place: Place, ballot: Ballot) {
        self.tidings.push((place, ballot));
        if self.tell_at.is_none() {
            self.tell_at = Some(now + self.config.tell_interval);
        }
    }

    /// Tells the others, if it is time.
    pub(super) fn tell(&mut self, now: Time) {
        if self.tidings.len() < TIDINGS_MAX && self.tell_at.is_none_or(|at| now < at) {
            return;
        }
        self.tell_at = None;
        for (place, ballot) in std::mem::take(&mut self.tidings) {
            for peer in self.seat.peers().iter() {
                // Early: what is chosen is chosen, whatever this replica forgets.
                self.say_early(peer, place, Step::Chosen { ballot });
            }
        }
    }
}
