//! A network, oscillators, and the true time, which nobody in it is told.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use qlab_clocks::sync::{Clock, ClockMessage, Config, Interval, Status};
use qlab_kernel::{Effects, Input, Lsn, NodeId, NodeSet, Protocol, Seat, Time, Wire};
use rand::{RngExt, SeedableRng};
use rand_distr::{Exp1, StandardNormal};
use rand_pcg::Pcg32;

/// When every world begins, in nanoseconds on the common scale.
pub(crate) const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// An oscillator: how a replica's readings go with the true time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Oscillator {
    true_ns: u64,
    reading_ns: u64,
    /// How much too fast it runs: 1e-6 is one part per million.
    pub(crate) fast: f64,
    /// Standard deviation of what `fast` changes by each second.
    wander: f64,
}

impl Oscillator {
    /// One that is `offset_ns` ahead of the true time to begin with.
    pub(crate) const fn new(offset_ns: i64, fast: f64, wander: f64) -> Self {
        Self { true_ns: EPOCH_NS, reading_ns: EPOCH_NS.wrapping_add(offset_ns as u64), fast, wander }
    }

    fn reading(&self, true_ns: u64) -> Time {
        Time(self.reading_ns + ((true_ns - self.true_ns) as f64 * (1.0 + self.fast)) as u64)
    }

    /// The first nanosecond at which it shows `reading`.
    fn true_ns(&self, reading: Time) -> u64 {
        let ahead = reading.0.saturating_sub(self.reading_ns) as f64 / (1.0 + self.fast);
        self.true_ns + ahead.ceil() as u64 + 1
    }

    fn wander(&mut self, true_ns: u64, chance: &mut Pcg32) {
        (self.reading_ns, self.true_ns) = (self.reading(true_ns).0, true_ns);
        self.fast += self.wander * chance.sample::<f64, _>(StandardNormal);
    }
}

/// What the network does to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// What every message takes.
    pub(crate) delay_ns: f64,
    /// Mean of what it takes on top, exponentially distributed.
    pub(crate) jitter_ns: f64,
    /// What answers take on top: an unequal way back.
    pub(crate) answer_delay_ns: f64,
    /// How many of the answers find a queue, of that mean length.
    pub(crate) queued: f64,
    pub(crate) queue_ns: f64,
    /// How many messages are lost.
    pub(crate) lost: f64,
    /// How many come again, after up to five minutes.
    pub(crate) replayed: f64,
}

impl Link {
    /// The network of the acceptance numbers: 0.1 ms each way and as much jitter.
    pub(crate) const PLAIN: Self = Self {
        delay_ns: 1e5,
        jitter_ns: 1e5,
        answer_delay_ns: 0.0,
        queued: 0.0,
        queue_ns: 0.0,
        lost: 0.0,
        replayed: 0.0,
    };

    fn delay_ns(&self, is_answer: bool, chance: &mut Pcg32) -> u64 {
        let mut delay_ns = self.delay_ns + self.jitter_ns * chance.sample::<f64, _>(Exp1);
        if is_answer {
            delay_ns += self.answer_delay_ns;
            if chance.random_bool(self.queued) {
                delay_ns += self.queue_ns * chance.sample::<f64, _>(Exp1);
            }
        }
        delay_ns as u64
    }
}

/// How a replica kept time, seen from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    /// Seconds from the start until it called itself synchronised.
    pub(crate) synchronised_after: Option<f64>,
    /// Instants at which it was looked at from then on, and those at which it called itself synchronised.
    pub(crate) looks: u64,
    pub(crate) synchronised: u64,
    pub(crate) error_ns_max: f64,
    pub(crate) bound_ns_max: f64,
    error_squares: f64,
    bound_ns_sum: f64,
    fast_squares: f64,
    /// The last look: the oscillator and the clock.
    last: Option<(Time, u64)>,
}

impl Record {
    pub(crate) fn error_ns_rms(&self) -> f64 {
        (self.error_squares / self.synchronised as f64).sqrt()
    }

    pub(crate) fn bound_ns_mean(&self) -> f64 {
        self.bound_ns_sum / self.synchronised as f64
    }

    /// How well the oscillator's rate was known: 1e-6 is one part per million.
    pub(crate) fn rate_rms(&self) -> f64 {
        (self.fast_squares / self.synchronised as f64).sqrt()
    }
}

pub(crate) struct Replica {
    pub(crate) clock: Clock,
    pub(crate) oscillator: Oscillator,
    pub(crate) record: Record,
    effects: Effects<Clock>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Delivery {
    at_ns: u64,
    /// The order of sending, which makes everything reproducible.
    number: u64,
    from: u16,
    to: u16,
    bytes: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) true_ns: u64,
    pub(crate) link: Link,
    pub(crate) replicas: Vec<Replica>,
    network: BinaryHeap<Reverse<Delivery>>,
    sent: u64,
    chance: Pcg32,
}

