//! The laws, each as a function that panics if it is broken, so that seeded bugs can be held against them by name.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRng, TestRunner};
use qlab_gossip::key::{Key, Kind};
use qlab_gossip::membership::Health;
use qlab_gossip::store::{Delta, Store};
use qlab_gossip::{Actor, Config, Exchange, Life, Object, Operation};
use qlab_kernel::NodeId;
use rand::RngExt;
use rand_pcg::Pcg32;

use qlab_gossip::history::{Delivery, History, KINDS, Step, value};
use qlab_gossip::world::{Network, World};

/// A law by the specification's number.
pub(crate) struct Law {
    pub(crate) name: &'static str,
    /// Panics if it is broken; other seeds look elsewhere.
    pub(crate) hold: fn(u64),
}

/// All of them.
pub(crate) const LAWS: [Law; 13] = [
    Law { name: "C1 merge is a join", hold: merge_is_a_join },
    Law { name: "C2 equal deliveries, equal bytes", hold: equal_deliveries_equal_bytes },
    Law { name: "C3 values follow the specification", hold: values_follow_the_specification },
    Law { name: "C4 no dot is used twice", hold: no_dot_is_used_twice },
    Law { name: "C5 encodings are canonical", hold: encodings_are_canonical },
    Law { name: "C6 the deleted stays deleted", hold: the_deleted_stays_deleted },
    Law { name: "C6 copies follow their writer", hold: copies_follow_their_writer },
    Law { name: "C6 copies agree without their writer", hold: copies_agree_without_their_writer },
    Law { name: "S1 only its owner raises an incarnation", hold: only_its_owner_raises_an_incarnation },
    Law { name: "S1 every crashed node is declared dead", hold: every_crashed_node_is_declared_dead },
    Law { name: "S1 the living object", hold: the_living_object },
    Law { name: "S2 gossip converges", hold: gossip_converges },
    Law { name: "S3 what is known never goes back", hold: what_is_known_never_goes_back },
];

/// The same cases for the same seed. Shrinks what it finds.
fn for_all<S: Strategy>(seed: u64, cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Cases { cases, failure_persistence: None, ..Cases::default() };
    let rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

const REPLICAS: usize = 3;

/// Up to 40 steps with an object of this kind.
fn steps(kind: Kind) -> impl Strategy<Value = Vec<Step>> {
    let step = any::<u64>().prop_map(move |seed| Step::draw(kind, REPLICAS, &mut Pcg32::new(seed, 1)));
    prop::collection::vec(step, 0..40)
}

fn for_all_histories(seed: u64, test: impl Fn(History)) {
    for kind in KINDS {
        for_all(seed, 60, &steps(kind), |steps| {
            let mut history = History::new(kind, REPLICAS);
            steps.iter().for_each(|step| history.step(step));
            test(history);
        });
    }
}

fn bottom(kind: Kind) -> Object {
    Object::bottom(kind).expect("a kind of object")
}

/// Whether `small` ⊑ `large`.
fn is_within(small: &Object, large: &Object) -> bool {
    join(large, small) == *large
}

fn join(a: &Object, b: &Object) -> Object {
    let mut join = a.clone();
    join.merge(b);
    join
}

/// Commutative, associative, idempotent, inflationary.
fn merge_is_a_join(seed: u64) {
    for_all_histories(seed, |history| {
        let [a, b, c] = [0, 1, 2].map(|replica| &history.replicas[replica].state);
        assert_eq!(join(a, b), join(b, a), "not commutative");
        assert_eq!(join(&join(a, b), c), join(a, &join(b, c)), "not associative");
        assert_eq!(join(a, a), *a, "not idempotent");
        assert_eq!(join(&join(a, b), b), join(a, b), "not idempotent");
        assert!(is_within(a, &join(a, b)), "a merge took something away");
        for event in &history.events {
            assert!(is_within(a, &join(a, &event.delta)), "{:?} took something away", event.operation);
        }
    });
}

/// Deltas in any order, twice, or in groups, and full states: all the same.
fn equal_deliveries_equal_bytes(seed: u64) {
    for_all_histories(seed, |history| {
        let mut chance = Pcg32::new(seed, 3);
        let [causal, others @ ..] =
            Delivery::ALL.map(|delivery| (delivery, history.delivered(delivery, &mut chance)));
        for (delivery, other) in others {
            assert_eq!(other, causal.1, "{delivery:?}: the same deltas made another state");
            assert_eq!(other.encode(), causal.1.encode(), "{delivery:?}: equal states have other bytes");
        }
        for replica in history.replicas.iter().chain(&history.ended) {
            assert_eq!(history.join_of(&replica.visible), replica.state, "its deltas are not the state");
        }
    });
}

/// After every step, at every replica.
fn values_follow_the_specification(seed: u64) {
    for kind in KINDS {
        for_all(seed, 60, &steps(kind), |steps| {
            let mut history = History::new(kind, REPLICAS);
            for step in &steps {
                history.step(step);
                for replica in &history.replicas {
                    let expected = history.specification(&replica.visible);
                    assert_eq!(value(&replica.state), expected, "of {:?}", replica.visible);
                }
            }
        });
    }
}

/// A node forgets everything but its life, and adds; what it had added before stays another's to remove.
fn no_dot_is_used_twice(seed: u64) {
    let mut world = World::new(3, Config::default(), Network::CALM, seed, false);
    let name = Bytes::from_static(b"set");
    let add = |world: &mut World, element: &'static [u8]| {
        world.node(0).operate(&name, Operation::Add(Bytes::from_static(element))).expect("room");
    };
    add(&mut world, b"before");
    world.run(Duration::from_secs(2));
    world.stop(0);
    world.start(0, false);
    add(&mut world, b"after");
    world.run(Duration::from_secs(2));
    for node in world.running() {
        let Some(Object::OrSet(set)) = node.object(Kind::OrSet, &name) else {
            panic!("the set is not there")
        };
        assert!(set.contains(b"before") && set.contains(b"after"), "a dot named two additions: {set:?}");
    }
}

