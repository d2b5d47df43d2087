//! What time does: timeouts, pauses that end, redirects whose moment has come.

use std::ops::Range;

use qlab_kernel::NodeId;

use super::session::{Opening, backoff_ns};
use super::{Action, Driver, Retry, nanoseconds};

/// How often timeouts are looked at.
const HOUSEKEEPING_NS: u64 = 10_000_000;

/// What a session has waited for too long.
enum Overdue {
    /// Something, for the timeout.
    Timeout,
    /// Something that was given up.
    GivenUp,
}

impl Driver {
    pub(super) fn keep_house(&mut self, now_ns: u64) {
        self.housekeeping_ns = now_ns + HOUSEKEEPING_NS;
        for number in 0..self.sessions.len() {
            self.resume(number, now_ns);
            let link = self.sessions[number].link;
            match self.expire(number, now_ns) {
                None => {}
                Some(Overdue::Timeout) if self.is_held(link) => self.ask_again(number, now_ns),
                Some(Overdue::GivenUp) if self.is_held(link) && !self.is_silent(link, now_ns) => {
                    self.ask_again(number, now_ns);
                }
                // Whoever does not answer may be dead or stuck: ask another one.
                Some(_) => self.redirect(link, None, now_ns),
            }
        }
        for link in 0..self.links.len() {
            self.redirect_if_due(link, now_ns);
        }
    }

    /// Holds a session's parked commands back for a while.
    pub(super) fn pause(&mut self, number: usize, now_ns: u64) {
        let at_ns = self.sessions[number].pause(now_ns);
        self.housekeeping_ns = self.housekeeping_ns.min(at_ns);
    }

    /// Sends a connection elsewhere: at once the first time, with pauses while it leads nowhere.
    pub(super) fn redirect(&mut self, link: usize, leader: Option<NodeId>, now_ns: u64) {
        let state = &mut self.links[link];
        if !state.up {
            return;
        }
        let pause_ns = state.moves.checked_sub(1).map_or(0, backoff_ns);
        state.up = false;
        state.moves += 1;
        state.redirect = Some((now_ns + pause_ns, leader));
        self.book.counters.redirects += 1;
        self.abandon(link, now_ns);
        self.redirect_if_due(link, now_ns);
    }

    /// A connection will give no more answers: gives up the writes that must not be sent twice.
    pub(super) fn abandon(&mut self, link: usize, now_ns: u64) {
        if self.config.retry == Retry::ReadsOnly {
            self.sessions_of(link).for_each(|number| self.lose_writes(number, now_ns));
        }
    }

    /// Numbers of the sessions that speak over a connection.
    pub(super) fn sessions_of(&self, link: usize) -> impl Iterator<Item = usize> + use<> {
        let all: Range<usize> = link..self.sessions.len();
        all.step_by(self.links.len())
    }

    /// Lets a session send what is parked over the connection it has, unless it holds that back at present.
    fn ask_again(&mut self, number: usize, now_ns: u64) {
        self.sessions[number].again_at_ns.get_or_insert(now_ns);
        self.mark(number);
    }

    /// Whether leaving a connection would lose the outcomes of writes that may still be answered over it.
    fn is_held(&self, link: usize) -> bool {
        self.config.retry == Retry::ReadsOnly
            && self.sessions_of(link).any(|number| self.sessions[number].writes.has_sent())
    }

    /// Whether a connection has given no frame for so long that whatever waits for one is as good as lost.
    fn is_silent(&self, link: usize, now_ns: u64) -> bool {
        self.links[link].heard_ns < now_ns.saturating_sub(nanoseconds(self.config.give_up))
    }

    fn redirect_if_due(&mut self, link: usize, now_ns: u64) {
        let Some((at_ns, leader)) = self.links[link].redirect else { return };
        if at_ns <= now_ns {
            self.links[link].redirect = None;
            self.actions.push(Action::Redirect { link, leader });
        } else {
            self.housekeeping_ns = self.housekeeping_ns.min(at_ns);
        }
    }

    /// Lets a session send again whose pause is over.
    fn resume(&mut self, number: usize, now_ns: u64) {
        match self.sessions[number].again_at_ns {
            Some(at_ns) if at_ns <= now_ns => self.mark(number),
            Some(at_ns) => self.housekeeping_ns = self.housekeeping_ns.min(at_ns),
            None => {}
        }
    }

    /// Parks what has waited for the timeout, gives up what has waited too long; says whether there was any. Writes that
    /// must not be sent twice are not parked: they wait on.
    fn expire(&mut self, number: usize, now_ns: u64) -> Option<Overdue> {
        let give_up_before_ns = now_ns.saturating_sub(nanoseconds(self.config.give_up));
        let timeout_before_ns = now_ns.saturating_sub(nanoseconds(self.config.timeout));
        let writes_before_ns = match self.config.retry {
            Retry::SameNumber => timeout_before_ns,
            Retry::ReadsOnly => 0,
        };
        let session = &mut self.sessions[number];
        let (mut expired, mut lost) = (0, 0);
        for (lane, parked_before_ns) in
            [(&mut session.writes, writes_before_ns), (&mut session.reads, timeout_before_ns)]
        {
            expired += lane.expire(parked_before_ns, give_up_before_ns, |op| {
                self.book.unknown(&op, now_ns);
                lost += 1;
            });
        }
        let late = matches!(session.opening, Opening::Asked { at_ns } if at_ns < timeout_before_ns);
        if late {
            // Asked of another replica, it is that of another session: where a session belongs to the replica that opened it, two
            // of them would take the same write for theirs.
            session.renew(number, &mut self.rng);
        }
        self.book.counters.timeouts += expired as u64;
        (0..lost).for_each(|_| self.ended(number));
        match (lost > 0, expired > 0 || late) {
            (true, _) => Some(Overdue::GivenUp),
            (false, true) => Some(Overdue::Timeout),
            (false, false) => None,
        }
    }
}
