//! The laboratory's replicas over QUIC.

use bytes::Bytes;
use qlab_kernel::{NodeId, Request, Wire};
use qlab_transport::{ClientEndpoint, ClientReceiver, ClientSender, ConnectError, Disconnected};

use super::links::{Dial, Links, Redial};
use crate::driver::Retry;
use crate::target::{Event, Target};

/// Connections to replicas.
#[derive(Debug)]
pub struct Quic {
    links: Links<Dialer>,
    replicas: Vec<NodeId>,
}

impl Quic {
    /// Starts `links` connections to `replicas`, at least one, in the current runtime. Give the endpoint a queue that holds
    /// what the windows of one connection's sessions allow: a request that finds it full is lost until its timeout.
    ///
    /// # Panics
    /// If there is no replica.
    #[must_use]
    pub fn start(endpoint: ClientEndpoint, replicas: Vec<NodeId>, links: usize) -> Self {
        let dialer = Dialer { endpoint, replicas: replicas.clone() };
        Self { links: Links::start(dialer, replicas.len(), links, Redial::Next), replicas }
    }
}

impl Target for Quic {
    fn retry(&self) -> Retry {
        Retry::SameNumber
    }

    fn links(&self) -> usize {
        self.links.len()
    }

    fn send(&mut self, link: usize, request: Request) {
        if let Some(sender) = self.links.sender(link)
            && let Err(reason) = sender.send(|sink| request.encode(sink))
        {
            tracing::debug!(link, %reason, "request not sent");
        }
    }

    fn redirect(&mut self, link: usize, leader: Option<NodeId>) {
        let place = leader.and_then(|leader| self.replicas.iter().position(|replica| *replica == leader));
        self.links.redirect(link, place);
    }

    async fn receive(&mut self, events: &mut Vec<Event>) {
        self.links.receive(events).await;
    }
}

/// Dials replicas by their places in a list.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    pub(super) endpoint: ClientEndpoint,
    pub(super) replicas: Vec<NodeId>,
}

/// Why a connection does not come about, or ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Disconnected(#[from] Disconnected),
}

impl Dial for Dialer {
    type Sender = ClientSender;
    type Receiver = ClientReceiver;
    type Error = End;

    async fn dial(&self, place: usize) -> Result<(ClientSender, ClientReceiver), End> {
        Ok(self.endpoint.connect(self.replicas[place]).await?)
    }

    async fn receive(receiver: &mut ClientReceiver, frames: &mut Vec<Bytes>) -> Result<(), End> {
        Ok(receiver.receive(frames).await?)
    }
}
