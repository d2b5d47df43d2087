//! Stories of owners and locks.

use qlab_kernel::client::{AnswerBody, AnswerBuilder, answers};
use qlab_kernel::{BatchBuilder, Index, Outcome, Sequence, SessionId, Time};
use qlab_machines::lock::lease::{CLOCK_DRIFT_PPM_MAX, TICK_NS_MAX, TTL_NS_MIN};
use qlab_machines::lock::register::{REGISTER_BYTES_MAX, REGISTERS_MAX};
use qlab_machines::lock::{
    self, ABORTED, CLAIMS_MAX, Command, Holder, LOCKS_MAX, LockId, Locks, Mode, OWNERS_MAX, OwnerId, Policy,
    Token, WAITERS_MAX,
};
use qlab_machines::{Answers, Machine, Service};

const TTL_NS: u64 = 10_000_000;
const ALICE: OwnerId = OwnerId(1);
const BOB: OwnerId = OwnerId(2);
const CAROL: OwnerId = OwnerId(3);
const A: LockId = LockId(10);
const B: LockId = LockId(11);

fn run(locks: &mut Locks, command: Command<'_>) -> (u8, u64) {
    let Outcome { status, number } = locks.apply(&command.to_bytes());
    (status, number)
}

fn wait(locks: &Locks, owner: OwnerId, lock: LockId) -> (u8, u64) {
    let value = locks.query(&Command::Wait { owner, lock }.to_bytes());
    (value.status, value.bytes.first_chunk().map_or(0, |number| u64::from_le_bytes(*number)))
}

fn acquire(owner: OwnerId, lock: LockId) -> Command<'static> {
    Command::Acquire { owner, lock, mode: Mode::Exclusive }
}

fn share(owner: OwnerId, lock: LockId) -> Command<'static> {
    Command::Acquire { owner, lock, mode: Mode::Shared }
}

fn tick(locks: &mut Locks, elapsed_ns: u64) {
    let tick = Command::Tick { after: locks.ticks(), elapsed_ns };
    assert_eq!(run(locks, tick), (lock::TICKED, locks.ticks()));
}

/// A service with Alice, Bob and Carol, the oldest first.
fn opened(policy: Policy) -> Locks {
    let mut locks = Locks::default();
    assert_eq!(run(&mut locks, Command::Policy(policy)), (lock::SET, 0));
    for owner in [ALICE, BOB, CAROL] {
        assert_eq!(run(&mut locks, Command::Open { ttl_ns: TTL_NS }), (lock::OPENED, owner.0));
    }
    locks
}

/// Alice and Bob each hold one lock, and Alice waits for Bob's.
fn half_a_circle(policy: Policy) -> Locks {
    let mut locks = opened(policy);
    assert_eq!(run(&mut locks, acquire(ALICE, A)), (lock::GRANTED, 1));
    assert_eq!(run(&mut locks, acquire(BOB, B)), (lock::GRANTED, 2));
    run(&mut locks, acquire(ALICE, B));
    locks
}

