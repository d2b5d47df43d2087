//! The driver against a scripted world: time is a number, replicas are a real store behind a lossy, reordering wire.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::{Index, Refusal, SessionId};
use qlab_machines::kv;

use super::*;
use crate::history::Kind;
use crate::history::{End, NEVER};
use crate::keys::KeyDistribution;
use crate::mix::Mix;
use crate::targets::memory::{Engine, Frames, Store};
use qlab_kernel::{Outcome, Sequence};

const MS: u64 = 1_000_000;
const CLIENT: u16 = 5;
const TIMEOUT_MS: u64 = 100;
const GIVE_UP_MS: u64 = 1000;

fn config(links: usize, sessions: usize, window: u64) -> DriverConfig {
    DriverConfig {
        client: CLIENT,
        links,
        sessions,
        window,
        workload: Workload::Store,
        keys: 16,
        values: ValueSizes::fixed(16).unwrap(),
        first_value_id: 1,
        timeout: Duration::from_millis(TIMEOUT_MS),
        give_up: Duration::from_millis(GIVE_UP_MS),
        retry: Retry::SameNumber,
        contexts: false,
        seed: 7,
        entropy: 9,
    }
}

fn driver(load: &str, mix: &str, config: DriverConfig) -> Driver {
    let load = load.parse().unwrap();
    let mix: Mix = mix.parse().unwrap();
    let tape = Tape::draw(load, mix, KeyDistribution::Uniform, config.keys, 10_000, 7);
    Driver::new(config, load, tape)
}

/// Carries requests to a store and answers back, with whatever goes wrong on the way.
struct World {
    driver: Driver,
    store: Store,
    now_ns: u64,
    /// Answers on their way.
    wire: Vec<(usize, Bytes)>,
    /// Every command seen, by number, to see that none is reused.
    commands: BTreeMap<(SessionId, Sequence), Bytes>,
    redirects: Vec<(usize, Option<NodeId>)>,
    requests: usize,
}

impl World {
    /// All connections up and all sessions open at 1 s, measuring the next ten seconds.
    fn open(driver: Driver) -> Self {
        let mut world = Self::new(driver);
        for link in 0..world.driver.links.len() {
            world.driver.link_up(link);
        }
        world.turn();
        assert!(world.driver.is_ready());
        let window = Window { start_ns: world.now_ns, end_ns: world.now_ns + 10_000 * MS };
        world.driver.begin_load(world.now_ns, window, 1000 * MS);
        world
    }

    fn new(driver: Driver) -> Self {
        Self {
            driver,
            store: Store::default(),
            now_ns: 1000 * MS,
            wire: Vec::new(),
            commands: BTreeMap::new(),
            redirects: Vec::new(),
            requests: 0,
        }
    }

    /// Lets the driver act, executes what it sends, and delivers all answers.
    fn turn(&mut self) {
        self.act(|_| true);
        self.deliver();
    }

    /// Lets the driver act; requests that `arrives` is false for are lost. Answers stay on the wire.
    fn act(&mut self, mut arrives: impl FnMut(usize) -> bool) {
        self.driver.advance(self.now_ns);
        let actions: Vec<_> = self.driver.actions().collect();
        for action in actions {
            match action {
                Action::Send { link, request } => {
                    self.witness(&request);
                    self.requests += 1;
                    if arrives(self.requests) {
                        self.execute(link, &request);
                    }
                }
                Action::Redirect { link, leader } => self.redirects.push((link, leader)),
            }
        }
    }

    fn execute(&mut self, link: usize, request: &Request) {
        let mut frames = Frames::default();
        self.store.answer(request, &mut frames);
        self.wire.extend(frames.take().map(|frame| (link, frame)));
    }

