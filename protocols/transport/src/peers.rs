//! Links between replicas: who dials, lanes, datagrams, redialling.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{Lane, NodeId};
use quinn::{RecvStream, SendDatagramError, VarInt};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use tokio::time::{Instant, sleep};

use crate::counters::{Counters, Refused};
use crate::endpoint::Shared;
use crate::inbox::{Arrival, Source};
use crate::outbox::{Outbox, encode_alone};
use crate::stream::{CloseReason, FrameReader, ReadEnd, punish, wire_bytes, write_frames};
use crate::tls::{Plane, TlsError};
use crate::tuning::{REDIAL_PAUSE_MAX, REDIAL_PAUSE_MIN};
use crate::{Dropped, FrameSink, Options, ReplicaEntry, quic};

/// The lanes that are streams.
const STREAMS: [Lane; 2] = [Lane::Control, Lane::Bulk];

/// A connection to a replica and what waits to be sent over it.
#[derive(Debug)]
pub(crate) struct PeerLink {
    connection: quinn::Connection,
    pub(crate) control: Outbox,
    pub(crate) bulk: Outbox,
}

impl PeerLink {
    fn new(connection: quinn::Connection, options: &Options) -> Self {
        let control = Outbox::new(options.control_queue_bytes_max);
        Self { connection, control, bulk: Outbox::new(options.bulk_queue_bytes_max) }
    }

    /// Hands a frame to QUIC as one datagram. There is no queue but QUIC's.
    pub(crate) fn send_datagram(
        &self,
        encode: impl FnOnce(&mut FrameSink<'_>),
        counters: &Counters,
    ) -> Result<(), Dropped> {
        let frame = encode_alone(encode)?;
        let bytes = frame.len();
        // What is queued keeps its place: QUIC would throw the oldest out.
        if self.connection.max_datagram_size().is_some_and(|bytes_max| bytes > bytes_max) {
            return Err(Dropped::Oversized);
        }
        if self.connection.datagram_send_buffer_space() < bytes {
            return Err(Dropped::QueueFull);
        }
        self.connection.send_datagram(frame).map_err(|error| match error {
            SendDatagramError::TooLarge => Dropped::Oversized,
            _ => Dropped::NotConnected,
        })?;
        counters.datagram_sent(bytes);
        Ok(())
    }

    pub(crate) fn cut_off(&self, reason: CloseReason) {
        self.control.close();
        self.bulk.close();
        reason.close(&self.connection);
    }
}

/// Keeps dialling every replica of a higher seat.
pub(crate) fn dial_all(shared: &Arc<Shared>) -> Result<(), TlsError> {
    for replica in shared.roster.replicas().iter().filter(|replica| replica.node > shared.me) {
        let config =
            quic::client_config(&shared.identity, &shared.roster, Plane::Peer, replica, &shared.counters)?;
        tokio::spawn(keep_dialling(Arc::clone(shared), *replica, config));
    }
    Ok(())
}

/// Dials for ever, with growing pauses while connections fail or do not last.
async fn keep_dialling(shared: Arc<Shared>, replica: ReplicaEntry, config: quinn::ClientConfig) {
    let mut pause = Pause::new(shared.me, replica.node);
    loop {
        let started = Instant::now();
        match quic::dial(&shared.quic, &config, replica.address, &shared.counters).await {
            Ok(connection) => {
                run(&shared, &connection, replica.node).await;
                shared.counters.retire(&connection);
            }
            Err(quic::DialError::Impossible(quinn::ConnectError::EndpointStopping)) => return,
            Err(error) => tracing::debug!(peer = %replica.node, %error, "not reached"),
        }
        if started.elapsed() > REDIAL_PAUSE_MAX {
            pause.reset();
        }
        sleep(pause.next()).await;
    }
}

/// Pauses that double up to a cap; chance keeps replicas from dialling in step.
struct Pause {
    longest: Duration,
    chance: Pcg64Mcg,
}

impl Pause {
    fn new(from: NodeId, to: NodeId) -> Self {
        let seed = u128::from(from.0) << 16 | u128::from(to.0);
        Self { longest: REDIAL_PAUSE_MIN, chance: Pcg64Mcg::new(seed) }
    }

    fn reset(&mut self) {
        self.longest = REDIAL_PAUSE_MIN;
    }