/// Alice adds one to a counter under a lock, but is stopped between reading and writing for longer than her lease; meanwhile
/// Bob adds one, too. What each write is answered, and the counter in the end.
fn two_increments(fenced: bool) -> ([u8; 2], u8) {
    let mut locks = opened(Policy::Detect);
    let mut belief = Holder::new(TTL_NS);
    belief.ask(Sequence(1), Time(0));
    belief.hear(Sequence(1), Outcome::of(lock::RENEWED), Time(1_000));
    let counter =
        |locks: &Locks| locks.register(A).and_then(|register| register.value.first().copied()).unwrap_or(0);
    let write = |locks: &mut Locks, token, value: &[u8]| {
        let fenced_write = Command::Write { register: A, token: Token(token), value };
        let command = if fenced { fenced_write } else { Command::WriteUnfenced { register: A, value } };
        run(locks, command).0
    };

    let (_, alices) = run(&mut locks, acquire(ALICE, A));
    let alice_read = counter(&locks);
    assert!(belief.may_believe(Time(2_000)), "she looks at her clock, goes on, and is stopped");

    assert_eq!(run(&mut locks, acquire(BOB, A)), (lock::QUEUED, 0));
    tick(&mut locks, 1);
    for _ in 0..11 {
        assert_eq!(run(&mut locks, Command::Renew { owner: BOB }).0, lock::RENEWED);
        tick(&mut locks, 1_000_000);
    }
    let (status, bobs) = wait(&locks, BOB, A);
    assert_eq!(status, lock::GRANTED);
    let bob_read = counter(&locks);
    let bobs_write = write(&mut locks, bobs, &[bob_read + 1]);
    assert_eq!(
        run(&mut locks, Command::Release { owner: BOB, lock: A, token: Token(bobs) }).0,
        lock::RELEASED
    );

    let alices_write = write(&mut locks, alices, &[alice_read + 1]);
    assert!(!belief.may_believe(Time(11_000_000)), "had she looked again, she had known");
    ([bobs_write, alices_write], counter(&locks))
}

#[test]
fn a_holder_that_was_stopped_is_fenced_off_and_may_try_again() {
    assert_eq!(two_increments(true), ([lock::WRITTEN, lock::FENCED], 1));
}

#[test]
fn without_fencing_a_holder_that_was_stopped_overwrites_an_update() {
    assert_eq!(two_increments(false), ([lock::WRITTEN, lock::WRITTEN], 1), "two increments, and one is lost");
}

#[test]
fn a_lease_runs_from_the_tick_after_its_renewal() {
    let mut locks = opened(Policy::Detect);
    run(&mut locks, acquire(ALICE, A));
    run(&mut locks, acquire(BOB, A));
    // This tick may have been measured before anyone came.
    tick(&mut locks, 10 * TTL_NS);
    tick(&mut locks, TTL_NS);
    run(&mut locks, Command::Renew { owner: BOB });
    tick(&mut locks, TTL_NS * CLOCK_DRIFT_PPM_MAX / 1_000_000 - 1);
    assert_eq!(wait(&locks, BOB, A), (lock::QUEUED, 0), "Alice's lease has a nanosecond left");
    tick(&mut locks, 1);
    assert_eq!(wait(&locks, BOB, A), (lock::GRANTED, 2));
    assert_eq!(run(&mut locks, Command::Renew { owner: ALICE }), (lock::NO_OWNER, 0));
    assert_eq!(run(&mut locks, acquire(ALICE, A)), (lock::NO_OWNER, 0));
}

#[test]
fn of_two_ticks_that_count_the_same_time_one_counts_and_a_wild_one_counts_little() {
    let mut locks = opened(Policy::Detect);
    tick(&mut locks, 1);
    let late = Command::Tick { after: 0, elapsed_ns: TICK_NS_MAX };
    assert_eq!(run(&mut locks, late), (lock::LATE, 1));
    assert_eq!(locks.owners().count(), 3);
    let mut locks = Locks::default();
    run(&mut locks, Command::Open { ttl_ns: 2 * TICK_NS_MAX });
    tick(&mut locks, 0);
    tick(&mut locks, u64::MAX);
    assert_eq!(locks.owners().count(), 1);
}

#[test]
fn when_an_owner_ends_its_locks_go_to_those_next_in_line_in_the_same_command() {
    for ending in [Command::Close { owner: ALICE }, Command::Restart { owner: ALICE }] {
        let mut locks = opened(Policy::Detect);
        run(&mut locks, acquire(ALICE, B));
        run(&mut locks, acquire(ALICE, A));
        run(&mut locks, share(BOB, A));
        run(&mut locks, share(CAROL, A));
        run(&mut locks, acquire(BOB, B));
        run(&mut locks, ending);
        assert_eq!(wait(&locks, BOB, A), (lock::GRANTED, 3));
        assert_eq!(wait(&locks, CAROL, A), (lock::GRANTED, 4));
        assert_eq!(wait(&locks, BOB, B), (lock::GRANTED, 5));
        run(&mut locks, Command::Close { owner: BOB });
        run(&mut locks, Command::Close { owner: CAROL });
        assert_eq!(locks.locks().count(), 0);
    }
}

