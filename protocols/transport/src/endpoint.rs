//! A replica's end of the network.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qlab_kernel::{Lane, NodeId, NodeSet};
use quinn::crypto::rustls::QuicServerConfig;

use crate::conversations::{self, Conversation};
use crate::counters::{Counters, Refused};
use crate::inbox::{Arrivals, ClientId, Inbox};
use crate::link::LinkControl;
use crate::peers::{self, PeerLink};
use crate::stream::CloseReason;
use crate::tls::{Plane, TlsError};
use crate::tuning::{HANDSHAKES_MAX, UNVALIDATED_HANDSHAKES_MAX};
use crate::{Counts, Dropped, FrameSink, Identity, Role, Roster, Socket, quic, tls};

/// What may differ between endpoints of one cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that may wait for the host, for peers and for clients each. One burst may exceed it.
    pub inbox_bytes_max: usize,
    /// Bytes that may wait for one peer on the control lane.
    pub control_queue_bytes_max: usize,
    /// Bytes that may wait for one peer on the bulk lane.
    pub bulk_queue_bytes_max: usize,
    /// Bytes of answers that may wait for one client before it is cut off.
    pub client_queue_bytes_max: usize,
    /// Clients connected at a time; more are refused.
    pub clients_max: usize,
    /// The emulated link under this endpoint, if any.
    pub link: Option<LinkControl>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            inbox_bytes_max: 16 << 20,
            control_queue_bytes_max: 1 << 20,
            bulk_queue_bytes_max: 32 << 20,
            client_queue_bytes_max: 8 << 20,
            clients_max: 1024,
            link: None,
        }
    }
}

/// Why an endpoint does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The roster has no replica with this identity's key.
    #[error("key {0} is no replica's in the roster of cluster {1}: list it, or load the key that is listed")]
    NotAReplica(crate::Fingerprint, String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket cannot be driven.
    #[error("UDP socket: {0}")]
    Socket(#[from] io::Error),
}

/// A replica's end of the network. Clones are handles to the same endpoint; [`close`](Self::close) ends it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
}

/// What the tasks of an endpoint share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) me: NodeId,
    pub(crate) quic: quinn::Endpoint,
    pub(crate) identity: Identity,
    pub(crate) roster: Arc<Roster>,
    pub(crate) options: Options,
    pub(crate) counters: Arc<Counters>,
    pub(crate) arrivals: Arc<Arrivals>,
    peers: [Mutex<Option<Arc<PeerLink>>>; NodeSet::CAPACITY],
    conversations: Mutex<HashMap<ClientId, Arc<Conversation>>>,
    clients_ever: AtomicU64,
    handshakes: AtomicUsize,
}

impl Endpoint {
    /// Starts serving and dialling in the current tokio runtime. The identity's key says which replica this is.
    pub fn start(
        socket: Socket,
        identity: Identity,
        roster: Roster,
        options: Options,
    ) -> Result<(Self, Inbox), StartError> {
        let fingerprint = identity.fingerprint();
        let Some(Role::Replica(me)) = roster.role(fingerprint) else {
            return Err(StartError::NotAReplica(fingerprint, roster.cluster().to_owned()));
        };
        let (roster, counters) = (Arc::new(roster), Arc::new(Counters::default()));
        let crypto = Arc::new(tls::serving(&identity, &roster, &counters)?);
        let quic = quic::open(socket, &identity, options.link.as_ref())?;
        // Until a connection's address is known, any address will do for a configuration.
        quic.set_server_config(Some(quic::server_config(crypto.clone(), quic.local_addr()?)));
        let arrivals = Arc::new(Arrivals::new(options.inbox_bytes_max));
        let shared = Arc::new(Shared {
            me,
            quic,
            identity,
            roster,
            options,
            counters,
            arrivals: Arc::clone(&arrivals),
            peers: [const { Mutex::new(None) }; NodeSet::CAPACITY],
            conversations: Mutex::default(),
            clients_ever: AtomicU64::new(0),
            handshakes: AtomicUsize::new(0),
        });
        peers::dial_all(&shared)?;
        tokio::spawn(serve(Arc::clone(&shared), crypto));
        Ok((Self { shared }, Inbox::new(arrivals)))
    }

