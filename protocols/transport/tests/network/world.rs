//! A cluster on loopback for tests: real sockets, chosen ports, patience with a limit.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{Lane, NodeId, Sink};
use qlab_transport::{
    Arrival, ClientEndpoint, ClientId, ClientReceiver, ClientSender, Endpoint, Fingerprint, Identity, Inbox,
    Options, ReplicaEntry, Roster, Socket,
};
use tokio::time::timeout;

/// Longer than anything takes here, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Keys and sockets of everyone, before anyone has started.
pub(crate) struct World {
    pub(crate) identities: Vec<Identity>,
    pub(crate) client: Identity,
    pub(crate) sockets: Vec<Option<Socket>>,
    pub(crate) entries: Vec<ReplicaEntry>,
}

impl World {
    pub(crate) fn new(replicas: u16) -> Self {
        let identities: Vec<Identity> = (0..replicas).map(|_| Identity::generate().unwrap()).collect();
        let sockets: Vec<Socket> = (0..replicas).map(|_| any_port()).collect();
        let entry = |(node, socket): (u16, &Socket)| ReplicaEntry {
            node: NodeId(node),
            fingerprint: identities[usize::from(node)].fingerprint(),
            address: socket.local_address(),
        };
        let entries = (0..).zip(&sockets).map(entry).collect();
        let sockets = sockets.into_iter().map(Some).collect();
        Self { identities, client: Identity::generate().unwrap(), sockets, entries }
    }

    pub(crate) fn roster(&self) -> Roster {
        self.roster_with_clients(vec![self.client.fingerprint()])
    }

    pub(crate) fn roster_with_clients(&self, clients: Vec<Fingerprint>) -> Roster {
        Roster::new("test", self.entries.clone(), clients).unwrap()
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.entries[node].address
    }

    /// Starts a replica; again on the same port if it was started before and has ended.
    pub(crate) fn start(&mut self, node: usize, options: Options) -> Host {
        let roster = self.roster();
        self.start_with(node, roster, options)
    }

    pub(crate) fn start_with(&mut self, node: usize, roster: Roster, options: Options) -> Host {
        let socket = self.sockets[node].take().unwrap_or_else(|| Socket::bind(self.address(node)).unwrap());
        let (endpoint, inbox) =
            Endpoint::start(socket, self.identities[node].clone(), roster, options).unwrap();
        Host { endpoint, inbox, waiting: Vec::new() }
    }

    pub(crate) async fn connect(&self, node: u16) -> (ClientSender, ClientReceiver) {
        let endpoint = self.client_endpoint(self.client.clone(), Options::default());
        timeout(PATIENCE, endpoint.connect(NodeId(node))).await.unwrap().unwrap()
    }

    pub(crate) fn client_endpoint(&self, identity: Identity, options: Options) -> ClientEndpoint {
        ClientEndpoint::start(any_port(), identity, self.roster(), options).unwrap()
    }
}

pub(crate) fn any_port() -> Socket {
    Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

/// A replica's host: takes what it waits for and keeps the rest.
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    pub(crate) inbox: Inbox,
    waiting: Vec<Arrival>,
}

impl Host {
    pub(crate) fn start(socket: Socket, identity: Identity, roster: Roster, options: Options) -> Self {
        let (endpoint, inbox) = Endpoint::start(socket, identity, roster, options).unwrap();
        Self { endpoint, inbox, waiting: Vec::new() }
    }

    /// Waits for the first arrival that `wanted` makes something of; earlier ones are passed over.
    pub(crate) async fn wait_for<T>(&mut self, wanted: impl Fn(&Arrival) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                while !self.waiting.is_empty() {
                    if let Some(found) = wanted(&self.waiting.remove(0)) {
                        return found;
                    }
                }
                self.inbox.receive(&mut self.waiting, 1024).await;
            }
        })
        .await
        .expect("what a test waits for arrives")
    }

    pub(crate) async fn peer_up(&mut self, node: u16) {
        self.wait_for(|arrival| (*arrival == Arrival::PeerUp(NodeId(node))).then_some(())).await;
    }

    pub(crate) async fn peer_down(&mut self, node: u16) {
        self.wait_for(|arrival| (*arrival == Arrival::PeerDown(NodeId(node))).then_some(())).await;
    }

    pub(crate) async fn frame_on(&mut self, wanted: Lane) -> (NodeId, Bytes) {
        self.wait_for(|arrival| match arrival {
            Arrival::Peer { from, lane, frame } if *lane == wanted => Some((*from, frame.clone())),
            _ => None,
        })
        .await
    }

    pub(crate) async fn request(&mut self) -> (ClientId, Bytes) {
        self.wait_for(|arrival| match arrival {
            Arrival::Client { from, frame } => Some((*from, frame.clone())),
            _ => None,
        })
        .await
    }

    pub(crate) fn send(&self, to: u16, lane: Lane, bytes: &[u8]) -> bool {
        self.endpoint.send(NodeId(to), lane, |sink| sink.put(bytes)).is_ok()
    }
}

/// Waits until `true`; counters have no one to wait for.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    let polled = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, polled).await.expect("what a test waits for comes true");
}