#[test]
fn owners_that_die_together_hand_nothing_to_each_other() {
    let mut locks = opened(Policy::Detect);
    run(&mut locks, acquire(ALICE, A));
    run(&mut locks, acquire(BOB, A));
    tick(&mut locks, 0);
    run(&mut locks, acquire(CAROL, A));
    run(&mut locks, Command::Renew { owner: CAROL });
    tick(&mut locks, 2 * TTL_NS);
    assert_eq!(wait(&locks, CAROL, A), (lock::GRANTED, 2), "no token was spent on Bob");
}

#[test]
fn readers_do_not_starve_a_writer() {
    let mut locks = opened(Policy::Detect);
    run(&mut locks, share(ALICE, A));
    assert_eq!(run(&mut locks, acquire(BOB, A)), (lock::QUEUED, 0));
    assert_eq!(run(&mut locks, share(CAROL, A)), (lock::QUEUED, 1));
    let attempt = Command::Try { owner: CAROL, lock: A, mode: Mode::Shared };
    assert_eq!(run(&mut locks, attempt), (lock::QUEUED, 1), "she waits already");
    run(&mut locks, Command::Withdraw { owner: CAROL, lock: A });
    assert_eq!(run(&mut locks, attempt), (lock::TAKEN, 0));
    assert_eq!(
        run(&mut locks, Command::Release { owner: ALICE, lock: A, token: Token(1) }).0,
        lock::RELEASED
    );
    assert_eq!(wait(&locks, BOB, A), (lock::GRANTED, 2));
}

#[test]
fn a_lock_is_released_by_its_grant_alone() {
    let mut locks = opened(Policy::Detect);
    run(&mut locks, acquire(ALICE, A));
    let release = |owner, token| Command::Release { owner, lock: A, token: Token(token) };
    assert_eq!(run(&mut locks, release(BOB, 1)), (lock::NOT_HELD, 0));
    assert_eq!(run(&mut locks, release(ALICE, 0)), (lock::NOT_HELD, 0));
    assert_eq!(run(&mut locks, release(ALICE, 1)), (lock::RELEASED, 0));
    assert_eq!(run(&mut locks, acquire(ALICE, A)), (lock::GRANTED, 2));
    assert_eq!(run(&mut locks, release(ALICE, 1)), (lock::NOT_HELD, 0), "a release from before");
    assert_eq!(wait(&locks, ALICE, A), (lock::GRANTED, 2));
}

#[test]
fn a_shared_claim_is_not_made_exclusive() {
    let mut locks = opened(Policy::Detect);
    run(&mut locks, share(ALICE, A));
    assert_eq!(run(&mut locks, acquire(ALICE, A)), (lock::OTHER_MODE, 0));
    run(&mut locks, acquire(BOB, B));
    assert_eq!(run(&mut locks, share(BOB, B)), (lock::GRANTED, 2), "exclusive is as good as shared");
}

#[test]
fn a_circle_is_broken_by_its_youngest_owner() {
    let mut locks = half_a_circle(Policy::Detect);
    assert_eq!(wait(&locks, ALICE, B), (lock::QUEUED, 0));
    assert_eq!(locks.waits_for(ALICE).collect::<Vec<_>>(), [BOB]);
    assert_eq!(run(&mut locks, acquire(BOB, A)), (ABORTED, 0), "Bob closes the circle, and is younger");
    assert_eq!(wait(&locks, ALICE, B), (lock::GRANTED, 3));
    assert_eq!(run(&mut locks, acquire(BOB, B)), (ABORTED, 0));
    assert_eq!(run(&mut locks, Command::Restart { owner: BOB }), (lock::RESTARTED, 0));
    assert_eq!(run(&mut locks, acquire(BOB, B)), (lock::QUEUED, 0));
}

