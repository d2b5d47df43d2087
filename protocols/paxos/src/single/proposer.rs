//! The proposer of every instance that somebody here waits for (Paxos Made Simple §2.2): phase 1, phase 2, and the time between
//! two attempts.

use qlab_kernel::{Effects, NodeId, NodeSet, Time, mutant};
use rand::RngExt;

use super::Paxos;
use super::attempt::Phase;
use super::config::FirstBallot;
use super::message::{Accepted, Step, Value};
use super::registers::Place;
use crate::Ballot;

/// How a step is said to a peer: early, or once what this burst wrote is durable.
type Say = fn(&mut Paxos, NodeId, Place, Step);

impl Paxos {
    /// Begins to propose what is claimed: with phase 2 at once, if the first ballot is this replica's to use.
    pub(super) fn propose(&mut self, now: Time, place: Place, effects: &mut Effects<Self>) {
        let claim = self.attempts.get(&place).and_then(|attempt| attempt.claim.clone());
        match claim {
            Some(value) if self.owns_first_ballot(place) => {
                let ballot = self.first_ballot();
                // Not early: that this replica has used the first ballot must be durable before anybody hears of it, or it would
                // use it again in its next life, without knowing for what.
                let say = mutant!(
                    Self::say_gated as Say,
                    "paxos: the first ballot is used before that is durable",
                    Self::say_early as Say
                );
                self.begin_phase_2(now, place, ballot, value, say, effects);
            }
            _ => self.prepare(now, place, effects),
        }
    }

    /// Phase 1a.
    pub(super) fn prepare(&mut self, now: Time, place: Place, effects: &mut Effects<Self>) {
        let round = self.next_round();
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        let highest = self.registers.get(place).promised.max(attempt.seen).max(self.floor);
        let ballot = highest.next_of(self.seat.me).in_life(self.incarnation);
        mutant!(
            "paxos: a ballot without its node",
            ballot = Ballot { node: NodeId(0), incarnation: 0, ..ballot }
        );
        attempt.phase = Phase::Preparing {
            ballot,
            round,
            promised: NodeSet::EMPTY,
            rejected: NodeSet::EMPTY,
            highest: None,
        };
        attempt.round_trips += 1;
        self.counts.prepares += 1;
        self.set_alarm(place, now + self.config.retry_interval);
        // Early: a ballot carries the number of this life, so that nobody ever proposes in it but this life's proposer, whether
        // its own promise survives or not.
        self.say_to(self.seat.members, place, &Step::Prepare { ballot }, Self::say_early, now, effects);
    }

    pub(super) fn on_promise(
        &mut self,
        now: Time,
        from: NodeId,
        place: Place,
        (asked, accepted): (Ballot, Option<Accepted>),
        effects: &mut Effects<Self>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        let Phase::Preparing { ballot, round, promised, highest, .. } = &mut attempt.phase else { return };
        if *ballot != asked {
            return;
        }
        promised.insert(from);
        if highest.as_ref().map(|highest| highest.ballot) < accepted.as_ref().map(|accepted| accepted.ballot)
        {
            *highest = accepted;
        }
        let quorum = mutant!(self.quorum, "paxos: half of the promises are enough", self.quorum - 1);
        if promised.len() < quorum {
            return;
        }
        let round = *round;
        let found = highest.take().map(|accepted| accepted.value);
        mutant!("paxos: its own value after phase 1", found = attempt.claim.clone().or(found));
        match found.or_else(|| attempt.claim.clone()) {
            // Early: should this replica forget that it accepted its own proposal, it is as if its accept had been slow; it will
            // never propose in this ballot again, as the ballot carries the number of this life.
            Some(value) => self.begin_phase_2(now, place, asked, value, Self::say_early, effects),
            None => self.conclude_absent(now, place, round, effects),
        }
    }

    /// Phase 2a.
    fn begin_phase_2(
        &mut self,
        now: Time,
        place: Place,
        ballot: Ballot,
        value: Value,
        say: Say,
        effects: &mut Effects<Self>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        let step = Step::Accept { ballot, value: value.clone() };
        attempt.phase =
            Phase::Accepting { ballot, value, accepted: NodeSet::EMPTY, rejected: NodeSet::EMPTY };
        attempt.round_trips += 1;
        self.counts.accepts += 1;
        self.set_alarm(place, now + self.config.retry_interval);
        self.say_to(self.seat.members, place, &step, say, now, effects);
    }

