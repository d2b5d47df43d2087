//! Clients at a replica: each has one connection with one stream, frames both ways.

use std::sync::Arc;

use quinn::{RecvStream, SendStream};

use crate::counters::Refused;
use crate::endpoint::Shared;
use crate::inbox::{Arrival, ClientId, Source};
use crate::outbox::Outbox;
use crate::stream::{CloseReason, FrameReader, ReadEnd, punish, wire_bytes, write_frames};
use crate::tls::Plane;

/// A client's connection and the answers that wait for it.
#[derive(Debug)]
pub(crate) struct Conversation {
    connection: quinn::Connection,
    pub(crate) outbox: Outbox,
}

impl Conversation {
    pub(crate) fn cut_off(&self, reason: CloseReason) {
        self.outbox.close();
        reason.close(&self.connection);
    }
}

/// A connection from a proven client, from the first frame to the last.
pub(crate) async fn run(shared: &Arc<Shared>, connection: &quinn::Connection, index: usize) {
    let Some((client, conversation)) = install(shared, connection, index) else {
        shared.counters.refused(Refused::Overload);
        return CloseReason::Overload.close(connection);
    };
    if let Ok((send, receive)) = connection.accept_bi().await {
        tokio::spawn(answer(Arc::clone(shared), Arc::clone(&conversation), send));
        let end = listen(shared, client, receive).await;
        punish(&end, connection, &shared.counters);
        tracing::debug!(client = client.0, %end, "client connection ended");
    }
    conversation.cut_off(CloseReason::Done);
    shared.conversations().remove(&client);
    shared.arrivals.announce(Source::Client, Arrival::ClientDown(client));
}

fn install(
    shared: &Shared,
    connection: &quinn::Connection,
    index: usize,
) -> Option<(ClientId, Arc<Conversation>)> {
    let mut conversations = shared.conversations();
    if conversations.len() >= shared.options.clients_max {
        return None;
    }
    let client = shared.next_client();
    let outbox = Outbox::new(shared.options.client_queue_bytes_max);
    let conversation = Arc::new(Conversation { connection: connection.clone(), outbox });
    conversations.insert(client, Arc::clone(&conversation));
    shared.arrivals.announce(Source::Client, Arrival::ClientUp { client, index });
    Some((client, conversation))
}

async fn answer(shared: Arc<Shared>, conversation: Arc<Conversation>, stream: SendStream) {
    // It ends with the connection, which whoever listens notices, too.
    let _ = write_frames(stream, &conversation.outbox, Plane::Client, &shared.counters).await;
}

async fn listen(shared: &Shared, from: ClientId, stream: RecvStream) -> ReadEnd {
    let mut reader = FrameReader::new(stream);
    let mut frames = Vec::new();
    loop {
        shared.arrivals.room(Source::Client).await;
        if let Err(end) = reader.read(&mut frames).await {
            return end;
        }
        shared.counters.received(Plane::Client, frames.len(), wire_bytes(&frames));
        let burst = frames.drain(..).map(|frame| Arrival::Client { from, frame });
        shared.arrivals.deliver(Source::Client, burst);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use bytes::Bytes;
    use qlab_kernel::NodeId;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::counters::Counters;
    use crate::{Endpoint, Identity, Inbox, Options, ReplicaEntry, Roster, Socket, quic};

    fn any_port() -> Socket {
        Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
    }

    /// A replica at seat 1, and a raw connection to it by whoever may speak on `plane`.
    async fn raw_connection(plane: Plane) -> (Endpoint, Inbox, quinn::Connection) {
        let [identity, other] = [(); 2].map(|()| Identity::generate().unwrap());
        let (socket, other_socket) = (any_port(), any_port());
        let entry = |node, identity: &Identity, socket: &Socket| ReplicaEntry {
            node: NodeId(node),
            fingerprint: identity.fingerprint(),
            address: socket.local_address(),
        };
        let mut replicas = vec![entry(1, &identity, &socket)];
        let mut clients = vec![];
        match plane {
            Plane::Peer => replicas.push(entry(0, &other, &other_socket)),
            Plane::Client => clients.push(other.fingerprint()),
        }
        let roster = Roster::new("raw", replicas, clients).unwrap();
        let quic = quic::open(other_socket, &other, None).unwrap();
        let counters = Arc::new(Counters::default());
        let replica = roster.replicas()[0];
        let config = quic::client_config(&other, &roster, plane, &replica, &counters).unwrap();
        let (endpoint, inbox) = Endpoint::start(socket, identity, roster, Options::default()).unwrap();
        let connection = quic::dial(&quic, &config, replica.address, &counters).await.unwrap();
        (endpoint, inbox, connection)
    }

    async fn closed_with(connection: &quinn::Connection) -> u64 {
        match timeout(Duration::from_secs(15), connection.closed()).await.unwrap() {
            quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("not closed by the replica: {other}"),
        }
    }

    #[tokio::test]
    async fn a_client_that_announces_an_oversized_frame_is_cut_off_and_counted() {
        let (endpoint, _inbox, connection) = raw_connection(Plane::Client).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        assert_eq!(closed_with(&connection).await, CloseReason::OversizedFrame as u64);
        assert_eq!(endpoint.counts().refused_oversized_frame, 1);
    }

    #[tokio::test]
    async fn a_peer_that_announces_an_oversized_frame_is_cut_off_and_counted() {
        let (endpoint, _inbox, connection) = raw_connection(Plane::Peer).await;
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(b"b\xff\xff\xff\xff").await.unwrap();
        assert_eq!(closed_with(&connection).await, CloseReason::OversizedFrame as u64);
        assert_eq!(endpoint.counts().refused_oversized_frame, 1);
    }

    #[tokio::test]
    async fn a_peer_whose_stream_is_no_lane_or_a_lane_twice_is_cut_off_and_counted() {
        for tags in [&b"x"[..], b"cc"] {
            let (endpoint, _inbox, connection) = raw_connection(Plane::Peer).await;
            let mut streams = Vec::new();
            for tag in tags {
                let mut stream = connection.open_uni().await.unwrap();
                stream.write_all(&[*tag]).await.unwrap();
                streams.push(stream);
            }
            assert_eq!(closed_with(&connection).await, CloseReason::BadStream as u64);
            assert_eq!(endpoint.counts().refused_bad_stream, 1);
        }
    }

    #[tokio::test]
    async fn a_peer_cannot_open_more_streams_or_send_more_than_its_windows_allow() {
        let (_endpoint, mut inbox, connection) = raw_connection(Plane::Peer).await;
        let mut stream = connection.open_uni().await.unwrap();
        let _other = connection.open_uni().await.unwrap();
        let third = timeout(Duration::from_millis(20), connection.open_uni());
        assert!(third.await.is_err(), "two lanes are all there are");
        // The largest frames, and a host that takes none of them.
        let frame = vec![7; qlab_kernel::limits::FRAME_BYTES_MAX];
        let mut flood = Bytes::from([&b"b"[..], &(frame.len() as u32).to_le_bytes()[..], &frame].concat());
        let mut sent = 0;
        while timeout(Duration::from_millis(200), stream.write_chunk(flood.clone())).await.is_ok() {
            sent += flood.len();
            flood = flood.slice(flood.len() - frame.len() - 4..);
            assert!(sent < 256 << 20, "a host that takes nothing is sent to for ever");
        }
        sleep(Duration::from_millis(1)).await;
        assert!(inbox.try_receive(&mut Vec::new(), 1024) > 0);
    }
}