/// What is encoded is decoded, to the same; whatever else decodes is what it encodes to.
fn encodings_are_canonical(seed: u64) {
    for_all_histories(seed, |history| {
        let all = history.events.iter().map(|event| &event.delta);
        let mut last = bottom(history.kind);
        for state in all.chain(history.replicas.iter().map(|replica| &replica.state)) {
            let bytes = state.encode();
            assert_eq!(Object::decode(history.kind, bytes.clone()).as_ref(), Ok(state), "decoded to another");
            assert_eq!(bytes == last.encode(), *state == last, "bytes and states disagree on what is equal");
            last = state.clone();
            let mut chance = Pcg32::new(seed, 5);
            let mut damaged = bytes.to_vec();
            let at = chance.random_range(0..damaged.len());
            damaged[at] ^= 1 << chance.random_range(0..8);
            if let Ok(other) = Object::decode(history.kind, damaged.clone().into()) {
                assert_eq!(other.encode(), damaged, "two encodings of one state");
            }
        }
    });
}

/// A rough world, in which nodes stop, start and are cut off while everybody writes.
fn rough(nodes: usize, exchange: Exchange, seed: u64) -> World {
    // Small messages and digests, so that both are cut; deletions are forgotten at once, so that many are missed.
    let config = Config {
        exchange,
        message_bytes_max: 700,
        digest_writers_max: 3,
        deletion_told: Duration::from_millis(400),
        ..Config::default()
    };
    let mut world = World::new(nodes, config, Network::ROUGH, seed, false);
    world.watched = true;
    world
}

fn write_something(world: &mut World, node: usize, chance: &mut Pcg32) {
    let pick = |chance: &mut Pcg32| Bytes::from(vec![chance.random_range(0..20_u8); 30]);
    let name = Bytes::from_static(b"object");
    let operation = match chance.random_range(0..8) {
        0 => Operation::Grow(pick(chance)),
        1 => Operation::Count(chance.random_range(0..9)),
        2 => Operation::Increment(chance.random_range(0..9)),
        3 => Operation::Decrement(chance.random_range(0..9)),
        4 => Operation::WriteLast { time: world.now().0, value: pick(chance) },
        5 => Operation::Write(pick(chance)),
        6 => Operation::Add(pick(chance)),
        _ => Operation::Remove(pick(chance)),
    };
    world.node(node).operate(&name, operation).expect("room");
    let own = Bytes::from(vec![chance.random_range(0..6_u8)]);
    let now = world.now();
    if chance.random_range(0..3) == 0 {
        world.node(node).delete(now, own).expect("room");
    } else {
        world.node(node).set(own, pick(chance)).expect("room");
    }
}

/// Faults and writes for a while, then time to heal.
fn troubled(nodes: usize, exchange: Exchange, seed: u64) -> World {
    let mut world = rough(nodes, exchange, seed);
    let mut chance = Pcg32::new(seed, 11);
    for _ in 0..30 {
        let node = chance.random_range(0..nodes);
        match (chance.random_range(0..12), world.runs(node)) {
            (0, true) => world.stop(node),
            (_, false) => world.start(node, false),
            (1, _) => world.cut_off(0..chance.random_range(0..nodes)),
            (2, _) => world.cut_off([]),
            _ => write_something(&mut world, node, &mut chance),
        }
        world.run(Duration::from_millis(chance.random_range(0..600)));
    }
    for node in 0..nodes {
        if !world.runs(node) {
            world.start(node, false);
        }
    }
    world.cut_off([]);
    world.network = Network { loss_percent: 5, ..Network::CALM };
    world.run(Duration::from_secs(30));
    world
}

