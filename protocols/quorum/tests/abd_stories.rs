//! ABD, story by story: a cluster whose messages and disks do nothing until they are told to.

mod stage;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::command::{ABSENT, DELETED, FOUND, STORED};
use qlab_kernel::{Command, Input, Lsn, NodeId, NodeSet, Outcome, Refusal, ReplyBody};
use qlab_quorum::abd::{Config, Message, Step};
use qlab_quorum::{Abd, Quorums};

type Cluster = stage::Cluster<Abd>;

trait Registers {
    fn new(nodes: usize) -> Self;
    fn write(&mut self, node: usize, session: u64, value: &[u8]);
    fn value(&self, node: usize) -> Option<Bytes>;
}

impl Registers for Cluster {
    fn new(nodes: usize) -> Self {
        Self::with(nodes, Config::default())
    }

    /// Opens a session and writes in it, undisturbed.
    fn write(&mut self, node: usize, session: u64, value: &[u8]) {
        self.open(node, session);
        self.settle();
        self.ask(node, session, 1, &put(value));
        self.settle();
        assert_eq!(self.answer(), Some(written(STORED)));
        self.answers.clear();
    }

    fn value(&self, node: usize) -> Option<Bytes> {
        self.replicas[node].core.version(b"key").value
    }
}

const GET: Command<'_> = Command::Get { key: b"key" };

fn put(value: &[u8]) -> Command<'_> {
    Command::Put { key: b"key", value }
}

fn written(status: u8) -> ReplyBody {
    ReplyBody::Written(Outcome::of(status))
}

fn found(value: &'static [u8]) -> ReplyBody {
    ReplyBody::Found { status: FOUND, value: Bytes::from_static(value) }
}

#[test]
fn a_read_without_contention_takes_one_round_trip_and_no_sync() {
    let mut cluster = Cluster::new(3);
    cluster.write(0, 7, b"one");
    let (before, carried) = (cluster.counter(1, "round_trips"), cluster.carried);
    cluster.ask(1, 8, 1, &GET);
    while cluster.carry() {}
    assert_eq!(cluster.answer(), Some(found(b"one")), "no disk was asked");
    assert_eq!(cluster.counter(1, "round_trips") - before, 1);
    assert_eq!(cluster.counter(1, "write_backs"), 0);
    assert_eq!(cluster.carried - carried, 4, "two questions, two answers");
}

#[test]
fn a_write_is_answered_when_the_disks_of_a_write_quorum_hold_it() {
    let mut cluster = Cluster::new(3);
    cluster.open(0, 7);
    cluster.settle();
    cluster.answers.clear();
    cluster.ask(0, 7, 1, &put(b"one"));
    while cluster.carry() {}
    assert_eq!(cluster.answer(), None, "no disk holds it");
    cluster.sync(0);
    while cluster.carry() {}
    assert_eq!(cluster.answer(), None, "one disk holds it");
    cluster.sync(2);
    while cluster.carry() {}
    assert_eq!(cluster.answer(), Some(written(STORED)));
}

#[test]
fn a_read_that_finds_replicas_at_odds_writes_back_what_it_returns() {
    let mut cluster = Cluster::new(3);
    cluster.open(0, 7);
    cluster.settle();
    cluster.ask(0, 7, 1, &put(b"half"));
    // The tags are told; then the store reaches the writer's own disk alone.
    cluster.carry();
    cluster.replicas[0].sends.clear();
    cluster.sync(0);
    assert_eq!(cluster.value(1), None);
    cluster.answers.clear();
    cluster.cut.insert(NodeId(2));
    cluster.ask(1, 8, 1, &GET);
    cluster.settle();
    assert_eq!(cluster.answer(), Some(found(b"half")));
    assert_eq!(cluster.counter(1, "write_backs"), 1);
    assert_eq!(
        cluster.value(1),
        Some(Bytes::from_static(b"half")),
        "a later read finds it without the writer"
    );
}

#[test]
fn a_retry_gets_the_same_answer_and_no_second_tag() {
    let mut cluster = Cluster::new(3);
    cluster.write(0, 7, b"one");
    let tag = cluster.replicas[0].core.version(b"key").tag;
    cluster.ask(0, 7, 1, &put(b"one"));
    assert_eq!(cluster.answer(), Some(written(STORED)));
    cluster.settle();
    assert_eq!(cluster.replicas[0].core.version(b"key").tag, tag);
}

#[test]
fn a_session_belongs_to_the_replica_that_opened_it_and_to_that_life() {
    let mut cluster = Cluster::new(3);
    cluster.write(0, 7, b"one");
    cluster.ask(1, 7, 2, &put(b"elsewhere"));
    cluster.settle();
    assert_eq!(cluster.answer(), Some(written(Outcome::EXPIRED)));
    cluster.crash(0);
    cluster.ask(0, 7, 2, &put(b"late"));
    cluster.settle();
    assert_eq!(cluster.answer(), Some(written(Outcome::EXPIRED)));
    cluster.open(0, 7);
    cluster.settle();
    assert_eq!(cluster.answer(), Some(written(Outcome::EXPIRED)), "a late copy of the opening opens nothing");
    cluster.ask(2, 8, 1, &GET);
    cluster.settle();
    assert_eq!(cluster.answer(), Some(found(b"one")));
}

