//! From answers to a clock: filter each source, let the sources vote, learn the rate, steer what is read.

use qlab_kernel::{NodeId, NodeSet, Time, mutant};

use super::config::Config;
use super::exchange::{Exchange, Impossible, Sample};
use super::filter::Filter;
use super::interval::Interval;
use super::rate::{Rate, RateEstimator};
use super::select::{NoMajority, select};
use super::served::ServedClock;

/// What a clock is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Too few sources have answered eight times since the start, or since something jumped.
    Starting,
    /// No majority of the sources agrees: at least half of them are false, or this side sees too few.
    Disputed(NoMajority),
    /// The bound has grown past what the configuration allows: the sources are out of reach or no good, or the clock is being
    /// slewed from far away.
    Adrift,
    /// The true time is within the bound, if fewer than half of the sources are false and the oscillator is what the
    /// configuration says.
    Synchronised,
}

/// An answer that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Nobody asked that: late, a duplicate, or a replay. Leave it.
    #[error("an answer to no question that is open")]
    Unasked,
    /// Its timestamps contradict each other: count it against the source.
    #[error(transparent)]
    Impossible(#[from] Impossible),
}

/// A clock that follows sources.
#[derive(Clone, Debug)]
pub struct Synchroniser {
    config: Config,
    sources: Vec<Source>,
    rate: RateEstimator,
    /// What the sources agreed on last.
    agreed: Option<Sample>,
    dispute: Option<NoMajority>,
    clock: ServedClock,
    /// The clock has been set. From then on it is slewed.
    is_set: bool,
}

#[derive(Clone, Debug)]
struct Source {
    node: NodeId,
    asked: Option<Asked>,
    filter: Filter,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    nonce: u64,
    sent: Time,
}

impl Synchroniser {
    /// Knows nothing yet. The clock shows the oscillator's readings until it is set, once.
    #[must_use]
    pub fn new(config: &Config, sources: NodeSet, now: Time) -> Self {
        let source = |node| Source { node, asked: None, filter: Filter::default() };
        Self {
            config: config.clone(),
            sources: sources.iter().map(source).collect(),
            // Half an interval: answers of one poll share a note, those of two never do.
            rate: RateEstimator::new(config.frequency_error_ppb(), config.poll_interval / 2),
            agreed: None,
            dispute: None,
            clock: ServedClock::free(now),
            is_set: false,
        }
    }

    /// A question leaves for `node`; an earlier one to it that is still open is given up.
    pub fn ask(&mut self, node: NodeId, nonce: u64, now: Time) {
        if let Some(source) = self.source(node) {
            source.asked = Some(Asked { nonce, sent: now });
        }
    }

    /// An answer has come from `node`, written between `received_ns` and `answered_ns`, both right within `error_ns`. It
    /// counts from the next [`update`](Self::update) on.
    pub fn answer(
        &mut self,
        node: NodeId,
        nonce: u64,
        times_ns: [u64; 2],
        error_ns: u64,
        now: Time,
    ) -> Result<(), AnswerError> {
        let rate = self.rate.rate();
        let frequency_error_ppb = self.config.frequency_error_ppb();
        let source = self.source(node).ok_or(AnswerError::Unasked)?;
        let is_open =
            |asked: &Asked| mutant!(asked.nonce == nonce, "synchroniser: the nonce is not checked", true);
        // Taken out: a question has one answer, whatever comes twice.
        let asked = source.asked.take_if(|asked| is_open(asked)).ok_or(AnswerError::Unasked)?;
        let [received_ns, answered_ns] = times_ns;
        let exchange = Exchange { sent: asked.sent, received_ns, answered_ns, returned: now };
        source.filter.push(exchange.sample(error_ns, frequency_error_ppb)?, rate);
        Ok(())
    }