#[test]
fn a_victim_need_not_be_the_one_that_closed_the_circle() {
    let mut locks = opened(Policy::Detect);
    run(&mut locks, acquire(ALICE, A));
    run(&mut locks, acquire(CAROL, B));
    run(&mut locks, acquire(CAROL, A));
    run(&mut locks, acquire(BOB, A));
    assert_eq!(run(&mut locks, acquire(ALICE, B)), (lock::GRANTED, 3), "Carol was in her way");
    assert_eq!(wait(&locks, CAROL, B), (ABORTED, 0));
    assert_eq!(wait(&locks, BOB, A), (lock::QUEUED, 0), "Bob waited for her, but not she for him");
}

#[test]
fn under_wait_die_the_younger_one_dies_rather_than_wait() {
    let mut locks = half_a_circle(Policy::WaitDie);
    assert_eq!(wait(&locks, ALICE, B), (lock::QUEUED, 0), "the older one may wait");
    assert_eq!(run(&mut locks, acquire(BOB, A)), (ABORTED, 0));
    assert_eq!(wait(&locks, ALICE, B), (lock::GRANTED, 3));
}

#[test]
fn under_wound_wait_the_older_one_takes_what_the_younger_one_holds() {
    let mut locks = half_a_circle(Policy::WoundWait);
    assert_eq!(wait(&locks, ALICE, B), (lock::GRANTED, 3));
    assert_eq!(wait(&locks, BOB, B), (ABORTED, 0));
    run(&mut locks, Command::Restart { owner: BOB });
    assert_eq!(run(&mut locks, acquire(BOB, A)), (lock::QUEUED, 0), "the younger one may wait");
    let stale = Command::Write { register: B, token: Token(2), value: b"late" };
    run(&mut locks, Command::Write { register: B, token: Token(3), value: b"new" });
    assert_eq!(run(&mut locks, stale), (lock::FENCED, 3), "who was wounded is fenced off");
}

#[test]
fn the_policy_stays_while_there_are_owners() {
    let mut locks = opened(Policy::WaitDie);
    assert_eq!(run(&mut locks, Command::Policy(Policy::Detect)), (lock::IN_USE, 0));
    for owner in [ALICE, BOB, CAROL] {
        run(&mut locks, Command::Close { owner });
    }
    assert_eq!(run(&mut locks, Command::Policy(Policy::Detect)), (lock::SET, 0));
}

#[test]
fn a_token_that_nobody_was_given_shuts_nobody_out() {
    let mut locks = opened(Policy::Detect);
    run(&mut locks, acquire(ALICE, A));
    for token in [Token(0), Token(2), Token(u64::MAX)] {
        assert_eq!(run(&mut locks, Command::Write { register: A, token, value: b"x" }), (lock::FORGED, 0));
    }
    assert_eq!(locks.register(A), None);
}

