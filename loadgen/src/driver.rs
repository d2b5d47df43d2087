//! The driver: sessions, numbers, windows, retries and redirects, as a fold.
//!
//! It is told what happens and what time it is, and answers in actions: no socket, no clock, no task. The shell around it
//! ([`run`](crate::run)) reads the clock once per wake, hands over every frame that has come, calls [`Driver::advance`], and
//! carries the actions out.
//!
//! - **Closed loop**: an operation that ends leaves a vacancy in its session; the next `advance` fills it. Exactly N are
//!   outstanding, from the first to the last moment.
//! - **Open loop**: the tape is the queue. What is due and finds every window full stays on the tape, so a backlog takes no
//!   memory; it is sent when there is room, with its intended start unchanged, and what is never sent is recorded as such.
//! - **Retries** keep their numbers. A connection that comes up again gets everything its sessions still wait for.
//! - **Giving up** makes an outcome unknown: it stays in the history without an end and in the histogram with its wait.

mod admission;
mod answering;
mod book;
mod housekeeping;
mod lane;
mod locking;
mod packer;
mod sending;
mod session;
mod tenants;
#[cfg(test)]
mod tests;

use std::time::Duration;

use qlab_kernel::client::answers;
use qlab_kernel::limits::{SESSION_WINDOW, SESSIONS_MAX};
use qlab_kernel::{NodeId, Request};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use self::book::Book;
use self::packer::{Packer, Scribe};
use self::session::{Opening, Session};
use self::tenants::Tenants;
use crate::arrivals::Load;
use crate::history::History;
use crate::mix::Class;
use crate::recorder::{Recorder, Window};
use crate::sightings::{Contexts, Sightings};
use crate::tape::Tape;
use crate::values::{ValueSizes, Values, stream_seed};
use crate::workload::Workload;

/// Shortest time between two wakes for arrivals: what falls due in between is sent together. The lag histogram shows it.
pub const WAKE_NS_MIN: u64 = 50_000;

/// What may be done about a command without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Send it again under its number: the system executes each number once.
    SameNumber,
    /// Nothing, if it writes: the system would execute it twice. Its outcome is unknown.
    ReadsOnly,
}

/// What a driver needs to know.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// The place of this generator's key in the cluster's list of clients: whose sessions these are.
    pub client: u16,
    /// Connections, at least 1 and at most as many as sessions.
    pub links: usize,
    /// Sessions, dealt to the connections in turn; 1 to [`SESSIONS_MAX`].
    pub sessions: usize,
    /// Unanswered commands that a session may have of each kind, reads and writes; 1 to [`SESSION_WINDOW`].
    pub window: u64,
    /// What the operations are.
    pub workload: Workload,
    /// Keys of the run; sweeps go over all of them.
    pub keys: u32,
    /// Sizes of values.
    pub values: ValueSizes,
    /// Id of the first value: sweeps write `first_value_id + key`, position p of the tape `first_value_id + keys + p`.
    pub first_value_id: u64,
    /// A command that waits for an answer this long is sent again, to another replica; under [`Retry::ReadsOnly`] only a
    /// read is, and over the same connection while a write waits there.
    pub timeout: Duration,
    /// A command that waits for an answer this long is given up.
    pub give_up: Duration,
    /// What may be done about a command without an answer.
    pub retry: Retry,
    /// Whether writes say what was read, and reads find several values.
    pub contexts: bool,
    /// Seed of everything drawn.
    pub seed: u64,
    /// Makes session ids differ between runs with the same seed.
    pub entropy: u64,
}

/// What the driver wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send this over a connection that is up.
    Send {
        /// The connection's number.
        link: usize,
        /// What to send.
        request: Request,
    },
    /// Connect to another replica, and say when that is up.
    Redirect {
        /// The connection's number.
        link: usize,
        /// Where to; any other if nobody knows.
        leader: Option<NodeId>,
    },
}

/// What happened during the whole run, warm-up and sweeps included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands sent for the first time. A read-modify-write has two.
    pub sent: u64,
    /// Commands sent again, with the same number.
    pub retries: u64,
    /// Operations answered.
    pub completed: u64,
    /// Operations answered with an error: certainly not done.
    pub errors: u64,
    /// Operations given up: outcome unknown.
    pub unknown: u64,
    /// Arrivals due and never sent.
    pub unsent: u64,
    /// Commands that waited longer than the timeout.
    pub timeouts: u64,
    /// Commands refused because a replica was busy.
    pub busy: u64,
    /// Times a connection was sent elsewhere.
    pub redirects: u64,
    /// Times a connection broke.
    pub disconnects: u64,
    /// Sessions that replicas had forgotten.
    pub expired: u64,
    /// Values read that no generator wrote.
    pub foreign: u64,
    /// Answers nobody waited for: to a retry whose first answer had come, or after giving up.
    pub stale: u64,
    /// Frames that were not answers.
    pub malformed: u64,
    /// The most operations outstanding at once.
    pub in_flight_max: u64,
}

