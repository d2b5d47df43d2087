//! The leader's view of its peers, appending, acknowledging, and the commit rule (Raft §5.3, §5.4.2).

use std::collections::VecDeque;
use std::time::Duration;

use qlab_kernel::limits::SNAPSHOT_CHUNK_BYTES;
use qlab_kernel::{
    Batch, Effects, Event, Index, Intake, NodeId, NodeSet, Seat, Snapshot, Term, Time, WaitingReads, mutant,
};

use crate::config::{Config, LeaderWrite};
use crate::log::Log;
use crate::message::{Entry, Message, Place};
use crate::record::Record;
use crate::{Raft, Role};

/// What only a leader has.
#[derive(Debug)]
pub(crate) struct Leader {
    /// Writes that are not in the log yet.
    pub(crate) intake: Intake,
    pub(crate) reads: WaitingReads,
    peers: Vec<Peer>,
    /// The entry that opened this term; `None` until the first flush.
    opening: Option<Index>,
    heartbeat_at: Time,
    heartbeat_due: bool,
    /// To whom leadership is being handed, and until when that is tried.
    handover: Option<(NodeId, Time)>,
}

/// One follower, as its leader sees it.
#[derive(Debug)]
pub(crate) struct Peer {
    node: NodeId,
    /// Durable there, and equal to ours.
    matched: Index,
    /// The next entry to send.
    next: Index,
    phase: Phase,
    /// Entries on their way, oldest first.
    in_flight: VecDeque<(Index, usize)>,
    in_flight_bytes: usize,
    /// What the last heartbeat reply said it had received.
    received: Index,
    /// The last heartbeat it answered.
    pub(crate) round: u64,
    /// The last heartbeat sent before the last entry was.
    sent_round: u64,
    /// The last heartbeat sent before the stream last went back to a question. Until a later one is answered, what conflicts may
    /// have been sent before that.
    went_back_at: u64,
    /// When it last received something new, or was first sent something to receive.
    progress_at: Time,
    /// It has everything that was sent, but its acknowledgement is missing: ask for it.
    question_due: bool,
    heard: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Where its log agrees with ours is not known: one question at a time.
    Probe { asked: bool },
    /// It follows: entries are streamed.
    Stream,
    /// It is too far behind for entries: the image first. None has been begun yet, or this one.
    Image(Option<Sending>),
}

/// An image on its way to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sending {
    /// Sent to the end even if a newer one is made meanwhile: where images are made faster than they travel, none would
    /// ever arrive.
    snapshot: Snapshot,
    sent_bytes: u64,
    /// What the follower says it has.
    have_bytes: u64,
}

/// What a follower owes its leader at the next flush: one answer for a whole burst of entries.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    matched: Option<(NodeId, Index)>,
    conflict: Option<(NodeId, Index, Place)>,
}

/// Image chunks on their way to one follower.
const IMAGE_CHUNKS_IN_FLIGHT: u64 = 8;

impl Raft {
    /// **The commit rule.** An entry is committed once it is durable on a majority *and* belongs to the leader's own term;
    /// everything before it is committed with it (Raft §5.4.2: older entries on a majority may still be overwritten).
    pub(crate) fn advance_commit(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let own = self.log.durable();
        mutant!("raft: a leader counts itself before its disk", own = self.log.last_index());
        let on_majority = leader.majority_of(own, self.seat.members, |peer| peer.matched);
        let of_own_term = self.log.term_at(on_majority) == Some(self.term);
        mutant!("raft: entries of earlier terms are counted", of_own_term = true);
        if on_majority > self.commit && of_own_term {
            self.commit = on_majority;
        }
    }

    /// Puts waiting writes into the log; a new leader's first entry is a no-op, which commits what it inherited (Raft §8).
    pub(crate) fn propose(&mut self, effects: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        mutant!("raft: a term begins without an entry", {
            leader.opening.get_or_insert(self.log.last_index());
        });
        if leader.opening.is_none() {
            let index = append(&mut self.log, self.term, Batch::default(), effects);
            leader.opening = Some(index);
        }
        let bytes_max = if self.config.batching { self.config.entry_bytes } else { 1 };
        // A majority may be faster than a leader whose disk is slow. It need not wait for that, but may not run away from it.
        while !leader.intake.is_empty()
            && self.log.last_index().0 - self.commit.0 < self.config.window_entries as u64
            && self.log.undurable_bytes() < self.config.window_bytes
        {
            let batch = leader.intake.pack(bytes_max).expect("something waits");
            append(&mut self.log, self.term, batch, effects);
        }
    }

