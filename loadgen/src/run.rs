//! One run: connect, preload, warm up, measure, cool down, drain, verify.
//!
//! Everything happens on the calling thread, in one loop that reads the clock once per wake: whatever came is handed to the
//! [`Driver`], and whatever the driver wants is carried out. Call it on a current-thread runtime that does nothing else.

use std::pin::Pin;
use std::time::Duration;

use qlab_kernel::limits::{SESSION_WINDOW, SESSIONS_MAX};

use crate::arrivals::Load;
use crate::clock::{monotonic_ns, thread_cpu_ns};
use crate::driver::{Action, Counters, Driver, DriverConfig};
use crate::history::History;
use crate::keys::{KEYS_MAX, KeyDistribution};
use crate::mix::{Class, Mix};
use crate::pace::Pacer;
use crate::recorder::{Recorder, Window};
use crate::sightings::Sightings;
use crate::tape::{TAPE_ENTRIES_MAX, Tape};
use crate::target::{Event, Target};
use crate::values::ValueSizes;
use crate::workload::Workload;

/// Operations outstanding while every key is written or read once.
const SWEEP_OUTSTANDING: u32 = 1024;
/// Longest that one such sweep may take.
const SWEEP_TIME_MAX: Duration = Duration::from_secs(300);
/// What draining may take beyond the time after which operations give up by themselves.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The place of this generator's key in the cluster's list of clients.
    pub client: u16,
    /// How load is offered.
    pub load: Load,
    /// What the operations are.
    pub workload: Workload,
    /// Which of a store's operations.
    pub mix: Mix,
    /// On how many keys, 1 to [`KEYS_MAX`].
    pub keys: u32,
    /// On which of them.
    pub key_distribution: KeyDistribution,
    /// How much is written.
    pub values: ValueSizes,
    /// Sessions, at least one per connection.
    pub sessions: usize,
    /// Unanswered commands that a session may have of each kind.
    pub window: u64,
    /// Whether every key is written once before the load.
    pub preload: bool,
    /// Whether every key that may have been written is read once after the load, so that each acknowledged write is seen or missed.
    pub verify: bool,
    /// Time between the load and that: what replicas take to come to the same, where they need not be the same before.
    pub settle: Duration,
    /// Whether writes say what was read, and reads find several values: see [`sightings`](crate::sightings).
    pub contexts: bool,
    /// Load before the measured window.
    pub warmup: Duration,
    /// The measured window.
    pub measure: Duration,
    /// Load after the measured window.
    pub cooldown: Duration,
    /// Length of the recorder's slices: one second, less in fault runs.
    pub slice: Duration,
    /// How long all connections and sessions may take to open.
    pub connect_timeout: Duration,
    /// A command without an answer is sent again, elsewhere, after this.
    pub timeout: Duration,
    /// … and given up after this.
    pub give_up: Duration,
    /// Seed of the tape and of everything else that is drawn.
    pub seed: u64,
    /// Makes the ids of sessions differ between runs with the same seed.
    pub entropy: u64,
    /// Id of the first value; take [`Outcome::next_value_id`] of the run before if the store is not empty.
    pub first_value_id: u64,
}

/// The run that `qlab run` does unless told otherwise.
impl Default for Spec {
    fn default() -> Self {
        Self {
            client: 0,
            load: Load::Closed { outstanding: 64 },
            workload: Workload::Store,
            mix: Mix::reads(0.0).expect("a fraction"),
            keys: 10_000,
            key_distribution: KeyDistribution::Uniform,
            values: ValueSizes::fixed(256).expect("within the limits"),
            sessions: 16,
            window: 1024,
            preload: true,
            verify: true,
            settle: Duration::ZERO,
            contexts: false,
            warmup: Duration::from_secs(2),
            measure: Duration::from_secs(5),
            cooldown: Duration::from_millis(500),
            slice: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            give_up: Duration::from_secs(10),
            seed: 7,
            entropy: 0,
            first_value_id: 1,
        }
    }
}