    fn deliver(&mut self) {
        for (link, frame) in std::mem::take(&mut self.wire) {
            self.driver.frame(link, &frame, self.now_ns);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now_ns += ms * MS;
    }

    /// A number names one command for ever.
    fn witness(&mut self, request: &Request) {
        let (Request::Write(batch) | Request::Read(batch)) = request;
        assert!(batch.belongs_to(CLIENT.into()));
        for burst in batch.bursts() {
            for (number, command) in burst.commands() {
                let command = Bytes::copy_from_slice(command);
                let first = self.commands.entry((burst.session, number)).or_insert_with(|| command.clone());
                assert_eq!(*first, command, "number {number} was reused");
                assert!(number >= burst.settled, "number {number} was settled");
                assert!(number.0 - burst.settled.0 < SESSION_WINDOW);
            }
        }
    }

    /// Ends the load and lets everything finish.
    fn finish(mut self) -> (Recorder, History, Counters) {
        self.driver.end_load(self.now_ns);
        for _ in 0..2 * GIVE_UP_MS / 10 {
            self.turn();
            self.pass(10);
        }
        assert!(self.driver.is_done());
        self.driver.into_results()
    }

    /// Refuses the session's writes from `first` on.
    fn refuse(&mut self, link: usize, request: &Request, refusal: Refusal) {
        let (Request::Write(batch) | Request::Read(batch)) = request;
        let mut answers = AnswerBuilder::new();
        batch.bursts().for_each(|burst| answers.refuse(&burst, refusal));
        self.driver.frame(link, &answers.finish(), self.now_ns);
    }

    fn sent(&mut self) -> Vec<(usize, Request)> {
        self.driver.advance(self.now_ns);
        let actions: Vec<_> = self.driver.actions().collect();
        actions
            .into_iter()
            .filter_map(|action| match action {
                Action::Send { link, request } => Some((link, request)),
                Action::Redirect { link, leader } => {
                    self.redirects.push((link, leader));
                    None
                }
            })
            .collect()
    }
}

fn numbers_of(requests: &[(usize, Request)]) -> Vec<u64> {
    let batches = requests.iter().map(|(_, request)| match request {
        Request::Write(batch) | Request::Read(batch) => batch,
    });
    batches
        .flat_map(|batch| batch.bursts().flat_map(|b| b.commands().map(|(n, _)| n.0).collect::<Vec<_>>()))
        .collect()
}

#[test]
fn a_closed_loop_holds_exactly_its_number_in_flight() {
    let mut world = World::open(driver("closed:7", "a", config(2, 3, 64)));
    for _ in 0..100 {
        world.act(|_| true);
        assert_eq!(world.driver.outstanding(), 7);
        // Some answers come now, some a turn later.
        let late = world.wire.split_off(world.wire.len() / 2);
        world.deliver();
        world.wire = late;
        world.pass(1);
    }
    let (_, history, counters) = world.finish();
    assert_eq!((history.len() as u64, counters.in_flight_max), (counters.completed, 7));
    assert_eq!(history.iter().map(|op| op.process).max(), Some(6));
}

#[test]
fn everything_due_for_a_connection_leaves_in_one_batch() {
    let mut world = World::open(driver("closed:64", "0", config(1, 4, 64)));
    let sent = world.sent();
    assert_eq!(sent.len(), 1);
    let Request::Write(batch) = &sent[0].1 else { panic!("{sent:?}") };
    assert_eq!((batch.bursts().count(), batch.commands()), (4, 64));
}

#[test]
fn a_stall_shows_in_the_response_of_everything_that_was_meant_to_start_in_it() {
    // Window 4: during the stall, arrivals wait unsent, and only the response histogram can tell.
    let config = DriverConfig { timeout: Duration::from_millis(500), ..config(1, 1, 4) };
    let mut world = World::open(driver("open:1000/constant", "c", config));
    for ms in 0..1000 {
        let stalled = (300..500).contains(&ms);
        world.act(|_| true);
        if !stalled {
            world.deliver();
        }
        world.pass(1);
    }
    let (recorder, _, _) = world.finish();
    let read = recorder.class(Class::Read);
    let longer = |histogram: &hdrhistogram::Histogram<u64>, ms: u64| {
        histogram.len() - histogram.count_between(0, ms * MS)
    };
    assert!((195..=205).contains(&(read.response.max() / MS)), "{}", read.response.max());
    // Afterwards four are answered each millisecond: arrival n of the stall waits 200 − n + n / 4 ms, 133 of them over 100.
    assert!((128..=138).contains(&longer(&read.response, 100)), "{}", longer(&read.response, 100));
    assert!((120..=138).contains(&longer(&read.lag, 100)), "{}", longer(&read.lag, 100));
    assert!(longer(&read.service, 100) <= 4, "only a window's worth was sent into the stall");
}

#[test]
fn a_backlog_that_is_never_sent_is_recorded_with_its_wait() {
    let mut world = World::open(driver("open:1000/constant", "c", config(1, 1, 4)));
    for _ in 0..100 {
        world.act(|_| false);
        world.pass(1);
    }
    world.driver.give_up(world.now_ns);
    let (recorder, history, counters) = world.driver.into_results();
    let read = recorder.class(Class::Read);
    assert_eq!((counters.unknown, counters.unsent), (4, 96));
    assert_eq!((read.offered(), read.response.len(), history.len()), (100, 100, 4));
    assert!(read.response.max() >= 99 * MS);
}

#[test]
fn a_refusal_by_a_follower_is_followed_to_the_leader_with_the_same_numbers() {
    let mut world = World::open(driver("closed:5", "0", config(1, 1, 64)));
    let sent = world.sent();
    world.refuse(0, &sent[0].1, Refusal::NotLeader(Some(NodeId(2))));
    assert!(world.sent().is_empty());
    assert_eq!(world.redirects, [(0, Some(NodeId(2)))]);
    world.driver.link_up(0);
    let again = world.sent();
    assert_eq!(numbers_of(&again), numbers_of(&sent));
    assert_eq!((world.driver.counters().redirects, world.driver.counters().retries), (1, 5));
}

#[test]
fn a_connection_that_comes_up_again_gets_everything_outstanding_at_once() {
    let mut world = World::open(driver("closed:8", "a", config(1, 2, 64)));
    let mut sent = numbers_of(&world.sent());
    world.driver.link_down(0, world.now_ns);
    world.driver.link_up(0);
    let mut again = numbers_of(&world.sent());
    sent.sort_unstable();
    again.sort_unstable();
    assert_eq!(again, sent);
}

#[test]
fn redirects_that_lead_nowhere_slow_down() {
    let mut world = World::open(driver("closed:1", "0", config(1, 1, 64)));
    for _ in 0..1000 {
        for (link, request) in world.sent() {
            world.refuse(link, &request, Refusal::NotLeader(Some(NodeId(1))));
        }
        world.sent();
        for (link, _) in std::mem::take(&mut world.redirects) {
            world.driver.link_up(link);
        }
        world.pass(1);
    }
    assert!((10..30).contains(&world.driver.counters().redirects), "{:?}", world.driver.counters());
}

#[test]
fn a_busy_replica_is_asked_again_later_with_the_same_numbers() {
    let mut world = World::open(driver("closed:5", "0", config(1, 1, 64)));
    let sent = world.sent();
    world.refuse(0, &sent[0].1, Refusal::Busy);
    assert!(world.sent().is_empty());
    world.pass(1);
    assert_eq!(numbers_of(&world.sent()), numbers_of(&sent));
    assert_eq!(world.driver.counters().busy, 5);
    assert!(world.redirects.is_empty());
}

#[test]
fn a_replica_that_stops_leading_loses_its_connection() {
    let mut world = World::open(driver("closed:2", "a", config(1, 1, 64)));
    world.sent();
    let mut answers = AnswerBuilder::new();
    answers.moved(None);
    world.driver.frame(0, &answers.finish(), world.now_ns);
    world.sent();
    assert_eq!(world.redirects, [(0, None)]);
}

#[test]
fn a_timeout_moves_the_connection_and_giving_up_leaves_an_unknown_outcome() {
    let mut world = World::open(driver("closed:1", "0", config(1, 1, 64)));
    let first = world.sent();
    world.pass(TIMEOUT_MS + 20);
    world.sent();
    assert_eq!((world.redirects.len(), world.driver.counters().timeouts), (1, 1));
    world.driver.link_up(0);
    assert_eq!(numbers_of(&world.sent()), numbers_of(&first));
    world.pass(GIVE_UP_MS);
    let next = world.sent();
    assert_eq!(world.driver.counters().unknown, 1);
    world.driver.link_up(0);
    let next = [next, world.sent()].concat();
    assert_eq!(numbers_of(&next), [2], "the closed loop goes on with a number of its own");
    world.driver.give_up(world.now_ns);
    let (recorder, history, counters) = world.driver.into_results();
    assert!(history.iter().all(|op| op.end == End::Unknown && op.completed_ns == NEVER));
    let processes: BTreeSet<_> = history.iter().map(|op| op.process).collect();
    assert_eq!(
        (processes.len(), counters.unknown),
        (2, 2),
        "a process asks nothing after an unknown outcome"
    );
    assert!(recorder.class(Class::Write).response.max() >= (GIVE_UP_MS + TIMEOUT_MS) * MS);
}

#[test]
fn a_forgotten_session_starts_over_and_what_it_sent_is_unknown() {
    let mut world = World::open(driver("closed:3", "0", config(1, 1, 64)));
    let old = world.driver.sessions[0].writes.id();
    world.store = Store::default();
    world.turn();
    assert_eq!((world.driver.counters().unknown, world.driver.counters().expired), (3, 1));
    assert_ne!(world.driver.sessions[0].writes.id(), old);
    for _ in 0..3 {
        world.turn();
    }
    assert!(world.driver.counters().completed >= 3);
}

#[test]
fn a_late_copy_that_is_told_it_is_settled_changes_nothing() {
    let mut world = World::open(driver("closed:3", "0", config(1, 1, 64)));
    world.turn();
    world.act(|_| true);
    let mut answers = AnswerBuilder::new();
    answers.begin_written(world.driver.sessions[0].writes.id(), Sequence(1), Index(1));
    (0..3).for_each(|_| answers.push_outcome(Outcome::of(Outcome::SETTLED)));
    world.driver.frame(0, &answers.finish(), world.now_ns);
    world.deliver();
    let counters = world.driver.counters();
    assert_eq!((counters.stale, counters.expired, counters.unknown, counters.completed), (3, 0, 0, 6));
}

#[test]
fn a_burst_too_large_for_a_batch_is_cut() {
    let config = DriverConfig { values: ValueSizes::fixed(100_000).unwrap(), ..config(1, 1, 64) };
    let mut world = World::open(driver("closed:30", "0", config));
    let sent = world.sent();
    assert_eq!(numbers_of(&sent), (1..=30).collect::<Vec<_>>());
    let batches: Vec<_> = sent
        .iter()
        .map(|(_, request)| match request {
            Request::Write(batch) | Request::Read(batch) => batch.len(),
        })
        .collect();
    assert_eq!(batches.len(), 3);
    assert!(batches.iter().all(|bytes| *bytes <= qlab_kernel::limits::BATCH_BYTES_MAX));
}

#[test]
fn without_exactly_once_a_write_is_not_sent_twice() {
    let config = DriverConfig { retry: Retry::ReadsOnly, ..config(1, 1, 64) };
    let mut world = World::open(driver("closed:8", "a", config));
    world.act(|_| false);
    world.driver.link_down(0, world.now_ns);
    world.driver.link_up(0);
    let sent = world.sent();
    let (writes, reads): (Vec<_>, Vec<_>) =
        sent.into_iter().partition(|(_, request)| matches!(request, Request::Write(_)));
    let counters = world.driver.counters();
    assert!(counters.unknown > 0 && counters.retries > 0);
    assert_eq!(counters.unknown + counters.retries, 8);
    assert!(numbers_of(&writes).into_iter().all(|number| number > counters.unknown));
    assert_eq!(numbers_of(&reads)[0], 1);
}

#[test]
fn without_exactly_once_a_timeout_loses_no_write_and_asks_again_for_reads() {
    let config = DriverConfig { retry: Retry::ReadsOnly, ..config(1, 2, 64) };
    let mut world = World::open(driver("closed:8", "a", config));
    let first = world.sent();
    world.driver.end_load(world.now_ns);
    let is_write = |request: &Request| matches!(request, Request::Write(_));
    let reads = first.iter().filter(|(_, request)| !is_write(request)).cloned().collect::<Vec<_>>();
    world.pass(TIMEOUT_MS + 20);
    let again = world.sent();
    assert!(!reads.is_empty() && again.iter().all(|(_, request)| !is_write(request)));
    assert_eq!(numbers_of(&again), numbers_of(&reads));
    world.pass(GIVE_UP_MS - TIMEOUT_MS - 30);
    world.sent();
    first.iter().for_each(|(link, request)| world.execute(*link, request));
    world.deliver();
    let counters = world.driver.counters();
    assert_eq!((counters.unknown, counters.redirects, counters.completed), (0, 0, 8));
}

#[test]
fn without_exactly_once_a_read_goes_elsewhere_once_no_write_holds_its_connection() {
    let config = DriverConfig { retry: Retry::ReadsOnly, ..config(1, 1, 64) };
    let mut world = World::open(driver("closed:4", "c", config));
    world.sent();
    world.pass(TIMEOUT_MS + 20);
    world.sent();
    assert_eq!(world.redirects, [(0, None)]);
}

#[test]
fn without_exactly_once_a_write_is_given_up_alone_where_others_are_answered() {
    let config = DriverConfig { retry: Retry::ReadsOnly, ..config(1, 1, 64) };
    let mut world = World::open(driver("open:20/constant", "0", config));
    while world.driver.outstanding() == 0 {
        world.act(|_| false);
        world.pass(10);
    }
    // Answers take a while: there is always another write on its way.
    for _ in 0..2 * GIVE_UP_MS / 60 {
        world.pass(60);
        let arrived = std::mem::take(&mut world.wire);
        world.act(|_| true);
        let on_the_way = std::mem::replace(&mut world.wire, arrived);
        world.deliver();
        world.wire = on_the_way;
    }
    world.deliver();
    let counters = world.driver.counters();
    assert_eq!((counters.unknown, counters.redirects), (1, 0));
    assert!(counters.completed > GIVE_UP_MS / 60);
}

#[test]
fn without_exactly_once_a_connection_is_left_when_it_was_silent_until_giving_up() {
    let config = DriverConfig { retry: Retry::ReadsOnly, ..config(1, 1, 64) };
    let mut world = World::open(driver("open:20/constant", "0", config));
    for _ in 0..GIVE_UP_MS / 10 {
        world.act(|_| false);
        world.pass(10);
    }
    assert_eq!((world.driver.counters().unknown, world.redirects.len()), (0, 0));
    world.pass(100);
    world.act(|_| false);
    assert_eq!(world.redirects, [(0, None)]);
}

#[test]
fn a_read_modify_write_is_a_get_and_a_compare_and_set_of_the_same_key() {
    let mut world = World::open(driver("closed:1", "f", config(1, 1, 64)));
    for _ in 0..200 {
        world.turn();
        world.pass(1);
    }
    let (recorder, history, counters) = world.finish();
    let operations: Vec<_> = history.iter().collect();
    let swaps: Vec<_> = operations.windows(2).filter(|pair| pair[1].kind == Kind::CompareAndSet).collect();
    assert!(swaps.len() > 30);
    assert!(swaps.iter().all(|pair| (pair[0].key, pair[0].value, pair[0].process)
        == (pair[1].key, pair[1].expected, pair[1].process)));
    assert!(swaps.iter().all(|pair| pair[1].end == End::Ok));
    let modified = recorder.class(Class::ReadModifyWrite);
    assert_eq!((modified.answered, modified.mismatched), (swaps.len() as u64, 0));
    assert!(modified.response.min() >= MS - MS / 500, "both halves count");
    assert_eq!(counters.completed + swaps.len() as u64, history.len() as u64);
}

#[test]
fn a_sweep_touches_every_key_once_and_reads_back_what_it_wrote() {
    let mut world = World::new(driver("closed:1", "a", config(1, 2, 64)));
    world.driver.link_up(0);
    world.turn();
    for class in [Class::Write, Class::Read] {
        world.driver.begin_sweep(class, 5);
        while !world.driver.is_done() {
            world.turn();
        }
    }
    let (recorder, history, _) = world.driver.into_results();
    let mut read: Vec<_> = history.iter().skip(16).map(|op| (op.key, op.value)).collect();
    read.sort_unstable();
    assert_eq!(read, (0..16).map(|key| (key, 1 + u64::from(key))).collect::<Vec<_>>());
    assert_eq!(recorder.total().offered(), 0, "sweeps are not measured");
}

#[test]
fn errors_and_foreign_values_are_told_apart_from_answers() {
    let mut world = World::open(driver("closed:4", "a", config(1, 1, 64)));
    for (link, request) in world.sent() {
        let mut answers = AnswerBuilder::new();
        match &request {
            Request::Write(batch) => batch.bursts().for_each(|burst| {
                answers.begin_written(burst.session, burst.first, Index(1));
                (0..burst.count).for_each(|_| answers.push_outcome(Outcome::of(kv::FULL)));
            }),
            Request::Read(batch) => batch.bursts().for_each(|burst| {
                answers.begin_values(burst.session, burst.first, Index(1));
                (0..burst.count).for_each(|_| answers.push_value(kv::FOUND, b"somebody else's"));
            }),
        }
        world.driver.frame(link, &answers.finish(), world.now_ns);
    }
    let counters = world.driver.counters();
    assert_eq!((counters.errors + counters.foreign, counters.completed), (4, counters.foreign));
    assert!(counters.errors > 0 && counters.foreign > 0);
}

#[test]
fn an_answer_to_something_else_than_was_asked_leaves_the_outcome_unknown() {
    for status in [kv::MISMATCH, kv::SWAPPED, kv::DELETED, kv::ABSENT, kv::FOUND, Outcome::OPENED, 100] {
        let mut world = World::open(driver("closed:1", "0", config(1, 1, 64)));
        world.sent();
        let mut answers = AnswerBuilder::new();
        answers.begin_written(world.driver.sessions[0].writes.id(), Sequence(1), Index(1));
        answers.push_outcome(Outcome::of(status));
        world.driver.frame(0, &answers.finish(), world.now_ns);
        let (_, history, counters) = world.driver.into_results();
        assert_eq!((counters.unknown, counters.completed, counters.errors), (1, 0, 0), "status {status}");
        assert!(history.iter().all(|op| op.end == End::Unknown && op.completed_ns == NEVER));
    }
}

#[test]
fn a_value_in_answer_to_a_write_leaves_the_outcome_unknown() {
    let mut world = World::open(driver("closed:1", "0", config(1, 1, 64)));
    world.sent();
    let mut answers = AnswerBuilder::new();
    answers.begin_values(world.driver.sessions[0].writes.id(), Sequence(1), Index(1));
    answers.push_value(kv::ABSENT, &[]);
    world.driver.frame(0, &answers.finish(), world.now_ns);
    assert_eq!((world.driver.counters().unknown, world.driver.counters().completed), (1, 0));
}

#[test]
fn nonsense_is_counted_and_changes_nothing() {
    let mut world = World::open(driver("closed:4", "a", config(1, 1, 64)));
    world.act(|_| true);
    world.driver.frame(0, b"nonsense", world.now_ns);
    let mut answers = AnswerBuilder::new();
    answers.begin_written(SessionId(12345), Sequence(1), Index(1));
    answers.push_outcome(Outcome::of(kv::STORED));
    answers.begin_written(world.driver.sessions[0].writes.id(), Sequence(u64::MAX), Index(1));
    answers.push_outcome(Outcome::of(kv::STORED));
    world.driver.frame(0, &answers.finish(), world.now_ns);
    let counters = world.driver.counters();
    assert_eq!((counters.malformed, counters.stale, counters.completed), (1, 2, 0));
    world.deliver();
    assert_eq!(world.driver.counters().completed, 4);
}

/// What the world does next.
#[derive(Clone, Debug)]
enum Step {
    Turn,
    LoseRequests,
    LoseAnswers,
    Reorder,
    Break(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Turn),
        1 => Just(Step::LoseRequests),
        1 => Just(Step::LoseAnswers),
        2 => Just(Step::Reorder),
        1 => (0_usize..2).prop_map(Step::Break),
        3 => (0_u64..150).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..60)
}