/// What the driver offers at present.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// Nothing: what is outstanding ends.
    Idle,
    /// Every key once, in order.
    Sweep {
        /// Reads or writes.
        class: Class,
        /// The next key.
        next: u32,
        /// The first that is left out.
        end: u32,
    },
    /// The tape, one operation for each vacancy.
    Closed,
    /// The tape, by the clock.
    Open {
        /// What the tape's offsets count from.
        start_ns: u64,
    },
}

impl Source {
    /// Whether an operation that ends makes room for the next.
    const fn fills_vacancies(self) -> bool {
        matches!(self, Self::Sweep { .. } | Self::Closed)
    }
}

#[derive(Debug, Default)]
struct Link {
    up: bool,
    /// Its sessions that have something to send.
    dirty: Vec<usize>,
    /// A redirect that waits for its moment.
    redirect: Option<(u64, Option<NodeId>)>,
    /// Redirects since the last answer.
    moves: u32,
    /// When it last gave a frame, or came up.
    heard_ns: u64,
}

/// The pure core of the load generator.
#[derive(Debug)]
pub struct Driver {
    config: DriverConfig,
    load: Load,
    tape: Tape,
    source: Source,
    /// The next position of the tape.
    position: u64,
    /// Every key below this one may have been written.
    touched: u32,
    links: Vec<Link>,
    sessions: Vec<Session>,
    /// The session whose turn it is in open loop.
    turn: usize,
    /// Sessions in which an operation of a closed loop ended.
    vacancies: Vec<usize>,
    outstanding: u64,
    scribe: Scribe,
    /// Who takes locks, if that is the load.
    tenants: Option<Tenants>,
    writes: Packer,
    reads: Packer,
    actions: Vec<Action>,
    housekeeping_ns: u64,
    woken_ns: u64,
    rng: Pcg64Mcg,
    book: Book,
}

impl Driver {
    /// A driver for a load, with nothing to do yet.
    ///
    /// # Panics
    /// If a number of the configuration is out of its range.
    #[must_use]
    pub fn new(config: DriverConfig, load: Load, tape: Tape) -> Self {
        assert!((1..=SESSIONS_MAX).contains(&config.sessions), "{} sessions", config.sessions);
        assert!((1..=config.sessions).contains(&config.links), "{} connections", config.links);
        assert!((1..=SESSION_WINDOW).contains(&config.window), "a window of {}", config.window);
        let mut rng = Pcg64Mcg::seed_from_u64(stream_seed(config.seed, config.entropy));
        Self {
            load,
            tape,
            source: Source::Idle,
            position: 0,
            touched: 0,
            links: (0..config.links).map(|_| Link::default()).collect(),
            sessions: (0..config.sessions)
                .map(|number| Session::new(config.client, number % config.links, number, &mut rng))
                .collect(),
            turn: 0,
            vacancies: Vec::new(),
            outstanding: 0,
            scribe: Scribe::new(
                Values::new(config.values.clone(), config.seed),
                config.contexts.then(Contexts::default),
            ),
            tenants: match config.workload {
                Workload::Store => None,
                Workload::Locks(load) => Some(Tenants::new(load)),
            },
            writes: Packer::default(),
            reads: Packer::default(),
            actions: Vec::new(),
            housekeeping_ns: 0,
            woken_ns: 0,
            rng,
            book: Book::new(),
            config,
        }
    }

    /// Begins to touch every key once, `outstanding` at a time: writes fill the store, reads check it.
    ///
    /// # Panics
    /// If operations are outstanding.
    pub fn begin_sweep(&mut self, class: Class, outstanding: u32) {
        let end = if class == Class::Read { self.touched } else { self.config.keys };
        self.begin(Source::Sweep { class, next: 0, end });
        self.vacate(outstanding);
    }

    /// Begins the load, measuring what is meant to start in `window`, in slices of `slice_ns`.
    ///
    /// # Panics
    /// If operations are outstanding.
    pub fn begin_load(&mut self, now_ns: u64, window: Window, slice_ns: u64) {
        self.book.recorder = Recorder::new(window, slice_ns);
        match self.load {
            Load::Closed { outstanding } => {
                self.begin(Source::Closed);
                self.vacate(outstanding);
            }
            Load::Open { .. } => self.begin(Source::Open { start_ns: now_ns }),
        }
    }