impl World {
    pub(crate) fn new(seed: u64, config: &Config, link: Link, oscillators: &[Oscillator]) -> Self {
        let members = NodeSet::first(oscillators.len());
        let replica = |(me, oscillator): (usize, &Oscillator)| {
            let seat = Seat { me: NodeId(me as u16), members, seed };
            let mut effects = Effects::new(Lsn::ZERO);
            let now = oscillator.reading(EPOCH_NS);
            let clock = Clock::recover(seat, config, now, std::iter::empty(), &mut effects);
            Replica { clock, oscillator: *oscillator, record: Record::default(), effects }
        };
        Self {
            true_ns: EPOCH_NS,
            link,
            replicas: oscillators.iter().enumerate().map(replica).collect(),
            network: BinaryHeap::new(),
            sent: 0,
            chance: Pcg32::seed_from_u64(seed),
        }
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let end_ns = self.true_ns + SECOND_NS;
            while self.run_next(end_ns) {}
            self.true_ns = end_ns;
            for at in 0..self.replicas.len() {
                self.replicas[at].oscillator.wander(end_ns, &mut self.chance);
                self.look(at);
            }
        }
    }

    /// What time it is, by that follower.
    pub(crate) fn now(&self, at: usize) -> Option<Interval> {
        let Replica { clock, oscillator, .. } = &self.replicas[at];
        clock.now(oscillator.reading(self.true_ns))
    }

    pub(crate) fn status(&self, at: usize) -> Status {
        let Replica { clock, oscillator, .. } = &self.replicas[at];
        clock.status(oscillator.reading(self.true_ns))
    }

    /// Carries out whatever comes first before `end_ns`: a delivery or a timeout.
    fn run_next(&mut self, end_ns: u64) -> bool {
        let due_ns = |replica: &Replica| Some(replica.oscillator.true_ns(replica.clock.deadline()?));
        let timeouts =
            self.replicas.iter().enumerate().filter_map(|(at, replica)| Some((due_ns(replica)?, at)));
        let timeout = timeouts.min().filter(|(due_ns, _)| *due_ns < end_ns);
        let delivery_ns =
            self.network.peek().map(|Reverse(delivery)| delivery.at_ns).filter(|ns| *ns < end_ns);
        match (delivery_ns, timeout) {
            (Some(at_ns), timeout) if timeout.is_none_or(|(due_ns, _)| at_ns <= due_ns) => {
                let Reverse(delivery) = self.network.pop().expect("it was seen");
                self.true_ns = at_ns;
                let message = ClockMessage::decode_all(delivery.bytes.into()).expect("replicas encode well");
                self.step(delivery.to.into(), Input::Message { from: NodeId(delivery.from), message });
            }
            (_, Some((due_ns, at))) => {
                self.true_ns = self.true_ns.max(due_ns);
                self.step(at, Input::Timeout);
            }
            _ => return false,
        }
        true
    }

    fn step(&mut self, at: usize, input: Input<ClockMessage>) {
        self.look(at);
        let Replica { clock, oscillator, effects, .. } = &mut self.replicas[at];
        let now = oscillator.reading(self.true_ns);
        clock.step(now, input, effects);
        clock.flush(now, effects);
        clock.check();
        let sends: Vec<_> = effects.take_sends().collect();
        effects.clear();
        for send in sends {
            self.send(at as u16, send.to.0, &send.message);
        }
        self.look(at);
    }

    fn send(&mut self, from: u16, to: u16, message: &ClockMessage) {
        if self.chance.random_bool(self.link.lost) {
            return;
        }
        let is_answer = matches!(message, ClockMessage::Answer { .. });
        let at_ns = self.true_ns + self.link.delay_ns(is_answer, &mut self.chance);
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        if self.chance.random_bool(self.link.replayed) {
            let again_ns = at_ns + self.chance.random_range(0..300 * SECOND_NS);
            self.deliver(again_ns, from, to, bytes.clone());
        }
        self.deliver(at_ns, from, to, bytes);
    }

    fn deliver(&mut self, at_ns: u64, from: u16, to: u16, bytes: Vec<u8>) {
        self.sent += 1;
        self.network.push(Reverse(Delivery { at_ns, number: self.sent, from, to, bytes }));
    }

    /// Looks at a follower's clock as anyone may at any instant, and holds it to T1 and T2.
    fn look(&mut self, at: usize) {
        let Replica { clock, oscillator, record, .. } = &mut self.replicas[at];
        let Some(synchroniser) = clock.synchroniser() else { return };
        let now = oscillator.reading(self.true_ns);
        let reading_ns = clock.read(now);
        if let Some(bounds) = clock.now(now) {
            record.synchronised_after.get_or_insert((self.true_ns - EPOCH_NS) as f64 / 1e9);
            let error_ns = reading_ns.wrapping_sub(self.true_ns) as i64;
            let bound_ns = clock.error_ns(now).expect("it is synchronised");
            assert!(bounds.contains(self.true_ns), "T1: the true time is not within {bounds:?}");
            assert!(error_ns.unsigned_abs() <= bound_ns, "T1: wrong by {error_ns} ns, not {bound_ns}");
            record.synchronised += 1;
            record.error_ns_max = record.error_ns_max.max(error_ns.unsigned_abs() as f64);
            record.bound_ns_max = record.bound_ns_max.max(bound_ns as f64);
            record.bound_ns_sum += bound_ns as f64;
            record.error_squares += (error_ns as f64).powi(2);
            let rate_error = synchroniser.rate().drift_ppb as f64 / 1e9 + oscillator.fast;
            record.fast_squares += rate_error.powi(2);
        }
        if record.synchronised_after.is_some() {
            record.looks += 1;
            if let Some((before, before_ns)) = record.last.replace((now, reading_ns)) {
                assert_monotone(now.0 - before.0, reading_ns.wrapping_sub(before_ns) as i64);
            }
        }
    }
}

/// T2: the drift and the slew together stay below a thousand parts per million.
fn assert_monotone(oscillator_ns: u64, clock_ns: i64) {
    assert!(clock_ns >= 0, "T2: the clock went back by {clock_ns} ns");
    assert!(clock_ns > 0 || oscillator_ns < 2, "T2: the clock stood still for {oscillator_ns} ns");
    let strayed_ns = clock_ns.abs_diff(oscillator_ns as i64);
    assert!(strayed_ns <= oscillator_ns / 1000 + 2, "T2: the clock jumped by {strayed_ns} ns");
}