    /// Sends every follower what it may have next: entries, a question, a piece of an image, a sign of life.
    pub(crate) fn replicate(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let round =
            if leader.heartbeat_due || leader.reads.want_round() { leader.reads.begin_round(now) } else { 0 };
        leader.heartbeat_due = false;
        let view = View {
            now,
            term: self.term,
            commit: self.commit,
            round: leader.reads.round(),
            log: &self.log,
            config: &self.config,
        };
        for peer in &mut leader.peers {
            if round > 0 {
                let commit = self.commit.min(peer.matched);
                mutant!("raft: heartbeats commit whatever is there", commit = self.commit);
                // Early: claims nothing but that this leader is alive in a term that is already durable.
                effects.send_early(peer.node, Message::Heartbeat { term: self.term, round, commit });
            }
            peer.send_entries(&view, effects);
            peer.send_image(self.term, self.images.newest(), effects);
        }
        self.finish_handover(now, effects);
    }

    pub(crate) fn on_append(
        &mut self,
        from: NodeId,
        previous: Place,
        leader_commit: Index,
        entry: Option<Entry>,
        effects: &mut Effects<Self>,
    ) {
        if !self.log.holds(previous) {
            let hint = self.log.last_up_to_term(previous.index, previous.term);
            self.owed.conflict.get_or_insert((from, previous.index, hint));
            return;
        }
        let mut matched = previous.index;
        if let Some(entry) = entry {
            matched = previous.index.next();
            self.take_in(matched, entry, effects);
        }
        self.received = self.received.max(matched);
        self.owed.matched = Some((from, self.received));
        self.commit = self.commit.max(leader_commit.min(self.received));
    }

    /// Raft §5.3: an entry that is here already stays, and so does what follows it; one that differs goes, with all after it.
    fn take_in(&mut self, index: Index, entry: Entry, effects: &mut Effects<Self>) {
        let holds = self.log.holds(Place { index, term: entry.term });
        mutant!("raft: every append truncates", holds = false);
        mutant!("raft: every append truncates what is not committed", holds = index <= self.commit);
        mutant!("raft: a conflicting entry stays", holds = index <= self.log.last_index());
        if holds {
            return;
        }
        assert!(index > self.commit, "entry {index} is committed and would be overwritten");
        let lsn = effects.persist(Record::Append { index, entry: entry.clone() });
        if self.log.put(index, entry, lsn) {
            effects.event(Event::Truncated(index));
        }
    }

    /// Answers the leader once for everything that came since the last flush.
    pub(crate) fn settle_owed(&mut self, effects: &mut Effects<Self>) {
        let Owed { matched, conflict } = std::mem::take(&mut self.owed);
        if let Some((to, matched)) = matched {
            mutant!("raft: one entry too many is acknowledged", matched = matched.next());
            mutant!("raft: entries are acknowledged before they are durable", {
                effects.send_early(to, Message::Matched { term: self.term, matched });
                return;
            });
            // Gated: the acknowledgement says that all of it is durable.
            effects.send(to, Message::Matched { term: self.term, matched });
        }
        if let Some((to, previous, hint)) = conflict {
            effects.send(to, Message::Conflict { term: self.term, previous, hint });
        }
    }

    pub(crate) fn owe_matched(&mut self, to: NodeId, matched: Index) {
        self.received = self.received.max(matched);
        self.owed.matched = Some((to, self.received));
    }

    pub(crate) fn on_matched(&mut self, from: NodeId, matched: Index) {
        let last = self.log.last_index();
        if let Some(peer) = self.peer_mut(from)
            && matched <= last
        {
            peer.on_matched(matched);
        }
    }

    pub(crate) fn on_conflict(&mut self, from: NodeId, previous: Index, hint: Place) {
        let agreement = self.log.last_up_to_term(hint.index, hint.term).index;
        if let Some(peer) = self.peer_mut(from) {
            peer.on_conflict(previous, agreement);
        }
    }

