//! What a host does for the lock service: ticks of the replicas' own, and queries that wait.

use std::time::Duration;

use qlab_kernel::client::{AnswerBody, AnswerBuilder, answers};
use qlab_kernel::{Batch, BatchBuilder, Index, Outcome, Sequence, SessionId, Time};
use qlab_machines::answers::Unheard;
use qlab_machines::lock::lease::TICK_INTERVAL;
use qlab_machines::lock::{self, Command, LockId, Mode, OwnerId, Token};
use qlab_machines::parked::PARKED_TIME_MAX;
use qlab_machines::{Answers, Application, MachineKind};

const LOCK: LockId = LockId(7);
const FIRST: OwnerId = OwnerId(1);
const SECOND: OwnerId = OwnerId(2);

/// A replica that leads, with one client, whose next number is its own to count.
struct Host {
    application: Application,
    now: Time,
    index: Index,
    next: Sequence,
    heard: Heard,
}

#[derive(Default)]
struct Heard(AnswerBuilder);

impl Answers for Heard {
    fn room(&mut self, _: SessionId, _: usize) -> Option<&mut AnswerBuilder> {
        Some(&mut self.0)
    }
}

impl Heard {
    /// What was answered, as numbers of questions with status and number.
    fn take(&mut self) -> Vec<(u64, u8, u64)> {
        let frame = self.0.finish();
        let mut taken = Vec::new();
        for answer in answers(&frame).map(Result::unwrap) {
            let numbers = answer.first.0..;
            match answer.body {
                AnswerBody::Written(outcomes) => {
                    taken.extend(
                        numbers.zip(outcomes.iter()).map(|(n, outcome)| (n, outcome.status, outcome.number)),
                    );
                }
                AnswerBody::Values(values) => {
                    taken.extend(numbers.zip(values.iter()).map(|(n, (status, value))| {
                        (n, status, value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
                    }))
                }
                other => panic!("{other:?}"),
            }
        }
        taken
    }
}

impl Host {
    fn new() -> Self {
        let mut host = Self {
            application: Application::new(MachineKind::Locks),
            now: Time(1),
            index: Index::ZERO,
            next: Sequence(1),
            heard: Heard::default(),
        };
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(5), Sequence::ZERO, Sequence::ZERO);
        host.apply(&builder.finish());
        host.heard.take();
        host
    }

    fn apply(&mut self, batch: &Batch) {
        self.index = self.index.next();
        self.application.apply(self.index, batch, &mut self.heard);
        self.application.conclude(self.now, &mut self.heard);
    }

    fn batch(&mut self, command: Command<'_>) -> Batch {
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(5), self.next, Sequence(1));
        builder.push_bytes(&command.to_bytes());
        self.next = self.next.next();
        builder.finish()
    }

    fn run(&mut self, command: Command<'_>) -> Vec<(u64, u8, u64)> {
        let batch = self.batch(command);
        self.apply(&batch);
        self.heard.take()
    }

    fn query(&mut self, command: Command<'_>) -> Vec<(u64, u8, u64)> {
        let batch = self.batch(command);
        self.application.query(&batch, self.now, &mut self.heard);
        self.heard.take()
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn ticks(&self) -> u64 {
        self.application.locks().expect("the lock service").ticks()
    }
}

/// Two owners, the first of which holds the lock that the second waits for.
fn contended() -> Host {
    let mut host = Host::new();
    for (number, owner) in [(1, FIRST), (2, SECOND)] {
        assert_eq!(host.run(Command::Open { ttl_ns: 100_000_000 }), [(number, lock::OPENED, owner.0)]);
    }
    let acquire = |owner| Command::Acquire { owner, lock: LOCK, mode: Mode::Exclusive };
    assert_eq!(host.run(acquire(FIRST)), [(3, lock::GRANTED, 1)]);
    assert_eq!(host.run(acquire(SECOND)), [(4, lock::QUEUED, 0)]);
    host
}

