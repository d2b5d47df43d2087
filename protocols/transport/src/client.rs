//! A client's end of the network: what load generators hold.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use qlab_kernel::NodeId;
use quinn::SendStream;

use crate::counters::Counters;
use crate::outbox::Outbox;
use crate::quic::{self, DialError};
use crate::stream::{CloseReason, FrameReader, punish, wire_bytes, write_frames};
use crate::tls::{Plane, TlsError};
use crate::{Counts, Dropped, FrameSink, Identity, Options, Roster, Socket, StartError};

/// Why there is no connection to a replica.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The roster has no such replica.
    #[error("replica {0} is not in the roster")]
    UnknownNode(NodeId),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It was dialled in vain: try later, or another one.
    #[error("replica {node} at {address}: {source}")]
    Dial {
        /// Which replica.
        node: NodeId,
        /// Where it should be.
        address: SocketAddr,
        /// What went wrong.
        source: DialError,
    },
}

/// The connection is gone, and so is whatever was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("disconnected: {0}")]
pub struct Disconnected(String);

/// A client's end of the network: one socket for connections to any number of replicas.
#[derive(Clone, Debug)]
pub struct ClientEndpoint {
    quic: quinn::Endpoint,
    identity: Identity,
    roster: Arc<Roster>,
    options: Options,
    counters: Arc<Counters>,
}

impl ClientEndpoint {
    /// Starts in the current tokio runtime. Of the options, `client_queue_bytes_max` and `link` apply.
    pub fn start(
        socket: Socket,
        identity: Identity,
        roster: Roster,
        options: Options,
    ) -> Result<Self, StartError> {
        let quic = quic::open(socket, &identity, options.link.as_ref())?;
        Ok(Self { quic, identity, roster: Arc::new(roster), options, counters: Arc::default() })
    }

    /// Connects to a replica. The connection ends when both halves are dropped, or with the endpoint.
    pub async fn connect(&self, node: NodeId) -> Result<(ClientSender, ClientReceiver), ConnectError> {
        let replica = self.roster.replica(node).ok_or(ConnectError::UnknownNode(node))?;
        let address = replica.address;
        let config =
            quic::client_config(&self.identity, &self.roster, Plane::Client, replica, &self.counters)?;
        let failed = |source| ConnectError::Dial { node, address, source };
        let connection = quic::dial(&self.quic, &config, address, &self.counters).await.map_err(failed)?;
        let (send, receive) = connection.open_bi().await.map_err(|error| failed(error.into()))?;
        let outbox = Outbox::new(self.options.client_queue_bytes_max);
        let link = Arc::new(Link { connection, outbox, counters: Arc::clone(&self.counters) });
        tokio::spawn(write(Arc::clone(&link), send));
        tokio::spawn(watch(Arc::clone(&link)));
        let link = Arc::new(Hold(link));
        Ok((
            ClientSender { link: Arc::clone(&link) },
            ClientReceiver { reader: FrameReader::new(receive), link },
        ))
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.snapshot()
    }

    /// Closes all connections and waits until the other sides have been told.
    pub async fn close(&self) {
        self.quic.close(CloseReason::Done.code(), b"done");
        self.quic.wait_idle().await;
    }
}

/// The sending half of a connection. Clones send on the same stream.
#[derive(Clone, Debug)]
pub struct ClientSender {
    link: Arc<Hold>,
}

impl ClientSender {
    /// Queues a frame. Never waits: a full queue means that the replica does not keep up; wait for answers and try again.
    pub fn send(&self, encode: impl FnOnce(&mut FrameSink<'_>)) -> Result<(), Dropped> {
        let link = &self.link.0;
        link.outbox.push(encode).inspect_err(|reason| link.counters.dropped(*reason))
    }

    /// The round trip as QUIC estimates it.
    #[must_use]
    pub fn round_trip(&self) -> std::time::Duration {
        self.link.0.connection.rtt()
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct ClientReceiver {
    reader: FrameReader,
    link: Arc<Hold>,
}

impl ClientReceiver {
    /// Appends at least one frame, and every further one that has arrived with it, to `frames`. Cancel safe.
    pub async fn receive(&mut self, frames: &mut Vec<Bytes>) -> Result<(), Disconnected> {
        let link = &self.link.0;
        let before = frames.len();
        if let Err(end) = self.reader.read(frames).await {
            punish(&end, &link.connection, &link.counters);
            link.cut_off();
            return Err(Disconnected(end.to_string()));
        }
        let fresh = &frames[before..];
        link.counters.received(Plane::Client, fresh.len(), wire_bytes(fresh));
        Ok(())
    }
}

#[derive(Debug)]
struct Link {
    connection: quinn::Connection,
    outbox: Outbox,
    counters: Arc<Counters>,
}

impl Link {
    fn cut_off(&self) {
        self.outbox.close();
        CloseReason::Done.close(&self.connection);
    }
}

/// What both halves hold: the connection ends with the last of them.
#[derive(Debug)]
struct Hold(Arc<Link>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.cut_off();
    }
}

async fn watch(link: Arc<Link>) {
    link.connection.closed().await;
    link.outbox.close();
    link.counters.retire(&link.connection);
}

async fn write(link: Arc<Link>, stream: SendStream) {
    // It fails with the connection, which whoever receives notices, too.
    let _ = write_frames(stream, &link.outbox, Plane::Client, &link.counters).await;
}