    /// Which replica this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.me
    }

    /// Where it listens.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.shared.quic.local_addr()
    }

    /// Queues a frame for a replica. Never waits: without a connection or room the frame is dropped, counted, and the reason
    /// returned, which protocols may ignore as they send again whatever matters. `encode` runs at most once.
    pub fn send(
        &self,
        to: NodeId,
        lane: Lane,
        encode: impl FnOnce(&mut FrameSink<'_>),
    ) -> Result<(), Dropped> {
        let link = self.shared.peer(to).as_ref().map(Arc::clone);
        let queued = link.map_or(Err(Dropped::NotConnected), |link| match lane {
            Lane::Control => link.control.push(encode),
            Lane::Bulk => link.bulk.push(encode),
            Lane::Datagram => link.send_datagram(encode, &self.shared.counters),
        });
        queued.inspect_err(|reason| self.shared.counters.dropped(*reason))
    }

    /// Queues an answer for a client. Never waits: a client whose queue is full does not read, and is cut off.
    pub fn reply(&self, to: ClientId, encode: impl FnOnce(&mut FrameSink<'_>)) -> Result<(), Dropped> {
        let conversation = self.shared.conversations().get(&to).map(Arc::clone);
        let queued = conversation.as_ref().map_or(Err(Dropped::NotConnected), |it| it.outbox.push(encode));
        if let (Err(Dropped::QueueFull), Some(conversation)) = (queued, conversation) {
            self.shared.counters.refused(Refused::SlowClient);
            conversation.cut_off(CloseReason::SlowClient);
        }
        queued.inspect_err(|reason| self.shared.counters.dropped(*reason))
    }

    /// Replicas that can be sent to right now.
    #[must_use]
    pub fn connected(&self) -> NodeSet {
        let replicas = self.shared.roster.replicas().iter().map(|replica| replica.node);
        replicas.filter(|node| self.shared.peer(*node).is_some()).collect()
    }

    /// Cuts a replica off that sent a frame without meaning. It will be redialled.
    pub fn reject_peer(&self, node: NodeId) {
        if let Some(link) = self.shared.peer(node).as_ref() {
            self.shared.counters.refused(Refused::BadFrame);
            link.cut_off(CloseReason::BadFrame);
        }
    }

    /// Cuts a client off that sent a frame without meaning.
    pub fn reject_client(&self, client: ClientId) {
        if let Some(conversation) = self.shared.conversations().get(&client) {
            self.shared.counters.refused(Refused::BadFrame);
            conversation.cut_off(CloseReason::BadFrame);
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counters.snapshot()
    }

    /// Closes all connections and waits until the other sides have been told.
    pub async fn close(&self) {
        self.shared.quic.close(CloseReason::Done.code(), b"done");
        self.shared.quic.wait_idle().await;
    }
}

impl Shared {
    /// The link to a replica, if there is one.
    pub(crate) fn peer(&self, node: NodeId) -> MutexGuard<'_, Option<Arc<PeerLink>>> {
        static NOBODY: Mutex<Option<Arc<PeerLink>>> = Mutex::new(None);
        // Nothing panics while it is held.
        self.peers.get(usize::from(node.0)).unwrap_or(&NOBODY).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All clients.
    pub(crate) fn conversations(&self) -> MutexGuard<'_, HashMap<ClientId, Arc<Conversation>>> {
        // Nothing panics while it is held.
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_client(&self) -> ClientId {
        ClientId(self.clients_ever.fetch_add(1, Relaxed))
    }
}

/// Accepts whoever knocks, within limits, until the endpoint is closed.
async fn serve(shared: Arc<Shared>, crypto: Arc<QuicServerConfig>) {
    while let Some(incoming) = shared.quic.accept().await {
        let going_on = shared.handshakes.load(Relaxed);
        if going_on >= HANDSHAKES_MAX {
            shared.counters.refused(Refused::Overload);
            incoming.refuse();
        } else if going_on >= UNVALIDATED_HANDSHAKES_MAX
            && incoming.may_retry()
            && !incoming.remote_address_validated()
        {
            // Whoever cannot read what is sent to its address costs nothing more; an error means that it is gone already.
            let _ = incoming.retry();
        } else {
            shared.handshakes.fetch_add(1, Relaxed);
            tokio::spawn(welcome(Arc::clone(&shared), incoming, Arc::clone(&crypto)));
        }
    }
}

/// One connection from knock to end.
async fn welcome(shared: Arc<Shared>, incoming: quinn::Incoming, crypto: Arc<QuicServerConfig>) {
    let remote = incoming.remote_address();
    let config = quic::server_config(crypto, remote);
    let outcome = match incoming.accept_with(Arc::new(config)) {
        Ok(connecting) => quic::finish(connecting, &shared.counters).await,
        Err(error) => quic::finish(async { Err(error) }, &shared.counters).await,
    };
    shared.handshakes.fetch_sub(1, Relaxed);
    match outcome {
        Ok(connection) => {
            admit(&shared, &connection).await;
            shared.counters.retire(&connection);
        }
        Err(error) => tracing::info!(%remote, %error, "connection refused"),
    }
}

/// Hands a connection to the plane that its key may speak on.
async fn admit(shared: &Arc<Shared>, connection: &quinn::Connection) {
    match tls::proven(connection, &shared.roster) {
        // The lower seat dials: two connections between the same two would be one too many.
        Some((Role::Replica(node), Plane::Peer)) if node < shared.me => {
            peers::run(shared, connection, node).await;
        }
        Some((Role::Client(index), Plane::Client)) => conversations::run(shared, connection, index).await,
        _ => {
            tracing::warn!(remote = %connection.remote_address(), "connection on the wrong plane refused");
            shared.counters.refused(Refused::WrongPlane);
            CloseReason::WrongPlane.close(connection);
        }
    }
}
