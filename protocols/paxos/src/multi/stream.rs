//! One acceptor as its leader sees it: what to send next, and what was lost.

use std::collections::VecDeque;
use std::time::Duration;

use qlab_kernel::{Effects, Index, NodeId, Time};

use super::MultiPaxos;
use super::config::Config;
use super::message::{Message, Span};
use super::slots::Slots;
use crate::Ballot;

/// What is on its way to an acceptor.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) node: NodeId,
    /// The next slot to send.
    next: Index,
    /// Slots on their way and not acknowledged, in order, with their bytes.
    in_flight: VecDeque<(Index, usize)>,
    in_flight_bytes: usize,
    /// What the last heartbeat reply said it had received.
    received: Index,
    /// The last heartbeat it answered.
    pub(crate) round: u64,
    /// The last heartbeat sent before the last value was.
    sent_round: u64,
    /// When it last received or acknowledged something new, or was first sent something to receive.
    progress_at: Time,
    pub(crate) heard: Time,
}

/// What a stream needs to know of its leader.
pub(crate) struct View<'a> {
    pub(crate) now: Time,
    /// The last slot that it may be sent.
    pub(crate) until: Index,
    pub(crate) ballot: Ballot,
    pub(crate) chosen: Index,
    pub(crate) round: u64,
    pub(crate) slots: &'a Slots,
    pub(crate) config: &'a Config,
}

impl Stream {
    pub(crate) fn new(node: NodeId, now: Time, next: Index) -> Self {
        Self {
            node,
            next,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            received: Index::ZERO,
            round: 0,
            sent_round: 0,
            progress_at: now,
            heard: now,
        }
    }

    /// The first slot on its way and not acknowledged; zero if there is none.
    pub(crate) fn oldest(&self) -> Index {
        self.in_flight.front().map_or(Index::ZERO, |(index, _)| *index)
    }

    /// The last slot up to which all that was sent is acknowledged.
    pub(crate) fn acknowledged(&self) -> Index {
        self.in_flight.front().map_or(self.next, |(index, _)| *index).previous()
    }

    /// Slots before `index` need not be sent any more.
    pub(crate) fn skip_to(&mut self, index: Index) {
        self.next = self.next.max(index);
    }

    pub(crate) fn send(&mut self, view: &View<'_>, effects: &mut Effects<MultiPaxos>) {
        // What is forgotten is chosen: whoever lacks it asks.
        self.skip_to(view.slots.base().next());
        while self.next <= view.until && self.has_window(view.config) {
            let (ballot, index, commit) = (view.ballot, self.next, view.chosen);
            let batch = view.slots.batch(index);
            if self.in_flight.is_empty() {
                self.progress_at = view.now;
            }
            self.sent_round = view.round;
            self.in_flight.push_back((index, batch.len()));
            self.in_flight_bytes += batch.len();
            self.next = index.next();
            // Early: if this leader crashes and forgets the value, its promise is durable and it never proposes in this ballot
            // again; others accept it or not, as if its own accept had been slow.
            effects.send_early(self.node, Message::Accept { ballot, index, commit, batch });
        }
    }

    fn has_window(&self, config: &Config) -> bool {
        self.in_flight.len() < config.window_entries
            && (self.in_flight.is_empty() || self.in_flight_bytes < config.window_bytes)
    }

    pub(crate) fn on_accepted(&mut self, now: Time, spans: &[Span]) {
        let before = self.in_flight.len();
        self.keep_in_flight(|index| !spans.iter().any(|span| (span.first..=span.last).contains(&index)));
        if self.in_flight.len() < before {
            self.progress_at = now;
        }
    }

    pub(crate) fn on_heartbeat_reply(
        &mut self,
        now: Time,
        round: u64,
        received: Index,
        chosen: Index,
        patience: Duration,
    ) {
        self.round = self.round.max(round);
        if received != std::mem::replace(&mut self.received, received) {
            self.progress_at = now;
        }
        let stalled = round > self.sent_round && now >= self.progress_at + patience;
        let first_lost = self.in_flight.iter().map(|(index, _)| *index).find(|index| *index > received);
        // Nothing has come for a while although something is on its way: it was lost. Receipt is compared, not durability, so
        // that a slow disk is not taken for a lossy network. What has been chosen without this acceptor is not sent again: it
        // asks for that.
        if let Some(first_lost) = first_lost.filter(|_| stalled) {
            self.keep_in_flight(|index| index < first_lost);
            self.next = first_lost.max(chosen.next());
        }
    }

    fn keep_in_flight(&mut self, keeps: impl Fn(Index) -> bool) {
        self.in_flight.retain(|(index, bytes)| {
            let kept = keeps(*index);
            if !kept {
                self.in_flight_bytes -= bytes;
            }
            kept
        });
    }

    pub(crate) fn check(&self, leader_next: Index) {
        assert!(self.next <= leader_next, "acceptor {} would be sent what is not proposed", self.node);
        let last = self.in_flight.back().map_or(Index::ZERO, |(index, _)| *index);
        assert!(last < self.next, "acceptor {} would be sent a slot twice", self.node);
    }
}
