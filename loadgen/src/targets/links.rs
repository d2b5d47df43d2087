//! Connections that stay up: what the targets over a network share.
//!
//! Each connection has a task that dials, reads, and dials again; all tasks report through one bounded queue. A connection
//! begins at the replica of its turn and goes where it is sent; whoever cannot be reached is given up for the next, unless the
//! connection is there for that one alone.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::target::Event;

/// How long a dialled replica may take to answer: doubled from the first to the second while none does. A dead one must not hold up
/// a client that others would serve, and one far away must be reached in the end.
const DIAL_PATIENCE_MIN: Duration = Duration::from_millis(100);
/// See [`DIAL_PATIENCE_MIN`].
const DIAL_PATIENCE_MAX: Duration = Duration::from_secs(2);
/// Pause before the next one is dialled.
const REDIAL_PAUSE: Duration = Duration::from_millis(20);
/// Reports of connections that may wait for the driver; then their readers wait.
const REPORTS_MAX: usize = 1024;

/// How to reach replicas, which are numbered by their places in somebody's list.
pub(crate) trait Dial: Clone + Send + Sync + 'static {
    /// The sending half of a connection.
    type Sender: Send + 'static;
    /// The receiving half.
    type Receiver: Send + 'static;
    /// Why there is no connection.
    type Error: std::fmt::Display + Send;

    /// Connects to the replica at `place`.
    fn dial(
        &self,
        place: usize,
    ) -> impl Future<Output = Result<(Self::Sender, Self::Receiver), Self::Error>> + Send;

    /// Appends at least one frame to `frames`; an error if the connection is gone.
    fn receive(
        receiver: &mut Self::Receiver,
        frames: &mut Vec<Bytes>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Whom a connection dials when it is gone, or did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redial {
    /// The next replica.
    Next,
    /// The same one.
    Same,
}

/// A number of connections to a number of replicas.
#[derive(Debug)]
pub(crate) struct Links<D: Dial> {
    dialer: D,
    places: usize,
    redial: Redial,
    links: Vec<Link<D::Sender>>,
    reports: mpsc::Receiver<Report<D::Sender>>,
    reporting: mpsc::Sender<Report<D::Sender>>,
}

#[derive(Debug)]
struct Link<S> {
    /// Whom it speaks with or dials.
    place: usize,
    /// Counts its redirects: reports of an earlier life are dropped.
    life: u64,
    sender: Option<S>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Report<S> {
    link: usize,
    life: u64,
    news: News<S>,
}

#[derive(Debug)]
enum News<S> {
    Up { place: usize, sender: S },
    Down,
    Frames(Vec<Bytes>),
}

impl<D: Dial> Links<D> {
    /// Starts `links` connections to `places` replicas in the current runtime.
    pub(crate) fn start(dialer: D, places: usize, links: usize, redial: Redial) -> Self {
        assert!(places > 0, "connections to no replica");
        let (reporting, reports) = mpsc::channel(REPORTS_MAX);
        let mut started =
            Self { dialer, places, redial, links: Vec::with_capacity(links), reports, reporting };
        for link in 0..links {
            let place = link % places;
            let task = started.call(link, 0, place);
            started.links.push(Link { place, life: 0, sender: None, task });
        }
        started
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// The sending half of a connection that is up.
    pub(crate) fn sender(&mut self, link: usize) -> Option<&mut D::Sender> {
        self.links[link].sender.as_mut()
    }

    /// Gives a connection up for one to `place`, or to the next replica.
    pub(crate) fn redirect(&mut self, link: usize, place: Option<usize>) {
        let old = &self.links[link];
        old.task.abort();
        let place = place.unwrap_or((old.place + 1) % self.places);
        let life = old.life + 1;
        let task = self.call(link, life, place);
        self.links[link] = Link { place, life, sender: None, task };
    }

    /// Waits until a connection has something to say. Cancel safe.
    pub(crate) async fn receive(&mut self, events: &mut Vec<Event>) {
        let before = events.len();
        while events.len() == before {
            let report = self.reports.recv().await.expect("there is always a sender: this one's own");
            self.hear(report, events);
        }
        while let Ok(report) = self.reports.try_recv() {
            self.hear(report, events);
        }
    }

    fn call(&self, link: usize, life: u64, place: usize) -> JoinHandle<()> {
        let (dialer, reporting) = (self.dialer.clone(), self.reporting.clone());
        let step = if self.redial == Redial::Next { 1 } else { self.places };
        tokio::spawn(Caller { dialer, link, life, reporting }.call(place, self.places, step))
    }

    fn hear(&mut self, report: Report<D::Sender>, events: &mut Vec<Event>) {
        let Report { link, life, news } = report;
        let state = &mut self.links[link];
        if state.life != life {
            return;
        }
        match news {
            News::Up { place, sender } => {
                state.place = place;
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

impl<D: Dial> Drop for Links<D> {
    fn drop(&mut self) {
        self.links.iter().for_each(|link| link.task.abort());
    }
}

/// Keeps one connection up.
struct Caller<D: Dial> {
    dialer: D,
    link: usize,
    life: u64,
    reporting: mpsc::Sender<Report<D::Sender>>,
}

impl<D: Dial> Caller<D> {
    async fn call(self, first: usize, places: usize, step: usize) {
        let mut patience = DIAL_PATIENCE_MIN;
        for place in (0..places).cycle().skip(first).step_by(step) {
            match tokio::time::timeout(patience, self.dialer.dial(place)).await {
                Ok(Ok((sender, receiver))) => {
                    patience = DIAL_PATIENCE_MIN;
                    self.report(News::Up { place, sender }).await;
                    let end = self.listen(receiver).await;
                    tracing::debug!(link = self.link, place, %end, "connection ended");
                    self.report(News::Down).await;
                }
                Ok(Err(error)) => tracing::debug!(link = self.link, place, %error, "dialled in vain"),
                Err(_) => {
                    tracing::debug!(link = self.link, place, "no answer in time");
                    patience = (patience * 2).min(DIAL_PATIENCE_MAX);
                }
            }
            tokio::time::sleep(REDIAL_PAUSE).await;
        }
    }

    async fn listen(&self, mut receiver: D::Receiver) -> D::Error {
        let mut frames = Vec::new();
        loop {
            if let Err(end) = D::receive(&mut receiver, &mut frames).await {
                return end;
            }
            self.report(News::Frames(std::mem::take(&mut frames))).await;
        }
    }

    async fn report(&self, news: News<D::Sender>) {
        // Nobody listens only when the target is gone, and this task with it.
        let _ = self.reporting.send(Report { link: self.link, life: self.life, news }).await;
    }
}
