//! Honest replicas, replicas that lie, and what a client may believe of it.

use proptest::prelude::*;

use super::*;
use crate::client::AnswerBuilder;
use crate::{BatchBuilder, Index, Outcome};

const SESSION: SessionId = SessionId(7);

/// What a command's answer is, as it is given out: its index, its status, and its number or value.
type Given = (u64, Index, u8, Vec<u8>);

fn ask(votes: &mut Votes, first: u64, settled: u64, count: u64) {
    let mut batch = BatchBuilder::new();
    batch.begin(SESSION, Sequence(first), Sequence(settled));
    (0..count).for_each(|_| batch.push_bytes(b"x"));
    votes.asked(&Request::Write(batch.finish()));
}

fn written(first: u64, index: u64, numbers: &[u64]) -> Bytes {
    let mut answers = AnswerBuilder::new();
    answers.begin_written(SESSION, Sequence(first), Index(index));
    numbers.iter().for_each(|number| answers.push_outcome(Outcome { status: 0, number: *number }));
    answers.finish()
}

fn found(first: u64, value: &[u8]) -> Bytes {
    let mut answers = AnswerBuilder::new();
    answers.begin_values(SESSION, Sequence(first), Index(1));
    answers.push_value(0, value);
    answers.finish()
}

fn busy(first: u64, count: u32) -> Bytes {
    let mut answers = AnswerBuilder::new();
    answers.refuse_numbers(SESSION, Sequence(first), count, Refusal::Busy);
    answers.finish()
}

fn names(leader: u16) -> Bytes {
    let mut answers = AnswerBuilder::new();
    answers.moved(Some(NodeId(leader)));
    answers.finish()
}

fn take(votes: &mut Votes, from: u16, frame: &[u8]) -> Vec<Given> {
    let mut frames = Vec::new();
    votes.take(NodeId(from), frame, &mut frames).unwrap();
    frames.iter().flat_map(|frame| items(frame)).collect()
}

/// The items of a frame; a refusal is one with status 200.
fn items(frame: &[u8]) -> Vec<Given> {
    let mut items = Vec::new();
    for answer in answers(frame).map(Result::unwrap) {
        let numbers = answer.first.0..;
        match answer.body {
            AnswerBody::Written(outcomes) => items.extend(
                numbers
                    .zip(outcomes.iter())
                    .map(|(number, o)| (number, answer.index, o.status, o.number.to_le_bytes().to_vec())),
            ),
            AnswerBody::Values(values) => items.extend(
                numbers
                    .zip(values.iter())
                    .map(|(number, (status, value))| (number, answer.index, status, value.to_vec())),
            ),
            AnswerBody::Refused(_) => items.push((answer.first.0, answer.index, 200, vec![])),
            AnswerBody::Moved(_) => panic!("leaders are not given out as answers"),
        }
    }
    items
}

