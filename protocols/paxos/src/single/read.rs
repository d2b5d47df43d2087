//! Reads: what is decided, if anything is.
//!
//! A quorum is asked. If none of it has accepted anything, nothing was chosen when the read came: a quorum that has accepted a
//! value shares a member with this one, and that member accepted after it was asked. So the register was absent at the moment of
//! asking. If all of it has accepted in one ballot, or somebody knows the decision, that is chosen, and stays so. Otherwise a value
//! may be on its way: after a pause, in which its proposer may come through, the reader finishes the instance like any proposer.

use qlab_kernel::{Effects, NodeId, Time, mutant};

use super::Paxos;
use super::attempt::{Phase, Waiting, Wish};
use super::message::{Accepted, Step, Value};
use super::registers::Place;

impl Paxos {
    /// Asks everybody what is accepted.
    pub(super) fn ask(&mut self, now: Time, place: Place, effects: &mut Effects<Self>) {
        let round = self.next_round();
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        attempt.phase = Phase::Asking { round, told: Vec::new() };
        attempt.round_trips += 1;
        self.counts.asks += 1;
        self.set_alarm(place, now + self.config.retry_interval);
        // Early: a question promises nothing. Its number carries the number of this life.
        self.say_to(self.seat.members, place, &Step::Ask { round }, Self::say_early, now, effects);
    }

    pub(super) fn on_told(
        &mut self,
        now: Time,
        from: NodeId,
        place: Place,
        (asked, accepted): (u64, Option<Accepted>),
        effects: &mut Effects<Self>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        let Phase::Asking { round, told } = &mut attempt.phase else { return };
        if *round != asked || told.iter().any(|(node, _)| *node == from) {
            return;
        }
        told.push((from, accepted));
        if told.len() < self.quorum {
            return;
        }
        if let Some(value) = chosen(told, self.quorum) {
            let value = value.clone();
            self.learn(place, &value, effects);
        } else if told.iter().all(|(_, accepted)| accepted.is_none()) {
            self.conclude_absent(now, place, asked, effects);
        } else if attempt.claim.is_some() {
            self.propose(now, place, effects);
        } else {
            self.back_off(now, place);
        }
    }

    /// A quorum had accepted nothing when it was asked in `round`: whoever came before that is told so.
    pub(super) fn conclude_absent(
        &mut self,
        now: Time,
        place: Place,
        round: u64,
        effects: &mut Effects<Self>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        let before = attempt.waiting.len();
        attempt.waiting.retain(|waiting| {
            let stays = !matches!(waiting.wish, Wish::Get { after } if after < round);
            if !stays {
                // Early: what a quorum had not accepted was so, whatever this replica forgets.
                effects.reply_early(waiting.session, waiting.sequence, Waiting::absent());
            }
            stays
        });
        self.waiting -= before - attempt.waiting.len();
        if attempt.claim.is_some() {
            self.propose(now, place, effects);
        } else if attempt.waiting.is_empty() {
            self.end_attempt(place);
            self.registers.leave(place);
        } else {
            self.ask(now, place, effects);
        }
    }
}

/// The value that a quorum has accepted in one ballot, if there is one.
fn chosen(told: &[(NodeId, Option<Accepted>)], quorum: usize) -> Option<&Value> {
    told.iter().filter_map(|(_, accepted)| accepted.as_ref()).find_map(|accepted| {
        let alike = told.iter().filter(|(_, other)| {
            other.as_ref().is_some_and(|other| {
                mutant!(
                    other.ballot == accepted.ballot,
                    "paxos: a learner mixes ballots",
                    other.ballot > crate::Ballot::ZERO
                )
            })
        });
        let enough = mutant!(quorum, "paxos: a read takes any accepted value", 1);
        (alike.count() >= enough).then_some(&accepted.value)
    })
}
