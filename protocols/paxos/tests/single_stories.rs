//! Stories of single-decree Paxos, told to a cluster of three in which nothing is lost and disks answer at once, or to one replica.

use std::collections::BTreeMap;

use bytes::Bytes;
use qlab_kernel::{
    BatchBuilder, Command, Effects, Event, Input, Lsn, NodeId, NodeSet, Outcome, Protocol, ReplyBody,
    Request, Seat, Sequence, SessionId, Term, Ticket, Time, command,
};
use qlab_paxos::single::{Config, FirstBallot, Message, Record, Step, Value};
use qlab_paxos::{Ballot, Paxos};

const START: Time = Time(1 << 40);

/// A replica whose disk answers at once.
struct Replica {
    core: Paxos,
    effects: Effects<Paxos>,
    journal: Vec<(Lsn, Record)>,
    needed_from: Lsn,
    now: Time,
    said: Vec<(NodeId, Message)>,
    replies: Vec<(u64, u64, ReplyBody)>,
    misbehaved: usize,
}

impl Replica {
    fn new(node: u16, config: &Config) -> Self {
        Self::from_journal(node, config, Vec::new())
    }

    fn from_journal(node: u16, config: &Config, journal: Vec<(Lsn, Record)>) -> Self {
        let mut effects = Effects::new(journal.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn));
        let seat = Seat { me: NodeId(node), members: NodeSet::first(3), seed: 7 };
        let core = Paxos::recover(seat, config, START, journal.clone().into_iter(), &mut effects);
        Self {
            core,
            effects,
            journal,
            needed_from: Lsn::ZERO,
            now: START,
            said: Vec::new(),
            replies: Vec::new(),
            misbehaved: 0,
        }
    }

    fn give(&mut self, input: Input<Message>) {
        self.core.step(self.now, input, &mut self.effects);
        self.core.flush(self.now, &mut self.effects);
        self.core.check();
        let records: Vec<(Lsn, Record)> = self.effects.records().map(|(lsn, r)| (lsn, r.clone())).collect();
        self.said.extend(self.effects.take_sends().map(|outgoing| (outgoing.to, outgoing.message)));
        for reply in self.effects.take_replies() {
            self.replies.push((reply.session.0, reply.sequence.0, reply.body));
        }
        self.misbehaved +=
            self.effects.take_events().filter(|event| matches!(event, Event::Misbehaved(_))).count();
        self.needed_from = self.effects.needed_from();
        self.effects.clear();
        if !records.is_empty() {
            self.journal.extend(records);
            self.give(Input::Durable(self.effects.last()));
        }
    }

    fn hear(&mut self, from: u16, step: Step) {
        let message = Message { steps: vec![(KEY, step)] };
        self.give(Input::Message { from: NodeId(from), message });
    }

    fn put(&mut self, session: u64, sequence: u64, key: &[u8], value: &[u8]) {
        self.ask(session, sequence, Command::Put { key, value });
    }

    fn ask(&mut self, session: u64, sequence: u64, command: Command<'_>) {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        let mut builder = BatchBuilder::new();
        builder.begin(SessionId(session), Sequence(sequence), Sequence(1));
        builder.push_bytes(&bytes);
        let batch = builder.finish();
        let request = match command {
            Command::Get { .. } => Request::Read(batch),
            _ => Request::Write(batch),
        };
        self.give(Input::Request { ticket: Ticket(session), request, proof: Bytes::new() });
    }

    fn counter(&self, name: &str) -> u64 {
        self.core.counters(Time(0)).into_iter().find(|(known, _)| *known == name).expect("a counter").1
    }

    /// What it told clients since the last time.
    fn told(&mut self) -> Vec<(u64, u64, ReplyBody)> {
        std::mem::take(&mut self.replies)
    }
}

/// Three replicas; nothing is lost.
struct Cluster(Vec<Replica>);

impl Cluster {
    fn new(config: &Config) -> Self {
        Self((0..3).map(|node| Replica::new(node, config)).collect())
    }

    /// Delivers until nobody says anything more; how many times everybody spoke.
    fn settle(&mut self) -> usize {
        let mut rounds = 0;
        loop {
            let said: Vec<(u16, NodeId, Message)> = (0..)
                .zip(&mut self.0)
                .flat_map(|(from, replica)| {
                    replica.said.drain(..).map(move |(to, m)| (from, to, m)).collect::<Vec<_>>()
                })
                .collect();
            if said.is_empty() {
                return rounds;
            }
            rounds += 1;
            for (from, to, message) in said {
                self.0[usize::from(to.0)].give(Input::Message { from: NodeId(from), message });
            }
        }
    }
}

const KEY: Bytes = Bytes::from_static(b"key");
const STORED: ReplyBody = written(command::STORED);
const TAKEN: ReplyBody = written(command::TAKEN);

const fn written(status: u8) -> ReplyBody {
    ReplyBody::Written(Outcome::of(status))
}

fn found(value: &'static [u8]) -> ReplyBody {
    ReplyBody::Found { status: command::FOUND, value: Bytes::from_static(value) }
}

fn absent() -> ReplyBody {
    ReplyBody::Found { status: command::ABSENT, value: Bytes::new() }
}

