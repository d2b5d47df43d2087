//! Timeouts, pre-votes, votes, becoming and ceasing to be leader (Raft §5.2, §5.4.1; thesis §3.10, §6.2, §9.6).

use std::time::Duration;

use qlab_kernel::{Effects, Event, Index, NodeId, NodeSet, Refusal, Term, Time, mutant};
use rand::RngExt;

use crate::message::{Ballot, Message, Place};
use crate::record::Record;
use crate::replication::{Leader, Owed};
use crate::{Raft, Role};

impl Raft {
    /// Brings the two terms in line before a message is looked at; false if it is not to be looked at.
    pub(crate) fn align_term(
        &mut self,
        now: Time,
        from: NodeId,
        message: &Message,
        effects: &mut Effects<Self>,
    ) -> bool {
        let term = message.term();
        if term > self.term {
            let hypothetical = matches!(
                message,
                Message::Vote { ballot: Ballot::Pre, .. }
                    | Message::VoteReply { pre: true, granted: true, .. }
            );
            if hypothetical {
                return true;
            }
            if matches!(message, Message::Vote { ballot: Ballot::Real, .. }) && self.has_leader(now) {
                // Thesis §4.2.3, §6.2: whoever hears a live leader is not made to leave it. Leases rest on this.
                return false;
            }
            self.become_follower(now, term, effects);
        } else if term < self.term {
            match message {
                Message::Append { .. }
                | Message::Heartbeat { .. }
                | Message::Install { .. }
                | Message::Vote { .. } => {
                    // Gated: our term may not be durable yet, and telling is a promise not to return below it.
                    effects.send(from, Message::Stale { term: self.term });
                }
                _ => {}
            }
            mutant!("raft: heartbeat answers of an earlier term count", {
                return matches!(message, Message::HeartbeatReply { .. });
            });
            return false;
        }
        true
    }

    pub(crate) fn on_timeout(&mut self, now: Time, effects: &mut Effects<Self>) {
        if let Role::Leader(leader) = &mut self.role {
            if leader.deadline() > now {
                return;
            }
            if leader.has_lost_quorum(now, self.seat, self.config.election_timeout_max) {
                self.become_follower(now, self.term, effects);
                return;
            }
            leader.tick(now, &self.config);
        } else if now < self.election_deadline {
            // A leader or a candidate was heard meanwhile.
        } else if self.awaits_own_vote() {
            // Nobody has been asked yet: the requests wait for the disk. A new election would wait for it again, for ever
            // if the disk is slower than elections are.
            self.draw_election_deadline(now);
        } else {
            self.ask_for_pre_votes(now, effects);
        }
    }

    /// Thesis §9.6: first ask whether an election could be won, so that a replica cut off does not push terms up.
    fn ask_for_pre_votes(&mut self, now: Time, effects: &mut Effects<Self>) {
        self.leader = None;
        self.draw_election_deadline(now);
        let votes: NodeSet = [self.seat.me].into_iter().collect();
        self.role = Role::PreCandidate { votes };
        if self.seat.members.has_majority_in(votes) {
            self.campaign(now, Ballot::Real, effects);
            return;
        }
        self.ask_everyone(self.term.next(), Ballot::Pre, effects);
    }

    fn campaign(&mut self, now: Time, ballot: Ballot, effects: &mut Effects<Self>) {
        self.leader = None;
        self.received = Index::ZERO;
        self.owed = Owed::default();
        self.draw_election_deadline(now);
        self.vote(self.term.next(), Some(self.seat.me), effects);
        let votes = mutant!(NodeSet::EMPTY, "raft: votes are not reset", self.votes());
        self.role = Role::Candidate { votes };
        effects.event(Event::Campaigned(self.term));
        self.ask_everyone(self.term, ballot, effects);
    }

    fn ask_everyone(&self, term: Term, ballot: Ballot, effects: &mut Effects<Self>) {
        for peer in self.seat.peers().iter() {
            effects.send(peer, Message::Vote { term, ballot, last: self.log.last() });
        }
    }

    pub(crate) fn on_vote(
        &mut self,
        now: Time,
        from: NodeId,
        term: Term,
        ballot: Ballot,
        last: Place,
        effects: &mut Effects<Self>,
    ) {
        // Raft §5.4.1: only a log that is at least as up to date can hold everything committed.
        let ours = self.log.last();
        let up_to_date = (last.term, last.index) >= (ours.term, ours.index);
        mutant!("raft: any log gets votes", up_to_date = true);
        if ballot == Ballot::Pre {
            let granted = up_to_date && term > self.term && !self.has_leader(now);
            let term = if granted { term } else { self.term };
            effects.send(from, Message::VoteReply { term, pre: true, granted });
            return;
        }
        // Also in a term learned otherwise, a vote must not shorten the lease of a leader heard just now.
        let patient = ballot == Ballot::Transfer || !self.has_leader(now);
        let free = self.voted_for.is_none_or(|voted| voted == from);
        mutant!("raft: everybody gets a vote", free = true);
        let granted = up_to_date && patient && free;
        if granted {
            if self.voted_for.is_none() {
                self.vote(self.term, Some(from), effects);
            }
            self.draw_election_deadline(now);
        }
        mutant!("raft: a vote is told before it is durable", {
            effects.send_early(from, Message::VoteReply { term: self.term, pre: false, granted });
            return;
        });
        effects.send(from, Message::VoteReply { term: self.term, pre: false, granted });
    }

