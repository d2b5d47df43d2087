//! Timeouts, the canvass before an election, promises, becoming and ceasing to be leader (Paxos Made Simple §2.2 and §3; Paxos
//! for System Builders §3.2).

use std::time::Duration;

use qlab_kernel::{Effects, Event, Index, NodeId, NodeSet, Refusal, Time, mutant};
use rand::RngExt;

use super::agreement::{Following, Leader};
use super::message::{Message, RUNS_MAX};
use super::phase1::Candidacy;
use super::record::Record;
use super::{MultiPaxos, Role};
use crate::Ballot;

impl MultiPaxos {
    pub(super) fn on_timeout(&mut self, now: Time, effects: &mut Effects<Self>) {
        let election_is_due = now >= self.election_deadline;
        match &mut self.role {
            Role::Leader(leader) if now >= leader.heartbeat_at => self.tick(now, effects),
            // Nobody has been asked yet: the requests wait for the disk. A new election would wait for it again, for ever if the
            // disk is slower than elections are.
            Role::Preparing(_) if election_is_due && self.durable < self.promise_lsn => {
                self.draw_election_deadline(now);
            }
            Role::Preparing(candidacy) if !election_is_due && now >= candidacy.retry_at => {
                candidacy.retry_at = now + self.config.heartbeat_interval;
                self.retry_phase_1(now, effects);
            }
            Role::Follower | Role::Canvassing { .. } | Role::Preparing(_) if election_is_due => {
                self.canvass(now, effects);
            }
            // A leader or a candidate was heard meanwhile.
            _ => {}
        }
    }

    fn tick(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.has_lost_quorum(now, self.quorums.phase_2, self.config.election_timeout_max) {
            self.stop_proposing(now, effects);
        } else {
            leader.tick(now, self.quorums.phase_2, &self.config);
        }
    }

    /// Asks first whether an election could be won, so that a replica cut off does not push ballots up.
    fn canvass(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.leader = None;
        self.draw_election_deadline(now);
        let ballot = self.next_ballot();
        let granted: NodeSet = [self.seat.me].into_iter().collect();
        self.role = Role::Canvassing { ballot, granted };
        if granted.len() >= self.quorums.phase_1 {
            self.campaign(now, Ballot::ZERO, effects);
            return;
        }
        for peer in self.seat.peers().iter() {
            effects.send(peer, Message::Canvass { ballot, chosen: self.chosen });
        }
    }

    pub(super) fn on_canvass(
        &mut self,
        now: Time,
        from: NodeId,
        ballot: Ballot,
        chosen: Index,
        effects: &mut Effects<Self>,
    ) {
        // Whoever lacks so much that only an image helps would lead nobody for a long time: it learns first.
        let would_keep_up = chosen >= self.slots.base();
        let granted = ballot > self.promised && would_keep_up && !self.has_leader(now);
        let (promised, chosen) = (self.promised, self.chosen);
        effects.send(from, Message::CanvassReply { ballot, granted, promised, chosen });
    }

    pub(super) fn on_canvass_reply(
        &mut self,
        now: Time,
        from: NodeId,
        asked: Ballot,
        is_granted: bool,
        chosen: Index,
        effects: &mut Effects<Self>,
    ) {
        let Role::Canvassing { ballot, granted } = &mut self.role else { return };
        if *ballot != asked {
            return;
        }
        if is_granted {
            granted.insert(from);
            if granted.len() >= self.quorums.phase_1 {
                self.campaign(now, Ballot::ZERO, effects);
            }
        } else {
            self.note_behind(now, from, chosen);
            self.learn_patiently(now, effects);
        }
    }

    /// Phase 1a, once for all slots that are not known to be chosen.
    pub(super) fn campaign(&mut self, now: Time, handover: Ballot, effects: &mut Effects<Self>) {
        let ballot = self.next_ballot();
        self.promise(now, ballot, effects);
        let retry_at = now + self.config.heartbeat_interval;
        let candidacy = Candidacy::new(self.chosen.next(), handover, retry_at);
        effects.event(Event::Campaigned(ballot.round));
        for peer in self.seat.peers().iter() {
            // Gated: its own promise is durable before anybody hears of the ballot, so that it is never used twice.
            effects.send(peer, candidacy.question(peer, ballot));
        }
        self.role = Role::Preparing(Box::new(candidacy));
    }