    /// **Chosen**: accepted durably by a quorum in one ballot (Paxos Made Simple §2.2).
    pub(super) fn on_accepted(
        &mut self,
        now: Time,
        from: NodeId,
        place: Place,
        asked: Ballot,
        effects: &mut Effects<Self>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        let Phase::Accepting { ballot, value, accepted, .. } = &mut attempt.phase else { return };
        if *ballot != asked {
            return;
        }
        accepted.insert(from);
        if accepted.len() < mutant!(self.quorum, "paxos: half of the accepts are enough", self.quorum - 1) {
            return;
        }
        let value = value.clone();
        self.counts.decisions += 1;
        self.counts.round_trips += u64::from(attempt.round_trips);
        self.note_chosen(now, place, asked);
        self.learn(place, &value, effects);
    }

    /// Backs off once so many have rejected the ballot that no quorum is left for it.
    pub(super) fn on_rejected(
        &mut self,
        now: Time,
        from: NodeId,
        place: Place,
        (asked, higher): (Ballot, Ballot),
    ) {
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        attempt.seen = attempt.seen.max(higher);
        let (Phase::Preparing { ballot, rejected, .. } | Phase::Accepting { ballot, rejected, .. }) =
            &mut attempt.phase
        else {
            return;
        };
        if *ballot == asked {
            rejected.insert(from);
            if self.seat.members.len() - rejected.len() < self.quorum {
                self.back_off(now, place);
            }
        }
    }

    /// Waits for a random time, longer with each further rejection, so that one of those who are in each other's way comes through.
    pub(super) fn back_off(&mut self, now: Time, place: Place) {
        let Some(attempt) = self.attempts.get_mut(&place) else { return };
        attempt.phase = Phase::BackingOff;
        attempt.rejections += 1;
        self.counts.back_offs += 1;
        let longest = self.config.back_off_max(attempt.rejections);
        let wait = self.chance.random_range(longest / 8..=longest);
        self.set_alarm(place, now + wait);
    }

    /// What was asked has not been answered for a while, or a pause is over.
    pub(super) fn on_alarm(&mut self, now: Time, place: Place, effects: &mut Effects<Self>) {
        let Some(attempt) = self.attempts.get(&place) else { return };
        let members = self.seat.peers();
        let (heard, step) = match &attempt.phase {
            Phase::BackingOff => return self.prepare(now, place, effects),
            // Those who rejected it stand in the way of whoever else may be gone.
            Phase::Preparing { rejected, .. } | Phase::Accepting { rejected, .. } if !rejected.is_empty() => {
                return self.back_off(now, place);
            }
            Phase::Asking { round, told } => {
                (told.iter().map(|(node, _)| *node).collect(), Step::Ask { round: *round })
            }
            Phase::Preparing { ballot, promised, .. } => (*promised, Step::Prepare { ballot: *ballot }),
            Phase::Accepting { ballot, value, accepted, .. } => {
                (*accepted, Step::Accept { ballot: *ballot, value: value.clone() })
            }
        };
        let silent: NodeSet = members.iter().filter(|member| !heard.contains(*member)).collect();
        self.set_alarm(place, now + self.config.retry_interval);
        // Gated, as it is in no hurry.
        self.say_to(silent, place, &step, Self::say_gated, now, effects);
    }

    fn owns_first_ballot(&self, place: Place) -> bool {
        let register = self.registers.get(place);
        self.config.first_ballot == FirstBallot::Promised
            && register.is_untouched()
            && first_owner(&register.key, self.seat.members) == self.seat.me
    }

    fn first_ballot(&self) -> Ballot {
        Ballot::ZERO.next_of(self.seat.me).in_life(self.incarnation)
    }

    pub(super) fn say_to(
        &mut self,
        whom: NodeSet,
        place: Place,
        step: &Step,
        say: Say,
        now: Time,
        effects: &mut Effects<Self>,
    ) {
        for member in whom.iter() {
            if member == self.seat.me {
                let key = self.registers.get(place).key.clone();
                self.on_step(now, member, &key, step.clone(), effects);
            } else {
                say(self, member, place, step.clone());
            }
        }
    }

    pub(super) fn say_early(&mut self, to: NodeId, place: Place, step: Step) {
        let key = self.registers.get(place).key.clone();
        self.outbox.early(to, key, step);
    }

    pub(super) fn say_gated(&mut self, to: NodeId, place: Place, step: Step) {
        let key = self.registers.get(place).key.clone();
        self.outbox.gated(to, key, step);
    }
}

/// Whose the first ballot of an instance is: the same on every replica, and spread over all of them (FNV-1a).
fn first_owner(key: &[u8], members: NodeSet) -> NodeId {
    let hash = key.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    // The upper half: the lower bits of neighbours' hashes are alike.
    let turn = (hash >> 32) as usize % members.len();
    members.iter().nth(turn).expect("the turn is below the number of members")
}
