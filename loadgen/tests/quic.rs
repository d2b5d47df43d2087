//! Whole runs over QUIC, against replicas that share one store and agree on who leads because the test says so.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::{NodeId, Refusal, Request, Sink, Wire};
use qlab_loadgen::history::{ABSENT, End, Kind};
use qlab_loadgen::run::{Moment, Outcome, Spec, run};
use qlab_loadgen::targets::memory::{Engine, Frames, Store};
use qlab_loadgen::targets::quic::Quic;
use qlab_transport::{
    Arrival, ClientEndpoint, Endpoint, Identity, Inbox, Options, ReplicaEntry, Roster, Socket,
};

const REPLICAS: u16 = 3;

#[derive(Clone)]
struct Cluster {
    store: Arc<Mutex<Store>>,
    leader: Arc<AtomicU16>,
    endpoints: Vec<Endpoint>,
}

impl Cluster {
    fn leads(&self, me: NodeId) -> bool {
        self.leader.load(Relaxed) == me.0
    }

    /// Another replica leads; the old one says so only to those who ask.
    fn move_to(&self, leader: u16) {
        self.leader.store(leader, Relaxed);
    }

    fn answer(&self, me: NodeId, frame: &Bytes) -> Vec<Bytes> {
        let request = Request::decode_all(frame.clone()).expect("the generator sends requests");
        if self.leads(me) {
            let mut frames = Frames::default();
            self.store.lock().unwrap().answer(&request, &mut frames);
            return frames.take().collect();
        }
        let (Request::Write(batch) | Request::Read(batch)) = &request;
        let mut answers = AnswerBuilder::new();
        let leader = NodeId(self.leader.load(Relaxed));
        batch.bursts().for_each(|burst| answers.refuse(&burst, Refusal::NotLeader(Some(leader))));
        vec![answers.finish()]
    }

    async fn serve(self, me: NodeId, mut inbox: Inbox) {
        let mut burst = Vec::new();
        loop {
            inbox.receive(&mut burst, 256).await;
            for arrival in burst.drain(..) {
                let Arrival::Client { from, frame } = arrival else { continue };
                for answer in self.answer(me, &frame) {
                    // A client that is gone asks again elsewhere.
                    let _ = self.endpoints[usize::from(me.0)].reply(from, |sink| sink.put_shared(&answer));
                }
            }
        }
    }
}

fn start() -> (Cluster, ClientEndpoint) {
    let any = "127.0.0.1:0".parse().unwrap();
    let identities: Vec<_> = (0..REPLICAS).map(|_| Identity::generate().unwrap()).collect();
    let sockets: Vec<_> = (0..REPLICAS).map(|_| Socket::bind(any).unwrap()).collect();
    let replicas = identities.iter().zip(&sockets).zip(0..).map(|((identity, socket), node)| ReplicaEntry {
        node: NodeId(node),
        fingerprint: identity.fingerprint(),
        address: socket.local_address(),
    });
    let client = Identity::generate().unwrap();
    let roster = Roster::new("test", replicas.collect(), vec![client.fingerprint()]).unwrap();
    let start =
        |(identity, socket)| Endpoint::start(socket, identity, roster.clone(), Options::default()).unwrap();
    let (endpoints, inboxes): (Vec<_>, Vec<_>) = identities.into_iter().zip(sockets).map(start).unzip();
    let (store, leader) = (Arc::default(), Arc::new(AtomicU16::new(1)));
    let cluster = Cluster { store, leader, endpoints };
    for (inbox, me) in inboxes.into_iter().zip(0..) {
        tokio::spawn(cluster.clone().serve(NodeId(me), inbox));
    }
    let endpoint =
        ClientEndpoint::start(Socket::bind(any).unwrap(), client, roster, Options::default()).unwrap();
    (cluster, endpoint)
}

