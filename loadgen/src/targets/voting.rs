//! Replicas that may lie, over QUIC: ask the primary, or everyone while nobody knows who that is, and believe what f + 1 said.
//!
//! A connection is a bundle here: one QUIC connection to each replica. A request goes to the primary that the replicas named
//! last, with a proof of who asks behind it. If the driver finds that no answer comes, it goes to all of them, which makes the
//! backups watch the primary, until f + 1 replicas name one again (Castro and Liskov, OSDI '99, §4.1). What opens a session goes
//! to all in any case, so that each knows where the session is answered. Answers of all bundles are voted on together: a replica
//! may answer over any of them.

use bytes::Bytes;
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::{NodeId, Request, Sink, Votes, Wire};
use qlab_transport::ClientEndpoint;

use super::links::{Links, Redial};
use super::quic::Dialer;
use crate::driver::Retry;
use crate::target::{Event, Target};

/// Makes the proof of who asks that goes behind a request in its frame.
pub trait Prove {
    /// The proof, at most [`PROOF_BYTES_MAX`](qlab_kernel::limits::PROOF_BYTES_MAX).
    fn prove(&mut self, request: &Request) -> Bytes;
}

impl<F: FnMut(&Request) -> Bytes> Prove for F {
    fn prove(&mut self, request: &Request) -> Bytes {
        self(request)
    }
}

/// Bundles of connections to replicas that are believed together only.
#[derive(Debug)]
pub struct Voting<P> {
    /// That of bundle b to the replica at place p has the number b × replicas + p.
    links: Links<Dialer>,
    replicas: Vec<NodeId>,
    /// Replicas that must say the same.
    matching: usize,
    bundles: Vec<Bundle>,
    prover: P,
    votes: Votes,
    /// The place of the replica that is asked; everyone is, if it is not known.
    primary: Option<usize>,
    /// What the connections have said and is not looked at yet.
    heard: Vec<Event>,
    /// What the driver is to be told.
    said: Vec<Event>,
    given: Vec<Bytes>,
}

#[derive(Clone, Debug)]
struct Bundle {
    /// Which of its connections are up.
    connected: Vec<bool>,
    /// Whether the driver may use it: from when enough replicas for an answer whoever fails are connected until too few are.
    up: bool,
}

impl Bundle {
    fn connections(&self) -> usize {
        self.connected.iter().filter(|connected| **connected).count()
    }
}

impl<P: Prove> Voting<P> {
    /// Starts `links` bundles of connections to `replicas`, whose seats are 0 to their number, in the current runtime. An answer
    /// counts once `matching` of them gave it: one more than may be faulty. For the endpoint's queue see
    /// [`Quic::start`](super::quic::Quic::start).
    ///
    /// # Panics
    /// If `matching` is 0 or more than there are replicas.
    #[must_use]
    pub fn start(endpoint: ClientEndpoint, replicas: u16, matching: usize, links: usize, prover: P) -> Self {
        let places = usize::from(replicas);
        let votes = Votes::new(places, matching);
        let replicas: Vec<NodeId> = (0..replicas).map(NodeId).collect();
        let dialer = Dialer { endpoint, replicas: replicas.clone() };
        Self {
            links: Links::start(dialer, places, links * places, Redial::Same),
            replicas,
            matching,
            bundles: vec![Bundle { connected: vec![false; places], up: false }; links],
            prover,
            votes,
            primary: None,
            heard: Vec::new(),
            said: Vec::new(),
            given: Vec::new(),
        }
    }

    /// The one to ask, unless everyone is to be asked.
    fn receiver(&self, link: usize, request: &Request) -> Option<usize> {
        let (Request::Write(batch) | Request::Read(batch)) = request;
        let primary = self.primary.filter(|primary| self.bundles[link].connected[*primary])?;
        let opens = batch.bursts().any(|burst| burst.opens_session());
        (!opens).then_some(primary)
    }