#[test]
fn the_second_of_two_equal_words_gives_the_answer_out_and_the_others_say_nothing_new() {
    let mut votes = Votes::new(4, 2);
    ask(&mut votes, 1, 1, 3);
    assert!(take(&mut votes, 2, &written(1, 5, &[10, 11, 12])).is_empty());
    let rest = take(&mut votes, 0, &written(2, 5, &[11, 12]));
    assert_eq!(rest.iter().map(|item| item.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(take(&mut votes, 1, &written(1, 5, &[10, 11, 12])).len(), 1);
    assert!(take(&mut votes, 3, &written(1, 5, &[10, 11, 12])).is_empty());
}

#[test]
fn the_same_replica_twice_is_one_and_its_newest_word_counts() {
    let mut votes = Votes::new(4, 2);
    ask(&mut votes, 1, 1, 1);
    for number in [1, 1, 2] {
        assert!(take(&mut votes, 3, &written(1, 5, &[number])).is_empty());
    }
    assert!(take(&mut votes, 0, &written(1, 5, &[1])).is_empty(), "nobody says so any more");
    assert_eq!(take(&mut votes, 1, &written(1, 5, &[2])).len(), 1);
}

#[test]
fn status_number_index_and_kind_must_all_agree() {
    let mut votes = Votes::new(4, 2);
    ask(&mut votes, 1, 1, 1);
    let mut failed = AnswerBuilder::new();
    failed.begin_written(SESSION, Sequence(1), Index(5));
    failed.push_outcome(Outcome { status: 1, number: 0 });
    assert!(take(&mut votes, 0, &written(1, 5, &[0])).is_empty());
    assert!(take(&mut votes, 1, &written(1, 6, &[0])).is_empty());
    assert!(take(&mut votes, 2, &failed.finish()).is_empty());
    assert!(take(&mut votes, 3, &found(1, &0_u64.to_le_bytes())).is_empty());
}

#[test]
fn values_are_compared_whole_short_and_long() {
    for len in [0, 1, 1024, 1025, 100_000] {
        let mut votes = Votes::new(4, 2);
        ask(&mut votes, 1, 1, 1);
        let (honest, longer) = (vec![7; len], vec![7; len + 1]);
        let mut lie = honest.clone();
        lie.last_mut().into_iter().for_each(|byte| *byte = 8);
        assert!(take(&mut votes, 0, &found(1, &longer)).is_empty());
        assert!(len == 0 || take(&mut votes, 1, &found(1, &lie)).is_empty());
        assert!(take(&mut votes, 2, &found(1, &honest)).is_empty());
        assert_eq!(take(&mut votes, 3, &found(1, &honest)), [(1, Index(1), 0, honest)]);
    }
}

#[test]
fn an_opening_is_voted_on_and_may_be_asked_for_again() {
    let mut votes = Votes::new(4, 2);
    for _ in 0..2 {
        ask(&mut votes, 0, 0, 0);
        assert!(take(&mut votes, 0, &written(0, 1, &[0])).is_empty());
        assert_eq!(take(&mut votes, 1, &written(0, 1, &[0])).len(), 1);
        assert!(take(&mut votes, 2, &written(0, 1, &[0])).is_empty());
        ask(&mut votes, 1, 1, 1);
    }
}

#[test]
fn enough_replicas_that_are_busy_hand_a_command_back_and_it_can_be_asked_again() {
    let mut votes = Votes::new(4, 2);
    ask(&mut votes, 1, 1, 2);
    for _ in 0..2 {
        assert!(take(&mut votes, 0, &busy(1, u32::MAX)).is_empty());
        assert!(take(&mut votes, 0, &busy(1, 2)).is_empty(), "one alone is not believed");
        assert_eq!(take(&mut votes, 1, &busy(2, 1)).iter().map(|item| item.0).collect::<Vec<_>>(), [2]);
        assert_eq!(take(&mut votes, 1, &busy(1, 1)).len(), 1);
    }
    take(&mut votes, 0, &written(1, 5, &[9]));
    assert_eq!(take(&mut votes, 1, &written(1, 5, &[9])).len(), 1);
    let late = [take(&mut votes, 2, &busy(1, 1)), take(&mut votes, 3, &busy(1, 1))].concat();
    assert!(late.is_empty(), "it was answered");
}

#[test]
fn a_leader_is_believed_in_when_enough_replicas_name_it_anew() {
    let mut votes = Votes::new(4, 2);
    take(&mut votes, 3, &names(3));
    take(&mut votes, 3, &names(3));
    assert_eq!(votes.leader(), None);
    take(&mut votes, 0, &names(1));
    take(&mut votes, 1, &names(1));
    assert_eq!(votes.leader(), Some(NodeId(1)));
    take(&mut votes, 2, &names(3));
    assert_eq!(votes.leader(), Some(NodeId(3)));
    take(&mut votes, 0, &names(1));
    assert_eq!(votes.leader(), Some(NodeId(3)), "that is not new");
    votes.forget_leader();
    take(&mut votes, 0, &names(1));
    assert_eq!(votes.leader(), None, "what was said before is forgotten");
    take(&mut votes, 1, &names(1));
    assert_eq!(votes.leader(), Some(NodeId(1)));
}

#[test]
fn what_was_not_asked_is_nothing_to_vote_on_and_settled_commands_are_forgotten() {
    let mut votes = Votes::new(4, 2);
    for from in 0..4 {
        for first in [0, 1, 5, u64::MAX - 1] {
            assert!(take(&mut votes, from, &written(first, 5, &[1, 2, 3])).is_empty());
        }
    }
    assert!(votes.sessions.is_empty());
    ask(&mut votes, 1, 1, 5);
    take(&mut votes, 0, &written(1, 5, &[1, 2, 3, 4, 5]));
    ask(&mut votes, 6, 5, 1);
    assert_eq!(votes.sessions[&SESSION].slots.len(), 2);
    assert_eq!(take(&mut votes, 1, &written(1, 5, &[1, 2, 3, 4, 5])).len(), 1);
}

#[test]
fn sessions_are_bounded_and_an_outsider_has_no_vote() {
    let mut votes = Votes::new(4, 1);
    for number in 0..VOTED_SESSIONS_MAX as u64 + 10 {
        let mut batch = BatchBuilder::new();
        batch.begin(SessionId(number), Sequence(1), Sequence(1));
        batch.push_bytes(b"x");
        votes.asked(&Request::Read(batch.finish()));
    }
    assert_eq!((votes.sessions.len(), votes.begun.len()), (VOTED_SESSIONS_MAX, VOTED_SESSIONS_MAX));
    ask(&mut votes, 1, 1, 1);
    assert!(take(&mut votes, 4, &written(1, 5, &[1])).is_empty());
    assert_eq!(take(&mut votes, 3, &written(1, 5, &[1])).len(), 1, "one is enough here");
}

#[test]
fn what_a_frame_gives_out_may_take_more_than_a_frame() {
    let mut votes = Votes::new(4, 2);
    ask(&mut votes, 1, 1, SESSION_WINDOW);
    let count = usize::try_from(SESSION_WINDOW).unwrap();
    // Values that fill a frame, every other of which is agreed on: each of those needs a header of its own.
    let frame = |odd: u8| {
        let mut answers = AnswerBuilder::new();
        answers.begin_values(SESSION, Sequence(1), Index(1));
        (0..count).for_each(|at| answers.push_value(0, &[if at % 2 == 0 { 1 } else { odd }; 120]));
        answers.finish()
    };
    assert!(take(&mut votes, 0, &frame(2)).is_empty());
    assert_eq!(take(&mut votes, 1, &frame(3)).len(), count / 2);
}

#[test]
fn after_nonsense_nothing_of_a_frame_counts() {
    let mut votes = Votes::new(1, 1);
    ask(&mut votes, 1, 1, 2);
    let frame = [&written(1, 5, &[1])[..], b"nonsense", &written(2, 5, &[2])].concat();
    let mut frames = Vec::new();
    assert!(votes.take(NodeId(0), &frame, &mut frames).is_err());
    assert_eq!(frames.iter().flat_map(|frame| items(frame)).count(), 1);
}

/// What somebody says about commands in a row, as a frame.
fn frame(words: &[Given]) -> Bytes {
    let mut answers = AnswerBuilder::new();
    for (at, (number, index, status, body)) in words.iter().enumerate() {
        if at == 0 || words[at - 1].1 != *index {
            answers.begin_written(SESSION, Sequence(*number), *index);
        }
        let number = u64::from_le_bytes(body[..].try_into().unwrap());
        answers.push_outcome(Outcome { status: *status, number });
    }
    answers.finish()
}

const COMMANDS: u64 = 12;

/// The one right answer.
fn truth(number: u64) -> Given {
    (number, Index(number / 3 + 1), (number % 2) as u8, (number * 11).to_le_bytes().to_vec())
}

/// Everything true, cut into frames wherever `cuts` say.
fn honest(cuts: &[u64]) -> Vec<Bytes> {
    let mut all = vec![];
    let mut first = 1;
    for number in 1..=COMMANDS {
        if cuts.contains(&number) || number == COMMANDS {
            all.push(frame(&(first..=number).map(truth).collect::<Vec<_>>()));
            first = number + 1;
        }
    }
    all
}

fn lies() -> impl Strategy<Value = Vec<Bytes>> {
    let lie = (1..COMMANDS + 3, 0_u64..8, 0_u8..3, 0_u64..200).prop_map(|(number, index, status, body)| {
        let almost = truth(number);
        // Half of them differ from the truth in one thing only.
        frame(&[match body % 4 {
            0 => (number, Index(index), almost.2, almost.3),
            1 => (number, almost.1, status, almost.3),
            _ => (number, almost.1, almost.2, body.to_le_bytes().to_vec()),
        }])
    });
    prop::collection::vec(lie, 0..40)
}

proptest! {
    #[test]
    fn what_the_honest_say_comes_out_once_and_a_lie_never_does(
        cuts in prop::collection::vec(prop::collection::vec(1..COMMANDS, 0..6), 3),
        lies in lies(),
        order in prop::collection::vec(0_usize..4, 100),
        silent in 0_usize..4,
    ) {
        let mut votes = Votes::new(4, 2);
        ask(&mut votes, 1, 1, COMMANDS);
        let mut says: Vec<std::vec::IntoIter<Bytes>> =
            cuts.iter().map(|cuts| honest(cuts).into_iter()).chain([lies.into_iter()]).collect();
        // Perhaps one of the honest never speaks: two are enough.
        if silent < 3 {
            says[silent] = vec![].into_iter();
        }
        let mut given = Vec::new();
        for from in order.into_iter().chain((0..4).flat_map(|from| [from; 50])) {
            if let Some(frame) = says[from].next() {
                given.extend(take(&mut votes, from as u16, &frame));
            }
        }
        given.sort_unstable();
        prop_assert_eq!(given, (1..=COMMANDS).map(truth).collect::<Vec<_>>());
    }
}
