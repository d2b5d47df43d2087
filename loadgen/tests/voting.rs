//! Whole runs over QUIC against four replicas, one of which may lie, be silent or vanish. Instead of a protocol there is one lock:
//! what the primary takes is executed by all of them at once, in one order.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::client::{AnswerBody, AnswerBuilder, answers, split_request};
use qlab_kernel::{NodeId, Outcome as Written, Refusal, Request, SessionId, Sink};
use qlab_loadgen::run::{Moment, Outcome, Spec, run};
use qlab_loadgen::targets::memory::{Engine, Frames, Store};
use qlab_loadgen::targets::voting::Voting;
use qlab_transport::{
    Arrival, ClientEndpoint, ClientId, Endpoint, Identity, Inbox, Options, ReplicaEntry, Roster, Socket,
};

const REPLICAS: u16 = 4;
const MATCHING: usize = 2;
/// How long backups wait for a primary that does not do what they were asked.
const VIEW_TIMEOUT: Duration = Duration::from_millis(40);

#[derive(Default)]
struct Replica {
    store: Store,
    /// Its clients' connections, as they came.
    connections: Vec<ClientId>,
    /// Where sessions asked last.
    routes: HashMap<SessionId, ClientId>,
}

#[derive(Default)]
struct State {
    replicas: Vec<Replica>,
    primary: u16,
    /// The primary does nothing.
    is_silent: bool,
    view_changes: bool,
    /// It says something else than it did.
    liar: Option<u16>,
    /// How often a backup was asked.
    backups_asked: u64,
    requests: u64,
}

#[derive(Clone)]
struct Cluster {
    state: Arc<Mutex<State>>,
    endpoints: Vec<Endpoint>,
}

/// Stands for a client's authenticator.
fn prove(request: &Request) -> Bytes {
    let (Request::Write(batch) | Request::Read(batch)) = request;
    let sum = batch.bytes().iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    Bytes::copy_from_slice(&sum.to_le_bytes())
}

impl Cluster {
    async fn serve(self, me: u16, mut inbox: Inbox) {
        let mut burst = Vec::new();
        loop {
            inbox.receive(&mut burst, 256).await;
            for arrival in burst.drain(..) {
                self.take(me, arrival);
            }
        }
    }

    fn take(&self, me: u16, arrival: Arrival) {
        let mut state = self.state.lock().unwrap();
        let replica = &mut state.replicas[usize::from(me)];
        match arrival {
            Arrival::ClientUp { client, .. } => replica.connections.push(client),
            Arrival::ClientDown(client) => {
                replica.connections.retain(|other| *other != client);
                replica.routes.retain(|_, other| *other != client);
            }
            Arrival::Client { from, frame } => {
                let (request, proof) = split_request(frame).expect("the generator sends requests");
                assert_eq!(proof, prove(&request), "nobody else asks");
                let (Request::Write(batch) | Request::Read(batch)) = &request;
                replica.routes.extend(batch.bursts().map(|burst| (burst.session, from)));
                state.requests += 1;
                if me != state.primary {
                    self.relay(&mut state, me, from, &request);
                }
                if !state.is_silent {
                    self.execute(&mut state, &request);
                }
            }
            _ => {}
        }
    }

    /// A backup names the primary, and does not wait for it for ever.
    fn relay(&self, state: &mut State, me: u16, from: ClientId, request: &Request) {
        state.backups_asked += 1;
        let (Request::Write(batch) | Request::Read(batch)) = request;
        let mut refused = AnswerBuilder::new();
        let primary = Refusal::NotLeader(Some(NodeId(state.primary)));
        batch.bursts().for_each(|burst| refused.refuse(&burst, primary));
        self.reply(me, from, &refused.finish());
        if state.is_silent && !std::mem::replace(&mut state.view_changes, true) {
            let cluster = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(VIEW_TIMEOUT).await;
                cluster.change_view();
            });
        }
    }

    fn change_view(&self) {
        let mut state = self.state.lock().unwrap();
        state.primary = (state.primary + 1) % REPLICAS;
        (state.is_silent, state.view_changes) = (false, false);
        for me in 0..REPLICAS {
            let mut moved = AnswerBuilder::new();
            moved.moved(Some(NodeId(state.primary)));
            let frame = moved.finish();
            for client in &state.replicas[usize::from(me)].connections {
                self.reply(me, *client, &frame);
            }
        }
    }

    fn execute(&self, state: &mut State, request: &Request) {
        let (Request::Write(batch) | Request::Read(batch)) = request;
        let session = batch.bursts().next().expect("no request is empty").session;
        for me in 0..REPLICAS {
            let mut frames = Frames::default();
            let replica = &mut state.replicas[usize::from(me)];
            replica.store.answer(request, &mut frames);
            let route = replica.routes.get(&session).or(replica.connections.last()).copied();
            for frame in frames.take() {
                let frame = if state.liar == Some(me) { twist(&frame) } else { frame };
                route.into_iter().for_each(|client| self.reply(me, client, &frame));
            }
        }
    }

    fn reply(&self, me: u16, client: ClientId, frame: &Bytes) {
        // A client that is gone asks again.
        let _ = self.endpoints[usize::from(me)].reply(client, |sink| sink.put_shared(frame));
    }
}