/// A moment of the run, for whoever reads counters elsewhere at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All sessions are open.
    Connected,
    /// Every key is written.
    Preloaded,
    /// The measured window begins.
    MeasureStart,
    /// The measured window has ended; load goes on for the cool-down.
    MeasureEnd,
    /// Nothing is outstanding any more.
    Drained,
    /// Every key has been read.
    Verified,
}

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The stop signal came while connections were made or keys written: there is nothing to keep.
    #[error("the load was stopped before it began")]
    Stopped,
    /// The specification contradicts itself.
    #[error("{0}")]
    Spec(String),
    /// The cluster did not let all sessions open in time: look at the replicas' logs.
    #[error(
        "not all of {sessions} sessions were open after {timeout:?}: is there a leader, and does it know this client's key?"
    )]
    NotReady {
        /// Sessions wanted.
        sessions: usize,
        /// How long they had.
        timeout: Duration,
    },
    /// Not every key could be written before the load.
    #[error("preload: not all of {keys} keys were stored ({counters:?})")]
    Preload {
        /// Keys wanted.
        keys: u32,
        /// What happened instead.
        counters: Box<Counters>,
    },
    /// The system gives no timer.
    #[error("timer: {0}")]
    Timer(#[from] std::io::Error),
}

/// What a run leaves behind.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured.
    pub recorder: Recorder,
    /// Every operation.
    pub history: History,
    /// What was seen, where [`Spec::contexts`] says so.
    pub sightings: Option<Sightings>,
    /// What happened, over the whole run.
    pub counters: Counters,
    /// Processor time of this thread inside the measured window, transport included.
    pub cpu_ns: u64,
    /// Whether every key was read after the load.
    pub verified: bool,
    /// Whether the stop signal ended the load early: the window of the recorder is shorter then, and may be empty.
    pub stopped: bool,
    /// The id after the last value that can have been written.
    pub next_value_id: u64,
}

/// Runs `spec` against `target`. `observe` hears of each [`Moment`] with the monotonic time and must return at once.
///
/// `stop` ends whatever is going on: before the load there is no run ([`RunError::Stopped`]), during the load what was
/// measured is kept, and from then on nothing is verified. It is not polled again once it is ready.
pub async fn run<T: Target>(
    target: T,
    spec: &Spec,
    mut observe: impl FnMut(Moment, u64),
    stop: impl Future<Output = ()>,
) -> Result<Outcome, RunError> {
    check(spec, target.links())?;
    let stop = std::pin::pin!(stop);
    let mut stop = Stop { signal: stop, given: false };
    let mut shell = Shell::new(target, spec)?;
    stop.unless_given(shell.connect(spec)).await.ok_or(RunError::Stopped)??;
    observe(Moment::Connected, shell.now_ns);
    if spec.preload {
        stop.unless_given(shell.preload(spec)).await.ok_or(RunError::Stopped)??;
        observe(Moment::Preloaded, shell.now_ns);
    }
    let (cpu_ns, stopped) = shell.load(spec, &mut observe, &mut stop).await?;
    observe(Moment::Drained, shell.now_ns);
    shell.settle(spec.settle, &mut stop).await?;
    let verified = spec.verify && shell.verify(spec, &mut stop).await?;
    if verified {
        observe(Moment::Verified, shell.now_ns);
    }
    let next_value_id = shell.driver.next_value_id();
    let sightings = shell.driver.take_sightings();
    let (recorder, history, counters) = shell.driver.into_results();
    Ok(Outcome { recorder, history, sightings, counters, cpu_ns, verified, stopped, next_value_id })
}

fn check(spec: &Spec, links: usize) -> Result<(), RunError> {
    let complaint = match spec.load {
        _ if !(1..=SESSIONS_MAX).contains(&spec.sessions) => {
            format!("{} sessions: 1 to {SESSIONS_MAX} are possible", spec.sessions)
        }
        _ if !(1..=SESSION_WINDOW).contains(&spec.window) => {
            format!("a window of {}: 1 to {SESSION_WINDOW} are possible", spec.window)
        }
        _ if spec.sessions < links => format!("{} sessions cannot use {links} connections", spec.sessions),
        _ if !(1..=KEYS_MAX).contains(&spec.keys) => {
            format!("{} keys: 1 to {KEYS_MAX} are possible", spec.keys)
        }
        _ if spec.workload != Workload::Store && (spec.preload || spec.verify) => {
            "locks are neither written before the load nor read after it".to_owned()
        }
        _ if spec.give_up < spec.timeout => {
            format!("give_up {:?} is below timeout {:?}", spec.give_up, spec.timeout)
        }
        _ if spec.slice.is_zero() || spec.measure.is_zero() => {
            "slice and measure must be above zero".to_owned()
        }
        Load::Closed { outstanding } if u64::from(outstanding) > room(spec) => {
            let (load, room) = (spec.load, room(spec));
            format!("{load} exceeds the windows of all sessions, {room}: more sessions or larger windows")
        }
        _ => return Ok(()),
    };
    Err(RunError::Spec(complaint))
}

