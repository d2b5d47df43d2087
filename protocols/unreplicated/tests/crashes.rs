//! A server, its disk and a key-value store under random requests, completions and crashes: what was answered survives.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use qlab_kernel::client::{AnswerBody, AnswerBuilder, answers};
use qlab_kernel::limits::BATCH_BYTES_MAX;
use qlab_kernel::{
    Batch, BatchBuilder, Commit, Effects, Index, Input, Lsn, NodeId, NodeSet, Outcome, Protocol, Request,
    Seat, Sequence, SessionId, Ticket, Time, Wire,
};
use qlab_machines::answers::Unheard;
use qlab_machines::machine::VALUE_BYTES_MAX;
use qlab_machines::{Answers, Command, Kv, Service};
use qlab_unreplicated::{Config, Record, Unreplicated};

const ME: SessionId = SessionId(7);
const NOW: Time = Time(0);

#[derive(Clone, Debug)]
enum Step {
    /// Asks for so many new writes.
    Write(u64),
    /// Asks for the value.
    Read,
    /// Ends the burst.
    Flush,
    /// So many more records reach the disk.
    Sync(usize),
    /// The image asked for, if any, arrives.
    Capture,
    /// Everything but the disk is lost, and so much of what was released is gone from it.
    Crash { gone: prop::sample::Index },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..4).prop_map(Step::Write),
        1 => Just(Step::Read),
        4 => Just(Step::Flush),
        4 => (1_usize..4).prop_map(Step::Sync),
        2 => Just(Step::Capture),
        1 => any::<prop::sample::Index>().prop_map(|gone| Step::Crash { gone }),
    ]
}

/// A host in small, its disk, and a client that knows what it was told.
struct World {
    server: Unreplicated,
    effects: Effects<Unreplicated>,
    service: Service<Kv>,
    image: Option<(Index, Bytes)>,
    /// Records in order; those from `durable` on would not survive a crash.
    journal: Vec<(Lsn, Vec<u8>)>,
    durable: usize,
    /// The entries executed so far, by any incarnation, and the chain after each.
    executed: Vec<(Batch, [u8; 32])>,
    asked: u64,
    answered: BTreeMap<u64, Outcome>,
    compactions: usize,
}

fn config() -> Config {
    Config { window_entries_max: 6, window_bytes_max: BATCH_BYTES_MAX, snapshot_log_bytes: 200 }
}

fn recover(effects: &mut Effects<Unreplicated>, records: &[(Lsn, Vec<u8>)]) -> Unreplicated {
    let seat = Seat { me: NodeId(0), members: NodeSet::first(1), seed: 1 };
    let decode = |(lsn, bytes): &(Lsn, Vec<u8>)| {
        (*lsn, Record::decode_all(bytes.clone().into()).expect("a record as it was written"))
    };
    Unreplicated::recover(seat, &config(), NOW, records.iter().map(decode), effects)
}