    pub(crate) fn on_heartbeat(
        &mut self,
        from: NodeId,
        round: u64,
        commit: Index,
        effects: &mut Effects<Self>,
    ) {
        // The leader never lets us commit past what we acknowledged to it in this term.
        let known = self.received;
        mutant!("raft: heartbeats commit whatever is there", known = self.log.last_index());
        self.commit = self.commit.max(commit.min(known));
        let reply = Message::HeartbeatReply { term: self.term, round, received: self.received };
        // Early: it says that this replica has not joined a later term by now, which no lost write can make false.
        effects.send_early(from, reply);
    }

    pub(crate) fn on_heartbeat_reply(&mut self, now: Time, from: NodeId, round: u64, received: Index) {
        let last = self.log.last_index();
        // As long as a silent leader is given: on a slow link, small messages overtake large ones by far.
        let patience = self.config.election_timeout_min;
        if let Some(peer) = self.peer_mut(from)
            && received <= last
        {
            peer.on_heartbeat_reply(now, round, received, patience);
        }
    }

    pub(crate) fn on_install_reply(&mut self, now: Time, from: NodeId, index: Index, have_bytes: u64) {
        if let Some(peer) = self.peer_mut(from) {
            peer.on_install_reply(now, index, have_bytes);
        }
    }

    pub(crate) fn on_yield(&mut self, now: Time, to: Option<NodeId>) {
        let until = now + self.config.election_timeout_min;
        let peers = self.seat.peers();
        let Role::Leader(leader) = &mut self.role else { return };
        let best = leader.peers.iter().max_by_key(|peer| peer.matched).map(|peer| peer.node);
        leader.handover = to.filter(|node| peers.contains(*node)).or(best).map(|node| (node, until));
        // The successor may be elected while the lease would still run.
        leader.reads.give_up_lease();
    }

    fn finish_handover(&mut self, now: Time, effects: &mut Effects<Self>) {
        let last = self.log.last_index();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some((successor, until)) = leader.handover else { return };
        let ready = leader.peers.iter().any(|peer| peer.node == successor && peer.matched == last);
        if ready {
            // Early: it asks for an election, whose votes are gated.
            effects.send_early(successor, Message::TakeOver { term: self.term });
        }
        if ready || now >= until {
            leader.handover = None;
        }
    }

    fn peer_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        let Role::Leader(leader) = &mut self.role else { return None };
        leader.peers.iter_mut().find(|peer| peer.node == node)
    }
}

/// Puts a batch at the end of the leader's own log.
fn append(log: &mut Log, term: Term, batch: Batch, effects: &mut Effects<Raft>) -> Index {
    let index = log.last_index().next();
    let entry = Entry { term, batch };
    let lsn = effects.persist(Record::Append { index, entry: entry.clone() });
    log.put(index, entry, lsn);
    index
}

impl Leader {
    pub(crate) fn new(now: Time, seat: Seat, last: Index) -> Self {
        Self {
            intake: Intake::default(),
            reads: WaitingReads::default(),
            peers: seat.peers().iter().map(|node| Peer::new(node, now, last.next())).collect(),
            opening: None,
            heartbeat_at: now,
            heartbeat_due: true,
            handover: None,
        }
    }

    /// When it must be woken at the latest.
    pub(crate) fn deadline(&self) -> Time {
        self.heartbeat_at
    }

    /// Makes itself heard at the next flush.
    pub(crate) fn tick(&mut self, now: Time, config: &Config) {
        self.heartbeat_at = now + config.heartbeat_interval;
        self.heartbeat_due = true;
    }