/// Operations that the windows of all sessions allow.
fn room(spec: &Spec) -> u64 {
    spec.window * spec.sessions as u64
}

/// Entries for the whole load, as far as tapes go.
fn tape_entries(spec: &Spec) -> usize {
    let seconds = (spec.warmup + spec.measure + spec.cooldown).as_secs_f64();
    match spec.load {
        Load::Closed { .. } => TAPE_ENTRIES_MAX / 4,
        Load::Open { rate_per_s, .. } => ((rate_per_s * seconds) as usize).clamp(1, TAPE_ENTRIES_MAX),
    }
}

/// The stop signal: may be waited for again after it was given.
struct Stop<'a, F> {
    signal: Pin<&'a mut F>,
    given: bool,
}

impl<F: Future<Output = ()>> Stop<'_, F> {
    /// Waits until it is given; returns at once if it was. Dropping the wait loses nothing.
    async fn given(&mut self) {
        if !self.given {
            self.signal.as_mut().await;
            self.given = true;
        }
    }

    /// What `work` comes to; `None` if the signal is given before.
    async fn unless_given<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.given() => None,
            done = work => Some(done),
        }
    }
}

/// The driver with its hands and feet.
struct Shell<T> {
    driver: Driver,
    target: T,
    pacer: Pacer,
    events: Vec<Event>,
    now_ns: u64,
}

impl<T: Target> Shell<T> {
    fn new(target: T, spec: &Spec) -> Result<Self, RunError> {
        let tape =
            Tape::draw(spec.load, spec.mix, spec.key_distribution, spec.keys, tape_entries(spec), spec.seed);
        let config = DriverConfig {
            client: spec.client,
            links: target.links(),
            sessions: spec.sessions,
            window: spec.window,
            workload: spec.workload,
            keys: spec.keys,
            values: spec.values.clone(),
            first_value_id: spec.first_value_id,
            timeout: spec.timeout,
            give_up: spec.give_up,
            retry: target.retry(),
            contexts: spec.contexts,
            seed: spec.seed,
            entropy: spec.entropy,
        };
        let driver = Driver::new(config, spec.load, tape);
        Ok(Self { driver, target, pacer: Pacer::new()?, events: Vec::new(), now_ns: monotonic_ns() })
    }

    async fn connect(&mut self, spec: &Spec) -> Result<(), RunError> {
        let until_ns = self.after(spec.connect_timeout);
        while !self.driver.is_ready() {
            if self.now_ns >= until_ns {
                return Err(RunError::NotReady { sessions: spec.sessions, timeout: spec.connect_timeout });
            }
            self.wake(until_ns).await?;
        }
        Ok(())
    }

    async fn preload(&mut self, spec: &Spec) -> Result<(), RunError> {
        if self.sweep(Class::Write, spec).await? {
            return Ok(());
        }
        let counters = Box::new(*self.driver.counters());
        Err(RunError::Preload { keys: spec.keys, counters })
    }

