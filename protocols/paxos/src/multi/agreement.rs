//! Phase 2: proposing, accepting, acknowledging, and when a value is chosen (Paxos Made Simple §2.2, §2.3, §3).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use qlab_kernel::{Batch, Effects, Index, Intake, Lsn, NodeId, NodeSet, Seat, Time, WaitingReads, mutant};

use super::config::Config;
use super::message::{Message, RUNS_MAX, Span};
use super::record::Record;
use super::slots::Slots;
use super::stream::{Stream, View};
use super::{MultiPaxos, Role};
use crate::Ballot;

/// What only a leader has.
#[derive(Debug)]
pub(crate) struct Leader {
    /// Writes that have no slot yet.
    pub(crate) intake: Intake,
    pub(crate) reads: WaitingReads,
    pub(crate) heartbeat_at: Time,
    heartbeat_due: bool,
    streams: Vec<Stream>,
    /// The slots after the last one known to be chosen in which something is proposed.
    open: VecDeque<Open>,
    /// The next slot to propose in.
    next: Index,
    /// The leader's own accepts that are not durable yet, oldest first, and the bytes of their values.
    writing: VecDeque<Writing>,
    writing_bytes: usize,
    /// The last slot in which something may have been chosen before this ballot.
    inherited_last: Index,
    /// What was accepted in slots up to there, where it is not what this replica accepted itself.
    inherited: BTreeMap<Index, Batch>,
    /// Where values go at first, if not to everybody.
    favourites: NodeSet,
    /// The last slot whose value went to everybody else, too, because it was not chosen in time.
    hedged: Index,
    /// To whom leadership is being handed, and until when that is tried.
    handover: Option<(NodeId, Time)>,
}

/// A slot in which a value is proposed and not known to be chosen.
#[derive(Debug)]
struct Open {
    accepted_by: NodeSet,
    proposed_at: Time,
}

/// An accept on its way to the leader's own disk.
#[derive(Debug)]
struct Writing {
    lsn: Lsn,
    index: Index,
    bytes: usize,
}

/// What an acceptor knows of the leader of the ballot it has promised, and owes it.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// The leader knows all slots up to here to be chosen.
    commit: Index,
    /// Slots to acknowledge at the next flush: one answer for a whole burst.
    accepted: Vec<Span>,
}

impl MultiPaxos {
    /// **When a value is chosen**: a leader counts durable accepts in its own ballot; everybody else takes what it is told, and
    /// what it accepted in the ballot of the leader who says so.
    pub(super) fn advance_chosen(&mut self) {
        let Role::Leader(leader) = &mut self.role else {
            while self.is_told_chosen(self.chosen.next()) {
                self.chosen = self.chosen.next();
            }
            return;
        };
        let quorum = self.quorums.phase_2;
        mutant!("multi-paxos: one accept too few is enough", quorum = quorum - 1);
        while leader.open.pop_front_if(|open| open.accepted_by.len() >= quorum).is_some() {
            self.chosen = self.chosen.next();
        }
    }

    fn is_told_chosen(&self, index: Index) -> bool {
        let ballot = self.slots.ballot(index);
        mutant!("multi-paxos: slots of any ballot are taken as chosen", {
            return ballot > Ballot::ZERO && index <= self.following.commit;
        });
        ballot == Ballot::CHOSEN || index <= self.following.commit && ballot == self.promised
    }

    /// Phase 2a: first what earlier ballots left in their slots, with no-ops in the gaps; then what clients want.
    pub(super) fn propose(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let bytes_max = if self.config.batching { self.config.entry_bytes } else { 1 };
        // A quorum may be faster than a leader whose disk is slow. It need not wait for that, but may not run away from it.
        while leader.open.len() < self.config.window_entries
            && leader.writing_bytes < self.config.window_bytes
        {
            let Some(batch) = leader.next_value(&self.slots, bytes_max) else { return };
            let (ballot, index) = (self.promised, leader.next);
            let lsn = effects.persist(Record::Accept { ballot, index, batch: batch.clone() });
            leader.writing_bytes += batch.len();
            leader.writing.push_back(Writing { lsn, index, bytes: batch.len() });
            self.slots.accept(index, ballot, batch, lsn);
            let accepted_by = NodeSet::EMPTY;
            mutant!(
                "multi-paxos: a leader counts itself before its disk",
                accepted_by = NodeSet::from_iter([self.seat.me])
            );
            mutant!(
                "multi-paxos: gaps are filled by the leader alone",
                accepted_by = {
                    let is_gap = index <= leader.inherited_last && self.slots.batch(index).is_empty();
                    if is_gap { self.seat.members } else { accepted_by }
                }
            );
            leader.open.push_back(Open { accepted_by, proposed_at: now });
            leader.next = index.next();
        }
    }

