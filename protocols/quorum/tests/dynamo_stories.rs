//! Dynamo, story by story: a cluster whose messages and disks do nothing until they are told to.

mod stage;

use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::command::{ABSENT, DELETED, FOUND, FULL, STORED};
use qlab_kernel::{Command, NodeId, NodeSet, Outcome, ReplyBody};
use qlab_quorum::dynamo::envelope::{Reading, Update};
use qlab_quorum::dynamo::{Config, Conflicts};
use qlab_quorum::{Dynamo, Quorums};

type Cluster = stage::Cluster<Dynamo>;

const GET: Command<'_> = Command::Get { key: b"key" };
const RETRY: Duration = Duration::from_millis(250);

fn meeting() -> Config {
    Config { quorums: Quorums { read: 2, write: 2 }, ..Config::default() }
}

fn written(status: u8) -> Option<ReplyBody> {
    Some(ReplyBody::Written(Outcome::of(status)))
}

trait Storage {
    fn open_all(&mut self);
    fn put(&mut self, node: usize, sequence: u64, context: &Bytes, value: Option<&'static [u8]>);
    fn write(&mut self, node: usize, sequence: u64, context: &Bytes, value: &'static [u8]);
    fn read(&mut self, node: usize, sequence: u64) -> (u8, Reading);
    fn values(&self, node: usize) -> Vec<Bytes>;
}

impl Storage for Cluster {
    /// Every replica opens the session of its own number.
    fn open_all(&mut self) {
        for node in 0..self.replicas.len() {
            self.open(node, node as u64);
        }
        self.settle();
        self.answers.clear();
    }

    fn put(&mut self, node: usize, sequence: u64, context: &Bytes, value: Option<&'static [u8]>) {
        let update = Update { context: context.clone(), value: value.map(Bytes::from_static) };
        self.ask(node, node as u64, sequence, &Command::Put { key: b"key", value: &update.encoded() });
    }

    fn write(&mut self, node: usize, sequence: u64, context: &Bytes, value: &'static [u8]) {
        self.put(node, sequence, context, Some(value));
        self.settle();
        assert_eq!(self.answer(), written(STORED));
    }

    fn read(&mut self, node: usize, sequence: u64) -> (u8, Reading) {
        self.ask(node, 100, sequence, &GET);
        self.settle();
        match self.answer() {
            Some(ReplyBody::Found { status, value }) => (status, Reading::decode(value).unwrap()),
            other => panic!("a read is answered with {other:?}"),
        }
    }

    fn values(&self, node: usize) -> Vec<Bytes> {
        self.replicas[node].core.state(b"key").values().filter_map(|content| content.value.clone()).collect()
    }
}

fn cluster(nodes: usize, config: Config) -> Cluster {
    let mut cluster = Cluster::with(nodes, config);
    cluster.open_all();
    cluster
}

const BLIND: Bytes = Bytes::new();

#[test]
fn one_disk_is_enough_for_a_write_and_none_for_a_read_where_one_replica_is() {
    let mut cluster = cluster(3, Config::default());
    cluster.put(0, 1, &BLIND, Some(b"one"));
    while cluster.carry() {}
    assert_eq!(cluster.answer(), None, "no disk holds it");
    assert!(cluster.values(1).is_empty(), "its name is not durable yet");
    cluster.sync(0);
    assert_eq!(cluster.answer(), written(STORED));
    cluster.ask(0, 100, 1, &GET);
    assert!(cluster.answer().is_some(), "nobody was asked");
    cluster.settle();
    assert_eq!(cluster.values(2), [&b"one"[..]]);
}

#[test]
fn two_disks_are_wanted_where_two_are_promised() {
    let mut cluster = cluster(3, meeting());
    cluster.put(0, 1, &BLIND, Some(b"one"));
    cluster.sync(0);
    while cluster.carry() {}
    assert_eq!(cluster.answer(), None, "one disk holds it");
    cluster.sync(1);
    while cluster.carry() {}
    assert_eq!(cluster.answer(), written(STORED));
}

#[test]
fn values_that_knew_nothing_of_each_other_stand_side_by_side_until_somebody_writes_who_read_both() {
    let mut cluster = cluster(3, Config::default());
    cluster.cut = [NodeId(2)].into_iter().collect();
    cluster.write(0, 1, &BLIND, b"here");
    cluster.write(2, 1, &BLIND, b"there");
    cluster.cut.remove(NodeId(2));
    cluster.pass(RETRY);
    cluster.pass(RETRY);
    cluster.settle();
    let (status, reading) = cluster.read(1, 1);
    assert_eq!((status, reading.values.len()), (FOUND, 2), "{reading:?}");
    cluster.write(1, 1, &reading.context, b"both");
    for node in 0..3 {
        assert_eq!(cluster.values(node), [&b"both"[..]]);
    }
}

#[test]
fn a_read_repairs_whoever_is_behind() {
    let mut cluster = cluster(3, meeting());
    cluster.cut.insert(NodeId(2));
    cluster.write(0, 1, &BLIND, b"one");
    cluster.cut.remove(NodeId(2));
    assert!(cluster.values(2).is_empty());
    let (_, reading) = cluster.read(2, 1);
    assert_eq!(reading.values, [&b"one"[..]]);
    assert_eq!(cluster.values(2), [&b"one"[..]]);
    assert_eq!(cluster.counter(2, "repairs"), 1);
}

#[test]
fn a_read_that_is_at_hand_asks_nobody_and_many_of_them_repair_at_once() {
    let config = Config::default();
    let mut cluster = cluster(3, config.clone());
    cluster.cut.insert(NodeId(2));
    cluster.write(0, 1, &BLIND, b"one");
    cluster.cut.remove(NodeId(2));
    for sequence in 1..=5 {
        cluster.ask(0, 100, sequence, &GET);
        assert!(cluster.answer().is_some());
    }
    assert!(!cluster.carry(), "somebody was asked at once");
    cluster.pass(config.read_repair_interval);
    cluster.settle();
    assert_eq!(cluster.values(2), [&b"one"[..]]);
    assert_eq!((cluster.counter(0, "reads"), cluster.counter(0, "repairs")), (5, 1));
}

#[test]
fn trees_find_what_nobody_owes_any_more() {
    let mut cluster = cluster(3, Config::default());
    cluster.cut.insert(NodeId(2));
    cluster.write(0, 1, &BLIND, b"one");
    // Its coordinator forgets whom it owes.
    cluster.crash(0);
    cluster.cut.remove(NodeId(2));
    cluster.settle();
    assert!(cluster.values(2).is_empty());
    for _ in 0..4 {
        cluster.pass(Duration::from_secs(1));
        cluster.settle();
    }
    assert_eq!(cluster.values(2), [&b"one"[..]]);
    let content = cluster.counter(0, "content");
    assert!((0..3).all(|node| cluster.counter(node, "content") == content));
}

#[test]
fn who_stands_in_hands_over_across_restarts_and_forgets() {
    let config = Config { copies: Some(1), sloppy: true, ..Config::default() };
    let mut cluster = cluster(3, config);
    let home = cluster.replicas[0].core.homes_of(b"key").iter().next().unwrap();
    let other = (usize::from(home.0) + 1) % 3;
    cluster.write(other, 1, &BLIND, b"one");
    assert!(cluster.values(other).is_empty(), "its home holds it");
    let (_, reading) = cluster.read(other, 1);
    // It has learnt what it must know, and then its home is gone.
    cluster.put(other, 2, &reading.context, Some(b"two"));
    cluster.carry();
    cluster.carry();
    cluster.cut.insert(home);
    cluster.settle();
    assert_eq!(cluster.answer(), written(STORED), "standing in counts");
    cluster.crash(other);
    assert_eq!(cluster.values(other), [&b"two"[..]]);
    cluster.cut.remove(home);
    cluster.settle();
    cluster.pass(RETRY);
    cluster.settle();
    assert_eq!(cluster.values(usize::from(home.0)), [&b"two"[..]]);
    assert!(cluster.values(other).is_empty());
}

#[test]
fn a_deletion_is_forgotten_after_its_grace_and_not_while_somebody_may_hold_what_was_deleted() {
    let grace = Duration::from_secs(5);
    let config =
        Config { tombstone_grace: grace, anti_entropy_interval: Duration::from_secs(60), ..meeting() };
    let mut cluster = cluster(3, config);
    cluster.write(0, 1, &BLIND, b"one");
    let (_, reading) = cluster.read(0, 1);
    cluster.cut.insert(NodeId(2));
    cluster.put(0, 2, &reading.context, None);
    cluster.settle();
    assert_eq!(cluster.answer(), written(DELETED));
    let (status, reading) = cluster.read(1, 2);
    assert_eq!((status, reading.values.len()), (ABSENT, 0));
    cluster.pass(grace);
    cluster.settle();
    assert_eq!(cluster.counter(0, "buried"), 0, "nobody knows what the third holds");
    cluster.cut.remove(NodeId(2));
    for _ in 0..4 {
        cluster.pass(grace);
        cluster.settle();
    }
    assert!((0..3).all(|node| cluster.replicas[node].core.keys().next().is_none()));
    cluster.write(0, 3, &BLIND, b"again");
    assert!((0..3).all(|node| cluster.values(node) == [&b"again"[..]]));
}

#[test]
fn deletions_that_knew_nothing_of_each_other_become_one_and_are_forgotten() {
    let grace = Duration::from_secs(5);
    let mut cluster = cluster(3, Config { tombstone_grace: grace, ..Config::default() });
    cluster.write(0, 1, &BLIND, b"one");
    let (_, reading) = cluster.read(0, 1);
    for (node, cut) in [(0, [2].as_slice()), (2, &[0, 1])] {
        cluster.cut = cut.iter().map(|node| NodeId(*node)).collect();
        cluster.put(node, 2, &reading.context, None);
        cluster.settle();
        assert_eq!(cluster.answer(), written(DELETED));
        // It forgets whom it owes; and no tree holds deletions.
        cluster.crash(node);
    }
    cluster.cut = NodeSet::EMPTY;
    let is_known_to_all = |cluster: &Cluster| {
        let states: Vec<_> = (0..3).map(|node| cluster.replicas[node].core.state(b"key")).collect();
        states.iter().all(|state| *state == states[0])
    };
    assert!(!is_known_to_all(&cluster));
    for _ in 0..4 {
        cluster.pass(grace);
        cluster.settle();
    }
    assert!(is_known_to_all(&cluster));
    assert!((0..3).all(|node| cluster.replicas[node].core.keys().next().is_none()));
}

#[test]
fn whoever_never_reads_is_told_to() {
    let mut cluster = cluster(3, Config::default());
    let most = qlab_clocks::dotted::SIBLINGS_MAX as u64;
    (1..=most).for_each(|sequence| cluster.write(0, sequence, &BLIND, b"blind"));
    cluster.put(0, most + 1, &BLIND, Some(b"one more"));
    cluster.settle();
    assert_eq!(cluster.answer(), written(FULL));
    let (_, reading) = cluster.read(0, 1);
    cluster.write(0, most + 2, &reading.context, b"one");
    assert_eq!(cluster.values(1), [&b"one"[..]]);
}

#[test]
fn a_session_belongs_to_the_replica_that_opened_it_and_a_command_that_says_nothing_of_reads_is_malformed() {
    let mut cluster = cluster(3, Config::default());
    cluster.write(0, 1, &BLIND, b"one");
    cluster.put(0, 1, &BLIND, Some(b"one"));
    cluster.settle();
    assert_eq!(cluster.answer(), written(STORED), "the same answer");
    assert_eq!(cluster.values(0).len(), 1, "and no second value");
    for (sequence, command) in
        [(2, Command::Delete { key: b"key" }), (3, Command::Put { key: b"key", value: b"bare" })]
    {
        cluster.ask(0, 0, sequence, &command);
        cluster.settle();
        assert_eq!(cluster.answer(), written(Outcome::MALFORMED));
    }
    cluster.crash(0);
    cluster.put(0, 4, &BLIND, Some(b"late"));
    cluster.settle();
    assert_eq!(cluster.answer(), written(Outcome::EXPIRED));
}

#[test]
fn where_the_last_writer_wins_the_clock_decides_whatever_was_read() {
    let mut cluster = cluster(3, Config { conflicts: Conflicts::LastWriterWins, ..Config::default() });
    cluster.now = cluster.now + Duration::from_secs(9);
    cluster.write(0, 1, &BLIND, b"by a fast clock");
    let (_, reading) = cluster.read(1, 1);
    assert_eq!(reading.values, [&b"by a fast clock"[..]]);
    cluster.now = qlab_kernel::Time(1);
    cluster.write(1, 1, &reading.context, b"later, by a slow one");
    assert_eq!(cluster.values(1), [&b"by a fast clock"[..]], "answered, and lost");
}