#[test]
fn whatever_is_full_says_so_and_changes_nothing() {
    let full = |locks: &mut Locks, command: Command<'_>, status| {
        let before = locks.clone();
        assert_eq!(run(locks, command), (status, 0), "{command:?}");
        assert!(*locks == before, "{command:?} changed something");
    };
    let mut locks = Locks::default();
    for _ in 0..OWNERS_MAX {
        run(&mut locks, Command::Open { ttl_ns: TTL_NS_MIN });
    }
    full(&mut locks, Command::Open { ttl_ns: TTL_NS_MIN }, lock::FULL);
    for owner in 0..=WAITERS_MAX as u64 {
        run(&mut locks, acquire(OwnerId(1 + owner), A));
    }
    full(&mut locks, acquire(OwnerId(OWNERS_MAX as u64), A), lock::FULL);
    run(&mut locks, Command::Close { owner: ALICE });
    assert_eq!(
        run(&mut locks, acquire(OwnerId(OWNERS_MAX as u64), A)),
        (lock::QUEUED, WAITERS_MAX as u64 - 1)
    );

    let (mut locks, mut taken) = (Locks::default(), 0);
    for owner in 1..=(LOCKS_MAX / CLAIMS_MAX) as u64 {
        run(&mut locks, Command::Open { ttl_ns: TTL_NS_MIN });
        for _ in 0..CLAIMS_MAX {
            taken += 1;
            assert_eq!(run(&mut locks, acquire(OwnerId(owner), LockId(taken))), (lock::GRANTED, taken));
        }
    }
    run(&mut locks, Command::Open { ttl_ns: TTL_NS_MIN });
    let fresh = OwnerId((LOCKS_MAX / CLAIMS_MAX) as u64 + 1);
    full(&mut locks, acquire(fresh, LockId(0)), lock::FULL);
    full(&mut locks, share(ALICE, LockId(taken)), lock::FULL);
    assert_eq!(run(&mut locks, acquire(fresh, LockId(1))), (lock::QUEUED, 0));

    let write = |register, value| Command::WriteUnfenced { register: LockId(register), value };
    for register in 0..REGISTERS_MAX as u64 {
        run(&mut locks, write(register, b"x"));
    }
    full(&mut locks, write(REGISTERS_MAX as u64, b"x"), lock::FULL);
    full(&mut locks, write(0, &[0; REGISTER_BYTES_MAX + 1]), lock::TOO_LARGE);
    assert_eq!(run(&mut locks, write(0, &[0; REGISTER_BYTES_MAX])), (lock::WRITTEN, 0));
}

/// A client that hears everything.
#[derive(Default)]
struct Heard(AnswerBuilder);

impl Answers for Heard {
    fn room(&mut self, _: SessionId, _: usize) -> Option<&mut AnswerBuilder> {
        Some(&mut self.0)
    }
}

/// Sends one command with a number, as often as one likes.
fn send(service: &mut Service<Locks>, number: u64, command: Option<Command<'_>>) -> Outcome {
    let mut batch = BatchBuilder::new();
    batch.begin(SessionId(7), Sequence(number), Sequence(number.min(1)));
    if let Some(command) = command {
        batch.push_bytes(&command.to_bytes());
    }
    let mut heard = Heard::default();
    let Index(last) = service.chain().index;
    service.apply(Index(last + 1), &batch.finish(), &mut heard);
    let frame = heard.0.finish();
    let answer = answers(&frame).next().unwrap().unwrap();
    let AnswerBody::Written(outcomes) = answer.body else { panic!("{answer:?}") };
    outcomes.iter().next().unwrap()
}

#[test]
fn a_request_that_comes_twice_is_executed_once() {
    let mut service = Service::default();
    send(&mut service, 0, None);
    let open = Command::Open { ttl_ns: TTL_NS };
    let release = Command::Release { owner: ALICE, lock: A, token: Token(1) };
    for (number, command, status) in
        [(1, open, lock::OPENED), (2, acquire(ALICE, A), lock::GRANTED), (3, release, lock::RELEASED)]
    {
        let first = send(&mut service, number, Some(command));
        assert_eq!(first.status, status);
        assert_eq!(send(&mut service, number, Some(command)), first);
    }
    let again = send(&mut service, 4, Some(acquire(ALICE, A)));
    assert_eq!(again, Outcome { status: lock::GRANTED, number: 2 });
    assert_eq!(send(&mut service, 2, Some(acquire(ALICE, A))).number, 1, "the answer of then");
    assert_eq!(
        send(&mut service, 3, Some(release)).status,
        lock::RELEASED,
        "and what it released is not this"
    );
    assert_eq!(wait(service.machine(), ALICE, A), (lock::GRANTED, 2));
}