    pub(crate) fn hear(&mut self, from: NodeId, now: Time) {
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == from) {
            peer.heard = now;
        }
    }

    /// Check-quorum (thesis §6.2): a leader that no majority answers steps down, so that clients look for a better one.
    pub(crate) fn has_lost_quorum(&self, now: Time, seat: Seat, patience: Duration) -> bool {
        let heard = self.peers.iter().filter(|peer| peer.heard + patience >= now).map(|peer| peer.node);
        !seat.members.has_majority_in(heard.chain([seat.me]).collect())
    }

    /// Whether a write of that many bytes may come in.
    pub(crate) fn has_room(&self, config: &Config, bytes: usize) -> bool {
        self.handover.is_none() && self.intake.bytes() + bytes <= config.intake_bytes_max
    }

    /// Whether a read of that many bytes may come in.
    pub(crate) fn has_room_to_read(&self, config: &Config, bytes: usize) -> bool {
        self.reads.len() < config.waiting_reads_max && self.reads.bytes() + bytes <= config.intake_bytes_max
    }

    /// The largest value that a majority of `members` has reached, `own` being this leader's.
    pub(crate) fn majority_of<T: Copy + Ord>(&self, own: T, members: NodeSet, of: impl Fn(&Peer) -> T) -> T {
        let reached = |value: T| 1 + self.peers.iter().filter(|peer| of(peer) >= value).count();
        // The leader counts itself only for what it has reached itself.
        let quorum = mutant!(members.majority(), "raft: quorum is half", (members.len() / 2).max(1));
        let counts = |value: T| reached(value) - usize::from(own < value) >= quorum;
        let candidates = self.peers.iter().map(&of).chain([own]);
        candidates.filter(|value| counts(*value)).max().expect("all members have reached the smallest")
    }

    pub(crate) fn opening(&self) -> Option<Index> {
        self.opening
    }

    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }
}

/// What a peer's stream needs to know of its leader.
struct View<'a> {
    now: Time,
    term: Term,
    commit: Index,
    round: u64,
    log: &'a Log,
    config: &'a Config,
}

impl Peer {
    fn new(node: NodeId, now: Time, next: Index) -> Self {
        Self {
            node,
            matched: mutant!(Index::ZERO, "raft: a new leader takes all for equal", next.previous()),
            next,
            phase: Phase::Probe { asked: false },
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            received: Index::ZERO,
            round: 0,
            sent_round: 0,
            went_back_at: 0,
            progress_at: now,
            question_due: false,
            heard: now,
        }
    }

    /// Who it is, and up to where its log is known to be ours.
    pub(crate) fn matched(&self) -> (NodeId, Index) {
        (self.node, self.matched)
    }

    fn send_entries(&mut self, view: &View<'_>, effects: &mut Effects<Raft>) {
        while self.may_send(view) {
            let previous = self.next.previous();
            let Some(term) = view.log.term_at(previous) else {
                self.phase = Phase::Image(None);
                self.progress_at = view.now;
                return;
            };
            let entry = if self.question_due { None } else { view.log.get(self.next).cloned() };
            self.note_sent(entry.as_ref().map(|entry| entry.batch.len()), view);
            let previous = Place { index: previous, term };
            let message = Message::Append { term: view.term, previous, commit: view.commit, entry };
            match view.config.leader_write {
                // Early: a follower's copy is as good as ours; if we crash and forget the entry, we forget no vote, and
                // whoever leads next decides its fate (thesis §10.2.1).
                LeaderWrite::Parallel => effects.send_early(self.node, message),
                LeaderWrite::First => effects.send(self.node, message),
            }
        }
    }

    fn note_sent(&mut self, entry_bytes: Option<usize>, view: &View<'_>) {
        if self.in_flight.is_empty() || self.question_due {
            self.progress_at = view.now;
        }
        if matches!(self.phase, Phase::Probe { .. }) {
            self.phase = Phase::Probe { asked: true };
        }
        self.question_due = false;
        self.sent_round = view.round;
        if let Some(bytes) = entry_bytes {
            self.in_flight.push_back((self.next, bytes));
            self.in_flight_bytes += bytes;
            self.next = self.next.next();
        }
    }

    fn may_send(&self, view: &View<'_>) -> bool {
        match self.phase {
            Phase::Probe { asked } => !asked,
            Phase::Image(_) => false,
            Phase::Stream if self.question_due => true,
            Phase::Stream => {
                self.next <= view.log.last_index()
                    && self.in_flight.len() < view.config.window_entries
                    && (self.in_flight.is_empty() || self.in_flight_bytes < view.config.window_bytes)
            }
        }
    }