    /// A leader's own accept counts like any other: once it is durable.
    pub(super) fn count_own_accepts(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        while let Some(written) = leader.writing.pop_front_if(|writing| writing.lsn <= self.durable) {
            leader.writing_bytes -= written.bytes;
            leader.count(self.seat.me, written.index, self.chosen);
        }
    }

    /// Sends every acceptor what it may have next: a sign of life, values.
    pub(super) fn replicate(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        if std::mem::take(&mut leader.heartbeat_due) || leader.reads.want_round() {
            let round = leader.reads.begin_round(now);
            for stream in &leader.streams {
                let (ballot, commit, oldest) = (self.promised, self.chosen, stream.oldest());
                // Early: claims nothing but that this leader is alive in a ballot that is already durable.
                effects.send_early(stream.node, Message::Heartbeat { ballot, round, commit, oldest });
            }
        }
        leader.hedge(now, self.chosen, self.config.thrifty);
        for stream in &mut leader.streams {
            let is_favourite = leader.favourites.contains(stream.node);
            if !is_favourite {
                stream.skip_to(self.chosen.next());
            }
            let view = View {
                now,
                until: if is_favourite { leader.next.previous() } else { leader.hedged },
                ballot: self.promised,
                chosen: self.chosen,
                round: leader.reads.round(),
                slots: &self.slots,
                config: &self.config,
            };
            stream.send(&view, effects);
        }
        self.finish_handover(now, effects);
    }

    /// Phase 2b.
    pub(super) fn on_accept(
        &mut self,
        index: Index,
        commit: Index,
        batch: Batch,
        effects: &mut Effects<Self>,
    ) {
        let ballot = self.promised;
        self.following.commit = self.following.commit.max(commit);
        let held = self.slots.ballot(index);
        if index > self.chosen && held != ballot && held != Ballot::CHOSEN {
            let lsn = effects.persist(Record::Accept { ballot, index, batch: batch.clone() });
            self.slots.accept(index, ballot, batch, lsn);
        }
        // Also what is known to be chosen: it can be nothing else that the leader proposes.
        self.following.owe(Span { first: index, last: index });
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: Time,
        from: NodeId,
        round: u64,
        commit: Index,
        oldest: Index,
        effects: &mut Effects<Self>,
    ) {
        self.following.commit = self.following.commit.max(commit);
        self.advance_chosen();
        let received = self.received_from(oldest);
        if received > oldest.previous() {
            // The acknowledgement may have been lost: once more.
            self.following.owe(Span { first: oldest, last: received });
        }
        // Early: it says that this replica has promised no later ballot by now, which no lost write can make false.
        let reply = Message::HeartbeatReply { ballot: self.promised, round, received };
        effects.send_early(from, reply);
        self.note_behind(now, from, commit);
        self.learn_patiently(now, effects);
    }

    /// The last slot up to which all from `oldest` on are accepted in the leader's ballot or known to be chosen.
    fn received_from(&self, oldest: Index) -> Index {
        if oldest == Index::ZERO {
            return Index::ZERO;
        }
        let mut received = oldest.previous().max(self.chosen);
        while [self.promised, Ballot::CHOSEN].contains(&self.slots.ballot(received.next())) {
            received = received.next();
        }
        received
    }