    fn next(&mut self) -> Duration {
        let pause = self.chance.random_range(self.longest / 2..=self.longest);
        self.longest = (self.longest * 2).min(REDIAL_PAUSE_MAX);
        pause
    }
}

/// A connection to a proven replica, from the first frame to the last.
pub(crate) async fn run(shared: &Arc<Shared>, connection: &quinn::Connection, node: NodeId) {
    let link = install(shared, connection, node);
    for lane in STREAMS {
        tokio::spawn(write_lane(Arc::clone(shared), Arc::clone(&link), lane));
    }
    tokio::spawn(read_datagrams(Arc::clone(shared), connection.clone(), node));
    accept_lanes(shared, connection, node).await;
    let reason = connection.closed().await;
    tracing::info!(peer = %node, %reason, "peer connection ended");
    remove(shared, &link, node);
}

/// Makes this the link to `node`. An older one is void: the peer would not have dialled again otherwise.
fn install(shared: &Shared, connection: &quinn::Connection, node: NodeId) -> Arc<PeerLink> {
    let link = Arc::new(PeerLink::new(connection.clone(), &shared.options));
    let older = shared.peer(node).replace(Arc::clone(&link));
    if let Some(older) = older {
        older.cut_off(CloseReason::Superseded);
        shared.arrivals.announce(Source::Peer, Arrival::PeerDown(node));
    }
    tracing::info!(peer = %node, remote = %connection.remote_address(), "peer connected");
    shared.arrivals.announce(Source::Peer, Arrival::PeerUp(node));
    link
}

fn remove(shared: &Shared, link: &Arc<PeerLink>, node: NodeId) {
    link.cut_off(CloseReason::Done);
    let taken = shared.peer(node).take_if(|current| Arc::ptr_eq(current, link));
    if taken.is_some() {
        shared.arrivals.announce(Source::Peer, Arrival::PeerDown(node));
    }
}

async fn write_lane(shared: Arc<Shared>, link: Arc<PeerLink>, lane: Lane) {
    let Ok(mut stream) = link.connection.open_uni().await else { return };
    let (urgency, outbox) = match lane {
        Lane::Bulk => (0, &link.bulk),
        _ => (1, &link.control),
    };
    // Both fail only if the connection is gone; then so does the next write.
    let _ = stream.set_priority(urgency);
    let _ = stream.write_chunk(Bytes::from_static(tag(lane))).await;
    let _ = write_frames(stream, outbox, Plane::Peer, &shared.counters).await;
}

const fn tag(lane: Lane) -> &'static [u8] {
    match lane {
        Lane::Bulk => b"b",
        _ => b"c",
    }
}

/// Takes the peer's streams, one per lane, until the connection ends.
async fn accept_lanes(shared: &Arc<Shared>, connection: &quinn::Connection, node: NodeId) {
    let mut missing = STREAMS.to_vec();
    while let Ok(mut stream) = connection.accept_uni().await {
        let Some(lane) = read_tag(&mut stream).await else { continue };
        let Some(place) = missing.iter().position(|other| Some(*other) == lane) else {
            tracing::warn!(peer = %node, "stream without a lane");
            shared.counters.refused(Refused::BadStream);
            return CloseReason::BadStream.close(connection);
        };
        let lane = missing.swap_remove(place);
        tokio::spawn(read_lane(Arc::clone(shared), connection.clone(), FrameReader::new(stream), node, lane));
    }
}

/// Which lane a stream says it is, `Some(None)` if none; `None` if the stream ends before saying so.
async fn read_tag(stream: &mut RecvStream) -> Option<Option<Lane>> {
    let chunk = stream.read_chunk(1, true).await.ok()??;
    Some(STREAMS.into_iter().find(|lane| chunk.bytes == tag(*lane)))
}

/// Takes the peer's datagrams until the connection ends. While the host is behind they wait in QUIC's buffer, which loses the
/// oldest.
async fn read_datagrams(shared: Arc<Shared>, connection: quinn::Connection, from: NodeId) {
    loop {
        shared.arrivals.room(Source::Peer).await;
        let Ok(frame) = connection.read_datagram().await else { return };
        shared.counters.datagram_received(frame.len());
        let arrival = Arrival::Peer { from, lane: Lane::Datagram, frame };
        shared.arrivals.deliver(Source::Peer, std::iter::once(arrival));
    }
}

async fn read_lane(
    shared: Arc<Shared>,
    connection: quinn::Connection,
    mut reader: FrameReader,
    from: NodeId,
    lane: Lane,
) {
    let mut frames = Vec::new();
    let end = loop {
        shared.arrivals.room(Source::Peer).await;
        if let Err(end) = reader.read(&mut frames).await {
            break end;
        }
        if connection.close_reason().is_some() {
            // A newer connection may have spoken already: what comes late from this one would come out of order.
            return;
        }
        shared.counters.received(Plane::Peer, frames.len(), wire_bytes(&frames));
        let burst = frames.drain(..).map(|frame| Arrival::Peer { from, lane, frame });
        shared.arrivals.deliver(Source::Peer, burst);
    };
    punish(&end, &connection, &shared.counters);
    if matches!(end, ReadEnd::Finished) {
        // Lanes live as long as their connection: half a link is none.
        connection.close(VarInt::from_u32(CloseReason::Done as u32), b"a lane ended");
    }
}