    pub(crate) fn on_vote_reply(
        &mut self,
        now: Time,
        from: NodeId,
        term: Term,
        pre: bool,
        granted: bool,
        effects: &mut Effects<Self>,
    ) {
        if !granted {
            return;
        }
        match &mut self.role {
            Role::PreCandidate { votes } if pre && term == self.term.next() => {
                votes.insert(from);
                if self.seat.members.has_majority_in(*votes) {
                    self.campaign(now, Ballot::Real, effects);
                }
            }
            Role::Candidate { votes } if !pre && term == self.term => {
                votes.insert(from);
                self.lead_if_elected(now, effects);
            }
            _ => {}
        }
    }

    fn awaits_own_vote(&self) -> bool {
        matches!(self.role, Role::Candidate { .. }) && self.durable < self.vote_lsn
    }

    /// A candidate's vote for itself counts like any other: once it is durable.
    pub(crate) fn count_own_vote(&mut self, now: Time, effects: &mut Effects<Self>) {
        if self.durable < self.vote_lsn {
            return;
        }
        if let Role::Candidate { votes } = &mut self.role {
            votes.insert(self.seat.me);
            self.lead_if_elected(now, effects);
        }
    }

    fn lead_if_elected(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Candidate { votes } = self.role else { return };
        let elected = self.seat.members.has_majority_in(votes);
        if !mutant!(elected, "raft: half the votes elect", votes.len() >= self.seat.members.len() / 2) {
            return;
        }
        self.leader = Some(self.seat.me);
        self.role = Role::Leader(Box::new(Leader::new(now, self.seat, self.log.last_index())));
        effects.event(Event::Elected(self.term));
    }

    /// Leaves whatever role for that of a follower in `term`, which is this one or a later one.
    pub(crate) fn become_follower(&mut self, now: Time, term: Term, effects: &mut Effects<Self>) {
        let before = self.term;
        if term > self.term {
            self.vote(term, None, effects);
        }
        mutant!("raft: a leader stays in a newer term", {
            if self.is_leader() {
                return;
            }
        });
        self.leader = None;
        self.received = mutant!(Index::ZERO, "raft: what an earlier leader sent matches", self.received);
        self.owed = Owed::default();
        if let Role::Leader(mut leader) = std::mem::replace(&mut self.role, Role::Follower) {
            leader.intake.refuse_all(Refusal::NotLeader(None), effects);
            leader.reads.refuse_all(effects);
            effects.event(Event::Deposed(before));
            self.draw_election_deadline(now);
        }
    }

    /// A message that only the leader of this term can have sent came from `from`.
    pub(crate) fn follow(&mut self, now: Time, from: NodeId) {
        assert!(!self.is_leader(), "two leaders in term {}: {} and {from}", self.term, self.seat.me);
        self.role = Role::Follower;
        self.leader = Some(from);
        self.heard = now;
        self.draw_election_deadline(now);
    }

    /// The leader asks this follower to take over: it has everything, and need not wait (thesis §3.10).
    pub(crate) fn on_take_over(&mut self, now: Time, effects: &mut Effects<Self>) {
        if !self.is_leader() {
            self.campaign(now, Ballot::Transfer, effects);
        }
    }

    /// Whether a leader was heard so recently that no other may be helped up.
    fn has_leader(&self, now: Time) -> bool {
        let heard = now < self.heard + self.config.election_timeout_min;
        self.is_leader() || mutant!(heard, "raft: voters are impatient", false)
    }

    /// The votes counted so far, whatever for.
    #[cfg(feature = "mutants")]
    fn votes(&self) -> NodeSet {
        match self.role {
            Role::PreCandidate { votes } | Role::Candidate { votes } => votes,
            Role::Follower | Role::Leader(_) => NodeSet::EMPTY,
        }
    }

    fn vote(&mut self, term: Term, voted_for: Option<NodeId>, effects: &mut Effects<Self>) {
        assert!(term >= self.term, "terms never go back");
        self.term = term;
        self.voted_for = voted_for;
        mutant!("raft: a vote is not written", {
            if voted_for.is_some() {
                return;
            }
        });
        self.vote_lsn = effects.persist(Record::Vote { term, voted_for });
    }

    pub(crate) fn draw_election_deadline(&mut self, now: Time) {
        let (min, max) = (self.config.election_timeout_min, self.config.election_timeout_max);
        let spread_ns = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX);
        let extra = Duration::from_nanos(self.chance.random_range(0..=spread_ns));
        self.election_deadline = now + min + extra;
    }
}