    fn send_image(&mut self, term: Term, image: Option<&Snapshot>, effects: &mut Effects<Raft>) {
        let Phase::Image(sending) = &mut self.phase else { return };
        let sending = sending.get_or_insert_with(|| {
            let newest = image.expect("a log that does not reach back has an image before it");
            Sending { snapshot: newest.clone(), sent_bytes: 0, have_bytes: 0 }
        });
        let total_bytes = sending.snapshot.image.len() as u64;
        let window_bytes = IMAGE_CHUNKS_IN_FLIGHT * SNAPSHOT_CHUNK_BYTES as u64;
        while sending.sent_bytes == 0
            || sending.sent_bytes < total_bytes.min(sending.have_bytes.saturating_add(window_bytes))
        {
            let chunk =
                sending.snapshot.chunk(usize::try_from(sending.sent_bytes).expect("an image fits memory"));
            sending.sent_bytes = chunk.end().max(1);
            // Early: it is committed; the follower writes it down before it acknowledges.
            effects.send_early(self.node, Message::Install { term, chunk });
        }
    }

    fn on_matched(&mut self, matched: Index) {
        if matched < self.matched {
            return;
        }
        self.matched = matched;
        while let Some((index, bytes)) = self.in_flight.front().copied()
            && index <= matched
        {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
        self.next = self.next.max(matched.next());
        match &self.phase {
            Phase::Stream => {}
            Phase::Image(Some(sending)) if matched < sending.snapshot.index => {}
            Phase::Probe { .. } | Phase::Image(_) => {
                self.forget_in_flight();
                self.next = matched.next();
                self.phase = Phase::Stream;
            }
        }
    }

    fn on_conflict(&mut self, previous: Index, agreement: Index) {
        let stale = match self.phase {
            // What followed the entry that was lost conflicts as well: going back for each would send the window over and over.
            Phase::Stream => previous <= self.matched || self.round <= self.went_back_at,
            // The question's entry, if it had one, has moved `next` on by one.
            Phase::Probe { .. } => {
                previous != self.next.previous() && previous != self.next.previous().previous()
            }
            Phase::Image(_) => true,
        };
        if stale {
            return;
        }
        self.forget_in_flight();
        self.next = agreement.max(self.matched).next();
        self.phase = Phase::Probe { asked: false };
        self.went_back_at = self.sent_round;
    }

    fn on_heartbeat_reply(&mut self, now: Time, round: u64, received: Index, patience: Duration) {
        self.round = self.round.max(round);
        mutant!("raft: what was received counts as durable", {
            self.on_matched(received);
        });
        if received != std::mem::replace(&mut self.received, received) {
            self.progress_at = now;
        }
        let stalled = round > self.sent_round && now >= self.progress_at + patience;
        match &mut self.phase {
            // Nothing has come for a while although something is on its way: it was lost. Receipt is compared,
            // not durability, so that a slow disk is not taken for a lossy network; where all was received, it is asked
            // whether the acknowledgement was what was lost.
            Phase::Probe { asked } if stalled => {
                *asked = false;
                self.next = self.in_flight.front().map_or(self.next, |(index, _)| *index);
                self.forget_in_flight();
            }
            Phase::Stream if stalled && !self.in_flight.is_empty() && received.next() < self.next => {
                self.next = received.max(self.matched).next();
                self.forget_in_flight();
            }
            // All was received, but one of us does not know: the acknowledgement was lost, or the follower has restarted and
            // does not remember how far its log is this leader's.
            Phase::Stream if stalled && (!self.in_flight.is_empty() || received < self.matched) => {
                self.question_due = true;
            }
            Phase::Probe { .. } | Phase::Stream => {}
            // The image is there; only the word of it was lost.
            Phase::Image(Some(sending)) if received >= sending.snapshot.index => {
                self.next = received.next();
                self.phase = Phase::Probe { asked: false };
            }
            Phase::Image(Some(sending)) if stalled => {
                sending.sent_bytes = sending.have_bytes;
                self.progress_at = now;
            }
            Phase::Image(_) => {}
        }
    }

    fn on_install_reply(&mut self, now: Time, index: Index, have_bytes: u64) {
        if let Phase::Image(Some(sending)) = &mut self.phase
            && sending.snapshot.index == index
            && have_bytes <= sending.sent_bytes
        {
            if have_bytes > sending.have_bytes {
                self.progress_at = now;
            }
            // It may be less than before: a follower that restarted begins anew.
            sending.have_bytes = have_bytes;
        }
    }

    fn forget_in_flight(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    pub(crate) fn check(&self, last: Index) {
        assert!(self.matched <= last, "peer {} matched past the log", self.node);
        assert!(self.next > self.matched, "peer {} would be sent what it has", self.node);
        assert!(self.next <= last.next(), "peer {} would be sent what is not there", self.node);
    }
}