fn ballot(round: u64, node: u16) -> Ballot {
    Ballot { round: Term(round), node: NodeId(node), incarnation: 1 }
}

fn value(session: u64, bytes: &'static [u8]) -> Value {
    Value { session: SessionId(session), sequence: Sequence(1), bytes: Bytes::from_static(bytes) }
}

#[test]
fn a_decision_takes_two_round_trips_and_one_where_the_first_ballot_is_promised() {
    for (first_ballot, round_trips) in [(FirstBallot::Prepare, [2]), (FirstBallot::Promised, [1])] {
        let mut cluster = Cluster::new(&Config { first_ballot, ..Config::default() });
        let mut taken = BTreeMap::new();
        for key in 0..30_u64 {
            let before = (cluster.0[0].counter("round_trips"), cluster.0[0].counter("decisions"));
            cluster.0[0].put(1, key + 1, &key.to_le_bytes(), b"value");
            let rounds = cluster.settle();
            assert_eq!(cluster.0[0].told(), [(1, key + 1, STORED)]);
            let counted = cluster.0[0].counter("round_trips") - before.0;
            assert_eq!((rounds as u64, cluster.0[0].counter("decisions")), (2 * counted, before.1 + 1));
            *taken.entry(counted).or_insert(0) += 1;
        }
        let [least] = round_trips;
        assert_eq!(taken.keys().next(), Some(&least), "{first_ballot:?}: {taken:?}");
        if first_ballot == FirstBallot::Promised {
            // A third of the keys are this replica's own to begin with.
            assert!((5..16).contains(&taken[&1]) && taken[&1] + taken[&2] == 30, "{taken:?}");
        } else {
            assert_eq!(taken.len(), 1, "{taken:?}");
        }
    }
}

#[test]
fn a_register_takes_one_value_and_everybody_hears_which() {
    let mut cluster = Cluster::new(&Config::default());
    cluster.0[2].ask(9, 1, Command::Get { key: &KEY });
    cluster.settle();
    assert_eq!(cluster.0[2].told(), [(9, 1, absent())]);
    cluster.0[0].put(1, 1, &KEY, b"first");
    cluster.settle();
    assert_eq!(cluster.0[0].told(), [(1, 1, STORED)]);
    cluster.0[1].put(2, 1, &KEY, b"second");
    cluster.0[2].ask(9, 2, Command::Get { key: &KEY });
    cluster.0[2].ask(9, 3, Command::CompareAndSet { key: &KEY, expected: None, value: b"third" });
    cluster.settle();
    assert_eq!(cluster.0[1].told(), [(2, 1, TAKEN)]);
    assert_eq!(cluster.0[2].told(), [(9, 2, found(b"first")), (9, 3, written(command::MISMATCH))]);
    // Now known everywhere, it is answered from memory; a retry of the first is told the same, wherever it asks.
    cluster.0[2].ask(9, 4, Command::Get { key: &KEY });
    cluster.0[2].put(1, 1, &KEY, b"first");
    assert_eq!(cluster.0[2].told(), [(9, 4, found(b"first")), (1, 1, STORED)]);
    assert_eq!(cluster.settle(), 0);
}

#[test]
fn what_has_no_meaning_for_a_register_is_malformed() {
    let mut cluster = Cluster::new(&Config::default());
    cluster.0[0].ask(1, 1, Command::Delete { key: &KEY });
    cluster.0[0].ask(1, 2, Command::CompareAndSet { key: &KEY, expected: Some(b"old"), value: b"new" });
    cluster.0[0].put(1, 3, &[0; command::KEY_BYTES_MAX + 1], b"");
    let malformed = written(Outcome::MALFORMED);
    let expected = [(1, 1, malformed.clone()), (1, 2, malformed), (1, 3, written(command::TOO_LARGE))];
    assert_eq!(cluster.0[0].told(), expected);
}

#[test]
fn registers_written_anew_stand_for_all_records_before() {
    let config = Config { rewrite_log_bytes: 2_000, ..Config::default() };
    let mut me = Replica::new(0, &config);
    let all: Vec<Bytes> = (0..40_u8).map(|key| Bytes::from(vec![key])).collect();
    for (round, key) in (0..400).map(|step| (step / 40 + 1, &all[step as usize % 40])) {
        let step = Step::Accept { ballot: ballot(round, 1), value: value(round, b"value") };
        me.give(Input::Message { from: NodeId(1), message: Message { steps: vec![(key.clone(), step)] } });
    }
    assert!(me.needed_from > Lsn(100), "records up to {} can go", me.needed_from);
    let kept = me.journal.iter().filter(|(lsn, _)| *lsn >= me.needed_from).cloned().collect();
    let again = Replica::from_journal(0, &config, kept);
    for key in &all {
        assert_eq!(again.core.acceptor(key), me.core.acceptor(key));
    }
}

#[test]
fn who_speaks_in_anothers_ballot_is_not_heard() {
    let mut me = Replica::new(0, &Config::default());
    me.hear(1, Step::Prepare { ballot: ballot(5, 2) });
    me.hear(1, Step::Accept { ballot: Ballot::CHOSEN, value: value(7, b"forged") });
    me.hear(1, Step::Accepted { ballot: ballot(5, 1) });
    assert_eq!((me.misbehaved, me.core.acceptor(&KEY)), (3, None));
}
