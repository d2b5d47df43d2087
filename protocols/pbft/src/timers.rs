//! When a backup has waited for too long, and what is done from time to time (OSDI '99 §4.5.2).

use std::time::Duration;

use qlab_kernel::{Effects, Time, mutant};

use crate::Pbft;

/// How often the patience is doubled at most.
const DOUBLINGS_MAX: u32 = 10;

/// How long the next view is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Impatience {
    /// Views since something was executed.
    fruitless: u32,
    /// When the view began that this replica is in.
    since: Time,
    /// When it gives up on the view that it waits for: once 2f + 1 want that one.
    give_up_at: Option<Time>,
}

impl Impatience {
    /// As if the view had begun now.
    pub(crate) fn starting(now: Time) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// Something was executed.
    pub(crate) fn calm(&mut self) {
        self.fruitless = 0;
    }

    /// Another view is wanted.
    pub(crate) fn leave(&mut self) {
        self.fruitless = (self.fruitless + 1).min(DOUBLINGS_MAX);
        self.give_up_at = None;
    }

    /// The view has begun.
    pub(crate) fn enter(&mut self, now: Time) {
        self.since = now;
        self.give_up_at = None;
    }

    /// Enough others want the view, too: its primary must show itself.
    pub(crate) fn expect_view(&mut self, now: Time, timeout: Duration) {
        let patience = self.patience(timeout);
        self.give_up_at.get_or_insert(now + patience);
    }

    /// How long anything may take now.
    pub(crate) fn patience(&self, timeout: Duration) -> Duration {
        let doublings = mutant!(self.fruitless, "pbft: the timer never doubles", 0);
        timeout * 2_u32.pow(doublings)
    }
}

impl Pbft {
    /// When to do something even if nothing comes.
    pub(crate) fn next_deadline(&self) -> Time {
        self.view_deadline().map_or(self.status_at, |deadline| deadline.min(self.status_at))
    }

    /// When this replica gives up on its view.
    pub(crate) fn view_deadline(&self) -> Option<Time> {
        if !self.active {
            return self.impatience.give_up_at;
        }
        if self.resigns {
            return Some(Time::default());
        }
        // Neither a primary nor whoever knows itself to be behind can blame the primary.
        if self.is_primary() || self.is_behind() {
            return None;
        }
        let asked = self.backlog.oldest();
        let accepted = self.slots.oldest_after(self.executed);
        let oldest = asked.into_iter().chain(accepted).min()?;
        Some(oldest.max(self.impatience.since) + self.impatience.patience(self.config.view_timeout))
    }

    pub(crate) fn on_timeout(&mut self, now: Time, effects: &mut Effects<Self>) {
        if self.view_deadline().is_some_and(|deadline| deadline <= now) {
            self.want_view(now, self.view.next(), effects);
        }
        if self.status_at <= now {
            self.status_at = now + self.config.status_interval;
            self.tell_status(effects);
            self.ask_again(now, effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_doubles_with_each_fruitless_view_and_returns_with_progress() {
        let timeout = Duration::from_millis(100);
        let mut impatience = Impatience::starting(Time(0));
        let mut waits = Vec::new();
        for _ in 0..4 {
            waits.push(impatience.patience(timeout).as_millis());
            impatience.leave();
        }
        assert_eq!(waits, [100, 200, 400, 800]);
        impatience.enter(Time(5));
        assert_eq!(
            impatience.patience(timeout).as_millis(),
            1600,
            "a view that begins has shown nothing yet"
        );
        impatience.calm();
        assert_eq!(impatience.patience(timeout), timeout);
        (0..99).for_each(|_| impatience.leave());
        assert_eq!(impatience.patience(timeout).as_millis(), 102_400, "there is an end to it");
    }

    #[test]
    fn a_view_is_given_up_at_the_time_set_first() {
        let mut impatience = Impatience::starting(Time(0));
        impatience.leave();
        assert_eq!(impatience.give_up_at, None, "one who is alone in wanting it waits");
        impatience.expect_view(Time(10), Duration::from_nanos(5));
        impatience.expect_view(Time(18), Duration::from_nanos(5));
        assert_eq!(impatience.give_up_at, Some(Time(20)));
    }
}
