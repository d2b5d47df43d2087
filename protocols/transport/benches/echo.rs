//! What the network itself costs: a client and a replica on two threads, each with a runtime of its own, over loopback.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use qlab_kernel::{NodeId, Sink};
use qlab_transport::{
    Arrival, ClientEndpoint, ClientReceiver, ClientSender, Endpoint, Identity, Options, ReplicaEntry, Roster,
    Socket,
};
use tokio::runtime::{Builder, Runtime};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const BURST_MAX: usize = 1024;
/// Bytes that a client leaves unanswered.
const IN_FLIGHT_BYTES: usize = 2 << 20;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a thread can have a runtime")
}

/// A replica on a thread of its own that sends every frame back.
struct Echo {
    roster: Roster,
    client: Identity,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Echo {
    fn start() -> Self {
        let keys = [(); 2].map(|()| Identity::generate().expect("the system has random bytes"));
        let socket = Socket::bind(LOOPBACK).expect("loopback has free ports");
        let [identity, client] = keys;
        let (node, address, fingerprint) = (NodeId(0), socket.local_address(), identity.fingerprint());
        let replicas = vec![ReplicaEntry { node, fingerprint, address }];
        let roster = Roster::new("bench", replicas, vec![client.fingerprint()]).expect("two keys, one seat");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (started, ready) = mpsc::channel();
        let thread = {
            let roster = roster.clone();
            thread::spawn(move || {
                runtime().block_on(async {
                    started.send(()).expect("the bench waits for its replica");
                    tokio::select! { () = echo(socket, identity, roster) => {}, _ = stopped => {} }
                });
            })
        };
        ready.recv().expect("the replica starts");
        Self { roster, client, stop, thread }
    }

    async fn connect(&self) -> (ClientSender, ClientReceiver) {
        let socket = Socket::bind(LOOPBACK).expect("loopback has free ports");
        let endpoint =
            ClientEndpoint::start(socket, self.client.clone(), self.roster.clone(), Options::default());
        endpoint.expect("a client starts").connect(NodeId(0)).await.expect("the replica listens")
    }

    fn stop(self) {
        let _ = self.stop.send(());
        self.thread.join().expect("the replica ends without a panic");
    }
}

async fn echo(socket: Socket, identity: Identity, roster: Roster) {
    let started = Endpoint::start(socket, identity, roster, Options::default());
    let (endpoint, mut inbox) = started.expect("a replica starts");
    let mut burst = Vec::new();
    loop {
        inbox.receive(&mut burst, BURST_MAX).await;
        for arrival in burst.drain(..) {
            if let Arrival::Client { from, frame } = arrival {
                endpoint.reply(from, |sink| sink.put_shared(&frame)).expect("the client reads");
            }
        }
    }
}

/// Sends `count` frames and waits for all of them to come back, with a bounded number on the way.
async fn round(sender: &ClientSender, receiver: &mut ClientReceiver, frame: &Bytes, count: usize) {
    let window = (IN_FLIGHT_BYTES / frame.len()).min(4096);
    let (mut sent, mut back) = (0, 0);
    let mut answers = Vec::new();
    while back < count {
        while sent < count && sent - back < window {
            sender.send(|sink| sink.put_shared(frame)).expect("the window is smaller than the queue");
            sent += 1;
        }
        receiver.receive(&mut answers).await.expect("the replica answers");
        back += answers.len();
        black_box(answers.drain(..).count());
    }
}

fn echoes(criterion: &mut Criterion) {
    let (echo, runtime) = (Echo::start(), runtime());
    let (sender, mut receiver) = runtime.block_on(echo.connect());
    let mut group = criterion.benchmark_group("echo");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1)).sample_size(20);
    for (bytes, count) in
        [(64, 1), (64, 10_000), (256, 10_000), (4 << 10, 10_000), (64 << 10, 1000), (1 << 20, 50)]
    {
        let frame = Bytes::from(vec![7; bytes]);
        group.throughput(if bytes <= 256 {
            Throughput::Elements(count)
        } else {
            Throughput::Bytes(count * bytes as u64)
        });
        let name = if count == 1 { "one_by_one" } else { "pipelined" };
        group.bench_function(BenchmarkId::new(name, bytes), |bencher| {
            bencher.iter(|| runtime.block_on(round(&sender, &mut receiver, &frame, count as usize)));
        });
    }
    group.finish();
    echo.stop();
}

criterion_group!(benches, echoes);
criterion_main!(benches);
