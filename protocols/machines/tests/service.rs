//! A service as its clients and its fellow replicas see it.

use bytes::Bytes;
use proptest::prelude::*;
use qlab_kernel::client::{Answer, AnswerBody, AnswerBuilder, answers};
use qlab_kernel::limits::FRAME_BYTES_MAX;
use qlab_kernel::{Batch, BatchBuilder, Chain, Index, Outcome, Sequence, SessionId};
use qlab_machines::answers::Unheard;
use qlab_machines::kv::{ABSENT, APPENDED, FOUND, STORED};
use qlab_machines::machine::VALUE_BYTES_MAX;
use qlab_machines::{Answers, Command, Kv, RestoreError, Service};

const ALICE: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);

/// A client that is told everything, in frames of at most the limit.
#[derive(Default)]
struct Heard {
    builder: AnswerBuilder,
    frames: Vec<Bytes>,
}

impl Answers for Heard {
    fn room(&mut self, _: SessionId, bytes: usize) -> Option<&mut AnswerBuilder> {
        if self.builder.len() + bytes > FRAME_BYTES_MAX {
            self.frames.push(self.builder.finish());
        }
        Some(&mut self.builder)
    }
}

impl Heard {
    fn frames(mut self) -> Vec<Bytes> {
        self.frames.push(self.builder.finish());
        self.frames
    }
}