fn take(world: &mut World, step: &Step) {
    match step {
        Step::Turn => world.turn(),
        Step::LoseRequests => world.act(|request| request % 2 == 0),
        Step::LoseAnswers => {
            world.act(|_| true);
            world.wire.clear();
        }
        Step::Reorder => {
            world.act(|_| true);
            world.wire.reverse();
        }
        Step::Break(link) => {
            world.driver.link_down(*link, world.now_ns);
            world.driver.link_up(*link);
        }
        Step::Pass(ms) => world.pass(*ms),
    }
    for (link, _) in std::mem::take(&mut world.redirects) {
        world.driver.link_up(link);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_operation_ends_once_whatever_the_wire_does(
        steps in steps(),
        load in prop_oneof![Just("closed:9"), Just("open:300")],
        mix in prop_oneof![Just("a"), Just("f"), Just("0")],
    ) {
        let mut world = World::open(driver(load, mix, config(2, 3, 8)));
        for step in &steps {
            take(&mut world, step);
        }
        let admitted = world.driver.position;
        world.driver.end_load(world.now_ns);
        let on_tape = world.driver.position - admitted;
        for _ in 0..300 {
            take(&mut world, &Step::Turn);
            world.pass(10);
        }
        prop_assert!(world.driver.is_done());
        let (recorder, history, counters) = world.driver.into_results();
        prop_assert_eq!(counters.errors, 0);
        prop_assert_eq!(counters.completed + counters.unknown + counters.unsent, admitted + on_tape);
        prop_assert_eq!(recorder.total().offered(), admitted + on_tape);
        prop_assert_eq!(recorder.total().response.len(), admitted + on_tape);
        // Every value is written by one operation, and every value read was written by one.
        let written: BTreeSet<_> = history.iter().filter(|op| op.kind != Kind::Get).map(|op| op.value).collect();
        let writes = history.iter().filter(|op| op.kind != Kind::Get).count();
        prop_assert_eq!(written.len(), writes);
        for op in history.iter().filter(|op| op.kind == Kind::Get && op.end == End::Ok) {
            prop_assert!(op.value == crate::history::ABSENT || written.contains(&op.value));
            prop_assert!(op.sent_ns <= op.completed_ns);
        }
        // A process has one operation at a time and none after an unknown one.
        let mut busy_until = BTreeMap::new();
        let mut by_start: Vec<_> = history.iter().collect();
        by_start.sort_by_key(|op| (op.sent_ns, op.completed_ns));
        for op in by_start {
            let until = busy_until.insert(op.process, op.completed_ns).unwrap_or(0);
            prop_assert!(until <= op.sent_ns, "process {} is asked twice at a time", op.process);
        }
    }
}