/// Nodes know the same of everybody, hold the same objects, and take each other for alive.
fn gossip_converges(seed: u64) {
    let exchange = [Exchange::Push, Exchange::Pull, Exchange::PushPull][seed as usize % 3];
    let mut world = troubled(5, exchange, seed);
    world.network = Network::CALM;
    world.run(Duration::from_secs(60));
    let bytes = |world: &mut World, node: usize| {
        let mut bytes = Vec::new();
        world.node(node).encode_objects(&mut bytes);
        bytes
    };
    for node in 1..5 {
        let (first, other) = (bytes(&mut world, 0), bytes(&mut world, node));
        assert_eq!(first, other, "S2: nodes 0 and {node} hold other objects");
    }
    for node in world.running() {
        for other in 0..5 {
            let belief = node.membership().belief(NodeId(other));
            assert_eq!(belief.health, Health::Alive, "S1: {other} lives");
        }
    }
}

/// The assertions in the store and in the world watch every step.
fn what_is_known_never_goes_back(seed: u64) {
    let world = troubled(4, Exchange::PushPull, seed);
    let writers = |node: &qlab_gossip::Node| node.store().digest(Actor::MIN, 1000).summaries;
    let all: Vec<_> = world.running().map(writers).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "S3: summaries stay apart: {all:#?}");
}

/// A node is away while keys are deleted and the deletions forgotten.
fn the_deleted_stays_deleted(seed: u64) {
    let mut chance = Pcg32::new(seed, 13);
    let config = Config {
        deletion_told: Duration::from_millis(100),
        message_bytes_max: 700,
        digest_writers_max: 3,
        ..Config::default()
    };
    let mut world = World::new(4, config, Network::CALM, seed, false);
    let keys: Vec<Bytes> =
        (0..chance.random_range(2..30)).map(|key: u8| Bytes::from(vec![key; 20])).collect();
    for key in &keys {
        world.node(0).set(key.clone(), Bytes::from(vec![1; 20])).expect("room");
    }
    world.run(Duration::from_secs(3));
    world.cut_off([3]);
    let now = world.now();
    let deleted: Vec<&Bytes> = keys.iter().filter(|_| chance.random_range(0..2) == 0).collect();
    for key in &deleted {
        world.node(0).delete(now, (*key).clone()).expect("room");
    }
    world.run(Duration::from_secs(3));
    world.node(0).set(Bytes::from_static(b"later"), Bytes::new()).expect("room");
    world.cut_off([]);
    world.run(Duration::from_secs(5));
    let writer = Actor { node: NodeId(0), life: Life::FIRST };
    for node in world.running() {
        for key in &keys {
            let known = node.store().value(writer, &Key::own(key.clone())).is_some();
            assert_eq!(known, !deleted.contains(&key), "C6: {key:?} at {}", node.actor());
        }
    }
}

/// One writer sets, deletes and forgets; copies are made of copies, in small pieces that come late, twice and out of order.
fn copies_follow_their_writer(seed: u64) {
    let moves = prop::collection::vec((0_u8..12, any::<u8>(), any::<u8>()), 0..120);
    for_all(seed, 150, &moves, |moves| {
        let mut copies = Copies::new();
        for (what, a, b) in moves {
            copies.step(what, usize::from(a), usize::from(b));
        }
        copies.catch_up();
    });
}

/// The same, but the writer ends before everybody has heard everything.
fn copies_agree_without_their_writer(seed: u64) {
    let moves = prop::collection::vec((0_u8..12, any::<u8>(), any::<u8>()), 0..120);
    for_all(seed, 150, &moves, |moves| {
        let mut copies = Copies::new();
        for (what, a, b) in moves {
            copies.step(what, usize::from(a), usize::from(b));
        }
        copies.agree();
    });
}

const WRITER: Actor = Actor { node: NodeId(0), life: Life::FIRST };

struct Copies {
    /// The first is the writer's own.
    stores: Vec<Store>,
    on_their_way: Vec<(usize, Delta)>,
}

impl Copies {
    fn new() -> Self {
        Self { stores: (0..4).map(|_| Store::new(1 << 20)).collect(), on_their_way: Vec::new() }
    }

    fn key(at: usize) -> Key {
        Key::own(Bytes::from(vec![(at % 6) as u8]))
    }