fn batch(session: SessionId, first: u64, settled: u64, commands: &[Command<'_>]) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(session, Sequence(first), Sequence(settled));
    for command in commands {
        builder.push(command.encoded_len(), |bytes| command.encode(bytes));
    }
    builder.finish()
}

fn opening(session: SessionId) -> Batch {
    batch(session, 0, 0, &[])
}

fn opened(session: SessionId) -> Service<Kv> {
    let mut service = Service::default();
    service.apply(Index(1), &opening(session), &mut Unheard);
    service
}

/// Applies the next entry; the numbers and outcomes of what was answered.
fn apply(service: &mut Service<Kv>, batch: &Batch) -> Vec<(u64, Outcome)> {
    let mut heard = Heard::default();
    let index = service.chain().index.next();
    service.apply(index, batch, &mut heard);
    let frames = heard.frames();
    let answers: Vec<Answer<'_>> =
        frames.iter().flat_map(|frame| answers(frame)).map(Result::unwrap).collect();
    let outcomes = answers.iter().flat_map(|answer| {
        assert_eq!(answer.index, index);
        let AnswerBody::Written(outcomes) = answer.body else { panic!("{answer:?}") };
        (answer.first.0..).zip(outcomes.iter())
    });
    outcomes.collect()
}

/// The numbers, statuses and lengths of the values found, and the number of frames they came in.
fn query(service: &Service<Kv>, batch: &Batch) -> (Vec<(u64, u8, usize)>, usize) {
    let mut heard = Heard::default();
    service.query(batch, &mut heard);
    let frames = heard.frames();
    let answers: Vec<Answer<'_>> =
        frames.iter().flat_map(|frame| answers(frame)).map(Result::unwrap).collect();
    let values = answers.iter().flat_map(|answer| {
        assert_eq!(answer.index, service.chain().index);
        let AnswerBody::Values(values) = answer.body else { panic!("{answer:?}") };
        (answer.first.0..).zip(values.iter())
    });
    (values.map(|(number, (status, value))| (number, status, value.len())).collect(), frames.len())
}

#[test]
fn a_session_is_opened_and_then_its_commands_are_executed_once() {
    let append = Command::Append { key: b"k", value: b"x" };
    let mut service = Service::default();
    let expired = Outcome::of(Outcome::EXPIRED);
    assert_eq!(apply(&mut service, &batch(ALICE, 1, 1, &[append, append])), [(1, expired), (2, expired)]);
    assert_eq!(apply(&mut service, &opening(ALICE)), [(0, Outcome::of(Outcome::OPENED))]);
    let (one, two) = (Outcome { status: APPENDED, number: 1 }, Outcome { status: APPENDED, number: 2 });
    for _ in 0..2 {
        let answered = apply(&mut service, &batch(ALICE, 1, 1, &[append, append]));
        assert_eq!(answered, [(1, one), (2, two)]);
    }
    assert_eq!(apply(&mut service, &batch(BOB, 1, 1, &[append])), [(1, expired)]);
    assert_eq!(query(&service, &batch(BOB, 1, 1, &[Command::Get { key: b"k" }])), (vec![(1, FOUND, 2)], 1));
}

#[test]
fn reads_need_no_session_and_change_nothing() {
    let service = opened(ALICE);
    let before = service.capture();
    let gets = [Command::Get { key: b"a" }, Command::Get { key: b"b" }, Command::Delete { key: b"a" }];
    let (values, _) = query(&service, &batch(BOB, 7, 1, &gets));
    assert_eq!(values, [(7, ABSENT, 0), (8, ABSENT, 0), (9, Outcome::MALFORMED, 0)]);
    assert_eq!(service.capture(), before);
}

#[test]
fn values_too_many_for_a_frame_come_in_several() {
    let mut service = opened(ALICE);
    let value = vec![7; VALUE_BYTES_MAX];
    apply(&mut service, &batch(ALICE, 1, 1, &[Command::Put { key: b"k", value: &value }]));
    let (values, frames) = query(&service, &batch(ALICE, 1, 1, &[Command::Get { key: b"k" }; 20]));
    assert_eq!(values, (1..=20).map(|number| (number, FOUND, VALUE_BYTES_MAX)).collect::<Vec<_>>());
    assert_eq!(frames, 3);
}

#[test]
fn outcomes_too_many_for_a_frame_come_in_several() {
    let mut builder = BatchBuilder::new();
    builder.begin(ALICE, Sequence(1), Sequence(1));
    for _ in 0..200_000 {
        builder.push_bytes(b"");
    }
    let outcomes = apply(&mut opened(ALICE), &builder.finish());
    assert_eq!(outcomes.len(), 200_000);
    assert!(outcomes.iter().zip(1..).all(|((number, _), expected)| *number == expected));
    assert_eq!(outcomes[0].1, Outcome::of(Outcome::MALFORMED));
    assert_eq!(outcomes[199_999].1, Outcome::of(Outcome::OUT_OF_WINDOW));
}

#[test]
fn an_image_of_another_moment_or_with_bytes_left_over_is_refused() {
    let mut service = opened(ALICE);
    let image = service.capture();
    assert_eq!(
        service.restore(Index(2), image.clone()),
        Err(RestoreError::Moment { found: Index(1), wanted: Index(2) })
    );
    let longer = [&image[..], b"!"].concat();
    assert!(matches!(service.restore(Index(1), longer.into()), Err(RestoreError::Malformed(_))));
    for len in 0..image.len() {
        assert!(matches!(service.restore(Index(1), image.slice(..len)), Err(RestoreError::Malformed(_))));
    }
    assert_eq!(service.capture(), image);
    assert_eq!(service.restore(Index(1), image), Ok(()));
}

/// Entries as unruly clients make them: numbers again and again in any order, settled or not, sessions opened or not.
fn entries() -> impl Strategy<Value = Vec<Batch>> {
    let entry = (0_u64..3, 0_u64..12, 0_u64..8, prop::collection::vec((0_u8..3, 0_u8..3), 1..4));
    let entry = entry.prop_map(|(session, first, settled, appends)| {
        let appends: Vec<[[u8; 1]; 2]> = appends.into_iter().map(|(key, value)| [[key], [value]]).collect();
        let commands: Vec<Command<'_>> =
            appends.iter().map(|[key, value]| Command::Append { key, value }).collect();
        batch(SessionId(session), first, settled, if first == 0 { &[] } else { &commands })
    });
    prop::collection::vec(entry, 1..60)
}

proptest! {
    #[test]
    fn replicas_given_the_same_entries_hold_the_same_state(entries in entries(), image_at in 0_usize..60) {
        let (mut leader, mut follower, mut late) = <(Service<Kv>, Service<Kv>, Service<Kv>)>::default();
        for (at, entry) in entries.iter().enumerate() {
            let index = leader.chain().index.next();
            leader.apply(index, entry, &mut Heard::default());
            follower.apply(index, entry, &mut Unheard);
            if at == image_at {
                late.restore(index, leader.capture()).unwrap();
            } else if at > image_at {
                late.apply(index, entry, &mut Unheard);
            }
            prop_assert_eq!(leader.chain(), follower.chain());
            prop_assert_eq!(leader.capture(), follower.capture());
        }
        if image_at < entries.len() {
            prop_assert_eq!(late.chain(), leader.chain());
            prop_assert_eq!(late.capture(), leader.capture());
        }
    }

    #[test]
    fn retries_in_any_order_execute_each_command_once(order in Just((1..=20_u64).collect::<Vec<_>>()).prop_shuffle(),
                                                      again in prop::collection::vec(1_u64..=20, 0..40)) {
        let mut service = opened(ALICE);
        let mut first_answers = std::collections::BTreeMap::new();
        for number in order.into_iter().chain(again) {
            let append = Command::Append { key: b"k", value: b"x" };
            let [(answered, outcome)] = apply(&mut service, &batch(ALICE, number, 1, &[append]))[..] else { panic!() };
            prop_assert_eq!(answered, number);
            prop_assert_eq!(*first_answers.entry(number).or_insert(outcome), outcome);
        }
        let (values, _) = query(&service, &batch(ALICE, 1, 1, &[Command::Get { key: b"k" }]));
        prop_assert_eq!(values, [(1, FOUND, 20)]);
    }

    #[test]
    fn no_bytes_make_a_service_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in any::<(prop::sample::Index, u8)>()) {
        let mut service = opened(ALICE);
        let put = batch(ALICE, 1, 1, &[Command::Put { key: b"k", value: b"v" }]);
        prop_assert_eq!(apply(&mut service, &put), [(1, Outcome { status: STORED, number: 1 })]);
        let mut image = service.capture().to_vec();
        let at = flip.0.index(image.len());
        image[at] ^= flip.1;
        let mut restored = Service::<Kv>::default();
        if restored.restore(Index(2), image.clone().into()).is_ok() {
            // Whatever passes for an image is one: a number changed, but every bound holds.
            restored.apply(Index(3), &put, &mut Unheard);
        }
        let _ = service.restore(Index(2), bytes.into());
        prop_assert_ne!(service.chain(), Chain::default());
    }
}
