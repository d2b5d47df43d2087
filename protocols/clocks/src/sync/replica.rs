//! A clock among others: answers whoever asks for the time, and asks the references.

use qlab_kernel::{Effects, Event, Input, Lsn, NodeId, Protocol, Refusal, Request, Seat, Time};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::config::Config;
use super::interval::Interval;
use super::message::{ClockMessage, ERROR_NS_MAX, Nothing};
use super::synchroniser::{AnswerError, Status, Synchroniser};

/// A replica that keeps time. A reference is the common scale, as far as it is true; everyone else follows the references.
#[derive(Debug)]
pub struct Clock {
    config: Config,
    /// Where nonces come from.
    chance: Pcg32,
    role: Role,
}

#[derive(Debug)]
enum Role {
    Reference,
    Follower(Box<Follower>),
}

#[derive(Debug)]
struct Follower {
    synchroniser: Synchroniser,
    poll_at: Time,
    /// An answer has come since the last flush.
    has_news: bool,
    /// Put to anybody.
    questions: u64,
    /// Taken.
    answers: u64,
}

impl Protocol for Clock {
    const NAME: &'static str = "clock";
    type Config = Config;
    type Message = ClockMessage;
    type Record = Nothing;

    /// Panics if the configuration is not [valid](Config::validate) or names a reference that is no member.
    fn recover(
        seat: Seat,
        config: &Config,
        now: Time,
        _: impl Iterator<Item = (Lsn, Nothing)>,
        _: &mut Effects<Self>,
    ) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        for reference in config.references.iter() {
            assert!(
                seat.members.contains(reference),
                "clock: reference {reference} is no member of the cluster"
            );
        }
        // The time as well: a replica that comes back must not draw the nonces of its former life.
        let mut chance = Pcg32::new(seat.seed ^ now.0, seat.me.0.into());
        let role = if config.references.contains(seat.me) {
            Role::Reference
        } else {
            Role::Follower(Box::new(Follower::new(config, now, &mut chance)))
        };
        Self { config: config.clone(), chance, role }
    }

    fn step(&mut self, now: Time, input: Input<ClockMessage>, effects: &mut Effects<Self>) {
        match input {
            Input::Message { from, message: ClockMessage::Ask { nonce } } => {
                self.on_ask(now, from, nonce, effects);
            }
            Input::Message {
                from,
                message: ClockMessage::Answer { nonce, received_ns, answered_ns, error_ns },
            } => {
                let answer = self.follower().map_or(Ok(()), |follower| {
                    follower.has_news = true;
                    let times_ns = [received_ns, answered_ns];
                    let taken = follower.synchroniser.answer(from, nonce, times_ns, error_ns, now);
                    follower.answers += u64::from(taken.is_ok());
                    taken
                });
                if let Err(AnswerError::Impossible(_)) = answer {
                    effects.event(Event::Misbehaved(from));
                }
            }
            Input::Timeout => self.on_timeout(now, effects),
            // A clock executes nothing, and nobody else here does.
            Input::Request { ticket, request: Request::Write(batch) | Request::Read(batch), .. } => {
                effects.refuse(ticket, batch, Refusal::NotLeader(None));
            }
            Input::Durable(_) | Input::Captured { .. } | Input::Yield { .. } => {}
        }
    }

    fn flush(&mut self, now: Time, _: &mut Effects<Self>) {
        if let Some(follower) = self.follower()
            && std::mem::take(&mut follower.has_news)
        {
            follower.synchroniser.update(now);
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.role {
            Role::Reference => None,
            Role::Follower(follower) => Some(follower.poll_at),
        }
    }

    fn leader(&self) -> Option<NodeId> {
        None
    }

    /// The interval is there only while the clock claims to know the time.
    fn counters(&self, now: Time) -> Vec<(&'static str, u64)> {
        let mut counters = vec![("reading_ns", self.read(now))];
        if let Some(Interval { earliest_ns, latest_ns }) = self.now(now) {
            counters.extend([("earliest_ns", earliest_ns), ("latest_ns", latest_ns)]);
        }
        if let Role::Follower(follower) = &self.role {
            counters.extend([
                ("questions", follower.questions),
                ("answers", follower.answers),
                ("falsetickers", follower.synchroniser.falsetickers(now) as u64),
                ("disputed", u64::from(matches!(self.status(now), Status::Disputed(_)))),
            ]);
        }
        counters
    }

    fn check(&self) {
        if let Role::Follower(follower) = &self.role {
            let rate = follower.synchroniser.rate();
            let error_ppb_max = self.config.frequency_error_ppb();
            assert!(
                rate.error_ppb <= error_ppb_max,
                "a rate is never known worse than that of any oscillator"
            );
        }
    }
}