/// A frame that says something else about every command, and names a wrong leader.
fn twist(frame: &[u8]) -> Bytes {
    let mut lies = AnswerBuilder::new();
    lies.moved(Some(NodeId(3)));
    for answer in answers(frame).map(Result::unwrap) {
        match answer.body {
            AnswerBody::Written(outcomes) => {
                lies.begin_written(answer.session, answer.first, answer.index);
                outcomes.iter().for_each(|_| lies.push_outcome(Written::of(Written::EXPIRED)));
            }
            AnswerBody::Values(values) => {
                lies.begin_values(answer.session, answer.first, answer.index);
                values.iter().for_each(|(status, value)| lies.push_value(status, &vec![7; value.len()]));
            }
            _ => {}
        }
    }
    lies.finish()
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
    let replicas = (0..REPLICAS).map(|_| Replica::default()).collect();
    let state = Arc::new(Mutex::new(State { replicas, primary: 1, ..State::default() }));
    let cluster = Cluster { state, endpoints };
    for (inbox, me) in inboxes.into_iter().zip(0..) {
        tokio::spawn(cluster.clone().serve(me, inbox));
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
        measure: Duration::from_millis(500),
        cooldown: Duration::from_millis(50),
        slice: Duration::from_millis(100),
        timeout: Duration::from_millis(100),
        ..Spec::default()
    }
}

async fn execute(
    spec: &Spec,
    cluster: &Cluster,
    endpoint: ClientEndpoint,
    observe: impl FnMut(Moment, u64),
) -> Outcome {
    let target = Voting::start(endpoint.clone(), REPLICAS, MATCHING, 2, prove);
    let outcome = run(target, spec, observe, pending()).await.unwrap();
    endpoint.close().await;
    for endpoint in &cluster.endpoints {
        endpoint.close().await;
    }
    outcome
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn assert_all_is_well(outcome: &Outcome) {
    let counters = &outcome.counters;
    assert_eq!(
        (counters.unknown, counters.errors, counters.malformed, counters.foreign, counters.expired),
        (0, 0, 0, 0, 0)
    );
    assert!(outcome.verified && outcome.recorder.total().completed > 100);
}

#[test]
fn a_replica_that_lies_is_not_believed_and_the_primary_alone_is_asked() {
    block_on(async {
        let (cluster, endpoint) = start();
        cluster.state.lock().unwrap().liar = Some(2);
        // However slow the machine: whoever lost patience would ask others.
        let patient = Spec { timeout: Spec::default().give_up, ..spec("closed:32") };
        let outcome = execute(&patient, &cluster, endpoint, |_, _| {}).await;
        assert_all_is_well(&outcome);
        assert_eq!((outcome.counters.redirects, outcome.counters.timeouts), (0, 0));
        let state = cluster.state.lock().unwrap();
        assert!(state.backups_asked > 0, "openings go to all");
        assert!(state.requests > 10 * state.backups_asked, "everything else does not");
    });
}

#[test]
fn a_primary_that_lies_to_its_client_is_not_believed_either() {
    block_on(async {
        let (cluster, endpoint) = start();
        cluster.state.lock().unwrap().liar = Some(1);
        assert_all_is_well(&execute(&spec("open:2000"), &cluster, endpoint, |_, _| {}).await);
    });
}

#[test]
fn a_silent_primary_is_asked_beside_everyone_and_the_next_one_followed() {
    block_on(async {
        let (cluster, endpoint) = start();
        let silenced = cluster.clone();
        let outcome = execute(&spec("open:2000"), &cluster, endpoint, |moment, _| match moment {
            Moment::MeasureStart => silenced.state.lock().unwrap().is_silent = true,
            Moment::MeasureEnd => assert_eq!(silenced.state.lock().unwrap().primary, 2, "it was left"),
            _ => {}
        })
        .await;
        assert_all_is_well(&outcome);
        assert!(outcome.counters.timeouts > 0 && outcome.counters.redirects >= 2);
        assert_eq!(outcome.counters.disconnects, 0);
    });
}

#[test]
fn a_primary_that_vanishes_takes_no_connection_with_it() {
    block_on(async {
        let (cluster, endpoint) = start();
        let vanishing = cluster.clone();
        let outcome = execute(&spec("open:1000"), &cluster, endpoint, |moment, _| {
            if moment == Moment::MeasureStart {
                vanishing.state.lock().unwrap().is_silent = true;
                let gone = vanishing.endpoints[1].clone();
                tokio::spawn(async move { gone.close().await });
            }
        })
        .await;
        assert_all_is_well(&outcome);
        assert_eq!(outcome.counters.disconnects, 0);
        assert_eq!(cluster.state.lock().unwrap().primary, 2);
    });
}

#[test]
fn three_of_four_are_enough_from_the_beginning() {
    block_on(async {
        let (cluster, endpoint) = start();
        cluster.endpoints[3].close().await;
        assert_all_is_well(&execute(&spec("closed:8"), &cluster, endpoint, |_, _| {}).await);
    });
}