#[test]
fn what_is_deleted_is_absent_and_what_was_never_there_leaves_nothing() {
    let mut cluster = Cluster::new(3);
    let absent = ReplyBody::Found { status: ABSENT, value: Bytes::new() };
    cluster.ask(0, 8, 1, &GET);
    cluster.settle();
    assert_eq!(cluster.answer(), Some(absent.clone()));
    cluster.write(0, 7, b"one");
    cluster.ask(0, 7, 2, &Command::Delete { key: b"key" });
    cluster.settle();
    assert_eq!(cluster.answer(), Some(written(DELETED)));
    cluster.ask(1, 8, 2, &GET);
    cluster.settle();
    assert_eq!(cluster.answer(), Some(absent));
}

#[test]
fn a_register_does_not_compare() {
    let mut cluster = Cluster::new(3);
    cluster.open(0, 7);
    cluster.settle();
    let swap = Command::CompareAndSet { key: b"key", expected: None, value: b"one" };
    for (sequence, command) in [(1, swap), (2, Command::Append { key: b"key", value: b"one" })] {
        cluster.ask(0, 7, sequence, &command);
        assert_eq!(cluster.answer(), Some(written(Outcome::MALFORMED)));
    }
}

#[test]
fn a_minority_neither_reads_nor_writes_and_goes_on_when_it_is_one_no_more() {
    let mut cluster = Cluster::new(3);
    cluster.write(0, 7, b"one");
    cluster.cut = [NodeId(1), NodeId(2)].into_iter().collect();
    cluster.ask(0, 7, 2, &put(b"two"));
    cluster.ask(0, 8, 1, &GET);
    cluster.settle();
    assert_eq!(cluster.answer(), None);
    cluster.cut = NodeSet::EMPTY;
    cluster.pass(Duration::from_secs(1));
    cluster.settle();
    let answers: VecDeque<_> = std::mem::take(&mut cluster.answers).into();
    assert_eq!(answers.len(), 2, "both are asked again");
}

/// What a peer tells about a first question if it has heard of nothing.
fn told_tag() -> Message {
    let round = (1 << 40) | 1;
    Message { steps: vec![Step::ToldTag { round, tag: qlab_quorum::abd::Tag::ZERO }] }
}

#[test]
fn writers_of_two_replicas_and_of_two_lives_never_share_a_tag() {
    let mut cluster = Cluster::new(3);
    for node in 0..3 {
        cluster.open(node, 10 + node as u64);
    }
    cluster.settle();
    // Nobody hears of another's before it has chosen its tag.
    for node in 0..3 {
        cluster.ask(node, 10 + node as u64, 1, &put(&[node as u8]));
        let told = |peer| Input::Message { from: NodeId(peer), message: told_tag() };
        cluster.step(node, told((node as u16 + 1) % 3));
    }
    cluster.settle();
    let first: Vec<_> = (0..3).map(|node| cluster.replicas[node].core.version(b"key")).collect();
    assert_eq!(first[0].tag.timestamp, 1, "all went above nothing");
    assert_eq!((&first[0], &first[1]), (&first[2], &first[2]), "the last writer's number decides");
    cluster.crash(2);
    cluster.settle();
    cluster.write(2, 20, b"later");
    assert_eq!(cluster.replicas[2].core.version(b"key").tag.incarnation, 2);
}

#[test]
fn the_journal_lets_go_of_what_is_written_anew_and_a_restart_finds_everything() {
    let mut cluster = Cluster::with(3, Config { rewrite_log_bytes: 400, ..Config::default() });
    cluster.open(0, 7);
    cluster.settle();
    for sequence in 1..200 {
        cluster.ask(0, 7, sequence, &put(&sequence.to_le_bytes()));
        cluster.settle();
    }
    let needed_from = cluster.replicas[0].needed_from;
    assert!(needed_from > Lsn(100), "{needed_from} is all that is let go");
    cluster.replicas[0].journal.retain(|(lsn, _)| *lsn >= needed_from);
    cluster.crash(0);
    assert_eq!(cluster.value(0), Some(Bytes::copy_from_slice(&199_u64.to_le_bytes())));
    cluster.open(0, 7);
    cluster.settle();
    assert_eq!(cluster.answer(), Some(written(Outcome::EXPIRED)), "sessions are written anew, too");
}

#[test]
fn whoever_is_full_says_so() {
    let config = Config { commands_max: 1, ..Config::default() };
    let mut cluster = Cluster::with(3, config);
    cluster.ask(0, 8, 1, &GET);
    cluster.ask(0, 8, 2, &GET);
    assert_eq!(cluster.replicas[0].refusals, [Refusal::Busy]);
    let mut cluster = Cluster::with(3, Config { registers_bytes_max: 1 << 10, ..Config::default() });
    cluster.write(0, 7, &[0; 1000]);
    cluster.ask(0, 7, 2, &put(b"more"));
    assert_eq!(cluster.replicas[0].refusals, [Refusal::Busy]);
}

#[test]
fn a_read_of_one_pays_with_a_write_of_all() {
    let quorums = Some(Quorums { read: 1, write: 3 });
    let mut cluster = Cluster::with(3, Config { quorums, ..Config::default() });
    cluster.write(0, 7, b"one");
    cluster.cut.insert(NodeId(2));
    cluster.ask(0, 7, 2, &put(b"two"));
    cluster.settle();
    assert_eq!(cluster.answer(), None, "one of all is missing");
}

#[test]
fn a_peer_that_breaks_the_rules_is_ignored() {
    let mut cluster = Cluster::new(3);
    let steps = vec![Step::Stored { round: 1, tag: qlab_quorum::abd::Tag::ZERO }];
    cluster.step(0, Input::Message { from: NodeId(1), message: Message { steps } });
    assert_eq!(cluster.value(0), None);
}
