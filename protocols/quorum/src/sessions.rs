//! Who writes here: sessions, each of which belongs to the replica that opened it, for as long as that lives.

use std::collections::{BTreeMap, VecDeque};

use qlab_kernel::limits::SESSIONS_MAX;
use qlab_kernel::session::OpenSession;
use qlab_kernel::{Sequence, SessionId, Sessions};

/// The sessions that were opened here.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnSessions {
    /// Those of this life, with what their commands have come to.
    open: Sessions,
    /// In which life each was opened.
    lives: BTreeMap<SessionId, u32>,
    /// The same, the latest last; the first one is forgotten when there are too many.
    order: VecDeque<SessionId>,
}

/// What an opening comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is open from now on: that must be durable before anybody hears of it.
    New,
    /// It was open.
    Again,
    /// It was opened in an earlier life, whose answers are forgotten: never again.
    Past,
}

impl OwnSessions {
    pub(crate) fn open(&mut self, session: SessionId, incarnation: u32) -> Opening {
        match self.lives.get(&session) {
            Some(life) if *life == incarnation => Opening::Again,
            Some(_) => Opening::Past,
            None => {
                self.remember(session, incarnation);
                self.open.open(session);
                Opening::New
            }
        }
    }

    /// A session of this life.
    pub(crate) fn enter(&mut self, session: SessionId, settled: Sequence) -> Option<OpenSession<'_>> {
        self.open.enter(session, settled)
    }

    /// A session was opened in this life.
    pub(crate) fn remember(&mut self, session: SessionId, incarnation: u32) {
        if self.lives.insert(session, incarnation).is_none() {
            self.order.push_back(session);
        }
        if self.order.len() > SESSIONS_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.lives.remove(&first);
        }
    }

    /// All that are remembered, the latest last.
    pub(crate) fn all(&self) -> Vec<SessionId> {
        self.order.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_an_earlier_life_is_never_opened_again() {
        let mut sessions = OwnSessions::default();
        sessions.remember(SessionId(1), 1);
        assert_eq!(sessions.open(SessionId(1), 2), Opening::Past);
        assert!(sessions.enter(SessionId(1), Sequence(1)).is_none());
        assert_eq!(sessions.open(SessionId(2), 2), Opening::New);
        assert_eq!(sessions.open(SessionId(2), 2), Opening::Again);
        assert!(sessions.enter(SessionId(2), Sequence(1)).is_some());
        assert_eq!(sessions.all(), [SessionId(1), SessionId(2)]);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut sessions = OwnSessions::default();
        (0..=SESSIONS_MAX as u64).for_each(|id| sessions.remember(SessionId(id), 1));
        assert_eq!((sessions.all().len(), sessions.all()[0]), (SESSIONS_MAX, SessionId(1)));
    }
}