    fn step(&mut self, what: u8, a: usize, b: usize) {
        match what {
            0..3 => {
                self.stores[0].write(WRITER, Self::key(a), Some(Bytes::from(vec![b as u8])));
            }
            3 | 4 if self.stores[0].value(WRITER, &Self::key(a)).is_some() => {
                self.stores[0].write(WRITER, Self::key(a), None);
            }
            5 => {
                let version = self.stores[0].summary(WRITER).version;
                self.stores[0].forget(WRITER, version.saturating_sub(b as u64 % 4));
            }
            6..9 => {
                let (from, to) = (b % 4, 1 + a % 3);
                let known = self.stores[to].summary(WRITER);
                let deltas = self.stores[from].deltas(&[known], a as u64, 70 + a % 40);
                self.on_their_way.extend(deltas.into_iter().map(|delta| (to, delta)));
            }
            9.. if !self.on_their_way.is_empty() => {
                let (to, delta) = self.on_their_way[a % self.on_their_way.len()].clone();
                self.stores[to].apply(delta);
            }
            _ => {}
        }
    }

    /// The writer is gone: what copies hold of it is all there is, and all of them must come to hold the same.
    fn agree(&mut self) {
        let pairs = [(1, 2), (2, 3), (3, 1), (2, 1), (3, 2), (1, 3)];
        for salt in 0..1_000 {
            for (from, to) in pairs {
                self.tell(from, to, salt);
            }
        }
        let held = |copy: usize| self.stores[copy].entries().collect::<Vec<_>>();
        for copy in 2..4 {
            assert_eq!(held(copy), held(1), "C6: copies 1 and {copy} stay apart");
            self.stores[copy].check();
        }
    }

    /// One store tells another what that lacks; whether there was anything.
    fn tell(&mut self, from: usize, to: usize, salt: u64) -> bool {
        let known = self.stores[to].summary(WRITER);
        let delta = self.stores[from].deltas(&[known], salt, 100).pop();
        delta.map(|delta| self.stores[to].apply(delta)).is_some()
    }

    /// Every copy hears the writer out, and must then hold what the writer holds.
    fn catch_up(&mut self) {
        for to in 1..self.stores.len() {
            let told = (0..10_000).take_while(|salt| self.tell(0, to, *salt)).count();
            assert!(told < 10_000, "C6: copy {to} never knows enough");
            for key in (0..6).map(Self::key) {
                let (copy, own) = (self.stores[to].value(WRITER, &key), self.stores[0].value(WRITER, &key));
                assert_eq!(copy, own, "C6: copy {to} of {key:?}");
            }
            self.stores[to].check();
        }
    }
}

/// Pauses and losses make everybody suspect somebody; the world watches every belief.
fn only_its_owner_raises_an_incarnation(seed: u64) {
    let mut world =
        World::new(6, Config::default(), Network { loss_percent: 40, ..Network::CALM }, seed, false);
    world.watched = true;
    world.run(Duration::from_secs(60));
    let unanswered: u64 = world.running().map(|node| node.membership().verdicts().unanswered).sum();
    assert!(unanswered > 0, "nobody was ever suspected: this shows nothing");
}

/// Within two laps of probes, the time that suspects have, and the time that a rumour takes.
fn every_crashed_node_is_declared_dead(seed: u64) {
    let nodes = 10;
    let config = Config::default();
    let mut world =
        World::new(nodes, config.clone(), Network { loss_percent: 5, ..Network::CALM }, seed, false);
    world.run(Duration::from_secs(2));
    world.stop(3);
    let periods = (2 * nodes as u32 - 1) + config.suspicion_multiplier * 4 + 4;
    world.run(config.probe_interval * periods);
    for node in world.running() {
        assert_eq!(
            node.membership().belief(NodeId(3)).health,
            Health::Dead,
            "completeness, at {}",
            node.actor()
        );
    }
}

/// A node is cut off until all think it dead, and back again: it must object, and be believed.
fn the_living_object(seed: u64) {
    let mut world = World::new(6, Config::default(), Network::CALM, seed, false);
    world.watched = true;
    world.cut_off([2]);
    world.run(Duration::from_secs(40));
    let dead = |world: &World| {
        world.running().filter(|node| node.membership().belief(NodeId(2)).health == Health::Dead).count()
    };
    assert_eq!(dead(&world), 5, "it was cut off for long");
    world.cut_off([]);
    world.run(Duration::from_secs(20));
    for node in world.running() {
        for other in 0..6 {
            assert_eq!(
                node.membership().belief(NodeId(other)).health,
                Health::Alive,
                "accuracy: {other} lives"
            );
        }
    }
}