    /// Phase 1b.
    pub(super) fn on_prepare(
        &mut self,
        now: Time,
        from: NodeId,
        ballot: Ballot,
        first: Index,
        handover: Ballot,
        effects: &mut Effects<Self>,
    ) {
        if ballot < self.promised {
            self.refuse_stale(from, effects);
            return;
        }
        if ballot > self.promised {
            // Whoever hears a live leader is not made to leave it, unless by that leader. Leases rest on this.
            if self.has_leader(now) && handover != self.promised {
                return;
            }
            self.promise(now, ballot, effects);
        }
        let (runs, until) = self.slots.runs(first.max(self.chosen.next()), RUNS_MAX);
        let promise = Message::Promise { ballot, first, until, chosen: self.chosen, runs };
        mutant!("multi-paxos: a promise is told before it is durable", {
            return effects.send_early(from, promise);
        });
        // Gated: the promise and everything accepted before it are durable by then.
        effects.send(from, promise);
    }

    /// A message that only the leader of `ballot` can have sent came from `from`; whether it is to be looked at.
    pub(super) fn follow(
        &mut self,
        now: Time,
        from: NodeId,
        ballot: Ballot,
        effects: &mut Effects<Self>,
    ) -> bool {
        mutant!("multi-paxos: ballots below the promise are accepted", {
            self.promised = self.promised.min(ballot);
        });
        if ballot < self.promised {
            self.refuse_stale(from, effects);
            return false;
        }
        if ballot > self.promised {
            // An acceptor may promise whatever it likes; to whoever leads already, it does.
            self.promise(now, ballot, effects);
        }
        assert!(!self.is_leader(), "{from} leads in a ballot of {}", self.seat.me);
        self.role = Role::Follower;
        self.leader = Some(from);
        self.heard = now;
        self.draw_election_deadline(now);
        true
    }

    pub(super) fn on_stale(&mut self, now: Time, promised: Ballot, effects: &mut Effects<Self>) {
        self.seen = self.seen.max(promised);
        if promised > self.promised && matches!(self.role, Role::Preparing(_) | Role::Leader(_)) {
            self.stop_proposing(now, effects);
        }
    }

    /// Everything was learned that phase 1 is for.
    pub(super) fn lead(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Preparing(candidacy) = std::mem::replace(&mut self.role, Role::Follower) else {
            unreachable!("only candidates are elected")
        };
        self.leader = Some(self.seat.me);
        let last = self.slots.last().max(candidacy.last()).max(self.chosen);
        let leader = Leader::new(now, self.seat, self.chosen, last, candidacy.into_values());
        self.role = Role::Leader(Box::new(leader));
        effects.event(Event::Elected(self.promised.round));
    }

    /// Promises a higher ballot: whatever was proposed, followed or owed in the one before is over.
    fn promise(&mut self, now: Time, ballot: Ballot, effects: &mut Effects<Self>) {
        assert!(ballot > self.promised, "promises never go back: {ballot} after {}", self.promised);
        self.stop_proposing(now, effects);
        self.promised = ballot;
        self.promise_lsn = effects.persist(Record::Promise { ballot });
        self.following = Following::default();
        self.leader = None;
        self.draw_election_deadline(now);
    }

    /// Leaves whatever role for that of a follower, as yet of nobody.
    fn stop_proposing(&mut self, now: Time, effects: &mut Effects<Self>) {
        if let Role::Leader(mut leader) = std::mem::replace(&mut self.role, Role::Follower) {
            self.leader = None;
            leader.intake.refuse_all(Refusal::NotLeader(None), effects);
            leader.reads.refuse_all(effects);
            effects.event(Event::Deposed(self.promised.round));
            self.draw_election_deadline(now);
        }
    }

    fn refuse_stale(&self, to: NodeId, effects: &mut Effects<Self>) {
        // Gated: the promise may not be durable yet.
        effects.send(to, Message::Stale { promised: self.promised });
    }

    fn next_ballot(&self) -> Ballot {
        let me = mutant!(self.seat.me, "multi-paxos: ballots do not name their proposer", NodeId(0));
        self.promised.max(self.seen).next_of(me)
    }

    /// Whether a leader was heard so recently that no other may be helped up.
    fn has_leader(&self, now: Time) -> bool {
        self.is_leader() || now < self.heard + self.config.election_timeout_min
    }

    pub(super) fn draw_election_deadline(&mut self, now: Time) {
        let (min, max) = (self.config.election_timeout_min, self.config.election_timeout_max);
        let spread_ns = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX);
        let extra = Duration::from_nanos(self.chance.random_range(0..=spread_ns));
        self.election_deadline = now + min + extra;
    }
}