    /// Ends the load or the sweep: nothing new is sent. Arrivals that were due and are still on the tape are unsent.
    pub fn end_load(&mut self, now_ns: u64) {
        if let Source::Open { start_ns } = self.source {
            while let Some((arrival, intended_ns)) = self.due(start_ns, now_ns) {
                self.book.unsent(arrival.class, intended_ns, now_ns);
                self.position += 1;
            }
        }
        self.source = Source::Idle;
    }

    /// Gives up everything outstanding: what was sent is unknown, what was not is unsent.
    pub fn give_up(&mut self, now_ns: u64) {
        self.end_load(now_ns);
        for number in 0..self.sessions.len() {
            let session = &mut self.sessions[number];
            for lane in [&mut session.writes, &mut session.reads] {
                lane.lose_sent(|op| self.book.unknown(&op, now_ns));
                lane.drain_fresh().for_each(|op| self.book.never_sent(&op, now_ns));
            }
        }
        self.outstanding = 0;
    }

    /// A connection is up, to whichever replica: its sessions send what they still wait for.
    pub fn link_up(&mut self, link: usize) {
        self.links[link].up = true;
        self.links[link].redirect = None;
        self.links[link].heard_ns = self.woken_ns;
        for number in self.sessions_of(link) {
            let session = &mut self.sessions[number];
            if let Opening::Asked { .. } = session.opening {
                // Another replica may have opened it by now, and keep it for itself.
                session.renew(number, &mut self.rng);
            }
            session.writes.park_all();
            session.reads.park_all();
            session.again_at_ns = Some(0);
            self.mark(number);
        }
    }

    /// A connection broke; whoever holds it connects again, to the next replica.
    pub fn link_down(&mut self, link: usize, now_ns: u64) {
        self.book.counters.disconnects += 1;
        self.links[link].up = false;
        self.abandon(link, now_ns);
    }

    /// A frame came over a connection. `now_ns` must have been read after it came.
    pub fn frame(&mut self, link: usize, frame: &[u8], now_ns: u64) {
        self.links[link].heard_ns = now_ns;
        for answer in answers(frame) {
            match answer {
                Ok(answer) => self.answer(link, &answer, now_ns),
                Err(_) => self.book.counters.malformed += 1,
            }
        }
    }

    /// Offers what is due, looks at timeouts, and packs everything that can be sent into actions.
    pub fn advance(&mut self, now_ns: u64) {
        self.woken_ns = now_ns;
        self.admit_arrivals(now_ns);
        if now_ns >= self.housekeeping_ns {
            self.keep_house(now_ns);
        }
        for link in 0..self.links.len() {
            self.flush(link, now_ns);
        }
    }

    /// What is to be done, oldest first.
    pub fn actions(&mut self) -> impl Iterator<Item = Action> {
        self.actions.drain(..)
    }

    /// When `advance` must be called again, whatever happens before.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        self.next_arrival_ns().map_or(self.housekeeping_ns, |at_ns| {
            at_ns.max(self.woken_ns + WAKE_NS_MIN).min(self.housekeeping_ns)
        })
    }

    /// Operations begun and not ended.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Whether every connection is up and every session is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.links.iter().all(|link| link.up) && self.sessions.iter().all(|s| s.opening == Opening::Open)
    }

    /// Whether the load or the sweep has nothing left to offer and nothing is outstanding.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let offers = match self.source {
            Source::Idle => false,
            Source::Sweep { next, end, .. } => next < end,
            Source::Closed | Source::Open { .. } => true,
        };
        !offers && self.outstanding == 0
    }

    /// The id after the last value that can have been written: where a later run on the same replicas may begin.
    #[must_use]
    pub fn next_value_id(&self) -> u64 {
        self.config.first_value_id + u64::from(self.config.keys) + self.position
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.book.counters
    }

    /// What was measured so far.
    pub fn recorder(&mut self) -> &mut Recorder {
        &mut self.book.recorder
    }

    /// What was seen, where writes say what was read.
    pub fn take_sightings(&mut self) -> Option<Sightings> {
        self.scribe.contexts.take().map(Contexts::into_sightings)
    }

    /// What was measured, every operation, and what happened.
    #[must_use]
    pub fn into_results(self) -> (Recorder, History, Counters) {
        (self.book.recorder, self.book.history, self.book.counters)
    }

    fn begin(&mut self, source: Source) {
        assert_eq!(self.outstanding, 0, "operations of the last phase are outstanding");
        self.source = source;
        self.vacancies.clear();
    }

    /// Deals vacancies to the sessions in turn.
    fn vacate(&mut self, outstanding: u32) {
        self.vacancies.extend((0..self.sessions.len()).cycle().take(outstanding as usize));
    }
}

/// A duration as nanoseconds; what does not fit is for ever.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