    /// Lets the sources vote on the time as it is now, and steers the clock by what they agree on. After each burst of
    /// answers; what was agreed before holds on if they agree on nothing.
    pub fn update(&mut self, now: Time) {
        let rate = self.rate.rate();
        let heard: Vec<Interval> =
            self.sources.iter().filter_map(|source| source.filter.best(now, rate)).collect();
        match select(&heard, self.sources.len(), self.clock.read(now)) {
            Ok(interval) => {
                self.dispute = None;
                self.follow(now, interval);
            }
            Err(no_majority) => self.dispute = Some(no_majority),
        }
    }

    /// What the clock is worth now.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        match (self.dispute, self.error_ns(now)) {
            _ if !self.is_ready() => Status::Starting,
            (Some(no_majority), _) => Status::Disputed(no_majority),
            (None, None) => Status::Starting,
            (None, Some(error_ns)) if u128::from(error_ns) > self.config.error_max.as_nanos() => {
                Status::Adrift
            }
            (None, Some(_)) => Status::Synchronised,
        }
    }

    /// The true time, as far as it is known; `None` unless synchronised.
    #[must_use]
    pub fn now(&self, now: Time) -> Option<Interval> {
        self.bounds(now).filter(|_| self.status(now) == Status::Synchronised)
    }

    /// What the clock shows: monotone once it is set, whatever it is worth.
    #[must_use]
    pub fn read(&self, now: Time) -> u64 {
        self.clock.read(now)
    }

    /// By how much the clock is wrong at most, in nanoseconds; `None` while nothing is known.
    #[must_use]
    pub fn error_ns(&self, now: Time) -> Option<u64> {
        self.bounds(now).map(|bounds| bounds.error_ns(self.clock.read(now)))
    }

    /// Sources whose word is known and excludes every time that was agreed on: NTP's falsetickers, out-voted.
    #[must_use]
    pub fn falsetickers(&self, now: Time) -> usize {
        let Some(agreed) = self.bounds(now) else { return 0 };
        let rate = self.rate.rate();
        let known = self.sources.iter().filter_map(|source| source.filter.best(now, rate));
        known.filter(|interval| !interval.overlaps(agreed)).count()
    }

    /// What is known of the oscillator's rate.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate.rate()
    }

    fn bounds(&self, now: Time) -> Option<Interval> {
        self.agreed.map(|agreed| agreed.interval_at(now, self.rate.rate()))
    }

    /// A majority's filters are full: delays have been seen often enough to tell the quick ones.
    fn is_ready(&self) -> bool {
        let full = self.sources.iter().filter(|source| source.filter.is_full()).count();
        full > self.sources.len() / 2
    }

    fn follow(&mut self, now: Time, interval: Interval) {
        if self.bounds(now).is_some_and(|bounds| !bounds.overlaps(interval)) {
            // Both hold the true time unless the oscillator jumped or half of the sources lied: nothing from before counts.
            self.forget();
            return;
        }
        self.rate.note(now, interval);
        self.agreed = Some(Sample { at: now, interval });
        let (target_ns, drift_ppb) = (interval.middle_ns(), self.rate.rate().drift_ppb);
        if self.is_set {
            self.clock.steer(now, target_ns, drift_ppb, self.config.poll_interval);
        } else if self.is_ready() {
            self.clock.step(now, target_ns, drift_ppb);
            self.is_set = true;
        }
    }

    fn forget(&mut self) {
        self.rate.clear();
        self.agreed = None;
        for source in &mut self.sources {
            source.filter.clear();
        }
    }

    fn source(&mut self, node: NodeId) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.node == node)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOURCE: NodeId = NodeId(0);
    const SECOND: u64 = 1_000_000_000;

    fn follower() -> Synchroniser {
        Synchroniser::new(&Config::default(), NodeSet::first(1), Time(0))
    }

    /// A poll of one millisecond there and back when the oscillator shows `sent` and the true time is `ahead_ns` more.
    fn poll(follower: &mut Synchroniser, sent: u64, ahead_ns: u64) -> Result<(), AnswerError> {
        let (halfway_ns, back) = (sent + ahead_ns + 500_000, Time(sent + 1_000_000));
        follower.ask(SOURCE, sent, Time(sent));
        follower.answer(SOURCE, sent, [halfway_ns; 2], 0, back)?;
        follower.update(back);
        Ok(())
    }

    #[test]
    fn a_question_has_one_answer_from_whom_it_was_put_to() {
        let mut follower = follower();
        let unasked = Err(AnswerError::Unasked);
        assert_eq!(follower.answer(SOURCE, 7, [5; 2], 0, Time(9)), unasked);
        follower.ask(SOURCE, 7, Time(1));
        assert_eq!(follower.answer(SOURCE, 8, [5; 2], 0, Time(9)), unasked);
        assert_eq!(follower.answer(NodeId(1), 7, [5; 2], 0, Time(9)), unasked);
        assert_eq!(follower.answer(SOURCE, 7, [5; 2], 0, Time(9)), Ok(()));
        assert_eq!(follower.answer(SOURCE, 7, [5; 2], 0, Time(9)), unasked);
        follower.ask(SOURCE, 9, Time(10));
        assert!(matches!(follower.answer(SOURCE, 9, [6, 5], 0, Time(11)), Err(AnswerError::Impossible(_))));
    }

    #[test]
    fn who_is_out_voted_is_counted() {
        let mut follower = Synchroniser::new(&Config::default(), NodeSet::first(3), Time(0));
        for i in 1..=8 {
            let now = Time(16 * i * SECOND);
            for (source, ahead_ns) in [(0, 0), (1, 0), (2, SECOND)] {
                follower.ask(NodeId(source), i, now);
                follower
                    .answer(NodeId(source), i, [now.0 + ahead_ns; 2], 0, now + Duration::from_millis(1))
                    .unwrap();
            }
            follower.update(now + Duration::from_millis(1));
            assert_eq!(follower.falsetickers(now + Duration::from_millis(2)), 1);
        }
        assert_eq!(follower.status(Time(129 * SECOND)), Status::Synchronised);
    }

    #[test]
    fn eight_polls_set_the_clock_once() {
        let mut follower = follower();
        for i in 1..=8 {
            let now = Time(16 * i * SECOND);
            assert_eq!((follower.status(now), follower.now(now)), (Status::Starting, None));
            assert_eq!(follower.read(now), now.0, "it is not set yet");
            poll(&mut follower, now.0, 3 * SECOND).unwrap();
        }
        let now = Time(129 * SECOND);
        assert_eq!(follower.status(now), Status::Synchronised);
        assert!(follower.read(now).abs_diff(132 * SECOND) < 1000);
        assert!(follower.now(now).unwrap().contains(132 * SECOND));
        assert!((500_000..700_000).contains(&follower.error_ns(now).unwrap()));
    }

    #[test]
    fn after_a_jump_nothing_is_claimed_until_eight_polls_agree_again_and_the_clock_is_not_turned_back() {
        let mut follower = follower();
        for i in 1..=8 {
            poll(&mut follower, 16 * i * SECOND, 3 * SECOND).unwrap();
        }
        // The oscillator, or every source, has gone wrong by a second.
        for i in 9..=17 {
            poll(&mut follower, 16 * i * SECOND, 2 * SECOND).unwrap();
            let now = Time((16 * i + 1) * SECOND);
            assert_eq!(follower.now(now), None);
            let clock_ns = follower.read(now);
            assert!(clock_ns > now.0 + 5 * SECOND / 2, "it is slewed, by 16 × 500 ppm at most");
        }
        let now = Time(273 * SECOND);
        assert_eq!(
            follower.status(now),
            Status::Adrift,
            "what is known is good, the clock that is read is not yet"
        );
        assert!(follower.error_ns(now).unwrap() > SECOND / 2);
    }
}
