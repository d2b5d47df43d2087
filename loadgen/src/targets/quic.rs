//! The laboratory's replicas over QUIC.
//!
//! Each connection has a task that dials, reads, and dials again; all tasks report through one bounded queue. A connection
//! begins at the replica of its turn and goes where refusals point; whoever cannot be reached is given up for the next.

use std::time::Duration;

use bytes::Bytes;
use qlab_kernel::{NodeId, Request, Wire};
use qlab_transport::{ClientEndpoint, ClientReceiver, ClientSender};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::driver::Retry;
use crate::target::{Event, Target};

/// How long a replica may take to answer a handshake before the next is tried: several round trips around the earth.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);
/// Pause after a replica could not be reached.
const REDIAL_PAUSE: Duration = Duration::from_millis(20);
/// Reports of connections that may wait for the driver; then their readers wait.
const REPORTS_MAX: usize = 1024;

/// Connections to replicas.
#[derive(Debug)]
pub struct Quic {
    endpoint: ClientEndpoint,
    replicas: Vec<NodeId>,
    links: Vec<Link>,
    reports: mpsc::Receiver<Report>,
    reporting: mpsc::Sender<Report>,
}

#[derive(Debug)]
struct Link {
    /// Whom it speaks with or dials.
    node: NodeId,
    /// Counts its redirects: reports of an earlier life are dropped.
    life: u64,
    sender: Option<ClientSender>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Report {
    link: usize,
    life: u64,
    news: News,
}

#[derive(Debug)]
enum News {
    Up(NodeId, ClientSender),
    Down,
    Frames(Vec<Bytes>),
}

impl Quic {
    /// Starts `links` connections to `replicas`, at least one, in the current runtime. Give the endpoint a queue that holds
    /// what the windows of one connection's sessions allow: a request that finds it full waits for its timeout.
    ///
    /// # Panics
    /// If there is no replica.
    #[must_use]
    pub fn start(endpoint: ClientEndpoint, replicas: Vec<NodeId>, links: usize) -> Self {
        assert!(!replicas.is_empty(), "connections to no replica");
        let (reporting, reports) = mpsc::channel(REPORTS_MAX);
        let mut target = Self { endpoint, replicas, links: Vec::new(), reports, reporting };
        for link in 0..links {
            let node = target.replicas[link % target.replicas.len()];
            let task = target.dial(link, 0, node);
            target.links.push(Link { node, life: 0, sender: None, task });
        }
        target
    }

    /// The replica that a connection speaks with or dials.
    #[must_use]
    pub fn node(&self, link: usize) -> NodeId {
        self.links[link].node
    }

    fn dial(&self, link: usize, life: u64, node: NodeId) -> JoinHandle<()> {
        let first = self.replicas.iter().position(|replica| *replica == node).unwrap_or(0);
        let (before, from) = self.replicas.split_at(first);
        let caller = Caller {
            endpoint: self.endpoint.clone(),
            turns: [from, before].concat(),
            link,
            life,
            reporting: self.reporting.clone(),
        };
        tokio::spawn(caller.call())
    }

    fn after(&self, node: NodeId) -> NodeId {
        let at = self.replicas.iter().position(|replica| *replica == node).unwrap_or(0);
        self.replicas[(at + 1) % self.replicas.len()]
    }

    fn hear(&mut self, report: Report, events: &mut Vec<Event>) {
        let Report { link, life, news } = report;
        let state = &mut self.links[link];
        if state.life != life {
            return;
        }
        match news {
            News::Up(node, sender) => {
                state.node = node;
                state.sender = Some(sender);
                events.push(Event::Up { link });
            }
            News::Down => {
                state.sender = None;
                events.push(Event::Down { link });
            }
            News::Frames(frames) => {
                events.extend(frames.into_iter().map(|frame| Event::Frame { link, frame }));
            }
        }
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
        if let Some(sender) = &self.links[link].sender
            && let Err(reason) = sender.send(|sink| request.encode(sink))
        {
            tracing::debug!(link, %reason, "request not sent");
        }
    }

    fn redirect(&mut self, link: usize, leader: Option<NodeId>) {
        let here = self.links[link].node;
        let node = leader.filter(|node| self.replicas.contains(node)).unwrap_or_else(|| self.after(here));
        let life = self.links[link].life + 1;
        self.links[link].task.abort();
        let task = self.dial(link, life, node);
        self.links[link] = Link { node, life, sender: None, task };
    }

    async fn receive(&mut self, events: &mut Vec<Event>) {
        let before = events.len();
        while events.len() == before {
            let report = self.reports.recv().await.expect("this target holds a sender itself");
            self.hear(report, events);
        }
        while let Ok(report) = self.reports.try_recv() {
            self.hear(report, events);
        }
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.links.iter().for_each(|link| link.task.abort());
    }
}

/// Keeps one connection up.
struct Caller {
    endpoint: ClientEndpoint,
    /// Whom to dial, in turn.
    turns: Vec<NodeId>,
    link: usize,
    life: u64,
    reporting: mpsc::Sender<Report>,
}

impl Caller {
    async fn call(self) {
        for node in self.turns.iter().copied().cycle() {
            match tokio::time::timeout(DIAL_PATIENCE, self.endpoint.connect(node)).await {
                Ok(Ok((sender, receiver))) => {
                    self.report(News::Up(node, sender)).await;
                    self.listen(receiver).await;
                    self.report(News::Down).await;
                }
                Ok(Err(error)) => tracing::debug!(link = self.link, %error, "dialled in vain"),
                Err(_) => tracing::debug!(link = self.link, %node, "no answer in time"),
            }
            tokio::time::sleep(REDIAL_PAUSE).await;
        }
    }

    async fn listen(&self, mut receiver: ClientReceiver) {
        let mut frames = Vec::new();
        while receiver.receive(&mut frames).await.is_ok() {
            self.report(News::Frames(std::mem::take(&mut frames))).await;
        }
    }

    async fn report(&self, news: News) {
        // Nobody listens only when the target is gone, and this task with it.
        let _ = self.reporting.send(Report { link: self.link, life: self.life, news }).await;
    }
}