    /// Answers the leader once for everything that was accepted since the last flush.
    pub(super) fn settle_owed(&mut self, effects: &mut Effects<Self>) {
        let accepted = std::mem::take(&mut self.following.accepted);
        let Some(leader) = self.leader.filter(|leader| *leader != self.seat.me) else { return };
        for spans in accepted.chunks(RUNS_MAX) {
            let accepted = Message::Accepted { ballot: self.promised, spans: spans.to_vec() };
            mutant!("multi-paxos: an accept is told before it is durable", {
                effects.send_early(leader, accepted);
                continue;
            });
            // Gated: the acknowledgement says that all of it is durable.
            effects.send(leader, accepted);
        }
    }

    pub(super) fn on_accepted(&mut self, now: Time, from: NodeId, spans: &[Span]) {
        let chosen = self.chosen;
        let Role::Leader(leader) = &mut self.role else { return };
        for span in spans {
            let (first, last) = (span.first.max(chosen.next()), span.last.min(leader.next.previous()));
            (first.0..=last.0).for_each(|index| leader.count(from, Index(index), chosen));
        }
        if let Some(stream) = leader.stream(from) {
            stream.heard = now;
            stream.on_accepted(now, spans);
        }
    }

    pub(super) fn on_heartbeat_reply(&mut self, now: Time, from: NodeId, round: u64, received: Index) {
        // As long as a silent leader is given: on a slow link, small messages overtake large ones by far.
        let (chosen, patience) = (self.chosen, self.config.election_timeout_min);
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(stream) = leader.stream(from) {
            stream.heard = now;
            stream.on_heartbeat_reply(now, round, received, chosen, patience);
        }
    }

    pub(super) fn on_yield(&mut self, now: Time, to: Option<NodeId>) {
        let until = now + self.config.election_timeout_min;
        let peers = self.seat.peers();
        let Role::Leader(leader) = &mut self.role else { return };
        // Whoever has least to acknowledge has most.
        let best = leader.streams.iter().max_by_key(|stream| stream.acknowledged()).map(|stream| stream.node);
        leader.handover = to.filter(|node| peers.contains(*node)).or(best).map(|node| (node, until));
        // The successor may be elected while the lease would still run.
        leader.reads.give_up_lease();
    }

    fn finish_handover(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some((successor, until)) = leader.handover else { return };
        let last = leader.next.previous();
        let ready = leader.stream(successor).is_some_and(|stream| stream.acknowledged() == last);
        if ready {
            // Early: it asks for an election, whose promises are gated.
            effects.send_early(successor, Message::TakeOver { ballot: self.promised });
        }
        if ready || now >= until {
            leader.handover = None;
        }
    }
}

impl Leader {
    /// A leader that knows all slots up to `chosen` to be chosen, and must propose again in those up to `inherited_last`.
    pub(crate) fn new(
        now: Time,
        seat: Seat,
        chosen: Index,
        inherited_last: Index,
        inherited: BTreeMap<Index, Batch>,
    ) -> Self {
        Self {
            intake: Intake::default(),
            reads: WaitingReads::default(),
            heartbeat_at: now,
            heartbeat_due: true,
            streams: seat.peers().iter().map(|node| Stream::new(node, now, chosen.next())).collect(),
            open: VecDeque::new(),
            next: chosen.next(),
            writing: VecDeque::new(),
            writing_bytes: 0,
            inherited_last,
            inherited,
            favourites: seat.peers(),
            hedged: chosen,
            handover: None,
        }
    }

    /// When it must be woken at the latest.
    pub(crate) fn deadline(&self, config: &Config) -> Time {
        let hedge = config.thrifty.and_then(|delay| self.next_hedge(delay));
        hedge.map_or(self.heartbeat_at, |hedge| hedge.min(self.heartbeat_at))
    }

    /// Makes itself heard at the next flush; values go on to those who were heard lately, to just enough of them if it is thrifty.
    pub(crate) fn tick(&mut self, now: Time, quorum: usize, config: &Config) {
        self.heartbeat_at = now + config.heartbeat_interval;
        self.heartbeat_due = true;
        if config.thrifty.is_some() {
            self.favourites = self.choose_favourites(now, quorum - 1, config.heartbeat_interval * 3);
        }
    }

