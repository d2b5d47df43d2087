//! Cuts a failing world down: fewer strikes, kinds of faults, clients and seconds, as long as the same law is broken.

use std::time::Duration;

use crate::faults::Fault;
use crate::schedule::Schedule;

/// Worlds tried at the most.
const TRIES_MAX: usize = 400;

/// The smallest schedule found for which `fails` still holds.
pub(crate) fn shrink(schedule: &Schedule, fails: impl FnMut(&Schedule) -> bool) -> Schedule {
    let mut shrinking = Shrinking { best: schedule.clone(), fails, tries_left: TRIES_MAX };
    while shrinking.round() {}
    shrinking.best
}

struct Shrinking<F> {
    best: Schedule,
    fails: F,
    tries_left: usize,
}

impl<F: FnMut(&Schedule) -> bool> Shrinking<F> {
    /// Tries everything once; whether anything helped.
    fn round(&mut self) -> bool {
        // Not short-circuited: each makes the others cheaper.
        self.drop_strikes() | self.drop_kinds() | self.drop_time() | self.drop_clients()
    }

    fn drop_strikes(&mut self) -> bool {
        let mut helped = false;
        let mut length = self.best.strikes.len().div_ceil(2);
        while length > 0 {
            let mut from = 0;
            while from < self.best.strikes.len() {
                let mut smaller = self.best.clone();
                let to = (from + length).min(smaller.strikes.len());
                smaller.strikes.drain(from..to);
                if self.accept(smaller) {
                    helped = true;
                } else {
                    from += length;
                }
            }
            length /= 2;
        }
        helped
    }

    fn drop_kinds(&mut self) -> bool {
        let kinds: Vec<Fault> = self.best.faults.iter().collect();
        let mut helped = false;
        for kind in kinds {
            helped |= self.accept(self.best.without(kind));
        }
        helped
    }

    fn drop_time(&mut self) -> bool {
        let mut helped = false;
        for percent in [50, 80, 95] {
            let fire = self.best.fire * percent / 100;
            if fire < Duration::from_millis(50) {
                continue;
            }
            let mut shorter = Schedule { fire, ..self.best.clone() };
            shorter.strikes.retain(|strike| Duration::from_nanos(strike.at.0) < fire);
            helped |= self.accept(shorter);
        }
        helped
    }

    fn drop_clients(&mut self) -> bool {
        let mut helped = false;
        while self.best.clients > 1
            && self.accept(Schedule { clients: self.best.clients - 1, ..self.best.clone() })
        {
            helped = true;
        }
        while self.best.keys > 1 && self.accept(Schedule { keys: self.best.keys - 1, ..self.best.clone() }) {
            helped = true;
        }
        helped
    }

    fn accept(&mut self, candidate: Schedule) -> bool {
        if self.tries_left == 0 {
            return false;
        }
        self.tries_left -= 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }
}
