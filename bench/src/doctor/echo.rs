//! The QUIC echo: what one round trip costs on this machine before any protocol has done anything.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use qlab_kernel::{NodeId, Sink};
use qlab_report::Quantiles;
use qlab_transport::{
    Arrival, ClientEndpoint, ClientReceiver, ClientSender, Endpoint, Identity, Inbox, Options, ReplicaEntry,
    Roster, Socket,
};
use tokio::runtime::Builder;

use super::probes::Samples;
use crate::clock::Stopwatch;

/// Bytes of one message.
const MESSAGE: &[u8] = &[0x5A; 64];
/// Echoes before any is timed.
const WARMUP: usize = 200;
/// Arrivals that the echoing side takes at a time.
const BURST_MAX: usize = 64;
/// The whole probe ends in failure after this time.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Round-trip times of 64 bytes between a client and a replica over loopback, each with a thread and a runtime of its own.
pub(super) fn round_trip_ns() -> io::Result<Quantiles> {
    let socket = Socket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let (replica, client) = (identity()?, identity()?);
    let entry =
        ReplicaEntry { node: NodeId(0), fingerprint: replica.fingerprint(), address: socket.local_address() };
    let roster = Roster::new("doctor", vec![entry], vec![client.fingerprint()]).map_err(io::Error::other)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = {
        let roster = roster.clone();
        std::thread::spawn(move || {
            block_on(async {
                let (endpoint, inbox) =
                    Endpoint::start(socket, replica, roster, Options::default()).map_err(io::Error::other)?;
                tokio::select! { () = echo(&endpoint, inbox) => {}, _ = stopped => {} }
                Ok(())
            })
        })
    };
    let times = block_on(async {
        let measured = tokio::time::timeout(TIME_MAX, measure(client, roster)).await;
        measured.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    });
    drop(stop);
    server.join().map_err(|_| io::Error::other("the echoing side panicked"))??;
    times
}

fn identity() -> io::Result<Identity> {
    Identity::generate().map_err(io::Error::other)
}

fn block_on<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Sends every frame back, until it is dropped.
async fn echo(endpoint: &Endpoint, mut inbox: Inbox) {
    let mut burst = Vec::new();
    loop {
        inbox.receive(&mut burst, BURST_MAX).await;
        for arrival in burst.drain(..) {
            if let Arrival::Client { from, frame } = arrival {
                // A client that has left needs no answer.
                let _ = endpoint.reply(from, |sink| sink.put_shared(&frame));
            }
        }
    }
}

async fn measure(identity: Identity, roster: Roster) -> io::Result<Quantiles> {
    let socket = Socket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let endpoint =
        ClientEndpoint::start(socket, identity, roster, Options::default()).map_err(io::Error::other)?;
    let (sender, mut receiver) = endpoint.connect(NodeId(0)).await.map_err(io::Error::other)?;
    let mut frames = Vec::new();
    for _ in 0..WARMUP {
        round_trip(&sender, &mut receiver, &mut frames).await?;
    }
    let mut samples = Samples::start();
    while samples.wants_more() {
        let watch = Stopwatch::start();
        round_trip(&sender, &mut receiver, &mut frames).await?;
        samples.take(watch.elapsed());
    }
    endpoint.close().await;
    Ok(samples.quantiles())
}

async fn round_trip(
    sender: &ClientSender,
    receiver: &mut ClientReceiver,
    frames: &mut Vec<Bytes>,
) -> io::Result<()> {
    frames.clear();
    sender.send(|sink| sink.put(MESSAGE)).map_err(io::Error::other)?;
    receiver.receive(frames).await.map_err(io::Error::other)
}