impl World {
    /// Its first entries are large, so that snapshots have several chunks and can be torn.
    fn new() -> Self {
        let mut effects = Effects::new(Lsn::ZERO);
        let mut world = Self {
            server: recover(&mut effects, &[]),
            effects,
            service: Service::default(),
            image: None,
            journal: vec![],
            durable: 0,
            executed: vec![],
            asked: 0,
            answered: BTreeMap::new(),
            compactions: 0,
        };
        let mut builder = BatchBuilder::new();
        builder.begin(ME, Sequence::ZERO, Sequence::ZERO);
        builder.begin(SessionId(8), Sequence::ZERO, Sequence::ZERO);
        builder.begin(SessionId(8), Sequence(1), Sequence(1));
        for key in [b"ballast a", b"ballast b", b"ballast c"] {
            let put = Command::Put { key, value: &[0; VALUE_BYTES_MAX] };
            builder.push(put.encoded_len(), |bytes| put.encode(bytes));
        }
        world.ask(Request::Write(builder.finish()));
        world.run(Step::Flush);
        world.run(Step::Sync(1));
        world
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Write(count) => {
                let first = self.asked + 1;
                self.asked += count;
                self.write(first, count);
            }
            Step::Read => self.ask(Request::Read(get())),
            Step::Flush => self.server.flush(NOW, &mut self.effects),
            Step::Sync(records) => self.sync(records),
            Step::Capture => {
                if let Some((index, image)) = self.image.take() {
                    self.server.step(NOW, Input::Captured { index, image }, &mut self.effects);
                }
            }
            Step::Crash { gone } => self.crash(gone),
        }
        self.harvest();
        self.server.check();
    }

    fn ask(&mut self, request: Request) {
        self.server.step(
            NOW,
            Input::Request { ticket: Ticket(1), request, proof: Bytes::new() },
            &mut self.effects,
        );
    }

    fn write(&mut self, first: u64, count: u64) {
        let mut builder = BatchBuilder::new();
        builder.begin(ME, Sequence(first), Sequence(1));
        for number in first..first + count {
            let append = Command::Append { key: b"k", value: &number.to_le_bytes() };
            builder.push(append.encoded_len(), |bytes| append.encode(bytes));
        }
        self.ask(Request::Write(builder.finish()));
    }

    fn sync(&mut self, records: usize) {
        self.durable = self.journal.len().min(self.durable.saturating_add(records));
        let durable = self.journal[..self.durable].last().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
        self.server.step(NOW, Input::Durable(durable), &mut self.effects);
    }

    fn crash(&mut self, gone: prop::sample::Index) {
        self.journal.truncate(self.durable);
        let released = self.journal.partition_point(|(lsn, _)| *lsn < self.effects.needed_from());
        self.journal.drain(..gone.index(released + 1));
        self.durable = self.journal.len();
        // A journal numbers on from its end, or from where its records were released.
        let last = self.journal.last().map_or(self.effects.needed_from().previous(), |(lsn, _)| *lsn);
        self.effects = Effects::new(last);
        self.service = Service::default();
        self.image = None;
        self.server = recover(&mut self.effects, &self.journal);
        assert_eq!(self.effects.records().len(), 0);
        self.harvest();
        // The client did not hear about some: it asks again, with the same numbers.
        for number in
            (1..=self.asked).filter(|number| !self.answered.contains_key(number)).collect::<Vec<_>>()
        {
            self.write(number, 1);
        }
    }

    fn harvest(&mut self) {
        for (lsn, record) in self.effects.records() {
            let mut bytes = vec![];
            record.encode(&mut bytes);
            self.journal.push((lsn, bytes));
        }
        let commits: Vec<Commit> = self.effects.take_commits().collect();
        commits.into_iter().for_each(|commit| self.commit(commit));
        self.compactions += self.effects.take_events().count();
        assert_eq!(self.effects.take_sends().count(), 0);
        // A client whose request was refused asks again later: here, after the next crash or at the end.
        self.effects.clear();
    }

    fn commit(&mut self, commit: Commit) {
        match commit {
            Commit::Apply { index, batch } => {
                let mut heard = Heard::default();
                self.service.apply(index, &batch, &mut heard);
                self.remember(&batch);
                self.hear(&heard.0.finish());
            }
            Commit::Query { batch, .. } => {
                let mut heard = Heard::default();
                self.service.query(&batch, &mut heard);
                self.check_answered(&value(&heard.0.finish()));
            }
            Commit::Capture => self.image = Some((self.service.chain().index, self.service.capture())),
            Commit::Restore { index, image } => {
                self.service.restore(index, image).expect("an image as it was captured");
                let (_, hash) = &self.executed[index.0 as usize - 1];
                assert_eq!(self.service.chain().hash, *hash);
            }
        }
    }

    /// An entry executed again is the entry it was.
    fn remember(&mut self, batch: &Batch) {
        let chain = self.service.chain();
        let at = chain.index.0 as usize - 1;
        if at == self.executed.len() {
            self.executed.push((batch.clone(), chain.hash));
        }
        assert_eq!(self.executed[at], (batch.clone(), chain.hash));
    }

    fn hear(&mut self, frame: &[u8]) {
        for answer in answers(frame).map(Result::unwrap).filter(|answer| answer.session == ME) {
            let AnswerBody::Written(outcomes) = answer.body else { panic!("{answer:?}") };
            for (number, outcome) in (answer.first.0..).zip(outcomes.iter()) {
                assert_ne!(outcome.status, Outcome::EXPIRED);
                assert_eq!(
                    *self.answered.entry(number).or_insert(outcome),
                    outcome,
                    "a second answer differs"
                );
            }
        }
    }

    /// Every write that was answered is in the value, and none is in it twice.
    fn check_answered(&self, value: &[u8]) {
        let mut numbers: Vec<u64> =
            value.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "a write was executed twice");
        for number in self.answered.keys().filter(|number| **number > 0) {
            assert!(numbers.binary_search(number).is_ok(), "write {number} was answered and is gone");
        }
    }

    /// Asks until everything is answered.
    fn settle(&mut self) {
        self.run(Step::Flush);
        self.run(Step::Sync(usize::MAX));
        while let Some(number) = (1..=self.asked).find(|number| !self.answered.contains_key(number)) {
            self.write(number, 1);
            self.run(Step::Flush);
            self.run(Step::Capture);
            self.run(Step::Sync(usize::MAX));
        }
        self.run(Step::Read);
    }
}

#[derive(Default)]
struct Heard(AnswerBuilder);

impl Answers for Heard {
    fn room(&mut self, _: SessionId, _: usize) -> Option<&mut AnswerBuilder> {
        Some(&mut self.0)
    }
}

fn get() -> Batch {
    let mut builder = BatchBuilder::new();
    builder.begin(ME, Sequence(1), Sequence(1));
    let get = Command::Get { key: b"k" };
    builder.push(get.encoded_len(), |bytes| get.encode(bytes));
    builder.finish()
}

fn value(frame: &[u8]) -> Vec<u8> {
    let answer = answers(frame).next().expect("an answer").expect("a well-formed one");
    let AnswerBody::Values(values) = answer.body else { panic!("{answer:?}") };
    values.iter().next().expect("a value").1.to_vec()
}

proptest! {
    #[test]
    fn what_was_answered_survives_crashes(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.settle();
        let mut replay = Service::<Kv>::default();
        for (index, (batch, _)) in (1..).zip(&world.executed) {
            replay.apply(Index(index), batch, &mut Unheard);
        }
        prop_assert_eq!(replay.chain(), world.service.chain());
        prop_assert_eq!(replay.capture(), world.service.capture());
    }
}

#[test]
fn compaction_keeps_the_journal_short_and_recoverable() {
    let mut world = World::new();
    for _ in 0..200 {
        for step in [Step::Write(2), Step::Flush, Step::Capture, Step::Sync(2)] {
            world.run(step);
        }
    }
    assert!(world.compactions > 10, "{} compactions", world.compactions);
    let needed = world.journal.iter().filter(|(lsn, _)| *lsn >= world.effects.needed_from()).count();
    assert!(needed < 20, "{needed} of {} records are still needed", world.journal.len());
    world.sync(usize::MAX);
    world.harvest();
    let before = world.service.capture();
    world.journal.retain(|(lsn, _)| *lsn >= world.effects.needed_from());
    world.durable = world.journal.len();
    let mut effects = Effects::new(world.effects.last());
    world.service = Service::default();
    world.server = recover(&mut effects, &world.journal);
    world.effects = effects;
    world.harvest();
    assert_eq!(world.service.capture(), before);
}