impl Clock {
    /// The true time, as far as this replica knows it; `None` unless synchronised. A reference takes itself to be true.
    #[must_use]
    pub fn now(&self, now: Time) -> Option<Interval> {
        match &self.role {
            Role::Reference => Some(Interval::around(now.0, self.reference_error_ns())),
            Role::Follower(follower) => follower.synchroniser.now(now),
        }
    }

    /// What its clock shows, in nanoseconds on the common scale.
    #[must_use]
    pub fn read(&self, now: Time) -> u64 {
        match &self.role {
            Role::Reference => now.0,
            Role::Follower(follower) => follower.synchroniser.read(now),
        }
    }

    /// By how much its clock is wrong at most, in nanoseconds; `None` unless synchronised.
    #[must_use]
    pub fn error_ns(&self, now: Time) -> Option<u64> {
        self.now(now).map(|bounds| bounds.error_ns(self.read(now)))
    }

    /// What its clock is worth.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        self.synchroniser().map_or(Status::Synchronised, |synchroniser| synchroniser.status(now))
    }

    /// What it has learnt, unless it is a reference.
    #[must_use]
    pub const fn synchroniser(&self) -> Option<&Synchroniser> {
        match &self.role {
            Role::Reference => None,
            Role::Follower(follower) => Some(&follower.synchroniser),
        }
    }

    fn on_ask(&mut self, now: Time, from: NodeId, nonce: u64, effects: &mut Effects<Self>) {
        // Who does not know the time keeps silent: there is no honest answer.
        if let Some(error_ns) = self.error_ns(now).filter(|error_ns| *error_ns <= ERROR_NS_MAX) {
            let time_ns = self.read(now);
            // T2 = T3: for a fold no time passes in between. What the host takes longer counts as delay.
            let answer = ClockMessage::Answer { nonce, received_ns: time_ns, answered_ns: time_ns, error_ns };
            effects.send(from, answer);
        }
    }

    fn on_timeout(&mut self, now: Time, effects: &mut Effects<Self>) {
        let Role::Follower(follower) = &mut self.role else { return };
        if now < follower.poll_at {
            return;
        }
        for source in self.config.references.iter() {
            let nonce = self.chance.random();
            follower.synchroniser.ask(source, nonce, now);
            follower.questions += 1;
            effects.send(source, ClockMessage::Ask { nonce });
        }
        follower.poll_at = now + self.config.poll_interval;
    }

    fn follower(&mut self) -> Option<&mut Follower> {
        match &mut self.role {
            Role::Reference => None,
            Role::Follower(follower) => Some(follower),
        }
    }

    fn reference_error_ns(&self) -> u64 {
        u64::try_from(self.config.reference_error.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Follower {
    fn new(config: &Config, now: Time, chance: &mut Pcg32) -> Self {
        let synchroniser = Synchroniser::new(config, config.references, now);
        // Somewhere in the second half of an interval: replicas that start together do not ask together.
        let wait = config.poll_interval.mul_f64(chance.random_range(0.5..1.0));
        Self { synchroniser, poll_at: now + wait, has_news: false, questions: 0, answers: 0 }
    }
}