    /// Waits, and offers nothing.
    async fn settle(
        &mut self,
        time: Duration,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<(), RunError> {
        let until_ns = self.after(time);
        self.offer(until_ns, stop).await.map(drop)
    }

    /// Reads every key that may have been written once; whether all of that was answered. A stop leaves what is outstanding unknown.
    async fn verify(
        &mut self,
        spec: &Spec,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<bool, RunError> {
        let swept = stop.unless_given(self.sweep(Class::Read, spec)).await.transpose()?;
        if swept.is_none() {
            self.driver.give_up(self.now_ns);
        }
        Ok(swept.unwrap_or(false))
    }

    /// Touches every key once; whether all of that was answered.
    async fn sweep(&mut self, class: Class, spec: &Spec) -> Result<bool, RunError> {
        let room = room(spec).min(SWEEP_OUTSTANDING.into());
        let failures = self.failures();
        self.now_ns = monotonic_ns();
        self.driver.begin_sweep(class, u32::try_from(room).expect("at most SWEEP_OUTSTANDING"));
        Ok(self.drain(SWEEP_TIME_MAX).await? && self.failures() == failures)
    }

    fn failures(&self) -> u64 {
        self.driver.counters().errors + self.driver.counters().unknown
    }

    /// Offers the load; the processor time of the measured window, and whether it was stopped early.
    async fn load(
        &mut self,
        spec: &Spec,
        observe: &mut impl FnMut(Moment, u64),
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<(u64, bool), RunError> {
        // Whoever observed may have taken a while.
        self.now_ns = monotonic_ns();
        let start_ns = self.after(spec.warmup);
        let window = Window { start_ns, end_ns: start_ns + nanoseconds(spec.measure) };
        self.driver.begin_load(self.now_ns, window, nanoseconds(spec.slice));
        let mut stopped = self.offer(window.start_ns, stop).await?;
        let cpu_ns = thread_cpu_ns();
        observe(Moment::MeasureStart, self.now_ns);
        if !stopped {
            stopped = self.offer(window.end_ns, stop).await?;
        }
        if stopped {
            self.driver.recorder().cut(self.now_ns);
        }
        let cpu_ns = thread_cpu_ns() - cpu_ns;
        observe(Moment::MeasureEnd, self.now_ns);
        if !stopped {
            // Stopping here loses nothing that was to be measured.
            self.offer(window.end_ns + nanoseconds(spec.cooldown), stop).await?;
        }
        self.driver.end_load(self.now_ns);
        self.drain(spec.give_up + DRAIN_MARGIN).await?;
        Ok((cpu_ns, stopped))
    }

    /// Keeps the load up until a moment; true if it was stopped before.
    async fn offer(
        &mut self,
        until_ns: u64,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<bool, RunError> {
        while self.now_ns < until_ns {
            match stop.unless_given(self.wake(until_ns)).await {
                Some(woken) => woken?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Waits until nothing is outstanding; gives up what still is after `patience`, and says whether that was nothing.
    async fn drain(&mut self, patience: Duration) -> Result<bool, RunError> {
        let until_ns = self.after(patience);
        self.carry_out();
        while !self.driver.is_done() && self.now_ns < until_ns {
            self.wake(until_ns).await?;
        }
        let done = self.driver.is_done();
        self.driver.give_up(self.now_ns);
        Ok(done)
    }

    /// Waits for an event or the driver's deadline, then does what is to be done. Dropping the wait loses nothing.
    async fn wake(&mut self, not_after_ns: u64) -> Result<(), RunError> {
        // A target that always has something to say must not keep signals and timers from being seen.
        tokio::task::coop::consume_budget().await;
        let wake_ns = self.driver.deadline_ns().min(not_after_ns);
        tokio::select! {
            biased;
            () = self.target.receive(&mut self.events) => {}
            paced = self.pacer.wait_until(wake_ns) => paced?,
        }
        // After the frames have come: an operation must not seem to end before its effect can have been seen.
        self.now_ns = monotonic_ns();
        for event in self.events.drain(..) {
            match event {
                Event::Up { link } => self.driver.link_up(link),
                Event::Down { link } => self.driver.link_down(link, self.now_ns),
                Event::Frame { link, frame } => self.driver.frame(link, &frame, self.now_ns),
            }
        }
        self.carry_out();
        Ok(())
    }

    fn carry_out(&mut self) {
        self.driver.advance(self.now_ns);
        for action in self.driver.actions() {
            match action {
                Action::Send { link, request } => self.target.send(link, request),
                Action::Redirect { link, leader } => self.target.redirect(link, leader),
            }
        }
    }

    fn after(&self, duration: Duration) -> u64 {
        self.now_ns.saturating_add(nanoseconds(duration))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