fn spec(load: &str) -> Spec {
    Spec {
        load: load.parse().unwrap(),
        mix: "a".parse().unwrap(),
        keys: 200,
        sessions: 4,
        warmup: Duration::from_millis(50),
        measure: Duration::from_millis(400),
        cooldown: Duration::from_millis(50),
        slice: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
        ..Spec::default()
    }
}

async fn execute(
    spec: &Spec,
    cluster: &Cluster,
    endpoint: ClientEndpoint,
    observe: impl FnMut(Moment, u64),
) -> Outcome {
    let replicas = (0..REPLICAS).map(NodeId).collect();
    let outcome = run(Quic::start(endpoint.clone(), replicas, 3), spec, observe, pending()).await.unwrap();
    endpoint.close().await;
    for endpoint in &cluster.endpoints {
        endpoint.close().await;
    }
    outcome
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// No read returns a value that was overwritten, by a write that ended, before the read began.
fn assert_reads_are_fresh(outcome: &Outcome) {
    let mut started = HashMap::new();
    let mut writes: BTreeMap<u32, Vec<(u64, u64, u64)>> = BTreeMap::new();
    for op in outcome.history.iter().filter(|op| op.kind == Kind::Put) {
        assert_eq!(op.end, End::Ok);
        started.insert(op.value, (op.sent_ns, op.completed_ns));
        writes.entry(op.key).or_default().push((op.sent_ns, op.completed_ns, op.value));
    }
    for read in outcome.history.iter().filter(|op| op.kind == Kind::Get && op.value != ABSENT) {
        let (sent_ns, completed_ns) = started[&read.value];
        assert!(sent_ns <= read.completed_ns, "read before it was written");
        let overwritten =
            writes[&read.key].iter().any(|(sent, done, _)| *sent > completed_ns && *done < read.sent_ns);
        assert!(!overwritten, "{read:?} is stale");
    }
}

#[test]
fn the_leader_is_found_and_everything_is_answered() {
    block_on(async {
        let (cluster, endpoint) = start();
        let outcome = execute(&spec("closed:32"), &cluster, endpoint, |_, _| {}).await;
        assert!(outcome.counters.redirects >= 2, "two of three connections began at followers");
        assert_eq!(
            (outcome.counters.unknown, outcome.counters.errors, outcome.counters.malformed),
            (0, 0, 0)
        );
        assert!(outcome.verified && outcome.recorder.total().completed > 100);
        assert_reads_are_fresh(&outcome);
    });
}

#[test]
fn a_leader_that_moves_is_followed_and_nothing_is_lost_or_done_twice() {
    block_on(async {
        let (cluster, endpoint) = start();
        let moving = cluster.clone();
        let outcome = execute(&spec("open:2000"), &cluster, endpoint, |moment, _| match moment {
            Moment::MeasureStart => moving.move_to(2),
            Moment::MeasureEnd => moving.move_to(0),
            _ => {}
        })
        .await;
        assert!(outcome.counters.redirects >= 8 && outcome.counters.retries > 0);
        assert_eq!((outcome.counters.unknown, outcome.counters.errors), (0, 0));
        let total = outcome.recorder.total();
        assert_eq!(total.answered, total.offered());
        assert!(outcome.verified);
        assert_reads_are_fresh(&outcome);
    });
}

#[test]
fn a_replica_that_vanishes_is_given_up_for_the_next() {
    block_on(async {
        let (cluster, endpoint) = start();
        let vanishing = cluster.clone();
        let outcome = execute(&spec("open:1000"), &cluster, endpoint, |moment, _| {
            if moment == Moment::MeasureStart {
                vanishing.move_to(0);
                let gone = vanishing.endpoints[1].clone();
                tokio::spawn(async move { gone.close().await });
            }
        })
        .await;
        assert!(outcome.counters.disconnects > 0);
        assert_eq!((outcome.counters.unknown, outcome.counters.errors), (0, 0));
        assert!(outcome.verified);
        assert_reads_are_fresh(&outcome);
    });
}