#[test]
fn time_passes_only_when_replicas_say_so_and_once_for_each_tick() {
    let mut host = Host::new();
    host.pass(TICK_INTERVAL);
    assert_eq!(host.application.propose(host.now), None, "nobody's lease depends on time");
    assert_eq!(host.application.deadline(), None);
    host.run(Command::Open { ttl_ns: 100_000_000 });
    let from_client = host.run(Command::Tick { after: 0, elapsed_ns: 1_000_000 });
    assert_eq!((from_client, host.ticks()), (vec![(2, Outcome::MALFORMED, 0)], 0));
    let (one, other) =
        (host.application.propose(host.now).unwrap(), host.application.clone().propose(host.now));
    assert_eq!(other, None, "one that is on its way is not proposed again at once");
    host.apply(&one);
    host.apply(&one);
    assert_eq!(host.ticks(), 1);
    host.pass(TICK_INTERVAL - Duration::from_nanos(1));
    assert_eq!(host.application.propose(host.now), None);
    host.pass(Duration::from_nanos(1));
    assert_eq!(host.application.deadline(), Some(host.now));
    let lost = host.application.propose(host.now).unwrap();
    host.pass(TICK_INTERVAL);
    let again = host.application.propose(host.now).unwrap();
    host.apply(&again);
    host.apply(&lost);
    assert_eq!(host.ticks(), 2, "two that count from the same tick are one");
}

#[test]
fn whoever_waits_is_answered_when_the_lock_is_its_own() {
    let mut host = contended();
    let wait = Command::Wait { owner: SECOND, lock: LOCK };
    assert_eq!(host.query(wait), []);
    assert_eq!(host.query(Command::Wait { owner: FIRST, lock: LOCK }), [(6, lock::GRANTED, 1)]);
    host.pass(Duration::from_millis(1));
    assert_eq!(host.run(Command::Renew { owner: FIRST }), [(7, lock::RENEWED, 0)]);
    let release = Command::Release { owner: FIRST, lock: LOCK, token: Token(1) };
    assert_eq!(host.run(release), [(8, lock::RELEASED, 0), (5, lock::GRANTED, 2)]);
    host.apply(&Batch::default());
    assert_eq!(host.heard.take(), [], "an answer is given once");
}

#[test]
fn whoever_has_waited_long_is_told_that_it_still_does() {
    let mut host = contended();
    assert_eq!(host.query(Command::Wait { owner: SECOND, lock: LOCK }), []);
    host.pass(PARKED_TIME_MAX - Duration::from_nanos(1));
    host.application.conclude(host.now, &mut host.heard);
    assert_eq!(host.heard.take(), []);
    host.pass(Duration::from_nanos(1));
    host.application.conclude(host.now, &mut host.heard);
    assert_eq!(host.heard.take(), [(5, lock::QUEUED, 0)]);
}

#[test]
fn whoever_waits_for_the_dead_outlives_them() {
    let mut host = contended();
    let mut waited = Duration::ZERO;
    while host.application.locks().unwrap().lock(LOCK).unwrap().holders()[0].owner == FIRST {
        host.run(Command::Renew { owner: SECOND });
        host.pass(TICK_INTERVAL);
        waited += TICK_INTERVAL;
        let tick = host.application.propose(host.now).unwrap();
        host.apply(&tick);
        assert!(waited < Duration::from_secs(1), "the lease of the dead does not end");
    }
    assert!(waited > Duration::from_millis(100));
}

#[test]
fn an_image_is_taken_over_by_another_replica_with_its_time() {
    let mut host = contended();
    host.pass(TICK_INTERVAL);
    let tick = host.application.propose(host.now).unwrap();
    host.apply(&tick);
    let mut copy = Application::new(MachineKind::Locks);
    copy.restore(host.index, host.application.capture()).unwrap();
    copy.conclude(host.now, &mut Unheard);
    assert_eq!((copy.chain(), copy.capture()), (host.application.chain(), host.application.capture()));
    assert_eq!(copy.deadline(), Some(host.now + TICK_INTERVAL));
    assert!(copy.kv().is_none() && copy.restore(Index(1), copy.capture()).is_err());
}

#[test]
fn names_lead_to_their_machines_and_others_are_refused() {
    for kind in MachineKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let refused = "lock".parse::<MachineKind>().unwrap_err().to_string();
    assert_eq!(refused, "there is no machine \"lock\"; there are kv and locks");
}