    /// Whoever was one stays one while he is heard.
    fn choose_favourites(&self, now: Time, count: usize, patience: Duration) -> NodeSet {
        let is_silent = |stream: &Stream| stream.heard + patience < now;
        let mut streams: Vec<&Stream> = self.streams.iter().collect();
        streams.sort_by_key(|stream| (is_silent(stream), !self.favourites.contains(stream.node)));
        streams.iter().take(count).map(|stream| stream.node).collect()
    }

    /// Finds the slots that wait for too long: from now on, they are for everybody.
    fn hedge(&mut self, now: Time, chosen: Index, thrifty: Option<Duration>) {
        let Some(delay) = thrifty else { return };
        let waiting = self.open.iter().take_while(|open| open.proposed_at + delay <= now).count();
        self.hedged = self.hedged.max(Index(chosen.0 + waiting as u64));
    }

    /// When the next slot has waited for too long.
    fn next_hedge(&self, delay: Duration) -> Option<Time> {
        let first_open = self.next.0 - self.open.len() as u64;
        let hedged = (self.hedged.0 + 1).saturating_sub(first_open);
        self.open.get(hedged as usize).map(|open| open.proposed_at + delay)
    }

    /// A leader that can get nothing chosen steps down, so that clients look for a better one.
    pub(crate) fn has_lost_quorum(&self, now: Time, quorum: usize, patience: Duration) -> bool {
        1 + self.streams.iter().filter(|stream| stream.heard + patience >= now).count() < quorum
    }

    /// Whether a write of that many bytes may come in.
    pub(crate) fn has_room(&self, config: &Config, bytes: usize) -> bool {
        self.handover.is_none() && self.intake.bytes() + bytes <= config.intake_bytes_max
    }

    /// Whether a read of that many bytes may come in.
    pub(crate) fn has_room_to_read(&self, config: &Config, bytes: usize) -> bool {
        self.reads.len() < config.waiting_reads_max && self.reads.bytes() + bytes <= config.intake_bytes_max
    }

    /// The last heartbeat that `count` replicas have answered, the leader itself among them.
    pub(crate) fn answered_by(&self, count: usize) -> u64 {
        let mut rounds: Vec<u64> = self.streams.iter().map(|stream| stream.round).chain([u64::MAX]).collect();
        rounds.sort_unstable_by(|a, b| b.cmp(a));
        rounds[count - 1]
    }

    /// The last slot in which something may have been chosen before this ballot.
    pub(crate) const fn inherited_last(&self) -> Index {
        self.inherited_last
    }

    /// What to propose next; nothing if nobody wants anything.
    fn next_value(&mut self, slots: &Slots, bytes_max: usize) -> Option<Batch> {
        if self.next > self.inherited_last {
            return self.intake.pack(bytes_max);
        }
        mutant!("multi-paxos: phase 2 proposes the leader's own value", {
            return Some(self.intake.pack(bytes_max).unwrap_or_default());
        });
        let fetched = self.inherited.remove(&self.next);
        let value = fetched.or_else(|| slots.get(self.next).map(|slot| slot.batch.clone()));
        Some(value.unwrap_or_default())
    }

    /// Somebody has accepted the value in a slot, durably.
    fn count(&mut self, node: NodeId, index: Index, chosen: Index) {
        let open = index.0.checked_sub(chosen.0 + 1).and_then(|at| self.open.get_mut(at as usize));
        if let Some(open) = open {
            open.accepted_by.insert(node);
        }
    }

    fn stream(&mut self, node: NodeId) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.node == node)
    }

    pub(crate) fn check(&self, chosen: Index) {
        assert_eq!(
            self.next.0,
            chosen.0 + 1 + self.open.len() as u64,
            "slots are proposed in order, without gaps"
        );
        for stream in &self.streams {
            stream.check(self.next);
        }
    }
}

impl Following {
    fn owe(&mut self, span: Span) {
        match self.accepted.last_mut() {
            Some(before) if before.last.next() == span.first => before.last = span.last,
            _ => self.accepted.push(span),
        }
    }
}