    fn hear(&mut self, event: Event) {
        let (Event::Up { link } | Event::Down { link } | Event::Frame { link, .. }) = event;
        let (bundle, place) = (link / self.replicas.len(), link % self.replicas.len());
        match event {
            Event::Up { .. } => self.connected(bundle, place),
            Event::Down { .. } => self.disconnected(bundle, place),
            Event::Frame { frame, .. } => self.hear_frame(bundle, place, &frame),
        }
    }

    fn connected(&mut self, link: usize, place: usize) {
        // As many as there are when all that may fail have failed.
        let enough = self.replicas.len() - (self.matching - 1);
        let bundle = &mut self.bundles[link];
        bundle.connected[place] = true;
        if !bundle.up && bundle.connections() >= enough {
            bundle.up = true;
            self.said.push(Event::Up { link });
        }
    }

    fn disconnected(&mut self, link: usize, place: usize) {
        let bundle = &mut self.bundles[link];
        bundle.connected[place] = false;
        if bundle.up && bundle.connections() < self.matching {
            bundle.up = false;
            self.said.push(Event::Down { link });
        } else if bundle.up && self.primary == Some(place) {
            // What it was asked is lost, perhaps: to all the others with it.
            self.said.push(Event::Up { link });
        }
    }

    fn hear_frame(&mut self, link: usize, place: usize, frame: &[u8]) {
        if let Err(error) = self.votes.take(self.replicas[place], frame, &mut self.given) {
            tracing::debug!(place, %error, "a replica sent a frame without meaning");
        }
        self.said.extend(self.given.drain(..).map(|frame| Event::Frame { link, frame }));
        let Some(leader) = self.votes.leader().filter(|leader| usize::from(leader.0) < self.replicas.len())
        else {
            return;
        };
        match self.primary.replace(leader.0.into()) {
            // It has been asked, like everyone.
            None => {}
            Some(before) if before == usize::from(leader.0) => {}
            Some(_) => self.say_moved(leader),
        }
    }

    /// What the former primary was asked must be asked again.
    fn say_moved(&mut self, leader: NodeId) {
        let mut moved = AnswerBuilder::new();
        moved.moved(Some(leader));
        let frame = moved.finish();
        let up = self.bundles.iter().enumerate().filter(|(_, bundle)| bundle.up);
        self.said.extend(up.map(|(link, _)| Event::Frame { link, frame: frame.clone() }));
    }
}

impl<P: Prove> Target for Voting<P> {
    fn retry(&self) -> Retry {
        Retry::SameNumber
    }

    fn links(&self) -> usize {
        self.bundles.len()
    }

    fn send(&mut self, link: usize, request: Request) {
        self.votes.asked(&request);
        let proof = self.prover.prove(&request);
        let places = self.receiver(link, &request).map_or(0..self.replicas.len(), |place| place..place + 1);
        for place in places {
            if let Some(sender) = self.links.sender(link * self.replicas.len() + place)
                && let Err(reason) = sender.send(|sink| {
                    request.encode(sink);
                    sink.put(&proof);
                })
            {
                tracing::debug!(link, place, %reason, "request not sent");
            }
        }
    }

    /// Nothing is connected anew: without a leader everyone is asked from now on, and what waits is sent again. A leader is
    /// the one that was given out, which is the primary here already.
    fn redirect(&mut self, link: usize, leader: Option<NodeId>) {
        if leader.is_none() {
            self.votes.forget_leader();
            self.primary = None;
        }
        if self.bundles[link].up {
            self.said.push(Event::Up { link });
        }
    }

    async fn receive(&mut self, events: &mut Vec<Event>) {
        while self.said.is_empty() {
            self.links.receive(&mut self.heard).await;
            let mut heard = std::mem::take(&mut self.heard);
            heard.drain(..).for_each(|event| self.hear(event));
            self.heard = heard;
        }
        events.append(&mut self.said);
    }
}
